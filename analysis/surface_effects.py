"""Effects as contrasts of surfaces, with intervals of two parts: seeds and interpolation."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from analysis.intervals import CONFIDENCE, Floats, summarize
from analysis.typed import Row

NAME = "surface"
"""As written in the column `estimator`."""

CONTRASTS: dict[str, dict[str, float]] = {
    "effect_total": {"control": -1.0, "full": 1.0},
    "effect_lr": {"control": -0.5, "full": 0.5, "class_term": 0.5, "uniform_term": -0.5},
    "effect_memorization": {"control": -0.5, "full": 0.5, "class_term": -0.5, "uniform_term": 0.5},
    "interaction": {"control": 1.0, "full": 1.0, "class_term": -1.0, "uniform_term": -1.0},
}
"""Weights of the arms in each effect, those of the estimator `arms`."""


def effect_rows(
    readings: Mapping[str, tuple[Floats, Floats]],
    labels: Sequence[Row],
    num_diverged: Mapping[str, int],
) -> list[Row]:
    """Return one row a label and effect; effects of arms without readings have none.

    Args:
        readings: For each arm values, ``[F, S]``, and interpolation variances, ``[F]``.
        labels: Columns that tell the F readings apart.
        num_diverged: For each arm the diverged trials that its readings stand on.
    """
    contrasts = {e: c for e, c in CONTRASTS.items() if set(c) <= set(readings)}
    found = {}
    for effect, weights in contrasts.items():
        parts = [(weight, *readings[arm]) for arm, weight in weights.items()]
        values = sum(weight * value for weight, value, _ in parts)
        known = sum(weight**2 * variance for weight, _, variance in parts)
        found[effect] = infer_with_known(np.asarray(values), np.asarray(known))
    diverged = {
        effect: sum(num_diverged[arm] for arm in weights) for effect, weights in contrasts.items()
    }
    return [
        {
            **label,
            "estimator": NAME,
            "effect": effect,
            **{name: column[number].item() for name, column in found[effect].items()},
            "num_diverged": diverged[effect],
        }
        for number, label in enumerate(labels)
        for effect in contrasts
    ]


def infer_with_known(values: Floats, known: Floats) -> dict[str, np.ndarray[Any, Any]]:
    r"""Return estimates with their intervals, each ``[F]``, NaN where there is none.

    .. math:: SE^2 = s^2 / n + v

    with t quantiles at Satterthwaite's degrees of freedom, n − 1 for the first part and v taken as
    known. One seed has no interval; nor has an effect without any spread, unless it is 0.

    Args:
        values: Effects, ``[F, S]``.
        known: Their interpolation variances v, ``[F]``.

    Source:
        Satterthwaite 1946, "An approximate distribution of estimates of variance components",
        Biometrics Bulletin 2.
    """
    moments = summarize(values.T, np.array([0]))
    mean, sd, num_seeds = moments.mean[0], moments.sd[0], moments.num_seeds[0]
    by_seed = sd**2 / num_seeds
    squared = by_seed + known
    with np.errstate(divide="ignore", invalid="ignore"):
        degrees = (num_seeds - 1) * (squared / by_seed) ** 2
        half = stats.t.ppf(0.5 + CONFIDENCE / 2, degrees) * np.sqrt(squared)
        share = known / squared
    half = np.where(squared == 0, np.where(mean == 0, 0.0, np.nan), half)
    return {
        "estimate": mean,
        "ci_low": mean - half,
        "ci_high": mean + half,
        "interpolation_share": share,
        "num_seeds": num_seeds,
    }

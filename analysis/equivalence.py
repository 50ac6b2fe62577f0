"""Equivalence over seeds: is an effect smaller than a margin, by two one-sided tests?

An interval that covers 0 does not say that there is no effect. Equivalence does, up to a margin
that must be stated.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import special

from analysis.intervals import Floats, summarize
from analysis.numbering import Integers
from rlp_sweeps.errors import ArgumentError

DEFAULT_MARGIN = 0.005
"""Half a point of accuracy: a convention, to be replaced by what matters to the reader."""

ALPHA = 0.05
"""Level of each one-sided test; its interval has the confidence 1 − 2 · `ALPHA` = 90 %."""


@dataclass(frozen=True, slots=True)
class Equivalence:
    """Two one-sided tests of one estimate.

    Attributes:
        estimate: Mean over seeds.
        low: Lower end of the 90 % t interval; None where there is none.
        high: Upper end of the 90 % t interval; None where there is none.
        p_tost: The larger p of the two tests; None where there is none.
        is_equivalent: Equivalence within the margin was shown.
        num_seeds: Seeds with a value.
    """

    estimate: float
    low: float | None
    high: float | None
    p_tost: float | None
    is_equivalent: bool
    num_seeds: int


def infer_equivalence(
    values: Floats, starts: Integers, *, margin: float = DEFAULT_MARGIN
) -> dict[str, npt.NDArray[Any]]:
    """Return two one-sided t tests over seeds, each ``[G, E]``, NaN where there is none.

    `estimate`, `ci90_low`, `ci90_high`, `p_tost`, `is_equivalent` (bool: shown at 5 %; False where
    p is NaN), `num_seeds`. Interval and p are NaN for one seed, and without spread unless the mean
    is 0: then the interval is [0, 0] and p is 0.

    Args:
        values: Differences, one row a seed, one column an effect, ``[N, E]``; NaN where missing.
        starts: First row of each group, ``[G]``, ascending from 0: groups are runs of rows.
        margin: Largest size of a mean that counts as none, in the unit of the values.

    Raises:
        ArgumentError: The margin is not above 0.

    Source:
        Schuirmann 1987, "A comparison of the two one-sided tests procedure and the power approach
        for assessing the equivalence of average bioavailability", J. Pharmacokinet. Biopharm. 15.
    """
    if not margin > 0:
        msg = f"`margin > 0` must hold, but got margin={margin!r}."
        raise ArgumentError(msg)
    moments = summarize(values, starts)
    mean, num_seeds = moments.mean, moments.num_seeds
    with np.errstate(divide="ignore", invalid="ignore"):
        error = moments.sd / np.sqrt(num_seeds)
        degrees = np.where(num_seeds >= 2, num_seeds - 1.0, np.nan)
        half = special.stdtrit(degrees, 1 - ALPHA) * error
        p_tost = special.stdtr(degrees, (np.abs(mean) - margin) / error)
    is_flat = moments.sd == 0
    half = np.where(is_flat, np.where(mean == 0, 0.0, np.nan), half)
    p_tost = np.where(is_flat, np.where(mean == 0, 0.0, np.nan), p_tost)
    return {
        "estimate": mean,
        "ci90_low": mean - half,
        "ci90_high": mean + half,
        "p_tost": p_tost,
        "is_equivalent": p_tost < ALPHA,
        "num_seeds": num_seeds,
    }


def judge_equivalence(
    values: Sequence[float] | Floats, *, margin: float = DEFAULT_MARGIN
) -> Equivalence:
    """Return the two one-sided tests of one effect; arguments as in `infer_equivalence`.

    Args:
        values: Differences, one a seed, ``[n]``, n ≥ 1.
        margin: Largest size of a mean that counts as none, in the unit of the values.

    Raises:
        ArgumentError: The margin is not above 0.
    """
    column = np.asarray(values, dtype=np.float64)[:, None]
    found = infer_equivalence(column, np.array([0]), margin=margin)
    low, high, p_tost = (found[name].item() for name in ("ci90_low", "ci90_high", "p_tost"))
    return Equivalence(
        estimate=found["estimate"].item(),
        low=None if np.isnan(low) else low,
        high=None if np.isnan(high) else high,
        p_tost=None if np.isnan(p_tost) else p_tost,
        is_equivalent=found["is_equivalent"].item(),
        num_seeds=found["num_seeds"].item(),
    )

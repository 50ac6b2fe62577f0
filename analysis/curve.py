"""Estimator `curve`: the learning-rate effect read off the control at the equivalent rate.

f₀ is the control's outcome over log lr, a PCHIP through that seed's control trials of the cell's
other settings. With κ measured on the cell's own `full` trial, ``f₀(κη) − f₀(η)`` is what the
larger rate alone would have done. f₀ also moves what the regularizer does not: the class head's
rate, and lr × weight decay. Control trials at several extractor scales do not, so where at least
two of them cover κ at the cell's own lr, the curve over that scale is taken.
"""

from collections.abc import Iterator

import numpy as np
import polars as pl

from analysis.control_curves import controls_along
from analysis.gaps import Reason, describe, tell_gaps
from analysis.intervals import Floats
from analysis.pairing import EXTRACTOR_SCALE, KAPPA_ARMS, Paired

MIN_CONTROLS = 2
"""Control trials that make a curve."""


def curve_lacks(paired: Paired) -> str | None:
    """Return why no cell can have this estimate; None where some may."""
    if not any(paired.seeds[f"kappa_{arm}"].count() for arm in KAPPA_ARMS[:2]):
        return "no full trial has a finite `lr_multiplier`"
    axes = [name for name in ("lr", EXTRACTOR_SCALE) if name in paired.controls.columns]
    known = paired.controls.filter(pl.col("y").is_not_null())
    if max(known[name].n_unique() for name in axes) < MIN_CONTROLS:
        return "it takes control trials at two or more lr"
    return None


def curve_per_seed(paired: Paired) -> pl.DataFrame:
    """Return the attribution by the control's curve.

    Reads `y_control`, `y_full`, `kappa_full`, `kappa_class_term` and the controls; adds
    `effect_total`, `effect_lr`, `effect_memorization` (total − lr), all three null where κη lies
    outside the seed's control trials or κ is missing; the leg `effect_lr_class_term_first`, the
    same with the κ of `class_term`, to be compared with the first leg of `arms`; and why an effect
    is missing (`gaps.describe`).
    """
    seeds = paired.seeds
    control, full = (seeds[f"y_{arm}"].to_numpy() for arm in ("control", "full"))
    kappa, kappa_class = (seeds[f"kappa_{arm}"].to_numpy() for arm in ("full", "class_term"))
    by_lr = controls_along(paired, "lr")
    scored, scored_class = by_lr.at(kappa), by_lr.at(kappa_class)
    if EXTRACTOR_SCALE in paired.controls.columns:
        by_scale = controls_along(paired, EXTRACTOR_SCALE)
        scored = _prefer(by_scale.at(kappa), scored)
        scored_class = _prefer(by_scale.at(kappa_class), scored_class)
    effect_lr, total = scored - control, full - control
    has_class_term = ~np.isnan(seeds["y_class_term"].to_numpy())
    low, high = by_lr.ends()
    reason = np.select(
        [~np.isnan(effect_lr) | np.isnan(total), ~(kappa > 0), by_lr.num_knots < MIN_CONTROLS],
        [Reason.NONE, Reason.NO_KAPPA, Reason.FEW_CONTROLS],
        Reason.OUTSIDE,
    )
    return seeds.with_columns(
        pl.Series(name, values).fill_nan(None)
        for name, values in {
            "effect_total": np.where(np.isnan(effect_lr), np.nan, total),
            "effect_lr": np.where(np.isnan(total), np.nan, effect_lr),
            "effect_memorization": total - effect_lr,
            "effect_lr_class_term_first": np.where(has_class_term, scored_class - control, np.nan),
        }.items()
    ).with_columns(describe(reason, wanted=kappa * np.exp(by_lr.x), low=low, high=high))


def _prefer(first: Floats, second: Floats) -> Floats:
    return np.where(np.isnan(first), second, first)


def tell_curve(frame: pl.DataFrame) -> Iterator[str]:
    """Yield in how many cells the estimate is missing, and why."""
    if text := tell_gaps("curve", frame):
        yield text

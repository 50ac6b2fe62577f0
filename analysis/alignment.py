"""Estimator `alignment`: the learning-rate effect as a shift of the row over lr.

From control and full trials alone: if the regularizer acts as another learning rate, the outcome
over log lr at that λ is the control's, shifted; what it does besides lifts or lowers the row.
``y_λ(x) = f₀(x + s) + b`` is fitted within each seed, shift and offset together (`analysis.shift`).

A shift and an offset are the same along a straight line. A row counts as identified where the
shifted control bends enough: over its seeds, the squares that a straight line misses of the control
must be at least `MIN_BEND` · F₀.₉₅(d, d) times those that the fit misses of the row, d the fits'
degrees of freedom (n − 2, summed). Decided for all seeds of a row at once, so that chance does not
choose among seeds. By simulation (4 to 20 lr, 1 to 10 seeds; a bump, a saturating curve, a step,
spans of three to four units; noise of 0.02 to 0.2 of the curve's height): at half of that threshold
a straight line passed in at most 3 % of the rows, where its shift had scattered over all that the
sweep admits, and the mean shift of rows that passed was within 30 % of the planted one; noise that
control and full share in a seed draws the shift to 0, by up to a half there with a correlation of
0.5, which is why the threshold is twice as high.
"""

from collections.abc import Iterator

import numpy as np
import polars as pl
from scipy import special

from analysis.control_curves import ControlCurves, controls_along
from analysis.gaps import Reason, describe, tell_gaps
from analysis.intervals import Floats, holm, summarize, t_test
from analysis.numbering import Integers, number_codes, number_rows, run_starts
from analysis.pairing import Paired
from analysis.shift import Fit, Mask, Rows, fit_shifts
from analysis.wording import format_p, format_short

MIN_LRS = 4
"""Learning rates of the row, and of its control, from which on a shift and an offset are fitted."""

MIN_BEND = 4.0
"""Factor on the F quantile that the bend over the misfit must reach."""

_F_LEVEL = 0.95
_ROUNDING = 1e-9
"""Misfits below so much of an outcome of 1 are rounding; they count as this."""

_LEVEL = 0.05


def alignment_lacks(paired: Paired) -> str | None:
    """Return why no row can be aligned; None where some may."""
    if paired.cells["lr"].n_unique() < MIN_LRS:
        return f"it takes {MIN_LRS} lr"
    return None


def alignment_per_seed(paired: Paired) -> pl.DataFrame:
    """Return the attribution by alignment.

    Reads `y_control`, `y_full` and the controls; adds `effect_total`, `effect_lr` (f₀(x + s) −
    the control's own value) and `effect_memorization` (total − lr; its mean over the cells that the
    fit stands on is the offset b), all three null where the row has fewer than four lr, bends too
    little, has its best shift at the edge, or the shifted lr lies outside the swept ones; `row`,
    `shift` (of log lr), `shift_drift` (its change per unit of log lr); and why an effect is missing
    (`gaps.describe`).
    """
    seeds = paired.seeds
    control, full = (seeds[f"y_{arm}"].to_numpy() for arm in ("control", "full"))
    by_lr = controls_along(paired, "lr")
    strengths = number_rows(seeds, ["rlp_lambda"])
    num_strengths = int(strengths.max(initial=0)) + 1
    row = number_codes(by_lr.curve * num_strengths + strengths)
    rows = _lay_out(by_lr, row, full)
    fit = fit_shifts(by_lr.curves, rows)
    has_enough = (rows.num_points() >= MIN_LRS) & (by_lr.curves.num_knots[rows.curve] >= MIN_LRS)
    of_row = np.zeros(len(rows.curve), dtype=np.int64)
    of_row[row] = by_lr.setting * num_strengths + strengths
    is_fitted = has_enough & ~np.isnan(fit.shift) & ~fit.is_at_edge
    is_bent = _bends(fit, of_row, is_fitted)
    kept = np.where(is_fitted & is_bent, fit.shift, np.nan)
    total, effect_lr = full - control, by_lr.at(np.exp(kept)[row]) - control
    is_lost = np.isnan(total) | np.isnan(effect_lr)
    reason = np.select(
        [~is_lost | np.isnan(total), ~has_enough[row], ~is_bent[row], ~is_fitted[row]],
        [Reason.NONE, Reason.FEW_LRS, Reason.NO_CURVATURE, Reason.AT_EDGE],
        Reason.OUTSIDE,
    )
    low, high = by_lr.ends()
    return seeds.with_columns(
        pl.Series(name, values).fill_nan(None)
        for name, values in {
            "effect_total": np.where(is_lost, np.nan, total),
            "effect_lr": np.where(is_lost, np.nan, effect_lr),
            "effect_memorization": total - effect_lr,
            "shift": kept[row],
            "shift_drift": np.where(np.isnan(kept), np.nan, fit.drift)[row],
        }.items()
    ).with_columns(
        pl.Series("row", of_row[row]),
        *describe(reason, wanted=np.exp(by_lr.x + kept[row]), low=low, high=high),
    )


def _lay_out(by_lr: ControlCurves, row: Integers, y: Floats) -> Rows:
    """Return the places as rows over lr: one row a seed, λ and setting."""
    order = np.lexsort((by_lr.x, row))
    starts = np.searchsorted(row[order], np.arange(int(row.max(initial=-1)) + 1))
    sizes = np.diff(starts, append=len(row))
    column = np.arange(len(row)) - np.repeat(starts, sizes)
    x, values = (np.full((len(sizes), sizes.max(initial=0)), np.nan) for _ in range(2))
    x[row[order], column], values[row[order], column] = by_lr.x[order], y[order]
    return Rows(by_lr.curve[order][starts], x, values)


def _bends(fit: Fit, of_row: Integers, is_fitted: Mask) -> Mask:
    """Return whether each row, ``[R]``, is one of seeds that bend enough together.

    Args:
        fit: Of every row and seed.
        of_row: Number of the row without its seed, ``[R]``.
        is_fitted: Whether the fit counts, ``[R]``.
    """
    group = number_codes(of_row)
    bend, misfit, freedom = (
        np.bincount(group, np.where(is_fitted, values, 0.0))
        for values in (fit.bend, fit.misfit, fit.num_points - 2)
    )
    misfit = np.maximum(misfit, _ROUNDING**2 * freedom)
    d = np.maximum(freedom, 1.0)
    is_bent: Mask = bend >= MIN_BEND * special.fdtri(d, d, _F_LEVEL) * misfit
    known: Mask = (is_bent | (freedom == 0))[group]
    return known


def tell_alignment(frame: pl.DataFrame) -> Iterator[str]:
    """Yield in how many cells the estimate is missing and why; and where the shift drifts over lr.

    The drift is tested over seeds within each row, by t, with Holm's adjustment over rows.
    """
    if text := tell_gaps("alignment", frame):
        yield text
    fits = frame.drop_nulls("shift_drift").unique(["row", "seed"]).sort("row", "seed")
    if fits.is_empty():
        return
    starts = run_starts(fits, ["row"])
    moments = summarize(fits["shift_drift"].to_numpy()[:, None], starts)
    p_values = holm(t_test(moments.mean, moments.sd, moments.num_seeds)[:, 0])
    drifting = np.flatnonzero(p_values < _LEVEL)
    if len(drifting):
        first = drifting[np.argmin(p_values[drifting])]
        rlp_lambda = fits["rlp_lambda"][int(starts[first])]
        yield (
            f"Estimator alignment takes the shift as the same at every lr, but in {len(drifting):,}"
            f" of {len(starts):,} rows over lr it drifts (at λ = {format_short(rlp_lambda)} by "
            f"{moments.mean[first, 0]:+.2g} per unit of log lr, {format_p(float(p_values[first]))} "
            "after Holm): no one learning rate stands for the regularizer there, or the swept lr "
            "are too far apart for the control's curve."
        )

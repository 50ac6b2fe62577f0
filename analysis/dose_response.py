"""Dose and response: the change of an outcome per unit of memorization removed.

Both arms of the comparison pull along the class gradient alike: `full` is set against the control
at the same κ (arm `rescaled`), so that what differs is the unlearning. The answer is a ratio of two
means over the same seeds, and its interval is Fieller's: a ratio of normal means has no standard
error where its denominator may be 0.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from scipy import stats

from analysis.intervals import CONFIDENCE, Floats, infer, summarize
from analysis.numbering import number_rows
from analysis.pairing import EXTRACTOR_SCALE, FULL, Diverged, cell_columns, check_outcomes, score
from analysis.pooling import average_within_seed
from analysis.typed import Row, to_frame
from rlp_sweeps.column import Column
from rlp_sweeps.errors import SchemaError

MATCHED = "rescaled"
"""The matched learning-rate control; its trials carry the λ of the cell they are matched to."""

ONE_SEED = "one seed has no interval"
NOT_REMOVED = "the interval of the memorization removed covers 0"
NO_SPREAD = "there is no spread over seeds"

# fmt: off
DOSE_RESPONSE = (
    Column("outcome", "str", "", "identity",
           "Column of trials that the ratio is about."),
    Column("rlp_lambda", "f64", "> 0", "identity",
           "λ of the cells pooled over; null: all of them.", nullable=True),
    Column("estimate", "f64", "of the outcome per unit of memorization", "outcome",
           "outcome_change / memorization_removed; null where the latter's interval covers 0."),
    Column("ci_low", "f64", "of the outcome per unit of memorization", "outcome",
           "Lower end of Fieller's 95 % interval over seeds."),
    Column("ci_high", "f64", "of the outcome per unit of memorization", "outcome",
           "Upper end of Fieller's 95 % interval over seeds."),
    Column("reason", "str", "", "outcome",
           "Why there is no interval; null where there is one."),
    Column("outcome_change", "f64", "of the outcome", "outcome",
           "Y(full) − Y(rescaled), mean over seeds."),
    Column("outcome_change_ci_low", "f64", "of the outcome", "outcome",
           "Lower end of its 95 % t interval."),
    Column("outcome_change_ci_high", "f64", "of the outcome", "outcome",
           "Upper end of its 95 % t interval."),
    Column("memorization_removed", "f64", "1: from perfect recall to chance", "outcome",
           "M(rescaled) − M(full), mean over seeds; positive where something was forgotten."),
    Column("memorization_removed_ci_low", "f64", "", "outcome",
           "Lower end of its 95 % t interval."),
    Column("memorization_removed_ci_high", "f64", "", "outcome",
           "Upper end of its 95 % t interval."),
    Column("num_seeds", "i64", "count", "outcome",
           "Seeds the ratio stands on."),
    Column("num_cells", "i64", "count", "outcome",
           "Cells averaged within each seed."),
    Column("num_diverged", "i64", "count", "outcome",
           "Diverged trials of the two arms; they have no memorization and are left out."),
)
"""One row a λ, and one for all."""
# fmt: on

_PARTS = ("outcome_change", "memorization_removed")


@dataclass(frozen=True, slots=True)
class Ratio:
    """A ratio of two means over the same seeds.

    Attributes:
        estimate: None where the denominator's interval covers 0, or the denominator is 0.
        low: Lower end of the 95 % interval; None where there is none.
        high: Upper end; None where there is none.
        reason: Why there is no interval; None where there is one.
    """

    estimate: float | None
    low: float | None
    high: float | None
    reason: str | None


def fieller(numerator: Floats, denominator: Floats) -> Ratio:
    r"""Return the ratio of two means with Fieller's 95 % interval.

    The interval holds every ρ that a t test of :math:`\bar a - ρ \bar b = 0` does not reject:

    .. math:: (\bar a - ρ \bar b)^2 \le t^2 (s_a^2 - 2 ρ s_{ab} + ρ^2 s_b^2) / n

    It is bounded exactly where the t interval of the denominator's mean leaves out 0. Elsewhere the
    ratio and its interval are missing. One seed has a ratio and no interval.

    Args:
        numerator: One value a seed, ``[n]``, n ≥ 1.
        denominator: Of the same seeds, ``[n]``.

    Source:
        Fieller 1954, "Some problems in interval estimation", J. R. Statist. Soc. B 16.
    """
    num_seeds = len(numerator)
    moments = summarize(np.column_stack([numerator, denominator]), np.array([0]))
    (top, bottom), (sd_top, sd_bottom) = moments.mean[0], moments.sd[0]
    if num_seeds == 1:
        return Ratio(float(top / bottom) if bottom else None, None, None, ONE_SEED)
    squared_t = float(stats.t.ppf(0.5 + CONFIDENCE / 2, num_seeds - 1)) ** 2 / num_seeds
    leading = bottom**2 - squared_t * sd_bottom**2
    if leading <= 0:
        return Ratio(None, None, None, NOT_REMOVED)
    estimate = float(top / bottom)
    if summarize((numerator - estimate * denominator)[:, None], np.array([0])).sd[0, 0] == 0:
        if top == 0:
            return Ratio(0.0, 0.0, 0.0, None)
        return Ratio(estimate, None, None, NO_SPREAD)
    covariance = np.cov(numerator, denominator)[0, 1] if sd_top and sd_bottom else 0.0
    middle = top * bottom - squared_t * covariance
    last = top**2 - squared_t * sd_top**2
    root = math.sqrt(max(middle**2 - leading * last, 0.0))
    return Ratio(estimate, float((middle - root) / leading), float((middle + root) / leading), None)


def estimate_dose_response(
    trials: pl.DataFrame, outcome: str = "test_accuracy", *, diverged: Diverged = "chance"
) -> pl.DataFrame:
    """Return the change of an outcome per unit of memorization removed, by λ and for all.

    Reads the arms `full` and `rescaled`, paired at the same cell and seed; a cell is what tells
    trials of `full` apart, whatever a `rescaled` trial's own scale. Per seed, both parts are
    averaged over the cells of a block without holes, then their ratio is taken.

    Args:
        trials: As `load_trials` returns them.
        outcome: A metric column of trials.
        diverged: What a diverged trial scores; it makes no difference but in the counts, because a
            diverged trial has no memorization.

    Returns:
        One row a λ and one for all, `DOSE_RESPONSE`; no row where no cell has both arms.

    Raises:
        ArgumentError: The outcome or the treatment of divergence is unknown.
        SchemaError: Two trials of an arm share cell and seed.
    """
    check_outcomes(trials, [outcome, "memorization"], diverged=diverged)
    values = _per_place(trials, outcome, diverged=diverged)
    rows = [
        {"outcome": outcome, **row}
        for scope in (["rlp_lambda"], [])
        for row in _estimate_scopes(values, scope)
    ]
    return to_frame(rows, DOSE_RESPONSE)


def _per_place(trials: pl.DataFrame, outcome: str, *, diverged: Diverged) -> pl.DataFrame:
    """Return one row a cell and seed that has both arms, with both parts of the ratio."""
    is_regularized = pl.col("rlp_lambda") > 0
    regularized = trials.filter(is_regularized, pl.col("arm") == FULL)
    matched = trials.filter(is_regularized, pl.col("arm") == MATCHED)
    cell = [
        name
        for name in cell_columns(trials)
        if name != EXTRACTOR_SCALE or regularized[name].n_unique() > 1
    ]
    values = {
        "y": score(outcome, diverged=diverged),
        "m": score("memorization", diverged=diverged),
        "d": pl.col("status") == "diverged",
    }
    sides = []
    for side in (regularized, matched):
        _check_one_a_place(side, [*cell, "seed"])
        sides.append(side.select(*cell, "seed", **values))
    both = sides[0].join(
        sides[1], on=[*cell, "seed"], suffix="_matched", nulls_equal=True, validate="1:1"
    )
    change = pl.col("y") - pl.col("y_matched")
    removed = pl.col("m_matched") - pl.col("m")
    is_there = change.is_not_null() & removed.is_not_null()
    return both.select(
        "rlp_lambda",
        "seed",
        pl.when(is_there).then(change).alias(_PARTS[0]),
        pl.when(is_there).then(removed).alias(_PARTS[1]),
        pl.Series("cell", number_rows(both, cell)),
        num_diverged=pl.col("d").cast(pl.Int64) + pl.col("d_matched").cast(pl.Int64),
    )


def _estimate_scopes(values: pl.DataFrame, scope: list[str]) -> list[Row]:
    """Return one row a scope that has a value: λ by λ, or all of them."""
    if values.is_empty():
        return []
    counts = values.with_columns(_all=pl.lit(0)).group_by("_all", *scope)
    num_diverged = counts.agg(pl.col("num_diverged").sum()).sort("_all", *scope)["num_diverged"]
    averaged, num_cells = average_within_seed(values.drop("num_diverged"), scope, _PARTS)
    averaged = averaged.with_columns(pl.Series("num_cells", num_cells[:, 0]), _all=pl.lit(0))
    parts = averaged.partition_by("_all", *scope, maintain_order=True)
    rows = []
    for part, diverged in zip(parts, num_diverged, strict=True):
        complete = part.drop_nulls(_PARTS)
        if complete.is_empty():
            continue
        rows.append(
            {
                "rlp_lambda": part["rlp_lambda"][0] if scope else None,
                **_estimate(complete),
                "num_diverged": diverged,
            }
        )
    return rows


def _estimate(seeds: pl.DataFrame) -> Row:
    parts = seeds.select(_PARTS).to_numpy()
    inferred = infer(parts, np.array([0]))
    ratio = fieller(parts[:, 0], parts[:, 1])
    row: dict[str, Any] = {
        "estimate": ratio.estimate,
        "ci_low": ratio.low,
        "ci_high": ratio.high,
        "reason": ratio.reason,
        "num_seeds": len(seeds),
        "num_cells": seeds["num_cells"].max(),
    }
    for number, name in enumerate(_PARTS):
        for key, suffix in {"estimate": "", "ci_low": "_ci_low", "ci_high": "_ci_high"}.items():
            row[f"{name}{suffix}"] = inferred[key][0, number].item()
    return row


def _check_one_a_place(trials: pl.DataFrame, place: list[str]) -> None:
    doubled = trials.filter(pl.struct(place).is_duplicated()).sort(*place, "trial_id")
    if doubled.is_empty():
        return
    first = doubled.row(0, named=True)
    where = ", ".join(f"{name}={first[name]!r}" for name in place)
    msg = (
        f"a cell and seed must have one trial of arm {first['arm']!r}, but {where} has "
        f"{doubled.head(2)['trial_id'].to_list()}."
    )
    raise SchemaError(msg)

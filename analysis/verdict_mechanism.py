"""The verdict by mechanism: what a control at the matched learning rate does, and what is left.

"Learning rate" is said of the class term only where it was shown to be equivalent to its rescaled
control within a stated margin, by two one-sided tests; otherwise it is the class term beyond the
learning rate.
"""

import math
from collections.abc import Iterator
from typing import Any

import polars as pl
from scipy import stats

from analysis.equivalence import ALPHA
from analysis.verdict_trials import MAX_LAMBDAS
from analysis.wording import Paragraph, Quantity, format_p, format_scope, quantity_of

Row = dict[str, Any]
_LR_EFFECTS = ("arms", "matched", "curve", "alignment", "sham", "block_mean")


def tell_mechanism(
    pooled: pl.DataFrame, outcome: str, *, margin: float | None
) -> Iterator[Paragraph]:
    """Yield what matched controls say at each λ, and whether the estimators agree.

    Args:
        pooled: Pooled effects, legs among them, see `schema.EFFECTS_POOLED`.
        outcome: The primary outcome.
        margin: Largest effect that counts as none, in units of the outcome; None: not tested.
    """
    rows = pooled.filter(pl.col("outcome") == outcome)
    lambdas = rows["rlp_lambda"].drop_nulls().unique().sort().to_list()
    scopes: list[float | None] = [*lambdas] if 0 < len(lambdas) <= MAX_LAMBDAS else [None]
    for scope in scopes:
        there = pl.col("rlp_lambda").eq_missing(pl.lit(scope, pl.Float64))
        found = {(r["estimator"], r["effect"]): r for r in rows.filter(there).to_dicts()}
        yield from _matched(found, scope, outcome, margin)
        yield from _agreement(found, scope, outcome)


def _matched(
    found: dict[tuple[str, str], Row], scope: float | None, outcome: str, margin: float | None
) -> Iterator[Paragraph]:
    quantity = quantity_of(outcome)
    lead = f"By mechanism {format_scope(scope).lower()}"
    lr, rest = (found.get(("matched", name)) for name in ("effect_lr", "effect_memorization"))
    if lr and rest:
        yield Paragraph(
            lead,
            f"the control trained at the learning rate that full amounts to changed "
            f"{quantity.noun} by {_estimate(lr, quantity)} (n = {lr['num_seeds']}, "
            f"{_cells(lr)}); beyond that learning rate the regularizer added "
            f"{_estimate(rest, quantity)}{_doubt(rest)}.",
        )
    if beyond := found.get(("matched", "class_term_beyond_lr")):
        text = f"beyond its own learning rate it added {_estimate(beyond, quantity)}"
        yield Paragraph(
            f"The class term {format_scope(scope).lower()}",
            f"{text}{_doubt(beyond)}; {_equivalence(beyond, quantity, margin)}.",
        )
    if beyond := found.get(("matched", "uniform_term_beyond_lr")):
        yield Paragraph(
            f"The uniform term {format_scope(scope).lower()}",
            f"alone, beyond the learning rate that it amounts to, it added "
            f"{_estimate(beyond, quantity)}{_doubt(beyond)}.",
        )


def _equivalence(row: Row, quantity: Quantity, margin: float | None) -> str:
    """Return whether the row's effect is none up to the margin, by two one-sided tests."""
    if margin is None:
        return "no margin is stated, so that equivalence with a learning rate is not tested"
    p_value = tost_of(row, margin)
    width = f"±{quantity.number(margin).lstrip('+')} {quantity.unit}".rstrip()
    if p_value is None:
        return f"without an interval, equivalence within {width} cannot be tested"
    if p_value < ALPHA:
        return (
            f"within {width} it is a learning rate (two one-sided tests, {format_p(p_value)}), so "
            "that its contribution may be called one"
        )
    return (
        f"that it is a learning rate within {width} was not shown (two one-sided tests, "
        f"{format_p(p_value)}): it is the class term's contribution, not a learning rate's"
    )


def tost_of(row: Row, margin: float) -> float | None:
    """Return the larger p of two one-sided t tests of a pooled row against ± margin.

    The standard error is read back from the 95 % t interval; None without one or without spread.
    """
    if row["ci_low"] is None or row["num_seeds"] < 2:
        return None
    degrees = row["num_seeds"] - 1
    error = (row["ci_high"] - row["ci_low"]) / 2 / stats.t.ppf(0.975, degrees)
    if not error > 0 or not math.isfinite(error):
        return None
    return float(stats.t.cdf((abs(row["estimate"]) - margin) / error, degrees))


def _agreement(
    found: dict[tuple[str, str], Row], scope: float | None, outcome: str
) -> Iterator[Paragraph]:
    quantity = quantity_of(outcome)
    parts = [
        f"{name} {_estimate(row, quantity)} in {_cells(row)}"
        for name in _LR_EFFECTS
        if (row := found.get((name, "effect_lr")))
    ]
    if len(parts) > 1:
        yield Paragraph(
            f"Learning-rate part by estimator {format_scope(scope).lower()}",
            f"{'; '.join(parts)}. They agree only where the class term acts as a learning rate and "
            "their cells are the same.",
        )


def _cells(row: Row) -> str:
    return f"{row['num_cells']} cell{'s' * (row['num_cells'] != 1)}"


def _doubt(row: Row) -> str:
    low, high = row["ci_low"], row["ci_high"]
    if low is None:
        return " (no interval)"
    return "" if low > 0 or high < 0 else " (not told from 0)"


def _estimate(row: Row, quantity: Quantity) -> str:
    return quantity.with_interval(row["estimate"], row["ci_low"], row["ci_high"])

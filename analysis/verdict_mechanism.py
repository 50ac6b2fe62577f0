"""The verdict by mechanism: what a control at the matched learning rate does, and what is left.

"Learning rate" is said of the class term only where it was shown to be equivalent to its rescaled
control within a stated margin, by two one-sided tests on the pooled difference, with no cell beyond
the margin and no diverged trial behind it: cells that cancel, or two arms at chance, are no
equivalence. Under an optimizer that divides a step by the gradients' size (Adam) a control at the
matched κ is one at equal gradient scale, and nothing is called a learning rate.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
from scipy import stats

from analysis.equivalence import ALPHA
from analysis.verdict import with_basis
from analysis.verdict_trials import MAX_LAMBDAS
from analysis.wording import Paragraph, Quantity, format_p, format_scope, quantity_of

Row = dict[str, Any]
_BEYOND = ("matched", "class_term_beyond_lr")
_BY = {
    "by term": ("arms", "block_mean"),
    "by mechanism": ("matched", "replayed", "curve", "alignment", "projection"),
    "by what there is to unlearn": ("sham",),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class _Words:
    """What a control at the matched κ is called.

    Attributes:
        rescaled: What it was trained at, by the κ of `full`.
        replayed: What it follows.
        beyond: What an arm does more than that.
        own: The same of the class term by its own κ.
        own_uniform: And of the uniform term.
        alone: What an arm that does no more amounts to.
    """

    rescaled: str = "at the learning rate that full amounts to"
    replayed: str = "whose learning rate follows full's from one evaluation to the next"
    beyond: str = "beyond that learning rate"
    own: str = "beyond its own learning rate"
    own_uniform: str = "beyond the learning rate that it amounts to"
    alone: str = "a learning rate"


def _words_under(optimizers: Sequence[str]) -> _Words:
    """Return the words for trials of these normalizing optimizers; the usual ones without any."""
    if not optimizers:
        return _Words()
    return _Words(
        rescaled=f"at full's κ, a gradient scale and under {', '.join(optimizers)} no learning "
        "rate,",
        replayed="whose gradient scale follows full's κ from one evaluation to the next",
        beyond="beyond that gradient scale",
        own="beyond a control at its own gradient scale",
        own_uniform="beyond a control at its own gradient scale",
        alone="a gradient scale",
    )


def tell_mechanism(
    effects: tuple[pl.DataFrame, pl.DataFrame],
    outcome: str,
    *,
    margin: float | None,
    normalizing: Sequence[str] = (),
) -> Iterator[Paragraph]:
    """Yield what matched controls say at each λ, and what the estimators give side by side.

    Args:
        effects: Of cells, and pooled; legs among them (`schema.EFFECTS`, `EFFECTS_POOLED`).
        outcome: The primary outcome.
        margin: Largest effect that counts as none, in units of the outcome; None: not tested.
        normalizing: Optimizers of the trials under which κ is no learning rate.
    """
    words = _words_under(normalizing)
    left_out = ("curve",) if normalizing else ()
    cells, rows = (table.filter(pl.col("outcome") == outcome) for table in effects)
    lambdas = rows["rlp_lambda"].drop_nulls().unique().sort().to_list()
    scopes: list[float | None] = [*lambdas] if 0 < len(lambdas) <= MAX_LAMBDAS else [None]
    for scope in scopes:
        there = pl.col("rlp_lambda").eq_missing(pl.lit(scope, pl.Float64))
        found = {(r["estimator"], r["effect"]): r for r in rows.filter(there).to_dicts()}
        in_scope = cells if scope is None else cells.filter(there)
        yield from _matched(found, in_scope, format_scope(scope), margin, words)
        spoken = {key: row for key, row in found.items() if key[0] not in left_out}
        yield from _side_by_side(spoken, format_scope(scope), quantity_of(outcome))


def _matched(
    found: dict[tuple[str, str], Row],
    cells: pl.DataFrame,
    scope: str,
    margin: float | None,
    words: _Words,
) -> Iterator[Paragraph]:
    lr, rest = (found.get(("matched", name)) for name in ("effect_lr", "effect_memorization"))
    if lr and rest:
        quantity = quantity_of(lr["outcome"])
        yield Paragraph(
            f"By mechanism {scope.lower()}",
            f"the control trained {words.rescaled} changed {quantity.noun} by "
            f"{with_basis(lr, quantity)}; {words.beyond} the regularizer added "
            f"{with_basis(rest, quantity)}.",
        )
    replayed, beyond = (found.get(("replayed", e)) for e in ("effect_lr", "effect_memorization"))
    if replayed and beyond:
        quantity = quantity_of(replayed["outcome"])
        yield Paragraph(
            f"Replayed {scope.lower()}",
            f"the control {words.replayed} changed {quantity.noun} by "
            f"{with_basis(replayed, quantity)}; beyond that the regularizer added "
            f"{with_basis(beyond, quantity)}.",
        )
    if beyond := found.get(_BEYOND):
        quantity = quantity_of(beyond["outcome"])
        yield Paragraph(
            f"The class term {scope.lower()}",
            f"{words.own} it added {with_basis(beyond, quantity)}; "
            f"{_equivalence(beyond, cells, margin, words)}.",
        )
    if beyond := found.get(("matched", "uniform_term_beyond_lr")):
        yield Paragraph(
            f"The uniform term {scope.lower()}",
            f"alone, {words.own_uniform}, it added "
            f"{with_basis(beyond, quantity_of(beyond['outcome']))}.",
        )


def _equivalence(row: Row, cells: pl.DataFrame, margin: float | None, words: _Words) -> str:
    """Return whether the row's effect is none up to the margin, by two one-sided tests."""
    if margin is None:
        return f"no margin is stated, so that equivalence with {words.alone} is not tested"
    p_value, quantity = tost_of(row, margin), quantity_of(row["outcome"])
    width = f"±{quantity.number(margin).lstrip('+')} {quantity.unit}".rstrip()
    if p_value is None:
        return f"without an interval, equivalence within {width} cannot be tested"
    tests = f"two one-sided tests, {format_p(p_value)}"
    if p_value >= ALPHA:
        return (
            f"that it is {words.alone} within {width} was not shown ({tests}): it is the class "
            f"term's contribution, not {words.alone}'s"
        )
    if hitch := _hitch(row, cells, margin):
        return (
            f"on average it is none within {width} ({tests}), but {hitch}: no {words.alone[2:]}'s"
        )
    return f"within {width} it is {words.alone} ({tests}), in every cell and on average"


def _hitch(row: Row, cells: pl.DataFrame, margin: float) -> str:
    """Return why an average within the margin is no equivalence; empty where it is one."""
    is_beyond = (pl.col("estimator") == _BEYOND[0]) & (pl.col("effect") == _BEYOND[1])
    of_cells = cells.filter(is_beyond)
    num_beyond = of_cells.filter(pl.col("estimate").abs() > margin).height
    reasons = []
    if num_beyond:
        reasons.append(f"{num_beyond} of {len(of_cells)} cells lie beyond it")
    if row["num_diverged"]:
        reasons.append(f"{row['num_diverged']} of its trials diverged")
    return " and ".join(reasons)


def tost_of(row: Row, margin: float) -> float | None:
    """Return the larger p of two one-sided t tests of a pooled row against ± margin.

    The standard error is read back from the 95 % t interval. 0 where every seed has exactly 0;
    None without an interval, or without spread elsewhere.
    """
    low, high = row["ci_low"], row["ci_high"]
    if low is None or row["num_seeds"] < 2:
        return None
    if low == high == row["estimate"] == 0:
        return 0.0
    degrees = row["num_seeds"] - 1
    error = (high - low) / 2 / stats.t.ppf(0.975, degrees)
    if not error > 0 or not math.isfinite(error):
        return None
    return float(stats.t.cdf((abs(row["estimate"]) - margin) / error, degrees))


def _side_by_side(
    found: dict[tuple[str, str], Row], scope: str, quantity: Quantity
) -> Iterator[Paragraph]:
    """Yield `effect_lr` of every estimator, those that ask the same next to each other."""
    parts = {
        how: [f"{n} {_estimate(row, quantity)}" for n in names if (row := _lr_of(found, n))]
        for how, names in _BY.items()
    }
    said = [f"{how} {', '.join(texts)}" for how, texts in parts.items() if texts]
    if sum(map(len, parts.values())) > 1:
        yield Paragraph(f"effect_lr by estimator {scope.lower()}", f"{'; '.join(said)}.")


def _lr_of(found: dict[tuple[str, str], Row], name: str) -> Row | None:
    return found.get((name, "effect_lr"))


def _estimate(row: Row, quantity: Quantity) -> str:
    interval = quantity.with_interval(row["estimate"], row["ci_low"], row["ci_high"])
    return f"{interval} in {row['num_cells']} cell{'s' * (row['num_cells'] != 1)}"

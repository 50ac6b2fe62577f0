"""How to read the report, for who has not read the method: each step on the page's own numbers."""

from collections.abc import Iterator
from typing import Any

import polars as pl

from analysis.result import Analysis
from analysis.verdict import is_resolved, with_basis
from analysis.wording import MINUS, Paragraph, Quantity, format_scope, quantity_of

_RECALL = "random_label_accuracy"
Row = dict[str, Any]


def write_reading(analysis: Analysis) -> tuple[Paragraph, ...]:
    """Return the steps, on the numbers of the largest λ, or of all λ where none has any."""
    return tuple(_steps(analysis))


def _steps(analysis: Analysis) -> Iterator[Paragraph]:
    quantity = quantity_of(analysis.outcome)
    yield Paragraph(
        "What was compared",
        f"{analysis.num_trials['total']:,} trials, networks trained alike but for what of the "
        "regularizer reaches them: the arms. Two arms of one seed start from the same weights and "
        "see the same samples in the same order, so that their difference is what the arm did.",
    )
    effects = _effects(analysis, analysis.outcome)
    total = effects.get("effect_total")
    if total is not None:
        yield Paragraph("Is there an effect", _tell_total(total, quantity))
    if total is not None and {"effect_lr", "effect_memorization"} <= set(effects):
        yield Paragraph("Which part carries it", _tell_parts(effects, quantity))
    recall = _effects(analysis, _RECALL).get("effect_total")
    if recall is not None:
        yield Paragraph("Did the network forget", _tell_recall(recall))
    yield Paragraph(
        "How far it goes",
        "intervals are over seeds, on one data set and its test set. They say nothing of other "
        "data or networks. “Not resolved” means that these seeds do not tell an effect from zero, "
        "and never that there is none.",
    )


def _effects(analysis: Analysis, outcome: str) -> dict[str, Row]:
    """Return the pooled effects by term of the largest λ that has any, by name."""
    rows = analysis.effects_pooled.filter(
        (pl.col("outcome") == outcome) & (pl.col("estimator") == "arms")
    )
    largest = rows["rlp_lambda"].max()
    there = pl.col("rlp_lambda").eq_missing(pl.lit(largest, pl.Float64))
    return {row["effect"]: row for row in rows.filter(there).iter_rows(named=True)}


def _tell_total(total: Row, quantity: Quantity) -> str:
    scope = format_scope(total["rlp_lambda"]).lower()
    told = f"the total is full less control: {scope} it is {with_basis(total, quantity)}."
    if total["ci_low"] is None:
        return f"{told} Without an interval nothing tells it from chance."
    if is_resolved(total):
        return f"{told} In brackets stands what the seeds leave open; it stands out of their noise."
    return (
        f"{told} In brackets stands what the seeds leave open. These do not tell the effect from "
        "zero, so read its parts with the same care."
    )


def _tell_parts(effects: dict[str, Row], quantity: Quantity) -> str:
    total, lr, rest = (
        quantity.number(effects[name]["estimate"])
        for name in ("effect_total", "effect_lr", "effect_memorization")
    )
    unit = f" {quantity.unit}" * bool(quantity.unit)
    is_one_basis = effects["effect_total"]["num_seeds"] == effects["effect_lr"]["num_seeds"]
    added = f"({rest})" if rest.startswith(MINUS) else rest.removeprefix("+")
    sums = f"{total} = {lr} + {added}{unit}" if is_one_basis else f"{lr} and {rest}{unit}"
    return (
        f"the regularizer is a sum of two terms, and so is its effect: {sums}. First the class "
        "term, a second classification loss, which to first order acts like a larger learning "
        "rate; then the uniform term, the unlearning of random labels. Only what came with the "
        "second can be a benefit of forgetting."
    )


def _tell_recall(recall: Row) -> str:
    change = with_basis(recall, quantity_of(_RECALL))
    fell = is_resolved(recall) and recall["estimate"] < 0
    end = (
        "It did, so that accuracy had a chance to follow."
        if fell
        else "A fall is not shown, so that a change of accuracy is hardly one of forgetting."
    )
    return (
        "every sample carries a random label that only a memory of that very sample can tell, and "
        f"a head that never interferes reads how many are known: {change}. {end}"
    )

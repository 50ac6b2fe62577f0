"""Label smoothing in place of the regularizer: does λ's effect vanish once ε is tuned?

Becker and Risse find that λ helps where there is little label smoothing and hurts at the best ε
(arXiv:2411.19640, appendix A.4). Here that is asked within seeds: the effect of λ at every ε on the
same learning rates and seeds, what smoothing takes away of it, and the effect at the ε that
validation chooses.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from analysis.equivalence import infer_equivalence
from analysis.intervals import Floats, infer
from analysis.numbering import Integers, number_rows
from analysis.pairing import CONTROL, FULL, Diverged
from analysis.pooling import keep_blocks
from analysis.selection import best_first, mean_of_others, most_frequent, pick, score_cells, widen
from analysis.typed import Row, numbers_of, to_frame
from rlp_sweeps.column import Column

GAIN, INTERACTION = "gain", "interaction"
AT_CONTROL = "gain_at_control_eps"
AT_OWN = "gain_at_own_eps"

# fmt: off
SUBSTITUTION = (
    Column("outcome", "str", "", "identity",
           "Column of trials that the effect is on."),
    Column("rlp_lambda", "f64", "> 0", "identity",
           "λ of the cells pooled over; null: all of them.", nullable=True),
    Column("effect", "str", "", "identity",
           "gain: Y(full) − Y(control) at this ε; interaction: gain at the smallest ε − gain at "
           "this ε; gain_at_control_eps: at the ε tuned for the control; gain_at_own_eps: each "
           "side at its own tuned ε."),
    Column("label_smoothing", "f64", "share, [0, 1)", "identity",
           "ε; null where it is tuned.", nullable=True),
    Column("estimate", "f64", "of the outcome", "outcome",
           "Mean over seeds."),
    Column("ci_low", "f64", "of the outcome", "outcome",
           "Lower end of the 95 % t interval over seeds."),
    Column("ci_high", "f64", "of the outcome", "outcome",
           "Upper end of the 95 % t interval over seeds."),
    Column("p_value", "f64", "[0, 1]", "outcome",
           "Two-sided t test of no effect."),
    Column("p_tost", "f64", "[0, 1]", "outcome",
           "Larger p of two one-sided tests against the margin; null without a margin."),
    Column("is_equivalent", "bool", "", "outcome",
           "No effect up to the margin was shown at 5 %; null without a margin."),
    Column("chosen_full", "f64", "share, [0, 1)", "outcome",
           "Tuned rows: the ε that most seeds chose for `full`; else null."),
    Column("chosen_control", "f64", "share, [0, 1)", "outcome",
           "Tuned rows: the ε that most seeds chose for the control; else null."),
    Column("is_at_edge", "bool", "", "outcome",
           "Tuned rows: a side's `chosen` ε is the largest there is; else null."),
    Column("num_seeds", "i64", "count", "outcome",
           "Seeds the estimate stands on."),
    Column("num_cells", "i64", "count", "outcome",
           "Cells averaged within each seed, at each ε."),
    Column("num_diverged", "i64", "count", "outcome",
           "Diverged trials among those it reads, each counted once."),
)
"""One row a λ (and one for all), effect and ε."""
# fmt: on


@dataclass(frozen=True, slots=True)
class _Block:
    """Cells and seeds without a hole, averaged over cells within seed; E smoothings, S seeds.

    Attributes:
        smoothings: The ε, ascending, ``[E]``.
        full: Outcome of the regularized arm, ``[E, S]``.
        control: Outcome of the control, ``[E, S]``.
        val_full: Validation accuracy of the regularized arm, ``[E, S]``.
        val_control: Validation accuracy of the control, ``[E, S]``.
        num_cells: Cells at each ε.
        num_diverged: Diverged trials at each ε, ``[E]``.
    """

    smoothings: Floats
    full: Floats
    control: Floats
    val_full: Floats
    val_control: Floats
    num_cells: int
    num_diverged: Integers


def estimate_substitution(
    trials: pl.DataFrame,
    outcome: str = "test_accuracy",
    *,
    diverged: Diverged = "chance",
    margin: float | None = None,
) -> pl.DataFrame:
    """Return the effect of λ at each ε, its interaction with ε, and the effect at the tuned ε.

    All rows of a λ stand on one block: the same cells (lr, and whatever else varies) and seeds at
    every ε, averaged over cells within seed. The tuned ε of a seed is chosen on validation accuracy
    of the other seeds; of equal ones, the smaller. Intervals and p of tuned rows are widened for
    what these choices share (`selection.widen`). One seed has no tuned rows.

    Args:
        trials: As `load_trials` returns them.
        outcome: A metric column of trials.
        diverged: What a diverged trial scores, in the outcome and in validation.
        margin: Largest effect that counts as none, in units of the outcome. Default: equivalence is
            not tested.

    Returns:
        `SUBSTITUTION`; no row for a λ with one ε, or without a cell and seed that has them all.

    Raises:
        ArgumentError: The outcome or the treatment of divergence is unknown, or the margin is not
            above 0.
        SchemaError: Two trials share cell, arm and seed.
    """
    scored = score_cells(trials, outcome, diverged=diverged)
    others = [n for n in scored.cell_columns if n not in {"label_smoothing", "rlp_lambda"}]
    rows: list[Row] = []
    for scope in [*scored.rows["rlp_lambda"].unique().sort(), None]:
        is_there = pl.lit(True) if scope is None else pl.col("rlp_lambda") == scope
        block = _block_of(scored.rows.filter(is_there), others)
        if block is not None:
            found = _estimate(block, margin=margin)
            rows += [{"outcome": outcome, "rlp_lambda": scope, **row} for row in found]
    return to_frame(rows, SUBSTITUTION)


def _block_of(cells: pl.DataFrame, others: list[str]) -> _Block | None:
    """Return the largest block where every cell and seed has every ε; None where there is none."""
    read = [f"{kind}_{arm}" for kind in "yv" for arm in (FULL, CONTROL)]
    complete = cells.drop_nulls(read)
    smoothings = complete["label_smoothing"].unique().sort()
    place = ["rlp_lambda", *others, "seed"]
    is_whole = pl.len().over(pl.struct(place)) == len(smoothings)
    whole = complete.filter(is_whole)
    if len(smoothings) < 2 or whole.is_empty():
        return None
    numbers = number_rows(whole, ["rlp_lambda", *others])
    whole = whole.with_columns(pl.Series("cell", numbers), there=pl.lit(1.0))
    block = keep_blocks(whole, ["label_smoothing"], ["there"]).drop_nulls("there")
    block = block.sort("label_smoothing", "seed", "cell")
    shape = (len(smoothings), block["seed"].n_unique(), -1)
    values = {name: block[name].to_numpy().reshape(shape).mean(axis=2) for name in read}
    is_first = pl.struct("label_smoothing", "base", "seed").is_first_distinct()
    num_diverged = (
        block.with_columns(is_first=is_first)
        .group_by("label_smoothing", maintain_order=True)
        .agg(
            num=pl.col(f"diverged_{FULL}").sum()
            + pl.col("diverged_control").filter("is_first").sum()
        )["num"]
    )
    return _Block(
        smoothings=smoothings.to_numpy(),
        full=values[f"y_{FULL}"],
        control=values["y_control"],
        val_full=values[f"v_{FULL}"],
        val_control=values["v_control"],
        num_cells=block["cell"].n_unique(),
        num_diverged=num_diverged.to_numpy(),
    )


def _estimate(block: _Block, *, margin: float | None) -> Iterator[Row]:
    """Yield the rows of one block, without outcome and λ."""
    gain = block.full - block.control
    smoothings, num_diverged = block.smoothings.tolist(), block.num_diverged.tolist()
    values: list[Floats] = [*gain, *(gain[0] - later for later in gain[1:])]
    labels: list[Row] = [
        {"effect": GAIN, "label_smoothing": eps, "num_diverged": num}
        for eps, num in zip(smoothings, num_diverged, strict=True)
    ]
    labels += [
        {"effect": INTERACTION, "label_smoothing": eps, "num_diverged": num_diverged[0] + num}
        for eps, num in zip(smoothings[1:], num_diverged[1:], strict=True)
    ]
    if gain.shape[1] > 1:
        tuned = _tune(block)
        values += [widen(value[:, None])[:, 0] for _, value in tuned]
        labels += [label | {"num_diverged": sum(num_diverged)} for label, _ in tuned]
    columns = np.stack(values, axis=1)
    inferred = infer(columns, np.array([0]))
    tests = None if margin is None else infer_equivalence(columns, np.array([0]), margin=margin)
    for number, label in enumerate(labels):
        row = _UNTUNED | numbers_of(inferred, number) | label
        if tests is not None:
            row |= {name: tests[name][0, number].item() for name in ("p_tost", "is_equivalent")}
        yield row | {"num_cells": block.num_cells}


_UNTUNED: dict[str, Any] = {
    "p_tost": None,
    "is_equivalent": None,
    "chosen_full": None,
    "chosen_control": None,
    "is_at_edge": None,
}


def _tune(block: _Block) -> list[tuple[Row, Floats]]:
    """Return label and values over seeds of both tuned effects; at least two seeds."""
    of_control = best_first(mean_of_others(block.val_control))[0]
    of_full = best_first(mean_of_others(block.val_full))[0]
    control = pick(block.control, of_control)
    return [
        (
            _tuned_label(AT_CONTROL, block, of_control, of_control),
            pick(block.full, of_control) - control,
        ),
        (_tuned_label(AT_OWN, block, of_full, of_control), pick(block.full, of_full) - control),
    ]


def _tuned_label(effect: str, block: _Block, of_full: Integers, of_control: Integers) -> Row:
    chosen = [most_frequent(rows)[0] for rows in (of_full, of_control)]
    full, control = block.smoothings[chosen].tolist()
    return {
        "effect": effect,
        "label_smoothing": None,
        "chosen_full": full,
        "chosen_control": control,
        "is_at_edge": max(chosen) == len(block.smoothings) - 1,
    }

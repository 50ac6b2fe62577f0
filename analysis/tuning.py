"""Tuned against tuned: the regularizer at its best configuration, the control at its own.

A gain at one learning rate may be a gain over a badly tuned control. Here each side takes the
learning rate, label smoothing and weight decay that validate best on the other seeds, and the test
outcome of the seed left out is compared. Both sides choose among the same configurations, so that
their budgets are equal; where λ is tuned as well, the regularized side has more of them, and the
fair comparison is that of the expected best at the control's number of configurations tried.

The optimum of a side may lie beyond the grid: where the best learning rate is the smallest or the
largest there is, a wider sweep may move the result.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl

from analysis.pairing import CELL, CONTROL, REGULARIZED_ARMS, Diverged
from analysis.pooling import keep_blocks
from analysis.selection import Scored, score_cells
from analysis.tuning_sides import choices_of, compare, curve_of, side_of
from analysis.tuning_tables import CHOICES, CURVE, TUNED
from analysis.typed import Row, to_frame

TUNABLE = ("lr", "label_smoothing", "weight_decay")
"""Cell columns that are tuned, besides λ; of other cell columns each value is compared apart."""


@dataclass(frozen=True, slots=True)
class Tuned:
    """What tuning both sides gives.

    Attributes:
        effects: One row an arm and λ (null: λ tuned as well), see `tuning_tables.TUNED`.
        choices: One row an arm, λ, side and seed: what was chosen, see `tuning_tables.CHOICES`.
        curve: One row an arm, λ, side and number tried, see `tuning_tables.CURVE`.
    """

    effects: pl.DataFrame
    choices: pl.DataFrame
    curve: pl.DataFrame


def estimate_tuned(
    trials: pl.DataFrame, outcome: str = "test_accuracy", *, diverged: Diverged = "chance"
) -> Tuned:
    """Return every regularized arm against the control, each at its tuned configuration.

    A comparison stands on a block: the cells and seeds where arm and control have an outcome and a
    validation accuracy. There are comparisons at each λ, and one with λ tuned as well. One needs at
    least two seeds, because the choice for a seed reads the others, and two configurations.
    Intervals and p are widened for what these choices share (`selection.widen`), at each number
    tried alike: the curve's are too wide where few are tried. There is no sign-flip p, because the
    seeds' outcomes are not exchangeable in sign once they chose for each other.

    Args:
        trials: As `load_trials` returns them.
        outcome: A metric column of trials. Configurations are chosen on validation accuracy,
            whatever the outcome.
        diverged: What a diverged trial scores, in the outcome and in validation.

    Raises:
        ArgumentError: The outcome or the treatment of divergence is unknown.
        SchemaError: Two trials share cell, arm and seed.
    """
    scored = score_cells(trials, outcome, diverged=diverged)
    tunable = [name for name in TUNABLE if name in scored.cell_columns]
    strata = [n for n in scored.cell_columns if n not in {*tunable, "rlp_lambda"}]
    effects: list[Row] = []
    choices: list[Row] = []
    curve: list[Row] = []
    for identity, block in _comparisons(scored, strata):
        arm = side_of(block, identity["arm"], [*tunable, "rlp_lambda"])
        control = side_of(block, CONTROL, tunable)
        identity |= {"outcome": outcome}
        effects.append(identity | compare(arm, control))
        seeds = block["seed"].unique().sort()
        choices += [identity | row for row in choices_of(arm, control, seeds)]
        curve += [identity | row for row in curve_of(arm, control)]
    further = {name: scored.rows.schema[name] for name in strata}
    decay = {name: scored.rows.schema[name] for name in tunable if name not in CELL}
    return Tuned(
        effects=to_frame(effects, TUNED, further=further, after="rlp_lambda"),
        choices=to_frame(choices, CHOICES, further=further | decay, after="rlp_lambda"),
        curve=to_frame(curve, CURVE, further=further, after="rlp_lambda"),
    )


def _comparisons(scored: Scored, strata: list[str]) -> Iterator[tuple[Row, pl.DataFrame]]:
    """Yield arm, λ and strata of each comparison, and its block: one row a cell and seed."""
    for arm in REGULARIZED_ARMS:
        read = [f"{kind}_{side}" for kind in "yv" for side in (arm, CONTROL)]
        is_there = pl.all_horizontal(pl.col(read).is_not_null())
        rows = scored.rows.with_columns(there=pl.when(is_there).then(1.0), _all=pl.lit(0))
        for scope in (["rlp_lambda", *strata], strata):
            block = keep_blocks(rows, scope, ["there"]).drop_nulls("there").sort("_all", *scope)
            is_lambda_tuned = scope == strata
            for part in block.partition_by("_all", *scope, maintain_order=True):
                if _is_choice(part, is_lambda_tuned=is_lambda_tuned):
                    identity: Row = part.select("rlp_lambda", *strata).row(0, named=True)
                    if is_lambda_tuned:
                        identity["rlp_lambda"] = None
                    yield {"arm": arm, **identity}, part


def _is_choice(part: pl.DataFrame, *, is_lambda_tuned: bool) -> bool:
    num_lambdas = part["rlp_lambda"].n_unique()
    return (
        part["seed"].n_unique() > 1
        and part["cell"].n_unique() > 1
        and (num_lambdas > 1 or not is_lambda_tuned)
    )

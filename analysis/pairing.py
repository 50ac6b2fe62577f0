"""Pair the arms of one cell and seed: the step that makes differences between trials effects.

A cell is everything held equal but arm and seed. Seeds are replicates: arms of one seed share
initialization, order, split and random labels, so that their difference is an effect.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import polars as pl

from rlp_sweeps.errors import ArgumentError, SchemaError
from rlp_sweeps.schema import CONFIG_PREFIX, METRICS, TRIALS

Diverged = Literal["chance", "last", "exclude"]
"""What a diverged trial scores: chance, its last finite evaluation, or nothing.

Random-label outcomes of a diverged trial are missing in each case.
"""

DIVERGED: tuple[Diverged, ...] = ("chance", "last", "exclude")
CELL = ("lr", "rlp_lambda", "label_smoothing")
CONTROL = "control"
REGULARIZED_ARMS = ("full", "class_term", "uniform_term", "sham")

_CLASS_ACCURACIES = ("train_accuracy", "val_accuracy", "test_accuracy")
_CLASS_LOSSES = ("train_loss", "val_loss", "test_loss")

RANDOM_LABEL_OUTCOMES = (
    "random_label_accuracy",
    "adversary_random_label_accuracy",
    "memorization",
)
"""Missing in a diverged trial, whatever is asked: a network that blew up has no memorization."""


@dataclass(frozen=True, slots=True)
class Paired:
    """Trials paired for one outcome.

    Attributes:
        cells: One row a cell: `cell` (its number), `base` (number of the cell without its λ, whose
            control trials it shares) and the cell columns.
        seeds: One row a cell and seed: `cell`, `base`, `rlp_lambda`, `seed`, and for each arm
            `y_<arm>` (scored outcome, null where missing) and `diverged_<arm>` (0 or 1).
    """

    cells: pl.DataFrame
    seeds: pl.DataFrame


def cell_columns(trials: pl.DataFrame) -> list[str]:
    """Return the columns that tell cells apart: lr, λ, ε and the configuration that varies."""
    declared = [column.name for column in TRIALS if column.role == "config"]
    foreign = [name for name in trials.columns if name.startswith(CONFIG_PREFIX)]
    candidates = [
        name
        for name in (*declared, *sorted(foreign))
        if name in trials.columns and name not in {"arm", "seed", *CELL}
    ]
    if not candidates:
        return list(CELL)
    counts = trials.select(pl.col(candidates).n_unique()).row(0, named=True)
    return [*CELL, *(name for name in candidates if counts[name] > 1)]


def chance_level(outcome: str) -> pl.Expr:
    """Return what a model that knows nothing scores; null where that is not known.

    Class accuracies: 1/K; class losses: log K, in nats; generalization gap: 0. K is read from
    `num_classes`. Every other metric has no chance level.
    """
    if outcome in _CLASS_ACCURACIES:
        return 1 / pl.col("num_classes")
    if outcome in _CLASS_LOSSES:
        return pl.col("num_classes").cast(pl.Float64).log()
    if outcome == "generalization_gap":
        return pl.lit(0.0)
    return pl.lit(None, dtype=pl.Float64)


def score(outcome: str, *, diverged: Diverged) -> pl.Expr:
    """Return the outcome as effects read it; stopped and failed trials are missing.

    A value that is not finite is missing, too, and so is every random-label outcome of a diverged
    trial (`RANDOM_LABEL_OUTCOMES`).
    """
    value = pl.when(pl.col(outcome).is_finite()).then(pl.col(outcome))
    nothing = pl.lit(None, dtype=pl.Float64)
    ends = {"chance": chance_level(outcome), "last": value, "exclude": nothing}
    end = nothing if outcome in RANDOM_LABEL_OUTCOMES else ends[diverged]
    return (
        pl.when(pl.col("status") == "completed")
        .then(value)
        .when(pl.col("status") == "diverged")
        .then(end)
        .otherwise(nothing)
    )


def check_outcomes(trials: pl.DataFrame, outcomes: Sequence[str], *, diverged: str) -> None:
    """Refuse outcomes that the trials do not hold, and an unknown treatment of divergence.

    Raises:
        ArgumentError: A name is unknown.
    """
    known = [name for name in METRICS if name in trials.columns]
    unknown = [name for name in outcomes if name not in known]
    if unknown:
        msg = f"unknown outcome(s) {unknown}; the trials hold {known}."
        raise ArgumentError(msg)
    if diverged not in DIVERGED:
        msg = f"`diverged in {list(DIVERGED)}` must hold, but got diverged={diverged!r}."
        raise ArgumentError(msg)


def pair_arms(trials: pl.DataFrame, outcome: str, *, diverged: Diverged = "chance") -> Paired:
    """Return one row a cell and seed with the outcome of every arm.

    Control trials have λ = 0 and serve every λ of their cell. Regularized arms at λ = 0 are no
    part of any cell.

    Raises:
        ArgumentError: The outcome or the treatment of divergence is unknown.
        SchemaError: Two trials share cell, arm and seed.
    """
    check_outcomes(trials, [outcome], diverged=diverged)
    cell = cell_columns(trials)
    base = [name for name in cell if name != "rlp_lambda"]
    _check_one_trial_a_place(trials, cell)
    scored = trials.select(
        *cell,
        "arm",
        "seed",
        y=score(outcome, diverged=diverged),
        diverged=(pl.col("status") == "diverged").cast(pl.Int64),
    )
    regularized = scored.filter(pl.col("arm").is_in(REGULARIZED_ARMS) & (pl.col("rlp_lambda") > 0))
    cells = _number_cells(regularized.select(cell).unique(), cell, base)
    paired = regularized.select(*cell, "seed").unique().sort(*cell, "seed", nulls_last=True)
    paired = paired.join(cells, on=cell, how="left", validate="m:1", nulls_equal=True)
    paired = _join_arm(paired, scored.filter(pl.col("arm") == CONTROL), CONTROL, on=base)
    for arm in REGULARIZED_ARMS:
        paired = _join_arm(paired, regularized.filter(pl.col("arm") == arm), arm, on=cell)
    arms = [
        f"{prefix}_{arm}" for arm in (CONTROL, *REGULARIZED_ARMS) for prefix in ("y", "diverged")
    ]
    return Paired(cells, paired.select("cell", "base", "rlp_lambda", "seed", *arms))


def _number_cells(cells: pl.DataFrame, cell: list[str], base: list[str]) -> pl.DataFrame:
    ordered = cells.sort(cell, nulls_last=True).with_row_index("cell")
    bases = ordered.select(base).unique().sort(base, nulls_last=True).with_row_index("base")
    numbered = ordered.join(bases, on=base, how="left", validate="m:1", nulls_equal=True)
    return numbered.select("cell", "base", *cell).sort("cell")


def _join_arm(
    paired: pl.DataFrame, trials: pl.DataFrame, arm: str, *, on: list[str]
) -> pl.DataFrame:
    values = trials.select(
        *on, "seed", pl.col("y").alias(f"y_{arm}"), pl.col("diverged").alias(f"diverged_{arm}")
    )
    joined = paired.join(values, on=[*on, "seed"], how="left", validate="m:1", nulls_equal=True)
    return joined.with_columns(pl.col(f"diverged_{arm}").fill_null(0))


def _check_one_trial_a_place(trials: pl.DataFrame, cell: list[str]) -> None:
    place = [*cell, "arm", "seed"]
    doubled = trials.filter(pl.struct(place).is_duplicated()).sort(*place, "trial_id")
    if doubled.is_empty():
        return
    first = doubled.row(0, named=True)
    where = ", ".join(f"{name}={first[name]!r}" for name in place)
    twins = doubled.head(2)["trial_id"].to_list()
    msg = (
        f"a cell, arm and seed must have one trial, but {where} has {twins}. If a setting tells "
        f"them apart, write it as a column `{CONFIG_PREFIX}<name>`."
    )
    raise SchemaError(msg)

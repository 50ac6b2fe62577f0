"""Pair the arms of one cell and seed: the step that makes differences between trials effects.

A cell is everything held equal but arm and seed. Seeds are replicates: arms of one seed share
initialization, order, split and random labels, so that their difference is an effect.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl

from analysis.numbering import (
    Integers,
    Levels,
    find_levels,
    number_codes,
    number_levels,
    run_starts,
)
from rlp_sweeps.errors import ArgumentError, SchemaError
from rlp_sweeps.misspelling import advice
from rlp_sweeps.schema import CONFIG_PREFIX, METRICS, TRIALS

Diverged = Literal["chance", "last", "exclude"]
"""What a diverged trial scores: chance, its last finite evaluation, or nothing.

Random-label outcomes of a diverged trial are missing in each case.
"""

DIVERGED: tuple[Diverged, ...] = ("chance", "last", "exclude")
CELL = ("lr", "rlp_lambda", "label_smoothing")
CONTROL = "control"
FULL = "full"
RESCALED_ARMS = ("rescaled", "rescaled_class_term", "rescaled_uniform_term")
REPLAYED_ARMS = ("replayed", "replayed_class_term", "replayed_uniform_term")
REGULARIZED_ARMS = (
    "full",
    "class_term",
    "uniform_term",
    "sham",
    "sham_norm",
    "class_mean",
    "mean_rest",
    "orthogonal",
    "grafted",
    *RESCALED_ARMS,
    *REPLAYED_ARMS,
)
"""Arms that stand at a λ > 0; those at the end are controls matched to the trials of that
cell."""

ARMS = (CONTROL, *REGULARIZED_ARMS)
EXTRACTOR_SCALE = "extractor_scale"
KAPPA_ARMS = ("full", "class_term", "uniform_term")
"""Arms whose measured multiplier estimators read."""

_CLASS_ACCURACIES = (
    "train_accuracy",
    "val_accuracy",
    "test_accuracy",
    "true_label_accuracy",
    "changed_label_accuracy",
)
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
            `y_<arm>` (scored outcome, null where missing) and `diverged_<arm>` (0 or 1); for each
            of `KAPPA_ARMS` `kappa_<arm>`, the trial's `lr_multiplier` over its own
            `extractor_scale` (1: as its control), null where it is not finite.
        controls: One row a control trial, of whatever cell: the cell columns without λ, `seed`, and
            `y`, its scored outcome.
    """

    cells: pl.DataFrame
    seeds: pl.DataFrame
    controls: pl.DataFrame

    def has(self, *arms: str) -> bool:
        """Tell whether each of these arms has a value somewhere."""
        seeds = self.seeds
        return all(seeds[f"y_{arm}"].null_count() < len(seeds) for arm in arms)


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
    column = pl.col(candidates)
    varies = trials.select(column.ne_missing(column.first()).any()).row(0, named=True)
    return [*CELL, *(name for name in candidates if varies[name])]


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
        held = f"the trials hold {known}."
        msg = f"unknown outcome(s) {unknown}; {advice(unknown[0], known, otherwise=held)}"
        raise ArgumentError(msg)
    if diverged not in DIVERGED:
        msg = f"`diverged in {list(DIVERGED)}` must hold, but got diverged={diverged!r}."
        raise ArgumentError(msg)


@dataclass(frozen=True, slots=True)
class Places:
    """Where the trials stand: a place is a cell and seed.

    Attributes:
        cells: As in `Paired`.
        seeds: One row a place, as in `Paired`: `cell`, `base`, `rlp_lambda`, `seed`, and for each
            arm `row_<arm>`, the row of its trial, null where missing, and `diverged_<arm>`.
        controls: As in `Paired`, with `row_control`, the row of the trial, in place of `y`.
    """

    cells: pl.DataFrame
    seeds: pl.DataFrame
    controls: pl.DataFrame


def pair_arms(trials: pl.DataFrame, outcome: str, *, diverged: Diverged = "chance") -> Paired:
    """Return one row a cell and seed with the outcome of every arm.

    Control trials have λ = 0 and serve every λ of their cell. Regularized arms at λ = 0 are no
    part of any cell.

    Raises:
        ArgumentError: The outcome or the treatment of divergence is unknown.
        SchemaError: Two trials share cell, arm and seed.
    """
    check_outcomes(trials, [outcome], diverged=diverged)
    return score_places(find_places(trials), trials, outcome, diverged=diverged)


def score_places(
    places: Places, trials: pl.DataFrame, outcome: str, *, diverged: Diverged
) -> Paired:
    """Return the places of the trials with the outcome of every arm."""
    y = trials.select(score(outcome, diverged=diverged).alias("y"))["y"]
    kappa = _relative_multiplier(trials)
    seeds, controls = places.seeds, places.controls
    return Paired(
        places.cells,
        seeds.select(
            *("cell", "base", "rlp_lambda", "seed"),
            *(y.gather(seeds[f"row_{arm}"]).alias(f"y_{arm}") for arm in ARMS),
            *(f"diverged_{arm}" for arm in ARMS),
            *(kappa.gather(seeds[f"row_{arm}"]).alias(f"kappa_{arm}") for arm in KAPPA_ARMS),
        ),
        controls.drop("row_control").with_columns(y=y.gather(controls["row_control"])),
    )


def _relative_multiplier(trials: pl.DataFrame) -> pl.Series:
    """Return each trial's κ relative to that of its control, whose scale κ measures as well."""
    if "lr_multiplier" not in trials.columns:
        return pl.Series([None], dtype=pl.Float64).new_from_index(0, len(trials))
    kappa = pl.col("lr_multiplier")
    if EXTRACTOR_SCALE in trials.columns:
        kappa = kappa / pl.col(EXTRACTOR_SCALE).fill_null(1.0)
    return trials.select(kappa=pl.when(kappa.is_finite()).then(kappa))["kappa"]


def find_places(trials: pl.DataFrame) -> Places:
    """Return every cell and seed with a regularized trial, and the trials that stand there.

    Raises:
        SchemaError: Two trials share cell, arm and seed.
    """
    cell = cell_columns(trials)
    base = [name for name in cell if name != "rlp_lambda"]
    levels = {name: find_levels(trials[name]) for name in (*cell, "seed", "arm")}
    numbers = number_levels(levels[name] for name in (*cell, "seed"))
    _check_one_trial_a_place(trials, numbers, levels["arm"], [*cell, "arm", "seed"])
    rows = _rows_by_place(trials, numbers)
    some_row = np.max([rows[arm] for arm in REGULARIZED_ARMS], axis=0)
    shared = number_levels(levels[name] for name in (*base, "seed"))
    controls = np.flatnonzero(trials["arm"] == CONTROL)
    rows[CONTROL] = _row_by_number(shared, controls)[shared[some_row]]
    seeds = trials.select("rlp_lambda", "seed")[some_row].select(
        pl.Series("cell", number_levels(levels[name].of_rows(some_row) for name in cell)),
        pl.Series("base", number_levels(levels[name].of_rows(some_row) for name in base)),
        *("rlp_lambda", "seed"),
        *_trials_there(trials, rows),
    )
    first = run_starts(seeds, ["cell"])
    cells = seeds.select("cell", "base")[first].hstack(trials.select(cell)[some_row[first]])
    of_controls = trials.select(*base, "seed")[controls]
    return Places(cells, seeds, of_controls.with_columns(row_control=pl.Series(controls)))


def _rows_by_place(trials: pl.DataFrame, numbers: Integers) -> dict[str, Integers]:
    """Return for each regularized arm the row of its trial in every place, -1 where missing.

    Places are the numbers of cell and seed that have a regularized trial, in their order.
    """
    is_regularized = trials["arm"].is_in(REGULARIZED_ARMS) & (trials["rlp_lambda"] > 0)
    trained = np.flatnonzero(is_regularized)
    places = np.full(len(trials), -1)
    places[trained] = number_codes(numbers[trained])
    there, nowhere = set(trials["arm"].unique()), np.arange(0)
    return {
        arm: _row_by_number(
            places,
            np.flatnonzero(is_regularized & (trials["arm"] == arm)) if arm in there else nowhere,
        )
        for arm in REGULARIZED_ARMS
    }


def _trials_there(trials: pl.DataFrame, rows: dict[str, Integers]) -> Iterator[pl.Series]:
    """Yield for each arm the row of its trial in every place, and whether that diverged."""
    has_diverged = (trials["status"] == "diverged").cast(pl.Int64)
    for arm in ARMS:
        row = pl.Series(f"row_{arm}", rows[arm]).replace(-1, None)
        yield row
        yield has_diverged.gather(row).fill_null(0).alias(f"diverged_{arm}")


def _row_by_number(numbers: Integers, rows: Integers) -> Integers:
    """Return for each number up to the largest which of these rows has it; -1 where none has."""
    found = np.full(numbers.max(initial=-1) + 1, -1)
    found[numbers[rows]] = rows
    return found


def _check_one_trial_a_place(
    trials: pl.DataFrame, numbers: Integers, arms: Levels, place: list[str]
) -> None:
    codes = number_codes(numbers * arms.num + arms.codes)
    if len(codes) == codes.max(initial=-1) + 1:
        return
    doubled = trials.filter(pl.struct(place).is_duplicated()).sort(*place, "trial_id")
    first = doubled.row(0, named=True)
    where = ", ".join(f"{name}={first[name]!r}" for name in place)
    twins = doubled.head(2)["trial_id"].to_list()
    msg = (
        f"a cell, arm and seed must have one trial, but {where} has {twins}. If a setting tells "
        f"them apart, write it as a column `{CONFIG_PREFIX}<name>`."
    )
    raise SchemaError(msg)

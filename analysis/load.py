"""Read the tables of one or several run directories into typed frames."""

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from analysis.border import (
    DTYPES,
    PartFiles,
    check_columns,
    collect,
    find_parts,
    scan,
)
from analysis.duplicates import DIRECTORY, PART, one_row_a_trial
from analysis.origin import Origin, read_plans
from rlp_sweeps.errors import RunDirectoryError, SchemaError
from rlp_sweeps.schema import EPOCHS, STATUSES, TRIALS, Column

REQUIRED_TRIAL_COLUMNS = tuple(column.name for column in TRIALS if column.required)
_NEVER_NULL = ("trial_id", "status", "arm", "lr", "rlp_lambda", "label_smoothing", "seed")


def load_trials(directories: Sequence[Path]) -> pl.DataFrame:
    """Return one row a trial: the schema's columns that are there, and every ``config_`` column.

    `num_classes` and `error` are null where the files lack them; `memorization` and
    `equivalent_lr` are computed where they are missing. A trial that stands in several files or
    directories is kept once: a finished row wins over a stopped one, that over a failed one, then
    the earlier directory wins.

    Raises:
        RunDirectoryError: A directory does not exist, holds no trials, or is of a newer version.
        SchemaError: A file is unreadable, a required column is missing or mistyped, a value is
            none that the schema knows, rows of one trial_id differ in configuration, or one
            directory holds two different ends of a trial.
    """
    return load_sweep(directories)[0]


def load_sweep(directories: Sequence[Path]) -> tuple[pl.DataFrame, Origin]:
    """Return what `load_trials` does, and what the directories tell beside the rows.

    Raises:
        RunDirectoryError: As `load_trials`; or a manifest's plan is no list of trials.
        SchemaError: As `load_trials`.
    """
    if not directories:
        msg = "at least one run directory must be given, but got none."
        raise RunDirectoryError(msg)
    planned, is_planned = read_plans(directories)
    frames: list[pl.LazyFrame] = []
    groups: list[PartFiles] = []
    for number, directory in enumerate(directories):
        for part in _trial_parts(directory):
            place = {DIRECTORY: pl.lit(number), PART: pl.lit(len(groups))}
            frames.append(scan(part, TRIALS).with_columns(**place))
            groups.append(part)
    rows = collect(frames, groups)
    if rows.is_empty():
        where = ", ".join(str(directory) for directory in directories)
        msg = (
            f"a run directory must hold at least one trial, but the tables of {where} have no row."
        )
        raise RunDirectoryError(msg)
    _check_values(rows, where=", ".join(str(directory) for directory in directories))
    columns = [part.schema.keys() for part in groups]
    trials, num_twofold = one_row_a_trial(rows, columns, directories)
    origin = Origin(planned=planned, is_planned=is_planned, num_twofold=num_twofold)
    return _with_derived(trials), origin


def load_epochs(
    directories: Sequence[Path], *, columns: Sequence[str] | None = None
) -> pl.DataFrame:
    """Return one row a trial and evaluation; an empty frame where no directory holds epochs.

    Args:
        directories: Run directories.
        columns: Names of the schema's epoch columns to read; null where the files lack them.
            Default: every column that is there.

    Raises:
        RunDirectoryError: A directory does not exist.
        SchemaError: A file is unreadable, `trial_id` or `epoch` is missing, a column is mistyped.
    """
    wanted = {column.name: column for column in EPOCHS if columns is None or column.name in columns}
    frames = [pl.LazyFrame(schema={name: DTYPES[c.dtype] for name, c in wanted.items()})]
    groups: list[PartFiles] = []
    for directory in directories:
        parts = find_parts(directory, "epochs")
        groups += parts
        for part in parts:
            _check_parts([part], EPOCHS, ("trial_id", "epoch"), where=directory, table="epochs")
            frames.append(scan(part, tuple(wanted.values())))
    epochs = collect(frames, groups)
    return epochs.unique(["trial_id", "epoch"], keep="first", maintain_order=True)


def _trial_parts(directory: Path) -> list[PartFiles]:
    parts = find_parts(directory, "trials")
    if not parts:
        msg = (
            f"a run directory must hold trials, but there is no {directory / 'trials'}/*.parquet. "
            "Run or resume the sweep first."
        )
        raise RunDirectoryError(msg)
    _check_parts(parts, TRIALS, REQUIRED_TRIAL_COLUMNS, where=directory, table="trials")
    return parts


def _check_parts(
    parts: Sequence[PartFiles],
    columns: Sequence[Column],
    required: Sequence[str],
    *,
    where: Path,
    table: str,
) -> None:
    for part in parts:
        place = str(where if len(parts) == 1 else part.paths[0])
        check_columns(part, columns, where=place, table=table, required=required)


def _check_values(trials: pl.DataFrame, *, where: str) -> None:
    nulls = {name: n for name in _NEVER_NULL if (n := trials[name].null_count())}
    if nulls:
        msg = f"columns {list(_NEVER_NULL)} of {where} must have no nulls, but got {nulls}."
        raise SchemaError(msg)
    unknown = trials.filter(~pl.col("status").is_in(STATUSES))["status"].unique().sort().to_list()
    if unknown:
        msg = f"`status in {list(STATUSES)}` must hold in {where}, but got {unknown}."
        raise SchemaError(msg)
    is_wrong = (pl.col("rlp_lambda") < 0) | pl.col("rlp_lambda").is_nan()
    is_wrong = is_wrong | ((pl.col("arm") == "control") & (pl.col("rlp_lambda") != 0))
    wrong = trials.filter(is_wrong).select("trial_id", "arm", "rlp_lambda").head(1).to_dicts()
    if wrong:
        msg = (
            f"`rlp_lambda >= 0`, and 0 in arm 'control', must hold in {where}, but got {wrong[0]}. "
            "One control trial serves every λ of its cell."
        )
        raise SchemaError(msg)


def _with_derived(trials: pl.DataFrame) -> pl.DataFrame:
    optional = {"num_classes": pl.Int64, "error": pl.String}
    optional |= {"memorization": pl.Float64, "equivalent_lr": pl.Float64}
    absent = [pl.lit(None, dtype).alias(n) for n, dtype in optional.items() if n not in trials]
    chance = 1 / pl.col("num_random_labels")
    memorization = (pl.col("random_label_accuracy") - chance) / (1 - chance)
    is_control = pl.col("arm") == "control"
    multiplier = pl.when(is_control).then(1.0).otherwise(pl.col("lr_multiplier"))
    return trials.with_columns(absent).with_columns(
        pl.coalesce("memorization", memorization),
        pl.coalesce("equivalent_lr", multiplier * pl.col("lr")),
    )

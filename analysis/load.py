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
    rereads,
    scan,
)
from analysis.duplicates import DIRECTORY, PART, one_row_a_trial
from analysis.origin import Origin, read_plans
from analysis.pairing import EXTRACTOR_SCALE, REGULARIZED_ARMS, RESCALED_ARMS
from analysis.precision import check_one_precision
from rlp_sweeps.column import Column
from rlp_sweeps.errors import RunDirectoryError, SchemaError
from rlp_sweeps.run_places import empty_directory
from rlp_sweeps.schema import EPOCHS, STATUSES, TRIALS

REQUIRED_TRIAL_COLUMNS = tuple(column.name for column in TRIALS if column.required)
_READ_PROVENANCE = (
    *("num_classes", "error", "point", "code_version", "matched_multiplier"),
    *("num_train_samples", "num_parameters", "hostname"),
)
_READ = tuple(c for c in TRIALS if c.role != "provenance" or c.name in _READ_PROVENANCE)
_ROUNDING = 1e-6
"""How far a share may lie outside [0, 1]: another program may have averaged in Float32."""

_NEVER_NULL = ("trial_id", "status", "arm", "lr", "rlp_lambda", "label_smoothing", "seed")


def load_trials(directories: Sequence[Path]) -> pl.DataFrame:
    """Return one row a trial: the schema's columns that are there, and every ``config_`` column.

    Of the provenance only `num_classes`, `error`, `point`, `code_version`, `matched_multiplier`,
    `num_train_samples`, `num_parameters` and `hostname` are read, the first two null where the
    files lack them; `memorization` and `equivalent_lr` are computed where they are missing. A trial
    that stands in several files or directories is kept once: a finished row wins over a stopped
    one, that over a failed one, then the earlier directory wins.

    Raises:
        RunDirectoryError: A directory does not exist, holds no trials, or is of a newer version.
        SchemaError: A file is unreadable, a required column is missing or mistyped, a value is
            none that the schema knows, a value of configuration stands in two precisions, rows of
            one trial_id differ in configuration, or one directory holds two different ends of a
            trial.
    """
    return load_sweep(directories)[0]


@rereads
def load_sweep(directories: Sequence[Path]) -> tuple[pl.DataFrame, Origin]:
    """Return what `load_trials` does, and what the directories tell beside the rows.

    Raises:
        RunDirectoryError: As `load_trials`; or a manifest's plan is no list of trials.
        SchemaError: As `load_trials`.
    """
    if not directories:
        msg = "at least one run directory must be given, but got none."
        raise RunDirectoryError(msg)
    plans = read_plans(directories)
    frames: list[pl.LazyFrame] = []
    groups: list[PartFiles] = []
    for number, directory in enumerate(directories):
        for part in _trial_parts(directory):
            place = {DIRECTORY: pl.lit(number), PART: pl.lit(len(groups))}
            frames.append(scan(part, _READ).with_columns(**place))
            groups.append(part)
    rows = _with_defaults(collect(frames, groups))
    if rows.is_empty():
        where = ", ".join(str(directory) for directory in directories)
        msg = (
            f"a run directory must hold at least one trial, but the tables of {where} have no row."
        )
        raise RunDirectoryError(msg)
    _check_values(rows, where=", ".join(str(directory) for directory in directories))
    check_one_precision(rows, groups)
    columns = [part.schema.keys() for part in groups]
    trials, num_twofold = one_row_a_trial(rows, columns, directories)
    kept = trials.select("trial_id", DIRECTORY)
    origin = Origin(plans=plans, num_twofold=num_twofold, kept=kept)
    return _with_derived(trials.drop(DIRECTORY)), origin


@rereads
def load_epochs(
    directories: Sequence[Path],
    *,
    columns: Sequence[str] | None = None,
    kept: pl.DataFrame | None = None,
    trial_ids: pl.Series | None = None,
) -> pl.DataFrame:
    """Return one row a trial and evaluation; an empty frame where no directory holds epochs.

    Args:
        directories: Run directories.
        columns: Names of the schema's epoch columns to read; null where the files lack them.
            Default: every column that is there.
        kept: Which directory's row of each trial was kept (`Origin.kept` of the same directories):
            a trial's epochs are read there and nowhere else. Default: each trial's epochs are those
            of the first directory that holds any.
        trial_ids: Ids of the trials to read; where a file holds no row of these, its other columns
            are not even decoded. Default: all.

    Raises:
        RunDirectoryError: A directory does not exist.
        SchemaError: A file is unreadable, `trial_id` or `epoch` is missing, a column is mistyped.
    """
    wanted = {column.name: column for column in EPOCHS if columns is None or column.name in columns}
    schema = {name: DTYPES[column.dtype] for name, column in wanted.items()}
    is_several = len(directories) > 1
    frames = [pl.LazyFrame(schema=schema | ({DIRECTORY: pl.Int32()} if is_several else {}))]
    groups: list[PartFiles] = []
    is_wanted = None if trial_ids is None else pl.col("trial_id").is_in(trial_ids.implode())
    for number, directory in enumerate(directories):
        parts = find_parts(directory, "epochs")
        groups += parts
        for part in parts:
            _check_parts([part], EPOCHS, ("trial_id", "epoch"), where=directory, table="epochs")
            place = [pl.lit(number, pl.Int32()).alias(DIRECTORY)] * is_several
            frame = scan(part, tuple(wanted.values())).with_columns(place)
            frames.append(frame if is_wanted is None else frame.filter(is_wanted))
    epochs = collect(frames, groups)
    if is_several:
        first = epochs.group_by("trial_id").agg(pl.col(DIRECTORY).min())
        source = first if kept is None else kept
        epochs = epochs.join(source, on=["trial_id", DIRECTORY], how="semi", maintain_order="left")
        epochs = epochs.drop(DIRECTORY)
    if _keys_ascend(epochs):
        return epochs
    return epochs.unique(["trial_id", "epoch"], keep="first", maintain_order=True)


def _keys_ascend(epochs: pl.DataFrame) -> bool:
    """Tell whether every key is above that of the row before, so that no row stands twice.

    It is so in tables written in order of trials, and costs far less memory than a search for
    doubles in tens of millions of rows.
    """
    before, after = epochs.select("trial_id", "epoch")[:-1], epochs.select("trial_id", "epoch")[1:]
    is_above = (after["trial_id"] > before["trial_id"]) | (
        (after["trial_id"] == before["trial_id"]) & (after["epoch"] > before["epoch"])
    )
    return bool(is_above.all(ignore_nulls=False))


def _trial_parts(directory: Path) -> list[PartFiles]:
    parts = find_parts(directory, "trials")
    if not parts:
        raise RunDirectoryError(empty_directory(directory))
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
    _check_numbers(trials, where=where)
    is_wrong = pl.col("rlp_lambda") < 0
    is_wrong = is_wrong | ((pl.col("arm") == "control") & (pl.col("rlp_lambda") != 0))
    wrong = trials.filter(is_wrong).select("trial_id", "arm", "rlp_lambda").head(1).to_dicts()
    if wrong:
        msg = (
            f"`rlp_lambda >= 0`, and 0 in arm 'control', must hold in {where}, but got {wrong[0]}. "
            "One control trial serves every λ of its cell."
        )
        raise SchemaError(msg)


def _check_numbers(trials: pl.DataFrame, *, where: str) -> None:
    for name in ("lr", "rlp_lambda", "label_smoothing"):
        wrong = trials.filter(~pl.col(name).is_finite())[name].head(1).to_list()
        if wrong:
            msg = f"`{name}` must be finite in {where}, but got {wrong[0]}."
            raise SchemaError(msg)
    shares = [c.name for c in TRIALS if c.unit == "share, [0, 1]" and c.role != "config"]
    for name in (share for share in shares if share in trials.columns):
        value = pl.col(name)
        is_wrong = value.is_finite() & ((value < -_ROUNDING) | (value > 1 + _ROUNDING))
        if wrong := trials.filter(is_wrong)[name].head(1).to_list():
            msg = (
                f"`0 <= {name} <= 1` must hold in {where}, but got {wrong[0]!r}; shares are never "
                "percent, divide by 100."
            )
            raise SchemaError(msg)


def _with_defaults(trials: pl.DataFrame) -> pl.DataFrame:
    """Return the trials with settings that older rows do not state at what they were then."""
    defaults = [c for c in TRIALS if c.default is not None and c.name in trials.columns]
    return trials.with_columns(pl.col(c.name).fill_null(c.default) for c in defaults)


def _with_derived(trials: pl.DataFrame) -> pl.DataFrame:
    optional = {"num_classes": pl.Int64, "error": pl.String}
    optional |= {"memorization": pl.Float64, "equivalent_lr": pl.Float64}
    absent = [pl.lit(None, dtype).alias(n) for n, dtype in optional.items() if n not in trials]
    chance = 1 / pl.col("num_random_labels")
    memorization = (pl.col("random_label_accuracy") - chance) / (1 - chance)
    is_control = pl.col("arm") == "control"
    multiplier = pl.when(is_control).then(1.0).otherwise(pl.col("lr_multiplier"))
    return (
        _without_matched_scale(trials)
        .with_columns(absent)
        .with_columns(
            pl.coalesce("memorization", memorization),
            pl.coalesce("equivalent_lr", multiplier * pl.col("lr")),
        )
    )


def _without_matched_scale(trials: pl.DataFrame) -> pl.DataFrame:
    """Return the trials with rescaled ones in the cell that they are matched to.

    Another program may keep their κ in `extractor_scale`, which would put them in cells of their
    own. Where the regularized trials have one scale, and `matched_multiplier` says nothing or the
    same, it is taken as κ.
    """
    if EXTRACTOR_SCALE not in trials.columns:
        return trials
    is_rescaled = pl.col("arm").is_in(RESCALED_ARMS)
    if "matched_multiplier" in trials.columns:
        matched = pl.col("matched_multiplier")
        is_rescaled &= matched.is_null() | (matched == pl.col(EXTRACTOR_SCALE))
    others = pl.col("arm").is_in(set(REGULARIZED_ARMS) - set(RESCALED_ARMS))
    scales = trials.filter(others)[EXTRACTOR_SCALE].unique()
    if len(scales) != 1:
        return trials
    own = pl.lit(scales.item(), pl.Float64)
    return trials.with_columns(
        pl.when(is_rescaled).then(own).otherwise(pl.col(EXTRACTOR_SCALE)).alias(EXTRACTOR_SCALE)
    )

"""Rows that share a trial_id: one configuration, one end, one row kept.

A trial may stand in a part file and a compacted one, in several attempts, in several directories.
Rows are compared in the columns that their own files hold, so that a column which an older file
lacks is no difference.
"""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path

import polars as pl

from rlp_sweeps.errors import SchemaError
from rlp_sweeps.schema import CONFIG_PREFIX, TRIALS

DIRECTORY, PART = "_directory", "_part"
"""Columns of rows as read: numbers of the directory, and of the part files that a row is from."""

_MAX_NAMED = 3
_RANK = "_rank"
_FINAL_STATUSES = ("completed", "diverged")


def one_row_a_trial(
    rows: pl.DataFrame, columns: Sequence[AbstractSet[str]], directories: Sequence[Path]
) -> tuple[pl.DataFrame, int]:
    """Return one row a trial, and how many trials have other outcomes in a later directory.

    The rows keep `DIRECTORY`, the number of the directory that each is from. A finished row wins
    over a stopped one, that over a failed one, then the earlier directory wins.

    Args:
        rows: Trials as read, with `DIRECTORY` and `PART`.
        columns: Names of the columns that the part files of each number hold.
        directories: Directory of each number.

    Raises:
        SchemaError: Rows of one trial_id differ in configuration, or one directory holds two
            different ends of a trial.
    """
    trial_ids = rows["trial_id"]
    if (trial_ids[1:] > trial_ids[:-1]).all():
        return rows.drop(PART), 0
    if trial_ids.n_unique() == len(rows):
        return rows.drop(PART).sort("trial_id"), 0
    _check_one_configuration(rows, columns, directories)
    ends = rows.filter(pl.col("status").is_in(_FINAL_STATUSES))
    _check_one_end(ends, directories)
    outcomes = [c.name for c in TRIALS if c.role == "outcome" and c.name in rows.columns]
    num_twofold = _differences(ends, ["status", *outcomes], columns).height
    rank = pl.col("status").replace_strict({"stopped": 1, "failed": 2}, default=0)
    ordered = rows.with_columns(rank.alias(_RANK)).sort(_RANK, DIRECTORY, maintain_order=True)
    kept = ordered.unique("trial_id", keep="first", maintain_order=True)
    return kept.sort("trial_id").drop(_RANK, PART), num_twofold


def _differences(
    rows: pl.DataFrame, names: Sequence[str], columns: Sequence[AbstractSet[str]]
) -> pl.DataFrame:
    """Return one row a trial_id whose rows differ, and for each column whether they do there."""
    shared = rows.filter(pl.col("trial_id").is_duplicated())
    differ = [
        pl.col(name)
        .filter(pl.col(PART).is_in([part for part, held in enumerate(columns) if name in held]))
        .n_unique()
        > 1
        for name in names
    ]
    found = shared.group_by("trial_id").agg(differ).sort("trial_id")
    return found.filter(pl.any_horizontal(names))


def _check_one_configuration(
    rows: pl.DataFrame, columns: Sequence[AbstractSet[str]], directories: Sequence[Path]
) -> None:
    declared = {column.name for column in TRIALS if column.role == "config"}
    names = [n for n in rows.columns if n in declared or n.startswith(CONFIG_PREFIX)]
    found = _differences(rows, names, columns)
    if found.is_empty():
        return
    trial_ids = found["trial_id"].head(_MAX_NAMED).to_list()
    of_first = rows.filter(pl.col("trial_id") == trial_ids[0])
    differing = [name for name in names if found[name][0]]
    values = {name: of_first[name].unique(maintain_order=True).to_list() for name in differing}
    numbers = rows.filter(pl.col("trial_id").is_in(trial_ids))[DIRECTORY].unique().sort()
    where = ", ".join(str(directories[number]) for number in numbers)
    further = f" and {found.height - len(trial_ids)} further" * (found.height > len(trial_ids))
    msg = (
        f"rows that share a trial_id must have one configuration, but those of {trial_ids}{further}"
        f" in {where} differ: {trial_ids[0]!r} has {values}. Give every trial its own trial_id."
    )
    raise SchemaError(msg)


def _check_one_end(ends: pl.DataFrame, directories: Sequence[Path]) -> None:
    content = [c.name for c in TRIALS if c.role != "provenance" and c.name in ends.columns]
    distinct = ends.unique([DIRECTORY, *content])
    doubled = distinct.filter(pl.struct(DIRECTORY, "trial_id").is_duplicated())
    if doubled.is_empty():
        return
    first = doubled.sort("trial_id", DIRECTORY).row(0, named=True)
    msg = (
        f"a trial must have one end, but trial_id={first['trial_id']!r} of "
        f"{directories[first[DIRECTORY]]} has two that differ. Remove the part file that is wrong."
    )
    raise SchemaError(msg)

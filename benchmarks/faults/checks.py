"""Whether a sweep's rows are those of the undisturbed one, and what it has left behind."""

import contextlib
import sqlite3
import tempfile
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from benchmarks.faults.processes import Process, holding
from rlp_sweeps.errors import RlpSweepsError
from rlp_sweeps.tracking.run_directory import RunDirectory

VOLATILE = (
    "wall_time_s",
    "started_at_ms",
    "finished_at_ms",
    "logged_at_ms",
    "epoch_time_s",
    "hostname",
    "code_version",
)
"""Columns that say when and where, not what."""

PLANTED_WORDS = ("planted", "--trial-timeout", "MemoryError")
"""One of them stands in the error of a trial that failed because it was made to."""

ORPHANS_AFTER_S = 150.0
"""Seconds after a sweep's end from which on a process that outlives its driver is an orphan.

Ray's agents try for a minute to tell a head that was killed of their node's end.
"""


def read_rows(directory: Path) -> pl.DataFrame:
    """Return the rows of finished trials as a reader sees them; none where they cannot be read."""
    try:
        return _frame(RunDirectory.open(directory).read_trials())
    except RlpSweepsError:
        return pl.DataFrame({"trial_id": []}, schema={"trial_id": pl.String})


def read_tables(directory: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the rows of finished trials and those of their evaluations.

    Raises:
        RlpSweepsError: They cannot be read.
    """
    opened = RunDirectory.open(directory)
    return _frame(opened.read_trials()), _frame(opened.read_epochs())


def _frame(table: object) -> pl.DataFrame:
    frame = pl.from_arrow(table)  # type: ignore[arg-type]  # pyarrow is untyped
    assert isinstance(frame, pl.DataFrame)
    return frame


@dataclass(frozen=True, slots=True)
class Reference:
    """The tables of the undisturbed sweep.

    Attributes:
        trials: One row a trial.
        epochs: One row a trial and evaluation.
    """

    trials: pl.DataFrame
    epochs: pl.DataFrame

    @classmethod
    def read(cls, directory: Path) -> "Reference":
        """Return the tables of a sweep."""
        return cls(*read_tables(directory))

    @property
    def trial_ids(self) -> frozenset[str]:
        """The planned trials."""
        return frozenset(self.trials["trial_id"])

    def num_changed(self, trials: pl.DataFrame) -> int:
        """Return how many values of these rows of ``trials`` are not the undisturbed ones."""
        return _num_different(_sound(trials), self.trials, ["trial_id"])

    def num_changed_epochs(self, epochs: pl.DataFrame, trials: pl.DataFrame) -> int:
        """Return how many values of ``epochs`` are others, lack, or are too many."""
        ids = _sound(trials).select("trial_id")
        wanted = self.epochs.join(ids, on="trial_id", how="semi")
        found = epochs.join(ids, on="trial_id", how="semi")
        keys = ["trial_id", "epoch"]
        return _num_different(found, wanted, keys) + abs(len(wanted) - len(found))


def _sound(trials: pl.DataFrame) -> pl.DataFrame:
    """Return the rows but for those of trials that were made to fail."""
    if "status" not in trials.columns:
        return trials
    is_planted = pl.any_horizontal(
        pl.col("error").str.contains(word, literal=True) for word in PLANTED_WORDS
    )
    return trials.filter(~((pl.col("status") == "failed") & is_planted).fill_null(value=False))


def _num_different(found: pl.DataFrame, wanted: pl.DataFrame, keys: list[str]) -> int:
    """Return how many values differ, bit for bit, in rows of the same key."""
    columns = [c for c in found.columns if c not in VOLATILE and c not in keys]
    if not columns:
        return 0
    both = found.join(wanted, on=keys, how="left", suffix="_wanted", nulls_equal=True)
    different = [pl.col(c).ne_missing(pl.col(f"{c}_wanted")).sum() for c in columns]
    return int(sum(both.select(different).row(0)))


def num_twice(directory: Path) -> int:
    """Return how many rows the files of a sweep hold that another one says again."""
    num = 0
    for table, keys in (("trials", ["trial_id"]), ("epochs", ["trial_id", "epoch"])):
        paths = sorted((directory / table).glob("[!.]*.parquet"))
        if paths:
            rows = pl.concat([pl.read_parquet(p, columns=keys) for p in paths])
            num += len(rows) - len(rows.unique())
    return num


def leftovers(directory: Path, driver_pids: Iterable[int]) -> list[str]:
    """Return temporary files and folders that a sweep's end has left."""
    found = [str(p) for p in directory.rglob(".*") if p.name != ".driver.lock"]
    found += [str(p) for p in directory.glob("checkpoints/*")]
    temporary = Path(tempfile.gettempdir())
    sessions = (f"rlp-ray-{pid}-*" for pid in driver_pids)
    return found + [str(path) for name in sessions for path in temporary.glob(name)]


def orphans(known: Collection[Process], marker: str) -> list[Process]:
    """Wait until the processes of ended drivers are gone, and return those that are not.

    Args:
        known: Processes that were seen below the drivers.
        marker: Text in the environment of all.
    """
    deadline = time.monotonic() + ORPHANS_AFTER_S
    while True:
        alive = {p.pid: p for p in [*known, *holding(marker)] if p.is_alive()}
        if not alive or time.monotonic() > deadline:
            return list(alive.values())
        time.sleep(0.2)


def num_runs_off(store: Path, experiment: str, num_rows: int) -> int:
    """Return by how much MLflow's closed and open runs differ from one a row, and the sweep's.

    Args:
        store: SQLite file.
        experiment: The sweep's name.
        num_rows: Trials that have a row.
    """
    with contextlib.closing(sqlite3.connect(store)) as connection:
        runs = dict(
            connection.execute(
                "SELECT status, count(*) FROM runs JOIN experiments USING (experiment_id) "
                "WHERE experiments.name = ? AND runs.lifecycle_stage = 'active' GROUP BY status",
                [experiment],
            )
        )
    num_open = runs.pop("RUNNING", 0)
    return num_open + abs(sum(runs.values()) - num_rows - 1)

"""Everything that a run directory tells about one trial."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from analysis.mirror import local_directories
from analysis.query import scan_tables
from rlp_sweeps.column import Column
from rlp_sweeps.errors import RunDirectoryError
from rlp_sweeps.run_places import chosen_trial
from rlp_sweeps.schema import CONFIG_COLUMNS, METRICS, TRIALS


@dataclass(frozen=True, kw_only=True, slots=True)
class OneTrial:
    """One trial and all its rows.

    Attributes:
        row: Its row of ``trials``.
        epochs: Its rows of ``epochs``, by epoch; empty where there are none.
        probes: Its rows of ``probes``; empty where there are none.
        files: Kept files of this trial: weights, samples, its group's log.
    """

    row: dict[str, Any]
    epochs: pl.DataFrame
    probes: pl.DataFrame
    files: tuple[Path, ...]

    @property
    def settings(self) -> dict[str, Any]:
        """Settings that are not at their schema's default, by name."""
        return {
            column.name: self.row[column.name]
            for column in CONFIG_COLUMNS
            if self.row.get(column.name) not in (None, column.default)
        }

    @property
    def metrics(self) -> dict[str, float]:
        """Metrics that are there, by name."""
        return {name: self.row[name] for name in METRICS if self.row.get(name) is not None}

    @property
    def provenance(self) -> dict[str, Any]:
        """Where, when and how it was trained, by name."""
        return {c.name: self.row[c.name] for c in TRIALS if self._tells_origin(c)}

    def _tells_origin(self, column: Column) -> bool:
        return (
            column.role == "provenance"
            and column.name != "error"
            and self.row.get(column.name) is not None
        )

    def to_json(self) -> dict[str, Any]:
        """Return the rows as they are."""
        return {
            "trial": self.row,
            "epochs": self.epochs.to_dicts(),
            "probes": self.probes.to_dicts(),
            "files": [str(path) for path in self.files],
        }


def read_trial(directory: Path, trial: str) -> OneTrial:
    """Return the trial whose id begins like this.

    Raises:
        RunDirectoryError: The directory holds no tables, or none or several of its trials with a
            row begin so.
        SchemaError: A file is unreadable.
    """
    with local_directories([directory], tables=["trials", "epochs", "probes"]) as (copy,):
        return _read_copy(copy, directory, trial)


def _read_copy(copy: Path, directory: Path, trial: str) -> OneTrial:
    """Return what `read_trial` does of a folder on this machine, given under another name."""
    tables = scan_tables(copy)
    if "trials" not in tables:
        msg = f"a trial to show must have a row, but {directory} has no trials yet."
        raise RunDirectoryError(msg)
    ids = tables["trials"].select(pl.col("trial_id").unique()).collect()["trial_id"]
    trial_id = chosen_trial(ids, trial, directory=directory)
    rows = {name: _rows_of(tables, name, trial_id) for name in ("trials", "epochs", "probes")}
    epochs = rows["epochs"]
    row = rows["trials"].row(0, named=True)
    kept = [directory / "weights" / f"{trial_id}.pt", directory / "samples" / f"{trial_id}.parquet"]
    group_id = row.get("group_id")
    if group_id and "/" not in group_id:
        kept.append(directory / "logs" / f"{group_id}.log")
    return OneTrial(
        row=row,
        epochs=epochs.sort("epoch") if "epoch" in epochs.columns else epochs,
        probes=rows["probes"],
        files=tuple(path for path in kept if path.exists()),
    )


def _rows_of(tables: dict[str, pl.LazyFrame], name: str, trial_id: str) -> pl.DataFrame:
    if name not in tables:
        return pl.DataFrame()
    return tables[name].filter(pl.col("trial_id") == trial_id).collect()

"""The tables of a run directory's trials: one part file a finished trial, gathered in one file.

A trial's epochs are written before its row in ``trials``, so that the row is the mark that the
trial is finished. A part file named after a trial replaces whatever the compacted file says of that
trial.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from rlp_sweeps.errors import RunDirectoryError, SchemaError
from rlp_sweeps.tracking import files, parquet
from rlp_sweeps.tracking.held_directory import HeldDirectory
from rlp_sweeps.tracking.parquet import COMPACTED_NAME

_READ_ATTEMPTS = 10


class TrialTables(HeldDirectory):
    """Rows of ``trials`` and ``epochs`` in a directory."""

    def write_trial(self, trial: Mapping[str, Any], epochs: Sequence[Mapping[str, Any]]) -> None:
        """Write one finished trial, whatever its end; it is visible at once and whole.

        Args:
            trial: Its row in ``trials``, values by column name. Missing and non-finite values
                become null.
            epochs: Its rows in ``epochs``; they replace those of an earlier attempt.

        Raises:
            SchemaError: A column is unknown or mistyped, or a row belongs to another trial.
            OSError: The directory cannot be written, or the disk is full.
        """
        trial_table = parquet.to_table("trials", [trial])
        epoch_table = parquet.to_table("epochs", epochs)
        trial_id = files.checked_name(trial["trial_id"])
        strangers = {row["trial_id"] for row in epochs} - {trial_id}
        if strangers:
            msg = f"epochs of trial {trial_id!r} must carry its id, but got {sorted(strangers)}."
            raise SchemaError(msg)
        numbers = sorted(row["epoch"] for row in epochs)
        if len(set(numbers)) < len(numbers):
            msg = f"trial {trial_id!r} must have one row an evaluation, but got epochs {numbers}."
            raise SchemaError(msg)
        parquet.write_part(epoch_table, self._part("epochs", trial_id))
        parquet.write_part(trial_table, self._part("trials", trial_id))

    def finished_trials(self) -> dict[str, str]:
        """Return the status of every finished trial, by trial id.

        Raises:
            SchemaError: A part file is corrupt; the message names it.
        """
        rows = self._read("trials", columns=("trial_id", "status"))
        ids, statuses = rows["trial_id"].to_pylist(), rows["status"].to_pylist()
        return dict(zip(ids, statuses, strict=True))

    def read_trials(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Return one row a finished trial, in the schema of ``trials``.

        Args:
            columns: Columns to read; all where missing.

        Raises:
            SchemaError: A part file is corrupt; the message names it.
        """
        return self._read("trials", columns=columns)

    def read_epochs(self) -> pa.Table:
        """Return one row a finished trial and evaluation, sorted by trial and epoch.

        Raises:
            SchemaError: A part file is corrupt; the message names it.
        """
        finished = pa.array(list(self.finished_trials()), pa.string())
        rows = self._read("epochs")
        rows = rows.filter(pc.is_in(rows["trial_id"], value_set=finished))
        return rows.sort_by([("trial_id", "ascending"), ("epoch", "ascending")])

    def read_ended(
        self, trial_ids: Sequence[str], *, epoch_columns: Sequence[str]
    ) -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
        """Return the rows of those of these trials that have a part file of their own.

        Args:
            trial_ids: Trials to look for.
            epoch_columns: Columns of ``epochs`` to read.

        Returns:
            A row of ``trials`` and its rows of ``epochs`` for each.

        Raises:
            SchemaError: A part file is corrupt; the message names it.
        """
        found = [self._part("trials", i) for i in trial_ids]
        trials = parquet.read_files("trials", found, skips_absent=True).to_pylist()
        parts = [self._part("epochs", row["trial_id"]) for row in trials]
        columns = ["trial_id", *epoch_columns]
        epochs: dict[str, list[dict[str, Any]]] = {row["trial_id"]: [] for row in trials}
        for row in parquet.read_files("epochs", parts, columns=columns).to_pylist():
            epochs[row.pop("trial_id")].append(row)
        return [(row, epochs[row["trial_id"]]) for row in trials]

    def compact(self) -> None:
        """Gather the part files of each table in one sorted file.

        A reader sees every row at every instant: the new file is moved into place before the parts
        go, and for a moment both say the same. An interrupted compaction is finished by the next.
        Parts of trials that have no row yet stay as they are.

        Raises:
            SchemaError: A part file is corrupt; the message names it.
            RunDirectoryError: Another driver has taken over.
            OSError: The directory cannot be written, or the disk is full.
        """
        finished = set(self.finished_trials())
        for table in ("epochs", "trials"):  # while a trial's epochs are a part, so is its row
            parts = files.fingerprints(self._parts(table, finished))
            if parts:
                self._gather(table, list(parts))
            files.remove_unchanged(parts)  # a part that was rewritten meanwhile stays
        self.remove_temporary_files()

    def _gather(self, table: str, parts: Sequence[Path]) -> None:
        """Write what the parts and the compacted file say into a compacted file."""
        path = self._compacted(table)
        known = files.fingerprints([path]).get(path)
        rows = self._merge(table, parts)
        self.check_held()
        try:
            parquet.write_compacted(table, rows, path, known=known)
        except FileExistsError as error:
            msg = f"{path} must stay with one driver, but another one has written it meanwhile."
            raise RunDirectoryError(msg) from error

    def _part(self, table: str, trial_id: str) -> Path:
        return self.path / table / f"{files.checked_name(trial_id)}.parquet"

    def _compacted(self, table: str) -> Path:
        return self.path / table / COMPACTED_NAME

    def _parts(self, table: str, trial_ids: set[str] | None = None) -> list[Path]:
        return [
            path
            for path in parquet.part_paths(self.path / table)
            if path.name != COMPACTED_NAME and (trial_ids is None or path.stem in trial_ids)
        ]

    def _read(self, table: str, *, columns: Sequence[str] | None = None) -> pa.Table:
        for _ in range(_READ_ATTEMPTS):
            try:
                return self._merge(table, self._parts(table), columns=columns)
            except FileNotFoundError:
                continue  # compacted between listing and reading
        msg = f"{self.path / table} changes while it is read; read it again."
        raise RunDirectoryError(msg)

    def _merge(
        self, table: str, parts: Sequence[Path], *, columns: Sequence[str] | None = None
    ) -> pa.Table:
        """Return the rows of the parts, and of the compacted file where no part replaces them.

        The compacted file is read whole, so that a changed bit of it is found in any column.
        """
        new = parquet.read_files(table, parts, columns=columns)
        compacted = [path for path in [self._compacted(table)] if path.exists()]
        old = parquet.read_files(table, compacted).select(new.column_names)
        replaced = pa.array([path.stem for path in parts], pa.string())
        kept = old.filter(pc.invert(pc.is_in(old["trial_id"], value_set=replaced)))
        return pa.concat_tables([kept, new])

"""A run directory: everything one sweep leaves behind, readable by any tool.

    manifest.json       what was planned; follow-ups add to it
    trials/*.parquet    one row a trial          <trial_id>.parquet, or 0-compacted.parquet
    epochs/*.parquet    one row a trial and evaluation
    checkpoints/        kept while a trial can still need them
    weights/*.pt        trained weights, where they are kept (`kept_weights`)
    probes/*.parquet    what probes found in them (`probe_rows`)
    driver.json         who is at work here, while somebody is (`holder`)
    samples/*.parquet   what networks say of every sample, where that is kept (`sample_rows`)
    corrupt/            part files that could not be read, moved aside (`corrupt_parts`)

A trial's epochs are written before its row in ``trials``, so that the row is the mark that the
trial is finished. A part file named after a trial replaces whatever the compacted file says of that
trial. Opening and reading never change a file: a sweep may be at work in the same directory.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
import pyarrow.compute as pc

from rlp_sweeps.config import TrialConfig
from rlp_sweeps.containment import check_links
from rlp_sweeps.errors import RunDirectoryError, SchemaError
from rlp_sweeps.stores import is_remote
from rlp_sweeps.tracking import files, holder, locks, parquet
from rlp_sweeps.tracking.data_fingerprint import check_same_data, data_of
from rlp_sweeps.tracking.holder import Holder
from rlp_sweeps.tracking.manifest import (
    build_manifest,
    check_manifest,
    code_version,
    extend_manifest,
)
from rlp_sweeps.tracking.parquet import COMPACTED_NAME

__all__ = ["COMPACTED_NAME", "FOLDERS", "RunDirectory", "build_manifest", "code_version"]

FOLDERS = ("trials", "epochs", "checkpoints")
"""Subfolders that a run directory is created with."""

_FURTHER_FOLDERS = ("probes", "weights", "samples")
_MANIFEST_NAME = "manifest.json"
_LOCK_NAME = ".driver.lock"
_STALE_AFTER_S = 600.0
_READ_ATTEMPTS = 10


class RunDirectory:
    """One sweep's directory. Pickles as its path, so that workers get it for free.

    Attributes:
        path: Absolute path of the directory, or one in a store (`stores.as_path`).
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: locks.Lock | None = None

    def __repr__(self) -> str:
        return f"RunDirectory({str(self.path)!r})"

    def __reduce__(self) -> tuple[Callable[[Path], Self], tuple[Path]]:
        return type(self), (self.path,)

    @classmethod
    def create(cls, path: str | Path, manifest: Mapping[str, Any]) -> Self:
        """Return the directory of a sweep, new or, where it holds the same plan, as it is.

        A directory that is refused is left as it was.

        Args:
            path: A folder, whose parents are created, or ``s3://BUCKET/PREFIX``.
            manifest: As `build_manifest` returns it; an existing one of the same plan is kept.

        Raises:
            RunDirectoryError: The path holds another sweep or other files, or cannot be written.
        """
        folder = files.run_path(path)
        directory = cls(folder)
        try:
            if (folder / _MANIFEST_NAME).exists():
                directory = cls.open(folder)
                check_links(folder)
                directory._check_same_plan(manifest)
            else:
                _check_free(folder)
            directory._lay_out(manifest)
        except OSError as error:
            raise _not_writable(folder, error) from error
        directory.remove_temporary_files()
        return directory

    def _check_same_plan(self, manifest: Mapping[str, Any]) -> None:
        if self.manifest.get("plan_id") != manifest["plan_id"]:
            msg = (
                f"{self.path} holds another sweep ({self.manifest.get('sweep_name')!r} of "
                f"{self.manifest.get('created_at')}); choose another --output or resume it."
            )
            raise RunDirectoryError(msg)
        self.check_same_data(data_of(manifest))

    def check_same_data(self, current: Mapping[str, str]) -> None:
        """Refuse to mix rows of this sweep with those of other data under the same name.

        Args:
            current: Fingerprint by data set of what is trained on now (`data_fingerprint`); data
                sets that are not in it are taken to be what their name says.

        Raises:
            RunDirectoryError: A data set has other content than the manifest records, or none is
                recorded.
        """
        check_same_data(current, data_of(self.manifest), where=self.path)

    def _lay_out(self, manifest: Mapping[str, Any]) -> None:
        with ExitStack() as stack:
            inner = () if is_remote(self.path) else (self.path / name for name in FOLDERS)
            for folder in (self.path, *inner):
                stack.enter_context(files.new_folder(folder))
                files.check_writable(folder)
            if not (self.path / _MANIFEST_NAME).exists():
                self._write_manifest(manifest)

    def _write_manifest(self, manifest: Mapping[str, Any]) -> None:
        text = json.dumps(manifest, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        files.write_text_atomically(self.path / _MANIFEST_NAME, text)

    def add_trials(
        self,
        configs: Iterable[TrialConfig],
        *,
        why: str,
        extends: Mapping[str, Any] | None = None,
    ) -> None:
        """Plan trials of a follow-up or an extension: the manifest holds them from now on.

        Args:
            configs: New trials; those that are planned already are left out.
            why: What they are for, one sentence.
            extends: What an extension adds to the search space; None for a follow-up.

        Raises:
            RunDirectoryError: The directory cannot be written, or another process holds it.
        """
        with self.held():
            self.__dict__.pop("manifest", None)  # another process may have extended it
            extended = extend_manifest(self.manifest, configs, why=why, extends=extends)
            try:
                self._write_manifest(extended)
            except OSError as error:
                raise _not_writable(self.path, error) from error
            self.__dict__["manifest"] = extended

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Return an existing run directory.

        Raises:
            RunDirectoryError: It is absent, has no readable manifest, or a newer schema version.
        """
        folder = files.run_path(path)
        if not folder.is_dir():
            msg = f"a run directory must exist, but there is no folder {folder}."
            raise RunDirectoryError(msg)
        directory = cls(folder)
        check_manifest(directory.manifest, where=folder / _MANIFEST_NAME)
        return directory

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """What was planned, as `build_manifest` wrote it.

        Raises:
            RunDirectoryError: The manifest is absent or is no JSON object.
        """
        path = self.path / _MANIFEST_NAME
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            msg = f"{self.path} is no run directory: it has no {_MANIFEST_NAME}."
            raise RunDirectoryError(msg) from error
        except (OSError, ValueError) as error:
            msg = f"{path} must be readable JSON, but it is not: {error}."
            raise RunDirectoryError(msg) from error
        if not isinstance(content, dict):
            msg = f"{path} must hold a JSON object, but got {type(content).__name__}."
            raise RunDirectoryError(msg)
        return content

    @contextmanager
    def held(self) -> Iterator[Holder]:
        """Hold the directory for the driver of its sweep; readers are not kept out.

        Yields:
            This process, as the directory names it.

        Raises:
            RunDirectoryError: The driver of another process holds it, or a link leads out of it.
        """
        check_links(self.path)
        with locks.locked(self.path / _LOCK_NAME) as lock:
            if not lock.is_ours:
                raise self._in_use(f"`rlp-sweeps cancel {self.path}` asks it to stop")
            if self._is_held_elsewhere(is_writing=True):
                wait_s = holder.LOST_AFTER_S
                raise self._in_use(f"where it was killed, this is known {wait_s:g} s afterwards")
            self._lock = lock
            try:
                with holder.signed(self.path) as this:
                    yield this
            finally:
                self._lock = None

    def is_held(self) -> bool:
        """Return whether a driver, of this or another process, holds the directory now."""
        return locks.is_locked(self.path / _LOCK_NAME) or self._is_held_elsewhere()

    def _is_held_elsewhere(self, *, is_writing: bool = False) -> bool:
        """Return whether a machine that does not share this one's locks is at work here."""
        signed = holder.read_holder(self.path)
        if signed is None or signed.is_here:
            return False
        now = holder.time_there(self.path) if is_writing else None
        return holder.lost_holder(self.path, now=now) is None

    def _in_use(self, way_out: str) -> RunDirectoryError:
        signed = holder.read_holder(self.path)
        who = "another process" if signed is None else str(signed)
        msg = (
            f"one process at a time runs a sweep, but {who} runs the one in {self.path}; wait for "
            f"its end: {way_out}."
        )
        return RunDirectoryError(msg)

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

    def read_trials(self) -> pa.Table:
        """Return one row a finished trial, in the schema of ``trials``.

        Raises:
            SchemaError: A part file is corrupt; the message names it.
        """
        return self._read("trials")

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

    def check_held(self) -> None:
        """Refuse to go on where this process was the driver and another one has taken over.

        Raises:
            RunDirectoryError: It has; in a store, where this one gave no sign of life for long.
        """
        if self._lock is not None:
            self._lock.check()

    def remove_temporary_files(self, *, before: float | None = None) -> int:
        """Remove what killed writers left behind, and return how many files.

        Args:
            before: Files of trials dated until then go: the start of the driver at work. Where
                missing, files of all kinds that are older than ten minutes: a writer may be at
                work. Those dated as much ahead go in either case.
        """
        if is_remote(self.path):
            return 0  # nothing is ever written there under another name
        now = holder.time_there(self.path)
        names = (*FOLDERS, *_FURTHER_FOLDERS) if before is None else FOLDERS
        limit = now - _STALE_AFTER_S if before is None else before
        return sum(
            files.remove_temporary_files(folder, before=limit, after=now + _STALE_AFTER_S)
            for folder in [self.path, *(self.path / name for name in names)]
        )

    def checkpoint_path(self, group_id: str) -> Path:
        """Return where the checkpoint of a group of trials is kept."""
        return self.path / "checkpoints" / f"{files.checked_name(group_id)}.pt"

    def remove_checkpoint(self, group_id: str) -> None:
        """Remove the checkpoint of a group that needs it no more; none is fine."""
        self.checkpoint_path(group_id).unlink(missing_ok=True)

    def _part(self, table: str, trial_id: str) -> Path:
        return self.path / table / f"{files.checked_name(trial_id)}.parquet"

    def _compacted(self, table: str) -> Path:
        return self.path / table / COMPACTED_NAME

    def _parts(self, table: str, trial_ids: set[str] | None = None) -> list[Path]:
        paths = (self.path / table).glob("[!.]*.parquet")
        return sorted(
            path
            for path in paths
            if path.name != COMPACTED_NAME and (trial_ids is None or path.stem in trial_ids)
        )

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
        """Return the rows of the parts, and of the compacted file where no part replaces them."""
        new = parquet.read_files(table, parts, columns=columns)
        compacted = [path for path in [self._compacted(table)] if path.exists()]
        old = parquet.read_files(table, compacted, columns=columns)
        replaced = pa.array([path.stem for path in parts], pa.string())
        kept = old.filter(pc.invert(pc.is_in(old["trial_id"], value_set=replaced)))
        return pa.concat_tables([kept, new])


def _check_free(folder: Path) -> None:
    if not folder.exists():
        return
    if not folder.is_dir():
        msg = f"a run directory must be a folder, but {folder} is a file; choose another --output."
        raise RunDirectoryError(msg)
    foreign = sorted(path.name for path in folder.iterdir() if not _is_ours(path))
    if foreign:
        msg = (
            f"a new run directory must be empty, but {folder} holds {foreign[:3]} and no "
            f"{_MANIFEST_NAME}; choose another --output."
        )
        raise RunDirectoryError(msg)


def _is_ours(path: Path) -> bool:
    """Return whether a creation that was interrupted may have left this."""
    if path.name in FOLDERS and path.is_dir():
        return all(files.is_temporary(entry) for entry in path.iterdir())
    return files.is_temporary(path)


def _not_writable(folder: Path, error: OSError) -> RunDirectoryError:
    reason = error.strerror or str(error)
    msg = f"{folder} must be writable, but it is not ({reason}); choose another --output."
    return RunDirectoryError(msg)

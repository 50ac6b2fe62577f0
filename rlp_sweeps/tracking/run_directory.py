"""A run directory: everything one sweep leaves behind, readable by any tool.

    manifest.json       what was planned; follow-ups add to it
    trials/*.parquet    one row a trial          <trial_id>.parquet, or 0-compacted.parquet
    epochs/*.parquet    one row a trial and evaluation
    checkpoints/        kept while a trial can still need them
    weights/*.pt        trained weights, where they are kept (`kept_weights`)
    probes/*.parquet    what probes found in them (`probe_rows`)
    driver.json         who is at work here, while somebody is (`holder`); not in a store
    samples/*.parquet   what networks say of every sample, where that is kept (`sample_rows`)
    logs/*.log          what groups tell of themselves (`group_log`)
    corrupt/            part files that could not be read, moved aside (`corrupt_parts`)

Opening and reading never change a file: a sweep may be at work in the same directory. Its parts by
matter: who holds it (`held_directory`), the rows of its trials (`trial_tables`), and here what was
planned.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from rlp_sweeps.config import TrialConfig
from rlp_sweeps.containment import check_links
from rlp_sweeps.errors import RunDirectoryError
from rlp_sweeps.run_places import absent_directory, foreign_directory
from rlp_sweeps.stores import is_remote
from rlp_sweeps.tracking import files
from rlp_sweeps.tracking.data_fingerprint import check_same_data, data_of
from rlp_sweeps.tracking.held_directory import FOLDERS
from rlp_sweeps.tracking.manifest import (
    build_manifest,
    check_manifest,
    code_version,
    extend_manifest,
)
from rlp_sweeps.tracking.parquet import COMPACTED_NAME
from rlp_sweeps.tracking.trial_tables import TrialTables

__all__ = ["COMPACTED_NAME", "FOLDERS", "RunDirectory", "build_manifest", "code_version"]

_MANIFEST_NAME = "manifest.json"


class RunDirectory(TrialTables):
    """One sweep's directory. Pickles as its path, so that workers get it for free.

    Attributes:
        path: Absolute path of the directory, or one in a store (`stores.as_path`).
    """

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

    @staticmethod
    def is_one(path: str | Path) -> bool:
        """Return whether there is a run directory, whatever it holds."""
        return (files.run_path(path) / _MANIFEST_NAME).exists()

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

    def set_setting(self, name: str, value: str | bool) -> None:
        """Have the manifest say from now on how the sweep is carried out.

        To be called while this process holds the directory.

        Raises:
            RunDirectoryError: The directory cannot be written.
        """
        self.__dict__.pop("manifest", None)  # another process may have extended it
        settings = self.manifest.get("settings", {})
        if settings.get(name) == value:
            return
        changed = {**self.manifest, "settings": {**settings, name: value}}
        try:
            self._write_manifest(changed)
        except OSError as error:
            raise _not_writable(self.path, error) from error
        self.__dict__["manifest"] = changed

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Return an existing run directory.

        Raises:
            RunDirectoryError: It is absent, has no readable manifest, or a newer schema version.
        """
        folder = files.run_path(path)
        if not folder.is_dir():
            raise RunDirectoryError(absent_directory(folder))
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
            raise RunDirectoryError(foreign_directory(self.path)) from error
        except (OSError, ValueError) as error:
            msg = (
                f"{path} must be readable JSON, but it is not ({error}); restore it from a "
                "copy, or run the sweep anew in another directory."
            )
            raise RunDirectoryError(msg) from error
        if not isinstance(content, dict):
            msg = f"{path} must hold a JSON object, but got {type(content).__name__}."
            raise RunDirectoryError(msg)
        return content

    def checkpoint_path(self, group_id: str) -> Path:
        """Return where the checkpoint of a group of trials is kept."""
        return self.path / "checkpoints" / f"{files.checked_name(group_id)}.pt"

    def log_path(self, group_id: str) -> Path:
        """Return where the log of a group of trials is kept."""
        return self.path / "logs" / f"{files.checked_name(group_id)}.log"

    def remove_checkpoint(self, group_id: str) -> None:
        """Remove the checkpoint of a group that needs it no more; none is fine."""
        self.checkpoint_path(group_id).unlink(missing_ok=True)


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

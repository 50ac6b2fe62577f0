"""A directory that one driver at a time holds, and what killed writers left in it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rlp_sweeps.containment import check_links
from rlp_sweeps.errors import RunDirectoryError
from rlp_sweeps.stores import is_remote
from rlp_sweeps.tracking import files, holder, locks
from rlp_sweeps.tracking.driver_process import Holder
from rlp_sweeps.tracking.store_lock import LOCK_NAME

FOLDERS = ("trials", "epochs", "checkpoints")
"""Subfolders that a run directory is created with."""

_FURTHER_FOLDERS = ("probes", "weights", "samples", "logs")
_STALE_AFTER_S = 600.0


class HeldDirectory:
    """A run directory as drivers share it.

    Attributes:
        path: Absolute path of the directory, or one in a store (`stores.as_path`).
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: locks.Lock | None = None

    @contextmanager
    def held(self) -> Iterator[Holder]:
        """Hold the directory for the driver of its sweep; readers are not kept out.

        Yields:
            This process, as the directory names it.

        Raises:
            RunDirectoryError: The driver of another process holds it, or a link leads out of it.
        """
        check_links(self.path)
        with locks.locked(self.path / LOCK_NAME) as lock:
            if not lock.is_ours:
                raise self._in_use(f"`rlp-sweeps cancel {self.path}` asks it to stop")
            if self._is_held_elsewhere(is_writing=True):
                wait_s = holder.LOST_AFTER_S
                raise self._in_use(f"where it was killed, this is known {wait_s:g} s afterwards")
            self._lock = lock
            try:
                with holder.signed(self.path, lock.holder) as this:
                    yield this
            finally:
                self._lock = None

    def is_held(self) -> bool:
        """Return whether a driver, of this or another process, holds the directory now."""
        return locks.is_locked(self.path / LOCK_NAME) or self._is_held_elsewhere()

    def _is_held_elsewhere(self, *, is_writing: bool = False) -> bool:
        """Return whether a machine that does not share this one's locks is at work here."""
        if is_remote(self.path):
            return False  # all machines share that lock
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
            before: Files of groups dated until then go: the start of the driver at work. Where
                missing, files of all kinds that are older than ten minutes: a writer may be at
                work. Those dated as much ahead go in either case.
        """
        if is_remote(self.path):
            return 0  # nothing is ever written there under another name
        now = holder.time_there(self.path)
        names = (*FOLDERS, *_FURTHER_FOLDERS) if before is None else (*FOLDERS, "logs")
        limit = now - _STALE_AFTER_S if before is None else before
        return sum(
            files.remove_temporary_files(folder, before=limit, after=now + _STALE_AFTER_S)
            for folder in [self.path, *(self.path / name for name in names)]
        )

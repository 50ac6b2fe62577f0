"""The lock by which a driver holds a run directory: ``flock``, or in a store an object."""

import errno
import fcntl
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rlp_sweeps.errors import RunDirectoryError
from rlp_sweeps.stores import is_remote
from rlp_sweeps.tracking.driver_process import Holder
from rlp_sweeps.tracking.store_lock import Seen, read_lock, take_lock

_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)


def is_locked(path: Path) -> bool:
    """Return whether somebody holds the lock; nothing is written."""
    if is_remote(path):
        seen = read_lock(path)
        return seen is not None and seen.is_held
    try:
        handle = os.open(path, os.O_RDONLY)
    except (FileNotFoundError, NotADirectoryError):
        return False
    try:
        return not _flock(path, handle, fcntl.LOCK_SH)
    finally:
        os.close(handle)


@dataclass(frozen=True, kw_only=True, slots=True)
class Lock:
    """A lock that was asked for.

    Attributes:
        is_ours: This process holds it.
        holder: Who holds it; None where the lock does not tell.
        check: Raises ``RunDirectoryError`` where it was lost; a local one cannot be.
    """

    is_ours: bool
    holder: Holder | None = None
    check: Callable[[], None] = lambda: None


@contextmanager
def locked(path: Path) -> Iterator[Lock]:
    """Hold a lock for the length of the block, if nobody else does; a killed holder holds nothing.

    Where another process takes over a lock in a store, this one is interrupted, as by Ctrl-C.

    Raises:
        RunDirectoryError: The file system has no working locks.
        OSError: The file cannot be created.
    """
    if is_remote(path):
        taken = take_lock(path, on_loss=_interrupt)
        if isinstance(taken, Seen):
            yield Lock(is_ours=False, holder=taken.holder)
            return
        try:
            yield Lock(is_ours=True, holder=taken.holder, check=taken.check)
        finally:
            taken.release()
        return
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        yield Lock(is_ours=_flock(path, handle, fcntl.LOCK_EX))
    finally:
        os.close(handle)


def _interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def _flock(path: Path, handle: int, kind: int) -> bool:
    """Return whether the lock was had."""
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        msg = (
            f"the file system of {path.parent} must have working locks (flock), but it has not "
            f"({error.strerror}); mount it with them (NFS: version 4, or lockd), or choose another."
        )
        raise RunDirectoryError(msg) from error
    return True

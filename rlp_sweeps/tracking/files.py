"""Every touch of the file system that a run directory needs: atomic writes and their leftovers.

A file appears under its name whole or not at all: it is written under a temporary name in the same
folder and moved. A temporary name begins with a dot and ends in ``.tmp``, so that no reader of
``*.parquet`` ever sees one.
"""

import fcntl
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rlp_sweeps.errors import RunDirectoryError, SchemaError

_TEMPORARY_SUFFIX = ".tmp"


def local_path(path: str | Path) -> Path:
    """Return a local path as absolute, ``~`` expanded.

    Raises:
        RunDirectoryError: `path` is a URI.
    """
    if "://" in str(path):
        msg = (
            f"a run directory must be a local or mounted path, but got {str(path)!r}; "
            "mount the store and give the path of the mount."
        )
        raise RunDirectoryError(msg)
    return Path(path).expanduser().absolute()


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Write a file so that it appears under its name whole, or not at all.

    Args:
        path: The file; replaced where it exists.
        write: Writes the content to the path it is given.

    Raises:
        OSError: The folder cannot be written, or the disk is full; nothing is left behind.
    """
    temporary = path.parent / f".{path.name}.{uuid.uuid4().hex[:12]}{_TEMPORARY_SUFFIX}"
    try:
        write(temporary)
        _flush_to_disk(temporary)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _flush_to_disk(path.parent)


def write_text_atomically(path: Path, text: str) -> None:
    """Write a text in UTF-8; see `write_atomically`."""

    def write(temporary: Path) -> None:
        temporary.write_text(text, encoding="utf-8")

    write_atomically(path, write)


def copy_atomically(source: Path, path: Path) -> None:
    """Copy a file's content; see `write_atomically`."""

    def write(temporary: Path) -> None:
        shutil.copyfile(source, temporary)

    write_atomically(path, write)


def checked_name(name: str) -> str:
    """Return an id that a file is named after.

    Raises:
        SchemaError: It would name another folder, a hidden file or that of a whole table.
    """
    if not name or name.startswith((".", "0-")) or set(name) & set("/\\\0"):
        msg = f"an id must be usable as a file name, but got {name!r}."
        raise SchemaError(msg)
    return name


def fingerprint(path: Path) -> tuple[int, int, int]:
    """Return what changes when a file is written again."""
    state = path.stat()
    return state.st_ino, state.st_mtime_ns, state.st_size


def _flush_to_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def is_temporary(path: Path) -> bool:
    """Return whether the name is one that `write_atomically` writes under."""
    return path.name.startswith(".") and path.name.endswith(_TEMPORARY_SUFFIX)


def remove_temporary_files(folder: Path, *, before: float, after: float) -> int:
    """Remove what writers that were killed left in a folder, and return how many files.

    Args:
        folder: Looked through without its subfolders.
        before: Files dated until then are removed, in seconds since 1970 by the folder's clock.
        after: So are those dated later than this, which a clock that was set back has left;
            between the two a writer may still be at work.
    """
    num_removed = 0
    for path in folder.glob(f".*{_TEMPORARY_SUFFIX}"):
        try:
            if not before < path.stat().st_mtime <= after:
                path.unlink()
                num_removed += 1
        except FileNotFoundError:
            continue  # its writer has moved it meanwhile
    return num_removed


@contextmanager
def new_folder(path: Path) -> Iterator[None]:
    """Create a folder and its parents; should the block fail, remove those created.

    Raises:
        OSError: A folder cannot be created.
    """
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    created: list[Path] = []
    try:
        for folder in reversed(missing):
            folder.mkdir(exist_ok=True)
            created.append(folder)
        yield
    except BaseException:
        for folder in reversed(created):
            _remove_if_empty(folder)
        raise


def _remove_if_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:
        return  # another process has put something there


def is_locked(path: Path) -> bool:
    """Return whether somebody holds the lock; nothing is written."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


@contextmanager
def locked(path: Path) -> Iterator[bool]:
    """Yield whether this process is the one that holds the lock; a killed holder holds nothing.

    Raises:
        OSError: The file cannot be created.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        is_ours = True
    except BlockingIOError:
        is_ours = False
    try:
        yield is_ours
    finally:
        os.close(handle)


def check_writable(folder: Path) -> None:
    """Write a probe file and remove it.

    Permission bits alone say too little: root ignores them, a read-only mount has others.

    Raises:
        OSError: The folder cannot be written.
    """
    probe = folder / f".probe.{uuid.uuid4().hex[:12]}{_TEMPORARY_SUFFIX}"
    try:
        probe.write_bytes(b"probe")
    finally:
        probe.unlink(missing_ok=True)

"""Every touch of the file system that a run directory needs: atomic writes and their leftovers.

A file appears under its name whole or not at all: it is written under a temporary name in the same
folder and moved. A temporary name begins with a dot and ends in ``.tmp``, so that no reader of
``*.parquet`` ever sees one. In a store it is written aside on this machine and sent by one PUT.
"""

import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from rlp_sweeps.errors import SchemaError
from rlp_sweeps.stores import (
    IF_ABSENT,
    MAX_PUT_BYTES,
    Condition,
    absolute_path,
    as_path,
    check_store,
    if_still,
    is_remote,
    put,
    store_of,
)
from rlp_sweeps.tracking.store_lock import check_conditions

Fingerprint = tuple[int | str, ...]
"""What changes when a file is written again; in a store its ETag."""

_TEMPORARY_SUFFIX = ".tmp"
_FOLDER_MARK = ".folder"
_FILES_AT_ONCE = 64


def run_path(path: str | Path) -> Path:
    """Return where a run directory is: an absolute path, ``~`` expanded, or one in a store.

    Raises:
        RunDirectoryError: `path` is a URI of no store that is known, or that does not answer.
    """
    where = absolute_path(as_path(path))
    check_store(where)
    return where


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Write a file so that it appears under its name whole, or not at all.

    Args:
        path: The file; replaced where it exists.
        write: Writes the content to the path it is given.

    Raises:
        OSError: The folder cannot be written, or the disk is full; nothing is left behind.
    """
    if is_remote(path):
        _write_to_store(path, write)
        return
    temporary = path.parent / f".{path.name}.{uuid.uuid4().hex[:12]}{_TEMPORARY_SUFFIX}"
    try:
        write(temporary)
        _flush_to_disk(temporary)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _flush_to_disk(path.parent)


def _write_to_store(
    path: Path, write: Callable[[Path], None], *, condition: Condition | None = None
) -> None:
    with tempfile.TemporaryDirectory(prefix="rlp-put-") as folder:
        temporary = Path(folder) / path.name
        write(temporary)
        if temporary.stat().st_size <= MAX_PUT_BYTES:
            put(path, temporary.read_bytes(), condition=condition)
        else:
            store, name = store_of(path)
            store.put_file(str(temporary), name)


def replace_atomically(
    path: Path, write: Callable[[Path], None], *, known: Fingerprint | None
) -> None:
    """Write a file as `write_atomically` does, in a store only if nobody else has meanwhile.

    On a local path the lock of the directory, which its holder cannot lose, sees to that.

    Args:
        path: The file.
        write: Writes the content to the path it is given.
        known: The file as it was read; None where there was none.

    Raises:
        FileExistsError: It is another one by now.
        OSError: The folder cannot be written, or the disk is full; nothing is left behind.
    """
    if not is_remote(path):
        write_atomically(path, write)
    else:
        condition = IF_ABSENT if known is None else if_still(str(known[0]))
        _write_to_store(path, write, condition=condition)


def write_text_atomically(path: Path, text: str) -> None:
    """Write a text in UTF-8; see `write_atomically`."""

    def write(temporary: Path) -> None:
        temporary.write_text(text, encoding="utf-8")

    write_atomically(path, write)


def copy_atomically(source: Path, path: Path) -> None:
    """Copy a file's content; see `write_atomically`."""

    def write(temporary: Path) -> None:
        if is_remote(source):
            temporary.write_bytes(source.read_bytes())
        else:
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


def move_file(path: Path, target: Path) -> None:
    """Move a file into a folder of the same run directory, which is created where it is missing.

    In a store it is copied and then removed, so that for a moment it is in both places.

    Raises:
        OSError: The directory cannot be written.
    """
    if not is_remote(path):
        make_parent(target)
        os.replace(path, target)
        return
    store, name = store_of(path)
    store.cp_file(name, store_of(target)[1])
    store.rm_file(name)


def fingerprints(paths: Collection[Path]) -> dict[Path, Fingerprint]:
    """Return what changes when a file is written again, of those files that exist.

    Args:
        paths: Files of one folder.
    """
    found: dict[Path, Fingerprint] = {}
    remote = [path for path in paths if is_remote(path)]
    for path in (path for path in paths if not is_remote(path)):
        with suppress(FileNotFoundError):
            state = path.stat()
            found[path] = (state.st_ino, state.st_mtime_ns, state.st_size)
    if remote:
        tags = _etags(remote[0].parent)
        found |= {path: (tags[path.name],) for path in remote if path.name in tags}
    return found


def _etags(folder: Path) -> dict[str, str]:
    """Return the ETags of a folder's files by name, in a store."""
    store, name = store_of(folder)
    try:
        entries = store.ls(name, detail=True, refresh=True)
    except FileNotFoundError:
        return {}
    return {e["name"].rpartition("/")[2]: e["ETag"] for e in entries if e["type"] == "file"}


def remove_unchanged(seen: Mapping[Path, Fingerprint]) -> None:
    """Remove those files of one folder that are still what they were; in a store by few requests.

    Args:
        seen: Files as `fingerprints` returned them.
    """
    remote = {path: print_ for path, print_ in seen.items() if is_remote(path)}
    if remote:
        now = fingerprints(remote)
        unchanged = [path for path, print_ in remote.items() if now.get(path) == print_]
        store, _ = store_of(next(iter(remote)))
        if unchanged:
            store.rm([store_of(path)[1] for path in unchanged])
    for path in (path for path in seen if path not in remote):
        if fingerprints([path]) == {path: seen[path]}:
            path.unlink()


def read_all(paths: Sequence[Path]) -> Iterator[tuple[Path, bytes | None]]:
    """Yield files of a store with their content, many at once; None where there is none."""
    for start in range(0, len(paths), _FILES_AT_ONCE):
        block = paths[start : start + _FILES_AT_ONCE]
        store, _ = store_of(block[0])
        names = [store_of(path)[1] for path in block]
        contents = store.cat(names, on_error="return")
        for path, name in zip(block, names, strict=True):
            content = contents[name]
            if isinstance(content, FileNotFoundError):
                yield path, None
            elif isinstance(content, Exception):
                raise content
            else:
                yield path, content


@contextmanager
def local_file(path: Path) -> Iterator[Path]:
    """Yield a file of this machine with a file's content and name: itself, or a copy of an object.

    Raises:
        OSError: It cannot be read.
    """
    if not is_remote(path):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="rlp-get-") as folder:
        copy = Path(folder) / path.name
        copy.write_bytes(path.read_bytes())
        yield copy


def make_parent(path: Path) -> None:
    """Create the folder of a file, where there are folders; its own parent exists."""
    if not is_remote(path):
        path.parent.mkdir(exist_ok=True)


def make_folder(folder: Path) -> None:
    """Create a folder that says something by being there; in a store it holds an empty file."""
    if is_remote(folder):
        put(folder / _FOLDER_MARK, b"")
    else:
        folder.mkdir(exist_ok=True)


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
    if is_remote(folder):
        return 0  # nothing is ever written there under another name
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
    if is_remote(path):  # a store has no folders
        yield
        return
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


def check_writable(folder: Path) -> None:
    """Write a probe file and remove it.

    Permission bits alone say too little: root ignores them, a read-only mount has others.

    Raises:
        RunDirectoryError: It is in a store that ignores conditions of a PUT.
        OSError: The folder cannot be written.
    """
    probe = folder / f".probe.{uuid.uuid4().hex[:12]}{_TEMPORARY_SUFFIX}"
    if is_remote(folder):
        check_conditions(probe)
        return
    try:
        probe.write_bytes(b"probe")
    finally:
        probe.unlink(missing_ok=True)

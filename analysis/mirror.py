"""Run directories in a store, read on this machine.

Tables are scanned lazily, and an object that is scanned piece by piece may be replaced between two
pieces. So whatever tables are asked for are brought to a temporary folder first, each object whole
by one request, as many at once as fit: memory holds a few objects at a time, and the folder is
removed with the block. Local directories are read where they are.
"""

import shutil
import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rlp_sweeps.errors import RlpSweepsError, RunDirectoryError
from rlp_sweeps.stores import as_path, check_store, is_remote, refusal, store_errors, store_of

_MANIFEST = "manifest.json"
_ANALYSIS = "analysis"
_OBJECTS_AT_ONCE = 32
_LARGE_BYTES = 16 * 2**20
_ATTEMPTS = 5


@contextmanager
def local_directories(
    directories: Sequence[Path | str],
    *,
    tables: Collection[str],
    results: Collection[str] = (),
) -> Iterator[list[Path]]:
    """Yield local folders that hold what run directories hold; local ones are those themselves.

    A message of an error that is raised within the block names the directories as they were given.

    Args:
        directories: Run directories.
        tables: Names of the tables that are read, all their files; the manifest always is.
        results: Names of the tables that an analysis has written.

    Raises:
        RunDirectoryError: A store does not answer, or refuses.
    """
    paths = [as_path(directory) for directory in directories]
    if not any(map(is_remote, paths)):
        yield paths
        return
    with tempfile.TemporaryDirectory(prefix="rlp-read-") as folder:
        copies = {Path(folder) / f"{number:04}": path for number, path in enumerate(paths)}
        for copy, path in copies.items():
            if is_remote(path):
                _bring(path, copy, tables=tables, results=results)
        try:
            yield [copy if is_remote(path) else path for copy, path in copies.items()]
        except RlpSweepsError as error:
            raise type(error)(_named_as_given(str(error), copies)) from error


def _named_as_given(text: str, copies: dict[Path, Path]) -> str:
    for copy, path in copies.items():
        text = text.replace(str(copy), str(path))
    return text


def _bring(path: Path, copy: Path, *, tables: Collection[str], results: Collection[str]) -> None:
    check_store(path)
    try:
        _copy_objects(path, copy, [_MANIFEST])
        for table in tables:
            _copy_table(path, copy, table)
        _copy_objects(path, copy, [f"{_ANALYSIS}/{name}.parquet" for name in results])
    except store_errors() as error:
        raise refusal(path, error) from error


def _copy_table(path: Path, copy: Path, table: str) -> None:
    """Copy a table's files; a compaction between listing and reading takes some away."""
    for _ in range(_ATTEMPTS):
        sizes = {
            f"{table}/{name}": size
            for name, size in object_sizes(path / table).items()
            if name.endswith(".parquet") and not name.startswith(".")
        }
        large = [name for name, size in sizes.items() if size > _LARGE_BYTES]
        if _copy_objects(path, copy, [name for name in sizes if name not in large]):
            store, root = store_of(path)
            for name in large:
                (copy / name).parent.mkdir(exist_ok=True)
                store.get_file(f"{root}/{name}", str(copy / name))
            return
        shutil.rmtree(copy / table, ignore_errors=True)
    msg = f"{path / table} changes while it is read; read it again."
    raise RunDirectoryError(msg)


def object_sizes(folder: Path) -> dict[str, int]:
    """Return the size in bytes of each object right below a path in a store, by its name there."""
    store, name = store_of(folder)
    try:
        entries = store.ls(name, detail=True, refresh=True)
    except FileNotFoundError:
        return {}
    files = (entry for entry in entries if entry["type"] == "file")
    return {entry["name"].rpartition("/")[2]: entry["size"] for entry in files}


def _copy_objects(path: Path, copy: Path, names: Sequence[str]) -> bool:
    """Copy objects, those that exist, and return whether all did."""
    store, root = store_of(path)
    copy.mkdir(exist_ok=True)
    all_there = True
    for start in range(0, len(names), _OBJECTS_AT_ONCE):
        block = {f"{root}/{name}": copy / name for name in names[start : start + _OBJECTS_AT_ONCE]}
        for name, content in store.cat(list(block), on_error="return").items():
            if isinstance(content, FileNotFoundError):
                all_there = False
                continue
            if isinstance(content, Exception):
                raise content
            block[name].parent.mkdir(exist_ok=True)
            block[name].write_bytes(content)
    return all_there


def send_files(files: Sequence[Path], folder: Path) -> list[Path]:
    """Bring files into a folder of a store, and return where they are there.

    Raises:
        RunDirectoryError: The store does not answer, or refuses.
    """
    sent = [folder / file.name for file in files]
    try:
        for file, target in zip(files, sent, strict=True):
            send_file(file, target)
    except store_errors() as error:
        raise refusal(folder, error) from error
    return sent


def send_file(file: Path, target: Path) -> None:
    """Bring a file into a store; it appears there whole.

    Raises:
        OSError: It cannot be read, or the store is away or refuses.
    """
    store, name = store_of(target)
    store.put_file(str(file), name)

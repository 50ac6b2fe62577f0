"""What a run directory holds besides its results, how large it is, and its removal.

Results are never touched: manifest, ``trials``, ``epochs``, ``probes``, ``analysis``, attempts and
the points of a search. Links are left alone, so that nothing outside of the directory is removed.
"""

import os
import shutil
import time
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from rlp_sweeps.stores import is_remote, store_of
from rlp_sweeps.tracking.files import is_temporary
from rlp_sweeps.tracking.run_directory import RunDirectory

KINDS = ("checkpoints", "weights", "samples", "logs", "leftovers")
"""What can be removed: of unfinished groups; trained networks; rows of samples; what groups have
logged and Ray Tune has left; files of killed writers and those that were set aside as corrupt."""

_STALE_AFTER_S = 600.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """Files and their bytes.

    Attributes:
        num_files: How many.
        num_bytes: Their sizes in all.
    """

    num_files: int = 0
    num_bytes: int = 0

    def __add__(self, other: "Size") -> "Size":
        return Size(
            num_files=self.num_files + other.num_files, num_bytes=self.num_bytes + other.num_bytes
        )


@dataclass(frozen=True, slots=True)
class _Found:
    """A file: its path below the run directory, its bytes, and when it was written."""

    name: str
    num_bytes: int
    written_at: float


def size_of(directory: Path) -> Size:
    """Return the size of everything in a run directory; links are left out."""
    sizes = [found.num_bytes for found in _files_in(directory)]
    return Size(num_files=len(sizes), num_bytes=sum(sizes))


def touched_at(directory: Path) -> float:
    """Return when a run directory was last written to, in s since 1970; 0 without a file."""
    return max((found.written_at for found in _files_in(directory)), default=0.0)


def removable(directory: RunDirectory, *, spared: Collection[Path] = ()) -> dict[str, Size]:
    """Return the size of each of `KINDS`.

    Args:
        directory: The run directory.
        spared: Files in it that stay, whatever their kind.
    """
    sizes = dict.fromkeys(KINDS, Size())
    for found in _files_in(directory.path):
        kind = _kind_of(found)
        if kind is not None and directory.path / found.name not in spared:
            sizes[kind] += Size(num_files=1, num_bytes=found.num_bytes)
    return sizes


def remove(
    directory: RunDirectory, kinds: Collection[str], *, spared: Collection[Path] = ()
) -> dict[str, Size]:
    """Remove some of `KINDS`, and return what went; to be called while this process holds it.

    Folders that say by being there that something is kept stay.

    Args:
        directory: The run directory.
        kinds: What goes.
        spared: Files in it that stay, whatever their kind.

    Raises:
        OSError: The directory cannot be written.
    """
    removed = dict.fromkeys(kinds, Size())
    for found in list(_files_in(directory.path)):
        kind = _kind_of(found)
        if kind in removed and directory.path / found.name not in spared:
            (directory.path / found.name).unlink(missing_ok=True)
            removed[kind] += Size(num_files=1, num_bytes=found.num_bytes)
    if not is_remote(directory.path):
        _remove_folders(directory.path, kinds)
    return removed


def _remove_folders(directory: Path, kinds: Collection[str]) -> None:
    """Remove the folders that Tune and `corrupt_parts` made; they are empty but for links."""
    folders = list(directory.glob(".attempt-*")) if "logs" in kinds else []
    for folder in folders:
        if not folder.is_symlink():
            shutil.rmtree(folder, ignore_errors=True)
    if "leftovers" in kinds:
        with suppress(OSError):  # there is none, or it holds a link
            (directory / "corrupt").rmdir()


def _kind_of(found: _Found) -> str | None:
    """Return which of `KINDS` a file belongs to; None for results."""
    folder, _, name = found.name.rpartition("/")
    top = found.name.partition("/")[0]
    if is_temporary(Path(name)):
        return "leftovers" if time.time() - found.written_at > _STALE_AFTER_S else None
    if top.startswith(".attempt-"):
        return "logs"
    kinds = {
        ("checkpoints", ".pt"): "checkpoints",
        ("weights", ".pt"): "weights",
        ("probes", ".pt"): "weights",
        ("samples", ".parquet"): "samples",
        ("logs", ".log"): "logs",
        ("corrupt", ".parquet"): "leftovers",
    }
    return kinds.get((folder, Path(name).suffix))


def _files_in(directory: Path) -> Iterator[_Found]:
    """Yield the files of a run directory, through no link."""
    if is_remote(directory):
        store, root = store_of(directory)
        for name, entry in store.find(root, detail=True).items():
            written_at = entry["LastModified"].timestamp()
            yield _Found(name.removeprefix(f"{root}/"), entry["size"], written_at)
        return
    for folder, _, names in os.walk(directory):
        for name in names:
            path = Path(folder, name)
            with suppress(FileNotFoundError):  # gone since its folder was listed
                state = path.lstat()
                if not path.is_symlink():
                    below = path.relative_to(directory).as_posix()
                    yield _Found(below, state.st_size, state.st_mtime)

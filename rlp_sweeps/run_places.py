"""What is said of a folder that is no run directory, or of one in which no trial has ended."""

from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from rlp_sweeps.misspelling import nearest
from rlp_sweeps.stores import is_remote

_MANIFEST_NAME = "manifest.json"
_MAKE_ONE = "`rlp-sweeps run SPACE --output DIR` makes one."
_MOST_LOOKED_AT = 1000
_MOST_NAMED = 3


def absent_directory(directory: Path) -> str:
    """Return the sentence on a run directory that is not there."""
    what = "it is a file" if not is_remote(directory) and directory.is_file() else ""
    said = f"a run directory must exist, but there is no folder {directory}" + ", " * bool(what)
    beside = _run_directories(directory.parent)
    near = nearest(directory.name, (path.name for path in beside))
    ending = f"did you mean {str(directory.parent / near)!r}?" if near else _MAKE_ONE
    return f"{said}{what}; {ending}"


def foreign_directory(directory: Path) -> str:
    """Return the sentence on a folder that holds no manifest."""
    said = f"{directory} is no run directory: it has no {_MANIFEST_NAME}"
    if not is_remote(directory) and any(directory.glob("trials/*.parquet")):
        return (
            f"{said}; tables that another program wrote are read by `rlp-sweeps analyze`, `show`, "
            "`query`, `compare` and `export` alone."
        )
    return f"{said}; {_inside(directory)}"


def empty_directory(directory: Path) -> str:
    """Return the sentence on a folder that holds no table of trials."""
    if not (directory / _MANIFEST_NAME).is_file():
        return (
            f"{directory} is no run directory: it has neither {_MANIFEST_NAME} nor "
            f"trials/*.parquet; {_inside(directory)}"
        )
    return (
        f"a run directory must hold trials, but none of {directory} has ended yet; "
        f"`rlp-sweeps status {directory}` says how it stands, `rlp-sweeps resume {directory}` goes "
        "on."
    )


def _inside(directory: Path) -> str:
    found = sorted(str(path) for path in _run_directories(directory))
    if not found:
        return _MAKE_ONE
    more = f" and {len(found) - _MOST_NAMED} more" * (len(found) > _MOST_NAMED)
    return f"run directories in it are {found[:_MOST_NAMED]}{more}."


def _run_directories(folder: Path) -> list[Path]:
    """Return the run directories in a folder; none in a store, where looking takes a while."""
    if is_remote(folder) or not folder.is_dir():
        return []
    entries: Iterable[Path] = islice(folder.iterdir(), _MOST_LOOKED_AT)
    return [path for path in entries if (path / _MANIFEST_NAME).is_file()]

"""What is said of a folder that is no run directory, and of a trial that is not in one."""

from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from rlp_sweeps.errors import RunDirectoryError
from rlp_sweeps.misspelling import nearest
from rlp_sweeps.stores import is_remote

_MANIFEST_NAME = "manifest.json"
_MAKE_ONE = "`rlp-sweeps run SPACE --output DIR` makes one."
_MOST_LOOKED_AT = 1000
_MOST_NAMED = 3
_MOST_TRIALS_NAMED = 8


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


def chosen_trial(
    trial_ids: Iterable[str], trial: str, *, directory: Path, why: str = "to show"
) -> str:
    """Return the one of the trials with a row whose id begins like this.

    Args:
        trial_ids: The trials of a run directory that have a row.
        trial: An id, or its beginning.
        directory: The run directory.
        why: What is wanted of the trial, for the sentence.

    Raises:
        RunDirectoryError: None of them begins so, or several do.
    """
    found = sorted(i for i in set(trial_ids) if i.startswith(trial))
    if trial in found:
        return trial
    if len(found) == 1:
        return found[0]
    if not found:
        msg = (
            f"a trial {why} must have a row, but no finished trial of {directory} begins with "
            f"{trial!r}; `rlp-sweeps query {directory} 'SELECT trial_id, arm, lr, rlp_lambda, seed "
            "FROM trials'` lists them."
        )
        raise RunDirectoryError(msg)
    named = ", ".join(found[:_MOST_TRIALS_NAMED]) + ", …" * (len(found) > _MOST_TRIALS_NAMED)
    msg = f"one trial must begin with {trial!r}, but {len(found)} do: {named}."
    raise RunDirectoryError(msg)


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

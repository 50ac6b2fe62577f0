"""Part files that a disk or a lost machine has spoilt, moved out of a sweep's way."""

from pathlib import Path

from rlp_sweeps.errors import CorruptFileError
from rlp_sweeps.tracking import files
from rlp_sweeps.tracking.parquet import COMPACTED_NAME, part_paths, read_files
from rlp_sweeps.tracking.run_directory import RunDirectory

CORRUPT_FOLDER = "corrupt"
"""Folder of a run directory that takes them."""

_TABLES = ("trials", "epochs")


def set_aside_corrupt_parts(directory: RunDirectory) -> list[str]:
    """Move part files that cannot be read into ``corrupt/``, so that their trials lack a row.

    A trial's numbers depend on its configuration alone, so that training it again gives back what
    was lost. Compacted files, which hold many trials, are left to the user.

    Args:
        directory: The sweep; its caller holds it.

    Returns:
        One sentence for each file that cannot be read.

    Raises:
        OSError: The directory cannot be written.
    """
    broken = {}
    for table in _TABLES:
        for path in part_paths(directory.path / table):
            reason = None if path.name == COMPACTED_NAME else _what_is_wrong(table, path)
            if reason is not None:
                broken[path] = reason
    folder = directory.path / CORRUPT_FOLDER
    for name in {path.name for path in broken}:
        for table in _TABLES:
            part = directory.path / table / name
            if part.exists():
                files.move_file(part, folder / f"{table}-{name}")
    return [
        f"{reason}; it is moved into {folder}, and its trial is trained again."
        for reason in broken.values()
    ]


def _what_is_wrong(table: str, path: Path) -> str | None:
    try:
        read_files(table, [path])
    except FileNotFoundError:
        return None  # gone since its folder was listed
    except CorruptFileError as error:
        return str(error).rpartition("; ")[0]
    return None

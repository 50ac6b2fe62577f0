"""A run directory stays within its folder, whoever has made it.

Reading follows links: whoever reads a directory may read what they lead to, and stores of large
files (DVC, git-annex) lay their files out so. But nothing is written, removed or sent through a
link that leads out of the directory. The directory itself may be a link. Part files that are links
are replaced, never written through.
"""

import os
from collections.abc import Iterable
from pathlib import Path

from rlp_sweeps.errors import RunDirectoryError
from rlp_sweeps.stores import is_remote

_LISTED = ("", "analysis", "export", "search", "logs")
"""Folders in which files are written under names that are known beforehand."""


def check_links(directory: Path) -> None:
    """Refuse a run directory that would have something written outside of it.

    Raises:
        RunDirectoryError: A link in it leads out; the message names it.
    """
    if is_remote(directory):
        return  # a store has no links
    for name in _LISTED:
        folder = directory / name
        if folder.is_dir():
            with os.scandir(folder) as entries:
                check_contained(directory, (Path(e) for e in entries if e.is_symlink()))


def check_contained(directory: Path, paths: Iterable[Path]) -> None:
    """Refuse files of a run directory that lie outside of it.

    Args:
        directory: The run directory.
        paths: Below it by name.

    Raises:
        RunDirectoryError: One of them is a link that leads out; the message names it.
    """
    if is_remote(directory):
        return
    root = directory.resolve()
    for path in paths:
        target = path.resolve()
        if not target.is_relative_to(root):
            msg = (
                f"a run directory must lie within its folder, but {path} leads out of it, to "
                f"{target}; replace the link by what it leads to, or mount that there."
            )
            raise RunDirectoryError(msg)

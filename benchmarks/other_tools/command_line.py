"""The two arguments that the scripts of this folder share."""

import argparse
from pathlib import Path

from benchmarks.other_tools.study import LRS


def parse(description: str) -> tuple[Path, tuple[float, ...]]:
    """Return the directory, made and absolute, and the learning rates of the grid."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("directory", type=Path)
    parser.add_argument("--lr", type=float, nargs="+", default=LRS)
    arguments = parser.parse_args()
    arguments.directory.mkdir(parents=True, exist_ok=True)
    return arguments.directory.resolve(), tuple(arguments.lr)

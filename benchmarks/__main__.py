"""Measure the table of ratios and print it.

    python -m benchmarks [--rows a,b,c] [--device cpu|cuda] [--only NETWORK] [--output FILE]
        [--quick]

Every row is made side by side in one run: alternatives take turns, ratios are paired within a
round, the interval is that of the median over rounds. Run it on a machine that does nothing else.
`--quick` only shows that everything runs. What raises is told of on stderr; the other rows are
measured, and the exit status is 1.
"""

import argparse
import importlib
import shlex
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from benchmarks.machine import describe_machine
from benchmarks.options import Options
from benchmarks.table import Row, Table, rows_of

MODULES = {
    "a": "benchmarks.step_time",
    "b": "benchmarks.passes",
    "c": "benchmarks.groups",
    "d": "benchmarks.sweeps",
    "e": "benchmarks.scaling",
    "f": "benchmarks.analysis_size",
    "g": "benchmarks.gpu",
    "h": "benchmarks.data_share",
    "i": "benchmarks.precision",
}
"""Module of each row; its `measure` yields them. `d`, `e` and `f` need more than torch, torchvision
and scikit-learn."""

CPU_ROWS = ("a", "b", "c", "d", "e", "f", "h", "i")
GPU_ROWS = ("a", "b", "h", "c", "g")


def parse_rows(text: str) -> list[str]:
    """Return the letters of ``a,b,c``.

    Raises:
        ValueError: There is no such row.
    """
    letters = [letter.strip() for letter in text.split(",")]
    unknown = [letter for letter in letters if letter not in MODULES]
    if unknown:
        msg = f"`--rows` must name rows out of {list(MODULES)}, but got {unknown}."
        raise ValueError(msg)
    return letters


def measure_row(letter: str, options: Options) -> Iterator[Row]:
    """Yield the lines of a row."""
    rows: Iterator[Row] = importlib.import_module(MODULES[letter]).measure(options)
    return rows


def main(arguments: list[str] | None = None) -> None:
    """Measure the rows that are asked for, print the table, write it as JSON.

    Raises:
        SystemExit: With 1 at the end, where something could not be measured.
    """
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__.splitlines()[0]
    )
    parser.add_argument(
        "--rows", type=parse_rows, help="for example a,b; default: all but g, on cuda a,b,h,c,g"
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--output", type=Path, help="JSON file; written after every row")
    parser.add_argument(
        "--only", default="", help="of row c, cases whose name holds this, for example WRN-16-4"
    )
    parser.add_argument("--quick", action="store_true", help="tiny sizes: a dry run")
    given = sys.argv[1:] if arguments is None else arguments
    parsed = parser.parse_args(given)
    options = Options(device=parsed.device, is_quick=parsed.quick, only=parsed.only)
    command = shlex.join(["python", "-m", "benchmarks", *given])
    machine = describe_machine(device=parsed.device, command=command)
    rows: list[Row] = []
    letters = parsed.rows or (GPU_ROWS if parsed.device == "cuda" else CPU_ROWS)
    failure = None
    try:
        for row in rows_of(partial(measure_row, letter, options) for letter in letters):
            print(" | ".join(row.cells()), file=sys.stderr, flush=True)
            rows.append(row)
            if parsed.output is not None:
                parsed.output.write_text(Table(machine=machine, rows=rows).to_json(), "utf-8")
    except RuntimeError as error:
        failure = error
    print(Table(machine=machine, rows=rows).to_markdown(), end="")
    if failure is not None:
        print(failure, file=sys.stderr)
        raise SystemExit(1)


if __name__ == "__main__":
    main()

"""The tables of a run directory on stdout: their columns with types and meaning, and rows."""

from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from rlp_sweeps.cli.options import plain, say
from rlp_sweeps.cli.output import results
from rlp_sweeps.cli.printing import console_on, print_pairs

if TYPE_CHECKING:
    import polars as pl

_FEW_ROWS = 3
"""Rows that are printed one by one where they are wider than the terminal."""


def print_tables(columns: "pl.DataFrame") -> None:
    """Print each table with its columns.

    Args:
        columns: As `describe_tables` returns them.
    """
    console = console_on(results())
    for (name,), rows in columns.group_by("table", maintain_order=True):
        console.print(Text(plain(str(name)), style="bold"))
        table = Table.grid(padding=(0, 2))
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True)
        for row in rows.iter_rows(named=True):
            unit = f" ({row['unit']})" if row["unit"] else ""
            told = f"{row['meaning'] or ''}{unit}".strip()
            table.add_row(
                *(Text(plain(text)) for text in (f"  {row['column']}", row["type"], told))
            )
        console.print(table)


def print_rows(rows: "pl.DataFrame") -> None:
    """Print the rows of a query: as a table, whole where they fit or stdout is no terminal.

    On a terminal a few rows that are too wide are printed one by one, a line a value; of more rows
    the first columns that fit, and a sentence on stderr says how the others are had.
    """
    console = console_on(results())
    is_terminal = results().isatty()
    num_shown = _num_fitting(rows, console.width) if is_terminal else rows.width
    if num_shown == rows.width:
        _print_table(rows)
    elif rows.height <= _FEW_ROWS:
        _print_one_by_one(console, rows)
    else:
        _print_table(rows[:, :num_shown])
        say(
            f"{num_shown} of {rows.width} columns fit into {console.width} characters; SELECT "
            "those that you want, or take all with `--json`, `--format csv` or "
            "`rlp-sweeps export`."
        )


def _print_table(rows: "pl.DataFrame") -> None:
    from analysis.query import format_frame

    print(plain(str(format_frame(rows, "table")).rstrip("\n")), file=results())


def _num_fitting(rows: "pl.DataFrame", width: int) -> int:
    """Return how many of the first columns fit beside each other; at least one of some."""
    from analysis.query import format_frame

    used = 1
    for number, name in enumerate(rows.columns):
        border, *_ = str(format_frame(rows.select(name), "table")).splitlines()
        used += cell_len(border) - 1  # neighbours share a line
        if number and used > width:
            return number
    return rows.width


def _print_one_by_one(console: Console, rows: "pl.DataFrame") -> None:
    """Print every value of some rows on a line of its own; those that no row has in one line."""
    empty = [name for name in rows.columns if rows[name].null_count() == rows.height]
    for number, row in enumerate(rows.iter_rows(named=True), start=1):
        console.print(Text(f"row {number} of {rows.height}", style="bold"))
        print_pairs(
            console,
            {f"  {plain(n)}": plain(str(v)) for n, v in row.items() if n not in empty},
        )
    if empty:
        console.print(Text(f"without a value: {', '.join(map(plain, empty))}"))

"""The tables of a run directory on stdout: their columns, types, units and meaning."""

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rlp_sweeps.cli.options import plain
from rlp_sweeps.cli.output import results

if TYPE_CHECKING:
    import polars as pl


def print_tables(columns: "pl.DataFrame") -> None:
    """Print each table with its columns.

    Args:
        columns: As `describe_tables` returns them.
    """
    console = Console(file=results(), highlight=False)
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

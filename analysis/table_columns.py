"""Which tables a run directory has, and what their columns are and mean."""

from pathlib import Path

import polars as pl

from analysis.border import PartFiles, check_unchanged, rereads
from analysis.mirror import local_directories
from analysis.query import PART_TABLES, RESULT_TABLES, scan_tables
from rlp_sweeps.column import Column
from rlp_sweeps.schema import TABLES, TRIALS

_LEGS = "_legs"
_SETTINGS = {column.name: column for column in TRIALS if column.role == "config"}


@rereads
def describe_tables(directory: Path | str) -> pl.DataFrame:
    """Return one row a table and column of a run directory, in the order of the files.

    Columns: `table`, `column`, `type` (of polars), `unit`, `meaning`; the last two are null where
    no schema declares the column, as in tables of other programs.

    Raises:
        RunDirectoryError: The directory does not exist or holds no tables.
        SchemaError: A file is unreadable.
    """
    with local_directories([directory], tables=PART_TABLES, results=RESULT_TABLES) as (path,):
        found: list[PartFiles] = []
        tables = scan_tables(path, found)
        rows = [
            (table, name, str(dtype), *_declared(table, name))
            for table, frame in tables.items()
            for name, dtype in frame.collect_schema().items()
        ]
        check_unchanged(found)
    names = ("table", "column", "type", "unit", "meaning")
    return pl.DataFrame(rows, schema=dict.fromkeys(names, pl.String), orient="row")


def _declared(table: str, name: str) -> tuple[str | None, str | None]:
    """Return unit and meaning of a column; settings mean the same in every table."""
    columns: dict[str, Column] = _SETTINGS | {
        column.name: column for column in TABLES.get(table.removesuffix(_LEGS), ())
    }
    column = columns.get(name)
    return (None, None) if column is None else (column.unit or None, column.meaning)

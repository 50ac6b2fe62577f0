"""Why a query cannot be answered, in a sentence: what was meant, and what there is."""

import difflib
import re
from collections.abc import Mapping, Sequence

import polars as pl

from rlp_sweeps.errors import QueryError

_RESOLUTION_LINE = "Resolved plan until failure"
_TABLE = re.compile(r"relation '([^']+)' was not found")
_COLUMN = re.compile(r'unable to find column "([^"]+)"|no column named \'([^\']+)\' found')
_WRITTEN_BY = {
    "probes": "`rlp-sweeps run --probe all` writes 'probes'",
    "samples": "`rlp-sweeps run --keep-samples` writes 'samples'",
}


def explain(
    error: BaseException,
    sql: str,
    tables: Mapping[str, pl.LazyFrame],
    *,
    known: Sequence[str],
    results: Sequence[str],
) -> QueryError:
    """Return what is wrong with a query, the names near those it has, and the tables there are.

    Args:
        error: What polars says.
        sql: The query.
        tables: What it can name.
        known: Names of all tables of the directory.
        results: Names of the tables that an analysis writes.
    """
    reason = str(error).split(_RESOLUTION_LINE)[0].strip().splitlines()[0].rstrip(".")
    hint = ""
    if column := _COLUMN.search(reason):
        hint = _near_columns(column[1] or column[2], sql, tables)
        reason = reason.split(";")[0]
    elif table := _TABLE.search(reason):
        hint = _near_tables(table[1], known, results)
    return QueryError(f"the query must be valid SQL, but {reason}. Tables: {list(known)}.{hint}")


def _near_tables(wanted: str, known: Sequence[str], results: Sequence[str]) -> str:
    if wanted in results:
        return f" `rlp-sweeps analyze` writes {wanted!r}."
    if wanted in _WRITTEN_BY:
        return f" {_WRITTEN_BY[wanted]}."
    near = difflib.get_close_matches(wanted, known, n=1)
    return f" Did you mean {near[0]!r}?" if near else ""


def _near_columns(wanted: str, sql: str, tables: Mapping[str, pl.LazyFrame]) -> str:
    columns = {name: frame.collect_schema().names() for name, frame in tables.items()}
    named = [name for name in columns if re.search(rf"\b{name}\b", sql)] or list(columns)
    if others := [name for name, names in columns.items() if wanted in names]:
        return f" Tables with a column {wanted!r}: {others}."
    names = sorted({name for table in named for name in columns[table]})
    near = difflib.get_close_matches(wanted, names, n=5, cutoff=0.5)
    if not near:
        return f" Columns: {names}."
    return (
        f" Did you mean {near[0]!r}? Columns near that name: {near}; `rlp-sweeps query DIR` lists "
        "all."
    )

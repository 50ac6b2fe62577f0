"""SQL over the tables of a run directory, read-only."""

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import polars as pl

from analysis.border import (
    PartFiles,
    check_unchanged,
    find_parts,
    read_manifest,
    rereads,
    scan_raw,
)
from analysis.mirror import local_directories, object_sizes
from analysis.query_words import explain
from analysis.sql_guard import check_reads_only
from rlp_sweeps.errors import QueryError, RunDirectoryError, SchemaError
from rlp_sweeps.run_places import empty_directory
from rlp_sweeps.stores import as_path, is_remote

Format = Literal["table", "csv", "json", "markdown", "parquet"]
FORMATS: tuple[Format, ...] = ("table", "csv", "json", "markdown", "parquet")

PART_TABLES = {
    "trials": ["trial_id"],
    "epochs": ["trial_id", "epoch"],
    "probes": ["trial_id", "source", "attach_point", "pooling", "probe", "label_set"],
    "samples": [],
}
"""Tables that a sweep writes, and what tells their rows apart; nothing where rows are too many."""

RESULT_TABLES = (
    *("effects", "effects_pooled", "effects_legs", "effects_pooled_legs", "cells"),
    *("tuned", "tuned_choices", "tuned_curve", "substitution", "dose_response"),
    *("effects_surface", "effects_surface_pooled", "surface_checks"),
    *("claims", "claim_values", "benign"),
    *("probe_profile", "probe_layers"),
    *("memorization_scores", "influences", "score_comparison"),
)
"""Tables that an analysis writes, by file name without its end."""


@rereads
def query(directory: Path | str, sql: str) -> pl.DataFrame:
    """Return the result of one SELECT (or WITH) over the tables of a run directory.

    Tables: `trials`, `epochs`, `probes` and `samples` where there are files, with all their
    columns; `effects`, `effects_pooled` and `cells` once the directory was analyzed. Files are
    scanned lazily. A trial that stands in a part file and in a compacted one is read once.

    Raises:
        QueryError: The SQL is wrong, names an unknown table or column, writes, or opens files.
        RunDirectoryError: The directory does not exist or holds no tables.
        SchemaError: A file is unreadable.
    """
    check_reads_only(sql)  # before any file is opened
    where = as_path(directory)
    if is_remote(where):
        return _query_store(where, sql)
    found: list[PartFiles] = []
    try:
        return run_sql(sql, scan_tables(where, found))
    finally:
        check_unchanged(found)  # whatever was found wrong with files that are others by now


def _query_store(directory: Path, sql: str) -> pl.DataFrame:
    """Return what `query` does of a directory in a store, by the tables that the SQL names."""
    named = [name for name in (*PART_TABLES, *RESULT_TABLES) if re.search(rf"\b{name}\b", sql)]
    parts = [name for name in PART_TABLES if name in named] or ["trials"]
    results = [name for name in RESULT_TABLES if name in named]
    with local_directories([directory], tables=parts, results=results) as (copy,):
        return run_sql(sql, scan_tables(copy), known=lambda: table_names(directory))


def run_sql(
    sql: str,
    tables: Mapping[str, pl.LazyFrame],
    *,
    known: Callable[[], Sequence[str]] | None = None,
) -> pl.DataFrame:
    """Return the result of one SELECT (or WITH) over these tables.

    Args:
        sql: The query.
        tables: What it can name.
        known: Returns the names of all tables that there are, for a sentence; those of `tables`
            where missing.

    Raises:
        QueryError: The SQL is wrong, names an unknown table or column, writes, or opens files.
    """
    check_reads_only(sql)
    try:
        return pl.SQLContext(dict(tables)).execute(sql, eager=True)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        names = list(tables) if known is None else known()
        raise explain(error, sql, tables, known=names, results=RESULT_TABLES) from error


def table_names(directory: Path) -> list[str]:
    """Return the tables that a run directory in a store has files of."""
    parts = [
        name
        for name in PART_TABLES
        if any(part.endswith(".parquet") for part in object_sizes(directory / name))
    ]
    written = object_sizes(directory / "analysis")
    return parts + [name for name in RESULT_TABLES if f"{name}.parquet" in written]


def scan_tables(directory: Path, found: list[PartFiles] | None = None) -> dict[str, pl.LazyFrame]:
    """Return every table of a run directory that has files, by name.

    Args:
        directory: The run directory.
        found: Takes the part files that are scanned.

    Raises:
        RunDirectoryError: The directory does not exist, holds no tables or is of a newer version.
        SchemaError: A file is unreadable, or a column has types that do not meet.
    """
    read_manifest(directory)
    tables: dict[str, pl.LazyFrame] = {}
    for table, key in PART_TABLES.items():
        groups = find_parts(directory, table)
        if found is not None:
            found += groups
        if groups:
            frame = pl.concat([scan_raw(group) for group in groups], how="diagonal_relaxed")
            schema = _schema_of(frame, directory / table)
            has_key = key and set(key) <= set(schema)
            several = sum(len(group.paths) for group in groups) > 1
            tables[table] = _unique(frame, key, schema) if has_key and several else frame
    for table in RESULT_TABLES:
        path = directory / "analysis" / f"{table}.parquet"
        if path.exists():
            tables[table] = pl.scan_parquet(path, glob=False)
    if not tables:
        raise RunDirectoryError(empty_directory(directory))
    return tables


def _schema_of(frame: pl.LazyFrame, where: Path) -> pl.Schema:
    try:
        return frame.collect_schema()
    except pl.exceptions.PolarsError as error:
        reason = str(error).splitlines()[0]
        msg = f"a column must have the same type in every file of {where}, but: {reason}."
        raise SchemaError(msg) from error


def _unique(frame: pl.LazyFrame, key: list[str], schema: pl.Schema) -> pl.LazyFrame:
    if "status" in schema:
        rank = (
            pl.col("status").cast(pl.String).replace_strict({"stopped": 1, "failed": 2}, default=0)
        )
        frame = frame.sort(rank, maintain_order=True)
    return frame.unique(key, keep="first", maintain_order=True)


def format_frame(frame: pl.DataFrame, fmt: str) -> str | bytes:
    """Return a frame as text, or as Parquet bytes.

    Text is ``table``, ``csv``, ``json`` (one object a row; numbers that are not finite become
    null) or ``markdown`` (a table of GitHub's, numbers unrounded).

    Raises:
        QueryError: The format is unknown.
    """
    if fmt == "csv":
        return frame.write_csv()
    if fmt == "json":
        rows = [{k: _json_value(v) for k, v in row.items()} for row in frame.iter_rows(named=True)]
        return json.dumps(rows, ensure_ascii=False, indent=2)
    if fmt == "markdown":
        return _to_markdown(frame)
    if fmt == "parquet":
        import io

        buffer = io.BytesIO()
        frame.write_parquet(buffer)
        return buffer.getvalue()
    if fmt == "table":
        with pl.Config(
            tbl_rows=-1,
            tbl_cols=-1,
            tbl_width_chars=10_000,
            fmt_str_lengths=120,
            tbl_hide_dataframe_shape=True,
            tbl_hide_column_data_types=True,
            tbl_formatting="UTF8_FULL_CONDENSED",
        ):
            return str(frame)
    msg = f"`format in {list(FORMATS)}` must hold, but got format={fmt!r}."
    raise QueryError(msg)


def _to_markdown(frame: pl.DataFrame) -> str:
    lines = [frame.columns, ["---:" if kind.is_numeric() else "---" for kind in frame.dtypes]]
    lines += [["" if v is None else str(v) for v in row] for row in frame.iter_rows()]
    return "".join(f"| {' | '.join(map(_markdown_cell, line))} |\n" for line in lines)


def _markdown_cell(text: str) -> str:
    """Return a text as one cell: no column ends in it, and no element of HTML begins."""
    text = " ".join(text.replace("|", r"\|").split("\n"))
    return re.sub(r"<(?=[A-Za-z/!?])", "&lt;", text)


def _json_value(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, (str, int, float, bool, list, dict)):
        return value
    return str(value)

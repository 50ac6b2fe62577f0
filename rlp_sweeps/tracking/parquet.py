"""Rows to typed Parquet and back: the one place that turns ``schema`` into files.

A part file holds the rows of one trial and is named after it. It carries neither statistics nor
dictionaries nor a second copy of the schema, which a single row does not need and which more than
double its size; a compacted file carries them all. Its columns are compressed by snappy, which
writes and reads a single row in little more than half the time of zstd, in fewer bytes. Both carry
checksums of their pages and of their columns' names and types: a byte that a disk has changed is
found, and never read as a result.
"""

import itertools
import math
import numbers
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from rlp_sweeps.column import Column
from rlp_sweeps.errors import CorruptFileError, SchemaError
from rlp_sweeps.schema import SCHEMA_VERSION, STATUSES, TABLES
from rlp_sweeps.stores import is_remote
from rlp_sweeps.tracking.files import (
    Fingerprint,
    read_all,
    replace_atomically,
    write_atomically,
)

ARROW_TYPES: dict[str, pa.DataType] = {
    "str": pa.string(),
    "f64": pa.float64(),
    "i64": pa.int64(),
    "bool": pa.bool_(),
}
"""Arrow type of every dtype that ``schema.Column`` knows."""

ROW_GROUP_ROWS = 65_536
"""Rows of one row group of a compacted file."""

_FILES_AT_ONCE = 256
"""Files whose rows are joined into one piece of memory."""

COMPACTED_NAME = "0-compacted.parquet"
"""File that holds all rows of a compacted table; sorts before every trial id."""

_SORT_KEYS = {
    "trials": ("arm", "lr", "rlp_lambda", "label_smoothing", "seed", "trial_id"),
    "epochs": ("trial_id", "epoch"),
}


def arrow_schema(table: str) -> pa.Schema:
    """Return the Arrow schema of a table."""
    return pa.schema([(column.name, ARROW_TYPES[column.dtype]) for column in TABLES[table]])


def to_table(table: str, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Return rows as a typed table: missing values and non-finite numbers become null.

    Args:
        table: ``trials``, ``epochs`` or ``probes``.
        rows: Values by column name; columns may be missing, except for the table's key.

    Raises:
        SchemaError: A column is unknown, a value is of another type, or a key is missing.
    """
    columns = TABLES[table]
    known = {column.name for column in columns}
    for row in rows:
        unknown = sorted(set(row) - known)
        if unknown:
            msg = f"every column of {table} must be declared in the schema, but got {unknown}."
            raise SchemaError(msg)
    values = {c.name: [_checked(table, c, row.get(c.name)) for row in rows] for c in columns}
    return pa.Table.from_pydict(values, schema=arrow_schema(table))


def _checked(table: str, column: Column, value: Any) -> Any:
    if value is None:
        if column.role == "identity":
            msg = f"`{column.name}` must be given in every row of {table}, but it is missing."
            raise SchemaError(msg)
        return None
    converted = _CONVERTERS[column.dtype](value)
    if converted is None:
        msg = f"`{column.name}` of {table} must be of type {column.dtype}, but got {value!r}."
        raise SchemaError(msg)
    if column.name == "status" and value not in STATUSES:
        msg = f"`status` must be one of {list(STATUSES)}, but got {value!r}."
        raise SchemaError(msg)
    if isinstance(converted, float) and not math.isfinite(converted):
        return None
    return converted


def _to_str(value: Any) -> str | None:
    return str(value) if isinstance(value, str) else None


def _to_f64(value: Any) -> float | None:
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    return float(value) if is_number else None


def _to_i64(value: Any) -> int | None:
    is_integer = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    return int(value) if is_integer else None


def _to_bool(value: Any) -> bool | None:
    return bool(value) if isinstance(value, bool | np.bool_) else None


_CONVERTERS: dict[str, Callable[[Any], Any]] = {
    "str": _to_str,
    "f64": _to_f64,
    "i64": _to_i64,
    "bool": _to_bool,
}


def write_part(table: pa.Table, path: Path, *, compression: str = "snappy") -> None:
    """Write the rows of one trial; the file appears whole or not at all.

    Args:
        table: The rows.
        path: The file.
        compression: Parquet's name of it: ``snappy`` for few rows, ``zstd`` for many.

    Raises:
        OSError: The folder cannot be written, or the disk is full.
    """
    options = {"use_dictionary": False, "write_statistics": False, "store_schema": False}
    write_atomically(
        path, lambda temporary: _write(table, temporary, compression=compression, **options)
    )


def write_compacted(table: str, rows: pa.Table, path: Path, *, known: Fingerprint | None) -> None:
    """Write all rows of a table, sorted; the file appears whole or not at all.

    Args:
        table: ``trials`` or ``epochs``.
        rows: Its rows.
        path: The file.
        known: The file that `rows` hold all rows of; None where there was none.

    Raises:
        FileExistsError: In a store, it is another one by now.
        OSError: The folder cannot be written, or the disk is full.
    """
    ordered = rows.sort_by([(name, "ascending") for name in _SORT_KEYS[table]])
    replace_atomically(path, lambda temporary: _write(ordered, temporary), known=known)


def _write(rows: pa.Table, path: Path, *, compression: str = "zstd", **options: bool) -> None:
    options |= {"write_page_checksum": True}
    with pq.ParquetWriter(path, rows.schema, compression=compression, **options) as writer:
        writer.write_table(rows, row_group_size=ROW_GROUP_ROWS)
        writer.add_key_value_metadata(
            {
                "rlp_sweeps.schema_version": str(SCHEMA_VERSION),
                _CHECKSUM_KEY: _checksum(rows.schema, rows.num_rows),
            }
        )


_CHECKSUM_KEY = "rlp_sweeps.columns_checksum"
"""Key of a file's metadata; files of older versions lack it, and are read without."""


def _checksum(schema: pa.Schema, num_rows: int) -> str:
    """Return a checksum of what the pages' own do not cover: columns and the number of rows."""
    fields = next((text for known, text in _declared() if schema.equals(known)), None)
    text = f"{num_rows}\n{_describe(schema) if fields is None else fields}"
    return f"{zlib.crc32(text.encode()):08x}"


@cache
def _declared() -> list[tuple[pa.Schema, str]]:
    """Return every table's schema with its description, which takes longer than a file's row."""
    return [(schema, _describe(schema)) for schema in map(arrow_schema, TABLES)]


def _describe(schema: pa.Schema) -> str:
    return "\n".join(f"{field.name} {field.type} {field.nullable}" for field in schema)


def _check_columns(file: pq.ParquetFile) -> None:
    """Raise where columns or the number of rows are not those that were written."""
    written = (file.metadata.metadata or {}).get(_CHECKSUM_KEY.encode())
    found = _checksum(file.schema_arrow, file.metadata.num_rows)
    if written is not None and written.decode(errors="replace") != found:
        msg = "its columns are not those that were written"
        raise pa.ArrowInvalid(msg)


def part_paths(folder: Path) -> list[Path]:
    """Return a table's files by name, a compacted one among them; those half written are hidden."""
    return sorted(folder.glob("[!.]*.parquet"))


def read_parts(table: str, folder: Path, trial_ids: Sequence[str] | None = None) -> pa.Table:
    """Return the rows of a folder with one part file a trial.

    Args:
        table: As `read_files` takes it.
        folder: Where the files lie.
        trial_ids: Trials to read; all of them where missing.

    Raises:
        SchemaError: A part file is corrupt; the message names it.
    """
    paths = part_paths(folder)
    wanted = [path for path in paths if trial_ids is None or path.stem in set(trial_ids)]
    return read_files(table, wanted)


def read_files(
    table: str,
    paths: Sequence[Path],
    *,
    columns: Sequence[str] | None = None,
    skips_absent: bool = False,
) -> pa.Table:
    """Return the rows of several files in the table's schema, columns they lack as null.

    Args:
        table: ``trials``, ``epochs`` or ``probes``.
        paths: Parquet files, all of them in a store or none.
        columns: Columns to read; all where missing.
        skips_absent: Files that are not there have no rows.

    Raises:
        CorruptFileError: A file is not as it was written.
        SchemaError: A file holds a column of another type.
        FileNotFoundError: A file has gone since its folder was listed.
    """
    wanted = [column for column in TABLES[table] if columns is None or column.name in columns]
    schema = pa.schema([(column.name, ARROW_TYPES[column.dtype]) for column in wanted])
    sources = _sources(paths, skips_absent=skips_absent)
    tables = (_read_file(path, source, wanted, schema) for path, source in sources)
    return pa.concat_tables([schema.empty_table(), *_joined(tables)])


def _joined(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """Yield tables of many files as few: alone, a column of one value takes a hundred times it."""
    while batch := list(itertools.islice(tables, _FILES_AT_ONCE)):
        yield batch[0] if len(batch) == 1 else pa.concat_tables(batch).combine_chunks()


def _sources(
    paths: Sequence[Path], *, skips_absent: bool
) -> Iterator[tuple[Path, Path | pa.BufferReader]]:
    """Yield files with what is read: the file, or the content of one in a store."""
    if not (paths and is_remote(paths[0])):
        yield from ((path, path) for path in paths if not skips_absent or path.exists())
        return
    for path, content in read_all(paths):
        if content is not None:
            yield path, pa.BufferReader(content)
        elif not skips_absent:
            raise FileNotFoundError(str(path))


def _read_file(
    path: Path, source: Path | pa.BufferReader, wanted: Sequence[Column], schema: pa.Schema
) -> pa.Table:
    try:
        with pq.ParquetFile(source, page_checksum_verification=True) as file:
            _check_columns(file)
            present = set(file.schema_arrow.names)
            names = [column.name for column in wanted if column.name in present]
            rows = file.read(columns=names, use_threads=False)
            num_rows = file.metadata.num_rows
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        msg = (
            f"every part of a table must be a whole Parquet file, but {path} is not "
            f"({str(error).splitlines()[0]}); {_way_out(path)}."
        )
        raise CorruptFileError(msg) from error
    if rows.schema.equals(schema):
        return rows
    arrays = {
        column.name: _cast(path, column, rows[column.name])
        if column.name in present
        else pa.nulls(num_rows, ARROW_TYPES[column.dtype])
        for column in wanted
    }
    return pa.table(arrays)


def _way_out(path: Path) -> str:
    """Return what to do about a file that cannot be read, by what it holds."""
    if path.parent.name == "probes":
        return f"remove it: `rlp-sweeps probe {path.parents[1]}` writes it again"
    if path.parent.name not in ("trials", "epochs") or (
        path.parent.name == "epochs" and path.name == COMPACTED_NAME
    ):
        return f"remove it and go without its {path.parent.name}, the trials are whole without them"
    resume = f"`rlp-sweeps resume {path.parents[1]}`"
    if path.name != COMPACTED_NAME:
        return f"{resume} moves it aside and trains its trial again"
    return f"restore it, or remove it: {resume} trains every trial that is in no other file again"


def _cast(path: Path, column: Column, values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return values of a narrower type of the same kind in the declared one."""
    kind = values.type
    if not (pa.types.is_null(kind) or any(holds(kind) for holds in _KINDS[column.dtype])):
        msg = f"`{column.name}` of {path} must be of type {column.dtype}, but it is {kind}."
        raise SchemaError(msg)
    return values.cast(ARROW_TYPES[column.dtype])


_KINDS: dict[str, tuple[Callable[[pa.DataType], bool], ...]] = {
    "str": (pa.types.is_string, pa.types.is_large_string, pa.types.is_dictionary),
    "f64": (pa.types.is_floating, pa.types.is_integer),
    "i64": (pa.types.is_integer,),
    "bool": (pa.types.is_boolean,),
}

"""The border: Parquet files of a run directory, checked against the schema before anything is read.

A directory may have been written by another program, with other columns and narrower types; what
the analysis relies on is checked here once, so that no later step meets a missing or mistyped
column.
"""

import functools
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import polars as pl

from rlp_sweeps.column import Column
from rlp_sweeps.errors import RunDirectoryError, SchemaError
from rlp_sweeps.run_places import absent_directory
from rlp_sweeps.schema import CONFIG_PREFIX, SCHEMA_VERSION

DTYPES: dict[str, pl.DataType] = {
    "str": pl.String(),
    "f64": pl.Float64(),
    "i64": pl.Int64(),
    "bool": pl.Boolean(),
}
"""Polars type of each dtype of the schema."""

COMPACTED = "0-compacted"
"""Name, without its end, of the file that holds all rows of a table once a sweep has ended."""

_READ_PROVENANCE = ("num_classes",)


_READ_ATTEMPTS = 10

_P = ParamSpec("_P")
_R = TypeVar("_R")


class PartVanishedError(SchemaError):
    """A part file has gone or was replaced since its folder was listed: a sweep at work compacts.

    A scan reads a file's footer before its rows, and would take those of another file for its own.
    """


def rereads(read: Callable[_P, _R]) -> Callable[_P, _R]:
    """Return a reader that begins again where part files have changed while it was at work."""

    @functools.wraps(read)
    def wrapped(*arguments: _P.args, **options: _P.kwargs) -> _R:
        for _ in range(_READ_ATTEMPTS - 1):
            try:
                return read(*arguments, **options)
            except PartVanishedError:
                continue
        return read(*arguments, **options)

    return wrapped


@dataclass(frozen=True, slots=True)
class PartFiles:
    """Files of one table that share the same columns and types.

    Attributes:
        paths: The files, sorted by name.
        schema: Column names and types, as written.
        states: What tells each file from a later one of its name.
    """

    paths: tuple[Path, ...]
    schema: dict[str, pl.DataType]
    states: tuple[tuple[int, int, int], ...] = ()


def read_manifest(directory: Path) -> dict[str, Any] | None:
    """Return the manifest of a run directory; None where there is none: that is foreign and fine.

    Raises:
        RunDirectoryError: The manifest is no JSON object, or its version is newer than this one.
    """
    path = directory / "manifest.json"
    if not path.exists():
        return None
    try:
        manifest: Any = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        msg = f"`manifest.json` of a run directory must be JSON, but {path} is not: {error}."
        raise RunDirectoryError(msg) from error
    if not isinstance(manifest, dict):
        msg = f"`manifest.json` must be a JSON object, but {path} holds {type(manifest).__name__}."
        raise RunDirectoryError(msg)
    version = manifest.get("schema_version")
    if isinstance(version, int) and version > SCHEMA_VERSION:
        msg = (
            f"`schema_version <= {SCHEMA_VERSION}` must hold, but {path} has "
            f"schema_version={version}. Read it with a newer rlp-sweeps."
        )
        raise RunDirectoryError(msg)
    return manifest


def find_parts(directory: Path, table: str) -> list[PartFiles]:
    """Return the part files of a table, grouped by their columns and types.

    Files that begin with a dot are still being written and are left out.

    Raises:
        RunDirectoryError: The directory does not exist.
        SchemaError: A file is no readable Parquet file.
    """
    if not directory.is_dir():
        raise RunDirectoryError(absent_directory(directory))
    groups: dict[tuple[tuple[str, pl.DataType], ...], dict[Path, tuple[int, int, int]]] = {}
    for path in sorted((directory / table).glob("*.parquet")):
        if not path.name.startswith("."):
            state = _state(path)
            groups.setdefault(tuple(_read_schema(path).items()), {})[path] = state
    return [
        PartFiles(tuple(states), dict(schema), tuple(states.values()))
        for schema, states in groups.items()
    ]


def _state(path: Path) -> tuple[int, int, int]:
    try:
        state = path.stat()
    except FileNotFoundError as error:
        raise _unreadable(path, error) from error
    return state.st_ino, state.st_mtime_ns, state.st_size


def check_unchanged(groups: Iterable[PartFiles]) -> None:
    """Refuse what was read of files that are others by now.

    Raises:
        PartVanishedError: One has gone, or another one stands in its place.
    """
    for group in groups:
        for path, state in zip(group.paths, group.states, strict=True):
            if _state(path) != state:
                msg = (
                    f"the files of {path.parent} must stay as they are while they are read, but "
                    f"{path.name} was written again; read them again."
                )
                raise PartVanishedError(msg)


def _read_schema(path: Path) -> dict[str, pl.DataType]:
    try:
        return dict(pl.read_parquet_schema(path))
    except (pl.exceptions.PolarsError, OSError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> SchemaError:
    if not path.exists():
        return PartVanishedError(
            f"the files of {path.parent} must stay while they are read, but {path.name} has gone; "
            "read them again."
        )
    reason = str(error).splitlines()[0].rstrip(".")
    return SchemaError(
        f"every part file must be whole, but {path} cannot be read: {reason}; {_way_out(path)}."
    )


def _way_out(path: Path) -> str:
    """Return what to do about a file that cannot be read: `resume` works on sweeps of ours only."""
    directory, table = path.parents[1], path.parent.name
    manifest = directory / "manifest.json"
    if not manifest.exists():
        return (
            f"{directory} has no {manifest.name}, so that no sweep can be resumed there: write the "
            "file again with the program that wrote it, or remove it and go without its rows"
        )
    if table != "trials":
        return f"remove it and go without its {table}, the trials are whole without them"
    trains = "every trial that is in no other file" if path.stem == COMPACTED else "its trial"
    return f"restore it, or remove it: `rlp-sweeps resume {directory}` trains {trains} again"


def check_columns(
    parts: PartFiles, columns: Sequence[Column], *, where: str, table: str, required: Sequence[str]
) -> None:
    """Refuse part files that lack a required column, or have one of another type.

    Raises:
        SchemaError: Names every such column, what it is and what it must be.
    """
    found = {
        column.name: problem
        for column in columns
        if (problem := _problem(column, parts.schema, is_required=column.name in required))
    }
    if found:
        msg = f"{table} of {where} break the schema: {found}. Was it written by another version?"
        raise SchemaError(msg)


def _problem(column: Column, schema: dict[str, pl.DataType], *, is_required: bool) -> str | None:
    wanted = DTYPES[column.dtype]
    dtype = schema.get(column.name)
    if dtype is None:
        return f"missing, not {wanted}" if is_required else None
    is_read = is_required or column.role in {"outcome", "diagnostic"}
    is_read = is_read or column.name in _READ_PROVENANCE
    if is_read and not is_castable(dtype, column.dtype):
        return f"{dtype}, not {wanted}"
    return None


def is_castable(dtype: pl.DataType, wanted: str) -> bool:
    """Tell whether values of `dtype` become the schema's type `wanted` without loss of meaning.

    Narrower numbers do, integers become floats, categories become strings; a column that holds
    nothing but nulls may have no type at all.
    """
    if dtype == pl.Null:
        return True
    if wanted == "f64":
        return dtype.is_numeric()
    if wanted == "i64":
        return dtype.is_integer()
    if wanted == "bool":
        return dtype == pl.Boolean
    return dtype in (pl.String, pl.Categorical, pl.Enum)


def scan(parts: PartFiles, columns: Sequence[Column]) -> pl.LazyFrame:
    """Return the parts' known columns in the schema's types, and every ``config_`` column as is.

    Configuration of another type than the schema's is kept in its own, because it only tells
    cells apart; any other such column is left out.
    """
    dtypes = {column.name: column for column in columns}
    selected: list[pl.Expr] = []
    for name, dtype in parts.schema.items():
        column = dtypes.get(name)
        if column is not None and is_castable(dtype, column.dtype):
            wanted = DTYPES[column.dtype]
            selected.append(pl.col(name) if dtype == wanted else pl.col(name).cast(wanted))
        elif name.startswith(CONFIG_PREFIX) or (column is not None and column.role == "config"):
            selected.append(pl.col(name))
    return scan_raw(parts).select(selected)


def scan_raw(parts: PartFiles) -> pl.LazyFrame:
    """Return the parts as written, lazily."""
    return pl.scan_parquet(list(parts.paths), glob=False)


def collect(frames: Sequence[pl.LazyFrame], groups: Sequence[PartFiles]) -> pl.DataFrame:
    """Return the scanned parts as one frame; columns that a part lacks are null there.

    Raises:
        SchemaError: A file's content cannot be read, or a column has types that do not meet.
    """
    try:
        rows = pl.concat(frames, how="diagonal_relaxed").collect()
    except (pl.exceptions.PolarsError, OSError) as error:
        check_unchanged(groups)
        for path in (path for group in groups for path in group.paths):
            _check_content(path)
        reason = str(error).splitlines()[0]
        msg = f"a column must have the same type in every part file, but: {reason}."
        raise SchemaError(msg) from error
    check_unchanged(groups)
    return rows


def _check_content(path: Path) -> None:
    try:
        pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise _unreadable(path, error) from error

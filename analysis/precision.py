"""One precision for configuration: a value written in Float32 here and in Float64 there is two.

Values of configuration pass through unrounded and tell cells apart, and 0.1 in Float32 is
0.10000000149011612 in Float64. Were it widened beside a Float64 part that says 0.1, arms of one
cell would never meet. Tables of one precision are whole, and so are mixed ones where no such two
values meet, for example 0.5 or 0.
"""

from collections.abc import Sequence

import polars as pl

from analysis.border import PartFiles
from analysis.duplicates import PART
from rlp_sweeps.errors import SchemaError
from rlp_sweeps.schema import CONFIG_PREFIX, TRIALS

_WIDE = pl.Float64()


def check_one_precision(rows: pl.DataFrame, groups: Sequence[PartFiles]) -> None:
    """Refuse a configuration value that part files hold in two precisions.

    Args:
        rows: Trials as read, widened, with `PART`.
        groups: Part files of each number.

    Raises:
        SchemaError: Names the column, the files and the two values.
    """
    declared = {column.name for column in TRIALS if column.role == "config"}
    for name, dtype in rows.schema.items():
        if dtype == _WIDE and (name in declared or name.startswith(CONFIG_PREFIX)):
            _check_column(rows, groups, name)


def _check_column(rows: pl.DataFrame, groups: Sequence[PartFiles], name: str) -> None:
    held = [part.schema.get(name) for part in groups]
    narrow = {dtype for dtype in held if dtype is not None and dtype.is_float()} - {_WIDE}
    for dtype in sorted(narrow, key=str):
        rounded = _values(rows, name, [n for n, other in enumerate(held) if other == dtype])
        others = _values(rows, name, [n for n, other in enumerate(held) if other != dtype])
        meet = others.with_columns(as_rounded=pl.col(name).cast(dtype).cast(_WIDE)).join(
            rounded, left_on="as_rounded", right_on=name, suffix="_rounded"
        )
        twofold = meet.filter(pl.col(name) != pl.col("as_rounded")).sort(name)
        if len(twofold):
            raise SchemaError(_sentence(name, dtype, twofold.row(0, named=True), groups))


def _values(rows: pl.DataFrame, name: str, parts: Sequence[int]) -> pl.DataFrame:
    """Return the column's distinct values in these parts, each with one `PART` that holds it."""
    found = rows.filter(pl.col(PART).is_in(parts)).select(name, PART)
    return found.drop_nulls().unique(name, keep="first", maintain_order=True)


def _sentence(
    name: str, dtype: pl.DataType, twofold: dict[str, float], groups: Sequence[PartFiles]
) -> str:
    narrow, wide = (groups[int(twofold[key])] for key in (f"{PART}_rounded", PART))
    return (
        f"a value of configuration must have one precision in all part files, but `{name}` is "
        f"{dtype} in {_name_files(narrow)} and {wide.schema[name]} in {_name_files(wide)}, so that "
        f"{twofold[name]!r} is {twofold['as_rounded']!r} there and its trials do not pair; write "
        f"`{name}` as Float64 in every file."
    )


def _name_files(part: PartFiles) -> str:
    further = len(part.paths) - 1
    return f"{part.paths[0]}" + f" and {further:,} further" * bool(further)

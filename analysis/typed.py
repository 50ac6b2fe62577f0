"""Typed frames of few rows: columns, order and types as a description in the schema's words."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from analysis.border import DTYPES
from rlp_sweeps.column import Column

Row = dict[str, Any]


def to_frame(
    rows: Sequence[Mapping[str, Any]],
    columns: Sequence[Column],
    *,
    further: Mapping[str, pl.DataType] | None = None,
    after: str = "",
) -> pl.DataFrame:
    """Return the rows as a frame of these columns; a float NaN becomes null.

    Args:
        rows: Each has every column.
        columns: In the order they are to stand.
        further: Cell columns of the trials at hand, with their types.
        after: Name of the column that the further ones follow.
    """
    schema: dict[str, pl.DataType] = {}
    for column in columns:
        schema[column.name] = DTYPES[column.dtype]
        if column.name == after:
            schema |= dict(further or {})
    frame = pl.DataFrame(
        [[row[name] for name in schema] for row in rows], schema=schema, orient="row"
    )
    return frame.with_columns(pl.col(pl.Float64).fill_nan(None))


def numbers_of(inferred: Mapping[str, np.ndarray[Any, Any]], effect: int) -> Row:
    """Return what was inferred about one effect of the only group, as plain numbers."""
    return {name: array[0, effect].item() for name, array in inferred.items()}

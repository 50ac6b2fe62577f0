"""Numbers in place of keys: rows that are alike in some columns share one integer.

Keys of several columns are costly to sort, join and group by; their numbers are not, and they order
rows as the columns themselves would.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

Integers = npt.NDArray[np.int64]

_MAX_CODE = 2**40
_SPARSE = 4
"""A range of codes up to so many times the rows is numbered by a table, beyond by sorting."""


def number_rows(frame: pl.DataFrame, columns: Sequence[str]) -> Integers:
    """Return a number for each row, ``[rows]``: 0, 1, 2 … in the order of the columns' values.

    Rows have the same number where all columns are equal, nulls included; nulls come last.
    """
    codes, bound = np.zeros(len(frame), dtype=np.int64), 1
    for name in columns:
        levels, num_levels = _levels(frame, name)
        codes, bound = codes * num_levels + levels, bound * num_levels
        if bound > _MAX_CODE:
            codes = number_codes(codes)
            bound = int(codes.max(initial=0)) + 1
    return number_codes(codes)


def number_codes(codes: npt.NDArray[np.integer[Any]]) -> Integers:
    """Return the rank of each code among the distinct ones, ``[rows]``, from 0; codes are >= 0."""
    bound = int(codes.max(initial=0)) + 1
    if bound > _SPARSE * len(codes):
        numbers: Integers = np.unique(codes, return_inverse=True)[1].astype(np.int64)
        return numbers
    is_there = np.zeros(bound, dtype=bool)
    is_there[codes] = True
    ranks: Integers = (np.cumsum(is_there) - 1)[codes]
    return ranks


def run_starts(frame: pl.DataFrame, columns: Sequence[str]) -> Integers:
    """Return the first row of each run of rows that are equal in these columns, ``[runs]``."""
    is_first = np.zeros(len(frame), dtype=bool)
    is_first[:1] = True
    for name in columns:
        is_first |= frame.select(pl.col(name).ne_missing(pl.col(name).shift(1)))[name].to_numpy()
    return np.flatnonzero(is_first)


def _levels(frame: pl.DataFrame, name: str) -> tuple[Integers, int]:
    """Return each row's place among the sorted distinct values of a column, and their number."""
    column = frame.select(name)
    levels = column.unique().sort(name, nulls_last=True).with_row_index("_level")
    found = column.join(
        levels, on=name, how="left", nulls_equal=True, validate="m:1", maintain_order="left"
    )
    return found["_level"].cast(pl.Int64).to_numpy(), len(levels)

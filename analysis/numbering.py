"""Numbers in place of keys: rows that are alike in some columns share one integer.

Keys of several columns are costly to sort, join and group by; their numbers are not, and they order
rows as the columns themselves would.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

Integers = npt.NDArray[np.int64]

_MAX_CODE = 2**40
_SPARSE = 4
"""A range of codes up to so many times the rows is numbered by a table, beyond by sorting."""


@dataclass(frozen=True, slots=True)
class Levels:
    """One column as numbers.

    Attributes:
        codes: Each row's place among the column's distinct values, sorted, null last, ``[rows]``.
        num: Distinct values.
    """

    codes: Integers
    num: int

    def of_rows(self, rows: Integers) -> "Levels":
        """Return the levels of some rows; not every value need occur among them."""
        return Levels(self.codes[rows], self.num)


def find_levels(column: pl.Series) -> Levels:
    """Return the column's levels; nulls are equal."""
    values = column.drop_nulls().unique().sort()
    if values.is_empty():
        return Levels(np.zeros(len(column), dtype=np.int64), 1)
    codes = values.search_sorted(column).to_numpy().astype(np.int64)
    if column.has_nulls():
        codes[column.is_null().to_numpy()] = len(values)
    return Levels(codes, len(values) + column.has_nulls())


def number_levels(columns: Iterable[Levels]) -> Integers:
    """Return a number for each row, as `number_rows` does, from the levels of its columns."""
    first, *further = columns
    codes, bound = first.codes, first.num
    for levels in further:
        codes, bound = codes * levels.num + levels.codes, bound * levels.num
        if bound > _MAX_CODE:
            codes = number_codes(codes)
            bound = int(codes.max(initial=0)) + 1
    return number_codes(codes)


def number_rows(frame: pl.DataFrame, columns: Sequence[str]) -> Integers:
    """Return a number for each row, ``[rows]``: 0, 1, 2 … in the order of the columns' values.

    Rows have the same number where all columns are equal, nulls included; nulls come last.
    """
    return number_levels(find_levels(frame[name]) for name in columns)


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


def group_rows(numbers: Integers) -> tuple[Integers, Integers]:
    """Return the order that puts rows of one number side by side, and each group's first place.

    Args:
        numbers: As `number_rows` returns them: every number from 0 to the largest occurs.
    """
    narrow = numbers.astype(np.min_scalar_type(int(numbers.max(initial=0))))
    sizes = np.bincount(numbers)
    return np.argsort(narrow, kind="stable"), np.cumsum(sizes) - sizes


def run_starts(frame: pl.DataFrame, columns: Sequence[str]) -> Integers:
    """Return the first row of each run of rows that are equal in these columns, ``[runs]``."""
    is_first = np.zeros(len(frame), dtype=bool)
    is_first[:1] = True
    for name in columns:
        is_first |= frame.select(pl.col(name).ne_missing(pl.col(name).shift(1)))[name].to_numpy()
    return np.flatnonzero(is_first)

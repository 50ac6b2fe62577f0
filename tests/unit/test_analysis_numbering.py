"""Numbers of rows: the order and the equality of the columns they stand for."""

import numpy as np
import polars as pl
import pytest

from analysis.numbering import find_levels, group_rows, number_codes, number_rows, run_starts


def test_number_rows_orders_as_the_columns_do_with_nulls_last():
    frame = pl.DataFrame({"lr": [0.3, 0.1, 0.1, None, 0.3], "name": ["a", None, "b", "a", "a"]})

    assert number_rows(frame, ["lr", "name"]).tolist() == [2, 1, 0, 3, 2]


def test_number_rows_tells_more_combinations_apart_than_an_integer_holds():
    columns = [f"x{number}" for number in range(12)]
    frame = pl.DataFrame({name: np.arange(100) * 0.5 for name in columns})

    assert number_rows(frame, columns).tolist() == list(range(100))


@pytest.mark.parametrize("codes", [[5, 2, 5, 3], [5, 2, 10**12, 3], []])
def test_number_codes_ranks_near_and_far_codes_alike(codes):
    expected = [sorted(set(codes)).index(code) for code in codes]

    assert number_codes(np.array(codes, dtype=np.int64)).tolist() == expected


@pytest.mark.parametrize(
    ("values", "codes"),
    [
        ([2.0, None, float("nan"), -0.0, 0.0], [1, 3, 2, 0, 0]),
        (["b", None, "a"], [1, 2, 0]),
        ([True, False, None], [1, 0, 2]),
        ([None, None], [0, 0]),
        ([], []),
    ],
)
def test_find_levels_ranks_values_with_null_last(values, codes):
    levels = find_levels(pl.Series(values))

    assert levels.codes.tolist() == codes
    assert levels.num >= len(set(codes))


def test_group_rows_keeps_the_order_within_a_group():
    order, starts = group_rows(np.array([1, 0, 2, 1, 0]))

    assert order.tolist() == [1, 4, 0, 3, 2]
    assert starts.tolist() == [0, 2, 4]


def test_run_starts_are_where_a_column_changes():
    frame = pl.DataFrame({"cell": [0, 0, 1, 1, 1], "seed": [0, 0, 0, 1, None]})

    assert run_starts(frame, ["cell", "seed"]).tolist() == [0, 2, 3, 4]
    assert run_starts(frame, []).tolist() == [0]
    assert run_starts(frame.clear(), ["cell"]).tolist() == []

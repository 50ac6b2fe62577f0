"""Pooling: the block of cells and seeds that an average stands on."""

import numpy as np
import pytest

from analysis.pooling import largest_block


@pytest.mark.parametrize(
    ("presence", "cells", "seeds"),
    [
        (["11", "11"], "11", "11"),
        (["111", "111", "100"], "110", "111"),
        (["1110", "1101"], "11", "1100"),
        (["111000", "000111"], "01", "000111"),
        (["00", "11"], "01", "11"),
        (["10", "11", "11", "11", "11"], "01111", "11"),
    ],
)
def test_largest_block_has_no_hole_and_most_entries(presence, cells, seeds):
    table = np.array([[mark == "1" for mark in row] for row in presence])

    has_cell, has_seed = largest_block(table)

    assert table[np.ix_(has_cell, has_seed)].all()
    assert "".join("01"[int(value)] for value in has_cell) == cells
    assert "".join("01"[int(value)] for value in has_seed) == seeds

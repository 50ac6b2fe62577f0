"""Intervals and p values against other implementations and hand examples."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from analysis.intervals import MAX_EXACT_SEEDS, holm, infer, sign_flip, smallest_sign_flip


def infer_one(values: list[float]) -> dict[str, float | None]:
    """Return the inference on one list of values, one a seed; None where there is none."""
    found = infer(np.array(values)[:, None], np.array([0]))
    numbers = {name: array.item() for name, array in found.items()}
    return {name: None if math.isnan(number) else number for name, number in numbers.items()}


@pytest.mark.parametrize("num_seeds", [2, 3, 5, 30])
def test_t_interval_and_p_are_those_of_scipy(num_seeds):
    values = np.random.default_rng(num_seeds).normal(0.3, 1, num_seeds)

    found = infer_one(values.tolist())

    low, high = stats.t.interval(0.95, num_seeds - 1, loc=values.mean(), scale=stats.sem(values))
    assert found["ci_low"] == pytest.approx(low, rel=1e-12)
    assert found["ci_high"] == pytest.approx(high, rel=1e-12)
    assert found["p_value"] == pytest.approx(stats.ttest_1samp(values, 0).pvalue, rel=1e-9)


def test_one_seed_has_an_estimate_and_nothing_else():
    found = infer_one([0.25])

    assert found["estimate"] == 0.25
    assert [found[name] for name in ("ci_low", "ci_high", "p_value")] == [None] * 3
    assert found["p_sign_flip"] == found["p_sign_flip_min"] == 1.0


@pytest.mark.parametrize(
    "values", [[0.1] * 3, [-0.7] * 2, [0.1 + 0.2, 0.3], [1e4, 1e4 + 5e-9, 1e4]]
)
def test_without_spread_a_mean_has_neither_interval_nor_t_test(values):
    found = infer_one(values)

    assert found["estimate"] == pytest.approx(values[0], rel=1e-12)
    assert [found[name] for name in ("ci_low", "ci_high", "p_value")] == [None] * 3
    assert found["p_sign_flip"] == found["p_sign_flip_min"] == 0.5 ** (len(values) - 1)


@pytest.mark.parametrize("values", [[0.0] * 3, [2.8e-17] * 2, [2.8e-17, -1.1e-16, 0.0]])
def test_without_spread_a_mean_of_round_off_is_no_effect(values):
    found = infer_one(values)

    assert found["estimate"] == found["ci_low"] == found["ci_high"] == 0.0
    assert found["p_value"] == found["p_sign_flip"] == 1.0


def test_a_spread_above_round_off_has_an_interval():
    found = infer_one([0.01, 0.01 + 1e-11])

    assert found["ci_low"] < 0.01 < found["ci_high"]
    assert found["p_value"] < 1e-6


def test_holm_gives_the_hand_example():
    adjusted = holm(np.array([0.01, 0.04, 0.03, 0.005]))

    assert adjusted.tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_holm_counts_an_unknown_p_and_leaves_it_unknown():
    adjusted = holm(np.array([0.01, 0.04, np.nan, 0.03, 0.005]))

    assert adjusted[[0, 1, 3, 4]].tolist() == pytest.approx([0.04, 0.09, 0.09, 0.025])
    assert np.isnan(adjusted[2])


def test_holm_stops_at_one():
    assert holm(np.array([0.9, 0.8])).tolist() == [1.0, 1.0]


@pytest.mark.parametrize("num_seeds", [1, 2, 5, 7])
def test_sign_flip_equals_full_enumeration(num_seeds):
    values = np.random.default_rng(num_seeds).normal(0.5, 1, (4, num_seeds))

    found = sign_flip(values)

    signs = np.array(list(itertools.product([-1, 1], repeat=num_seeds)))
    for row, p_value in zip(values, found, strict=True):
        means = np.abs((signs * row).mean(axis=1))
        assert p_value == np.mean(means >= abs(row.mean()) - 1e-12)


@pytest.mark.parametrize("num_seeds", [1, 3, MAX_EXACT_SEEDS])
def test_the_smallest_sign_flip_is_reached_by_equal_signs(num_seeds):
    values = np.arange(1.0, num_seeds + 1)[None, :]

    assert sign_flip(values)[0] == smallest_sign_flip(num_seeds)


def test_sign_flip_of_many_seeds_is_drawn_from_a_fixed_generator():
    values = np.random.default_rng(1).normal(0.25, 1, (2, 20))

    first, second = sign_flip(values), sign_flip(values)

    assert (first == second).all()
    expected = stats.ttest_1samp(values, 0, axis=1).pvalue
    assert first == pytest.approx(expected, abs=0.03)
    assert sign_flip(np.ones((1, 20)))[0] == pytest.approx(smallest_sign_flip(20), rel=0.5)


def test_sign_flip_does_not_depend_on_how_rows_are_chunked(monkeypatch):
    values = np.random.default_rng(2).normal(size=(50, 6))
    whole = sign_flip(values)

    monkeypatch.setattr("analysis.intervals._CHUNK_ELEMENTS", 64)

    assert (sign_flip(values) == whole).all()

"""Choosing on other seeds, and the expected best of k: against enumeration of all subsets."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.selection import best_first, expected_best, mean_of_others, most_frequent, pick


def test_the_mean_of_others_leaves_the_seed_itself_out():
    scores = np.array([[0.1, 0.2, 0.6], [0.5, 0.5, 0.5]])

    assert mean_of_others(scores) == pytest.approx(np.array([[0.4, 0.35, 0.15], [0.5, 0.5, 0.5]]))


def test_two_seeds_choose_by_each_other():
    scores = np.array([[0.9, 0.1], [0.2, 0.8]])

    assert best_first(mean_of_others(scores))[0].tolist() == [1, 0]


def test_scores_that_differ_by_rounding_only_tie_and_the_first_one_wins():
    scores = np.array([[0.1, 0.2, 0.3, 0.0], [0.3, 0.2, 0.1, 0.0]])

    assert best_first(mean_of_others(scores))[0, 3] == 0
    assert best_first(mean_of_others(scores[::-1]))[0, 3] == 0


@given(
    pairs=st.lists(
        st.tuples(st.integers(0, 4), st.integers(-20, 20)),  # score with ties, value to report
        min_size=1,
        max_size=7,
    )
)
def test_the_expected_best_is_the_mean_over_all_subsets(pairs):
    scores, values = np.array(pairs, dtype=float).T
    order = best_first(scores[:, None])[:, 0]
    sizes = np.arange(1, len(pairs) + 1)

    curve = expected_best(values[order][:, None], sizes)[:, 0]

    for size in sizes:
        subsets = combinations(range(len(pairs)), size)
        bests = [values[min(subset, key=lambda i: (-scores[i], i))] for subset in subsets]
        assert curve[size - 1] == pytest.approx(np.mean(bests), abs=1e-12)


def test_the_expected_best_of_many_configurations_stays_finite():
    values = np.linspace(1.0, 0.0, 10_001)[:, None]

    curve = expected_best(values, np.array([1, 5_000, 10_001]))[:, 0]

    # The best of k among C equally spaced values: 1 − (C − k) / ((k + 1) (C − 1)).
    expected = [0.5, 1 - 5_001 / (5_001 * 10_000), 1.0]
    assert curve == pytest.approx(expected, abs=1e-9)


def test_values_are_picked_seed_by_seed():
    values = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])

    assert pick(values, np.array([1, 0, 1])).tolist() == [4.0, 2.0, 6.0]
    assert most_frequent(np.array([1, 0, 1])) == (1, 2)
    assert most_frequent(np.array([1, 0])) == (0, 1)

"""Equivalence: two one-sided tests against scipy, and where they do not exist."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from analysis.equivalence import DEFAULT_MARGIN, infer_equivalence, judge_equivalence
from rlp_sweeps.errors import ArgumentError

VALUES = st.lists(st.integers(-1000, 1000).map(lambda n: n / 1000), min_size=2, max_size=12)


@given(values=VALUES.filter(lambda v: len(set(v)) > 1), margin=st.floats(0.001, 2.0))
def test_the_p_of_equivalence_is_the_larger_of_two_one_sided_tests(values, margin):
    above = stats.ttest_1samp(values, -margin, alternative="greater").pvalue
    below = stats.ttest_1samp(values, margin, alternative="less").pvalue

    found = judge_equivalence(values, margin=margin)

    assert found.p_tost == pytest.approx(max(above, below), rel=1e-9, abs=1e-14)
    assert found.is_equivalent == (found.p_tost < 0.05)


@given(values=VALUES.filter(lambda v: len(set(v)) > 1), margin=st.floats(0.001, 2.0))
def test_equivalence_is_shown_where_the_interval_lies_within_the_margin(values, margin):
    found = judge_equivalence(values, margin=margin)

    assert found.low is not None
    assert found.high is not None
    reach = max(-found.low, found.high)
    assert abs(reach - margin) < 1e-9 or found.is_equivalent == (reach < margin)


def test_two_seeds_are_tested_with_one_degree_of_freedom():
    found = judge_equivalence([0.001, 0.003], margin=0.01)

    half = 6.313751514675 * 0.001  # t(0.95, 1) times the standard error
    assert (found.estimate, found.num_seeds) == (pytest.approx(0.002), 2)
    assert (found.low, found.high) == (pytest.approx(0.002 - half), pytest.approx(0.002 + half))
    assert found.is_equivalent


def test_one_seed_shows_no_equivalence_and_has_no_p():
    found = judge_equivalence([0.0])

    assert (found.estimate, found.low, found.high, found.p_tost) == (0.0, None, None, None)
    assert not found.is_equivalent


def test_identical_arms_are_equivalent_within_any_margin():
    found = judge_equivalence([0.0, 0.0, 0.0], margin=1e-9)

    assert (found.low, found.high, found.p_tost) == (0.0, 0.0, 0.0)
    assert found.is_equivalent


def test_the_same_difference_in_every_seed_has_no_p_of_equivalence():
    found = judge_equivalence([0.001] * 3)

    assert (found.low, found.high, found.p_tost) == (None, None, None)
    assert not found.is_equivalent


def test_groups_and_effects_are_tested_one_by_one():
    values = np.array([[0.001, 0.1], [0.003, np.nan], [0.0, 0.0], [0.002, 0.0], [0.001, 0.0]])

    found = infer_equivalence(values, np.array([0, 2]))

    assert DEFAULT_MARGIN == 0.005
    assert found["num_seeds"].tolist() == [[2, 1], [3, 3]]
    first = judge_equivalence([0.001, 0.003])
    assert found["p_tost"][0, 0] == first.p_tost
    assert np.isnan(found["p_tost"][0, 1])
    assert found["is_equivalent"].tolist() == [[False, False], [True, True]]


@pytest.mark.parametrize("margin", [0.0, -0.1, float("nan")])
def test_a_margin_that_is_not_above_zero_is_refused(margin):
    with pytest.raises(ArgumentError, match="`margin > 0` must hold"):
        judge_equivalence([0.1, 0.2], margin=margin)

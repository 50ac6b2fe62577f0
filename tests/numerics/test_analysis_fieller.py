"""Fieller's interval of a ratio of means: by its definition, by hand, by simulated repetitions."""

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from analysis.dose_response import NO_SPREAD, NOT_REMOVED, ONE_SEED, Ratio, fieller

PAIRS = st.lists(
    st.tuples(st.integers(-50, 50), st.integers(20, 80)), min_size=3, max_size=10, unique=True
)


def test_a_known_denominator_leaves_the_t_interval_of_the_numerator():
    ratio = fieller(np.array([1.0, 2.0, 3.0]), np.array([2.0, 2.0, 2.0]))

    half = 4.302652729911275 / math.sqrt(3) / 2  # t(0.975, 2), spread 1, over the denominator
    assert ratio.estimate == 1.0
    assert (ratio.low, ratio.high) == (pytest.approx(1 - half), pytest.approx(1 + half))


@given(pairs=PAIRS)
def test_a_t_test_rejects_just_beyond_the_interval(pairs):
    numerator, denominator = np.array(pairs, dtype=float).T
    ratio = fieller(numerator, denominator)
    assume(ratio.low is not None and ratio.high - ratio.low > 1e-6)

    for end in (ratio.low, ratio.high):
        rest = numerator - end * denominator
        assert stats.ttest_1samp(rest, 0).pvalue == pytest.approx(0.05, abs=1e-6)


@given(pairs=PAIRS)
def test_a_ratio_is_missing_exactly_where_the_denominator_may_be_zero(pairs):
    numerator, denominator = np.array(pairs, dtype=float).T
    denominator -= 45

    ratio = fieller(numerator, denominator)

    assume(denominator.std() > 0)
    p_value = stats.ttest_1samp(denominator, 0).pvalue
    assume(abs(p_value - 0.05) > 1e-9)
    assert (ratio.estimate is None) == (p_value > 0.05)
    assert (ratio.reason == NOT_REMOVED) == (p_value > 0.05)


def test_fieller_covers_the_true_ratio_in_95_of_100_repetitions():
    generator = np.random.default_rng(20)
    covariance = [[0.004**2, 0.6 * 0.004 * 0.05], [0.6 * 0.004 * 0.05, 0.05**2]]
    draws = generator.multivariate_normal([0.006, 0.3], covariance, size=(1000, 5))
    ratios = [fieller(draw[:, 0], draw[:, 1]) for draw in draws]

    bounded = [ratio for ratio in ratios if ratio.low is not None]
    coverage = np.mean([ratio.low <= 0.02 <= ratio.high for ratio in bounded])
    assert len(bounded) > 990
    assert coverage == pytest.approx(0.95, abs=3 * math.sqrt(0.95 * 0.05 / 1000))


def test_one_seed_has_a_ratio_and_no_interval():
    one, none = np.array([0.01]), np.array([0.0])

    assert fieller(one, np.array([0.5])) == Ratio(0.02, None, None, ONE_SEED)
    assert fieller(one, none) == Ratio(None, None, None, ONE_SEED)


def test_an_unchanged_outcome_has_the_ratio_zero_for_certain():
    assert fieller(np.zeros(3), np.array([0.2, 0.3, 0.25])) == Ratio(0.0, 0.0, 0.0, None)


def test_the_same_ratio_in_every_seed_has_no_interval():
    ratio = fieller(np.array([0.02, 0.03]), np.array([0.2, 0.3]))
    wide = fieller(np.array([0.02, 0.020002]), np.array([0.2, 0.20002]))

    assert (ratio.estimate, ratio.reason) == (None, NOT_REMOVED)  # two seeds: 0.2 and 0.3 cover 0
    assert wide == Ratio(pytest.approx(0.1), None, None, NO_SPREAD)

"""Power and sample size: against quadrature, tables and simulated repetitions."""

import math

import numpy as np
import pytest
from scipy import integrate, stats

from analysis.power import (
    num_seeds_for_effect,
    num_seeds_for_half_width,
    power_of,
    smallest_effect,
    stein_interval,
    stein_num_seeds,
)
from rlp_sweeps.errors import ArgumentError


def power_by_quadrature(noncentrality: float, num_seeds: int, level: float) -> float:
    """Return the power as a mean over the spread that a sample happens to show."""
    degrees = num_seeds - 1
    critical = stats.t.ppf(1 - level / 2, degrees) / math.sqrt(degrees)

    def integrand(chi: float) -> float:
        tails = stats.norm.sf(critical * chi - noncentrality)
        tails += stats.norm.cdf(-critical * chi - noncentrality)
        return float(stats.chi.pdf(chi, degrees) * tails)

    kink = noncentrality / critical
    low = integrate.quad(integrand, 0, kink, epsabs=1e-12, limit=200)[0]
    return float(low + integrate.quad(integrand, kink, kink + 40, epsabs=1e-12, limit=200)[0])


@pytest.mark.parametrize("num_seeds", [2, 3, 5, 20])
@pytest.mark.parametrize("family_size", [1, 6])
def test_the_smallest_effect_is_seen_with_the_power_asked_for(num_seeds, family_size):
    effect = smallest_effect(0.004, num_seeds, family_size=family_size)

    noncentrality = effect / 0.004 * math.sqrt(num_seeds)
    found = power_by_quadrature(noncentrality, num_seeds, 0.05 / family_size)
    assert found == pytest.approx(0.8, abs=1e-9)
    assert power_of(-effect, 0.004, num_seeds, family_size=family_size) == pytest.approx(0.8)


def test_power_without_an_effect_is_the_level():
    assert power_of(0.0, 1.0, 5) == pytest.approx(0.05)
    assert power_of(0.0, 1.0, 5, family_size=5) == pytest.approx(0.01)


def test_one_seed_sees_no_effect():
    assert power_of(9.0, 1.0, 1) == 0.0
    assert smallest_effect(1.0, 1) == math.inf


def test_the_seeds_for_half_a_standard_deviation_are_those_of_the_textbook():
    assert num_seeds_for_effect(0.5, 1.0) == 34  # Cohen 1988: paired t test, d = 0.5, power 0.8


@pytest.mark.parametrize("effect", [0.05, 0.7, 100.0])
def test_one_seed_less_would_not_see_the_effect(effect):
    num_seeds = num_seeds_for_effect(effect, 1.0)

    assert power_of(effect, 1.0, num_seeds) >= 0.8
    assert num_seeds == 2 or power_of(effect, 1.0, num_seeds - 1) < 0.8


def test_the_seeds_for_a_half_width_are_the_fewest():
    num_seeds = num_seeds_for_half_width(0.002, 0.004)

    half_widths = [stats.t.ppf(0.975, n - 1) * 0.004 / math.sqrt(n) for n in (17, 18)]
    assert num_seeds == 18
    assert half_widths[1] <= 0.002 < half_widths[0]


def test_steins_rule_is_that_of_the_formula():
    # t(0.975, 4) = 2.776445: (2.776445 · 0.004 / 0.002)² = 30.8
    assert stein_num_seeds(0.004, 5, 0.002) == 31
    assert stein_num_seeds(0.0001, 5, 0.002) == 5
    low, high = stein_interval(0.01, 0.004, 5, 31)
    assert (high + low) / 2 == pytest.approx(0.01)
    assert (high - low) / 2 == pytest.approx(2.776445 * 0.004 / math.sqrt(31), rel=1e-6)


def test_steins_interval_covers_and_is_narrow_enough():
    generator = np.random.default_rng(1)
    is_covered = []
    for _ in range(2000):
        first = generator.normal(0.0, 1.0, 4)
        sd = float(first.std(ddof=1))
        num_all = stein_num_seeds(sd, 4, 1.0)
        every = np.concatenate([first, generator.normal(0.0, 1.0, num_all - 4)])
        low, high = stein_interval(float(every.mean()), sd, 4, num_all)
        assert high - low <= 2.0 + 1e-12
        is_covered.append(low <= 0 <= high)

    assert np.mean(is_covered) > 0.95 - 3 * math.sqrt(0.95 * 0.05 / 2000)


@pytest.mark.parametrize(
    ("ask", "rule"),
    [
        (lambda: smallest_effect(0.0, 5), "`0 < spread < inf` must hold"),
        (lambda: smallest_effect(1.0, 0), "`num_seeds >= 1` must hold"),
        (lambda: smallest_effect(1.0, 5, power=0.01), "`0.05 < power < 1` must hold"),
        (lambda: smallest_effect(1.0, 5, family_size=0), "`family_size >= 1` must hold"),
        (lambda: num_seeds_for_effect(1e-6, 1.0), "with 1,000,000 seeds"),
        (lambda: num_seeds_for_half_width(-1.0, 1.0), "`0 < half_width < inf` must hold"),
        (lambda: stein_num_seeds(1.0, 1, 0.1), "`num_first >= 2` must hold"),
        (lambda: stein_num_seeds(-1.0, 3, 0.1), "`0 <= sd_first < inf` must hold"),
        (lambda: stein_interval(0.0, 1.0, 5, 4), "`num_all >= num_first` must hold"),
    ],
)
def test_a_design_out_of_range_is_refused_with_its_rule(ask, rule):
    with pytest.raises(ArgumentError, match=rule):
        ask()

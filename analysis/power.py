"""Power of a design over seeds: which effects it can see, how many seeds a wish takes.

The test is the two-sided 5 % t test over n seeds; its power follows the non-central t distribution
exactly where per-seed effects are normal. A seed spread is the standard deviation over seeds of the
pooled effect of one seed, in units of the outcome.
"""

import math
from collections.abc import Callable

import numpy as np
from scipy import optimize, stats

from rlp_sweeps.errors import ArgumentError

ALPHA = 0.05
"""Level of the two-sided test."""

POWER = 0.8
"""Share of repetitions in which an effect of the stated size is to be seen."""

MAX_SEEDS = 1_000_000
"""Beyond so many seeds a design is called out of reach."""


def power_of(effect: float, spread: float, num_seeds: int, *, family_size: int = 1) -> float:
    """Return the share of repetitions in which the two-sided t test over seeds rejects no effect.

    0 for one seed, which has no test.

    Args:
        effect: True mean over seeds, in units of the outcome.
        spread: Standard deviation over seeds, in units of the outcome, > 0.
        num_seeds: Seeds n, ≥ 1.
        family_size: Tests in the family; each is held at `ALPHA` divided by it. That is
            Bonferroni's level: Holm's rule rejects whatever it rejects, so it is conservative.

    Raises:
        ArgumentError: An argument is out of range.

    Source:
        Johnson, Kotz, Balakrishnan 1995, "Continuous Univariate Distributions", vol. 2, chapter 31.
    """
    _check(spread=spread, num_seeds=num_seeds, family_size=family_size)
    if num_seeds == 1:
        return 0.0
    return _power(abs(effect) / spread * math.sqrt(num_seeds), num_seeds, family_size)


def smallest_effect(
    spread: float, num_seeds: int, *, power: float = POWER, family_size: int = 1
) -> float:
    """Return the smallest effect that so many seeds see with this power; infinite for one seed.

    Args:
        spread: Standard deviation over seeds, > 0, in units of the outcome, as is the result; with
            1 the result is in units of the seed spread.
        num_seeds: Seeds n, ≥ 1.
        power: Share of repetitions in which the effect is seen, above the level and below 1.
        family_size: As in `power_of`.

    Raises:
        ArgumentError: An argument is out of range.
    """
    _check(spread=spread, num_seeds=num_seeds, family_size=family_size, power=power)
    if num_seeds == 1:
        return math.inf

    def lack(noncentrality: float) -> float:
        return _power(noncentrality, num_seeds, family_size) - power

    upper = 4.0
    while lack(upper) < 0:
        upper *= 2
    noncentrality: float = optimize.brentq(lack, 0.0, upper, xtol=1e-12)
    return spread * noncentrality / math.sqrt(num_seeds)


def num_seeds_for_effect(
    effect: float, spread: float, *, power: float = POWER, family_size: int = 1
) -> int:
    """Return the smallest number of seeds that sees this effect with this power, at least 2.

    Args:
        effect: Size of the true mean over seeds, > 0, in units of the outcome.
        spread: Standard deviation over seeds, in units of the outcome, > 0.
        power: As in `smallest_effect`.
        family_size: As in `power_of`.

    Raises:
        ArgumentError: An argument is out of range, or it would take over `MAX_SEEDS` seeds.
    """
    _check(spread=spread, effect=effect, family_size=family_size, power=power)
    return _fewest(
        lambda n: power_of(effect, spread, n, family_size=family_size) >= power,
        f"an effect of {effect!r} at a seed spread of {spread!r}",
    )


def num_seeds_for_half_width(half_width: float, spread: float) -> int:
    """Return the smallest number of seeds whose 95 % t interval is ± this wide, at least 2.

    The spread is taken as known; a later sample's interval is wider or narrower as its own spread
    comes out. `stein_num_seeds` holds the width for certain.

    Args:
        half_width: Half the width of the interval, in units of the outcome, > 0.
        spread: Standard deviation over seeds, in units of the outcome, > 0.

    Raises:
        ArgumentError: An argument is out of range, or it would take over `MAX_SEEDS` seeds.
    """
    _check(spread=spread, half_width=half_width)
    return _fewest(
        lambda n: _quantile(n) * spread / math.sqrt(n) <= half_width,
        f"a half-width of {half_width!r} at a seed spread of {spread!r}",
    )


def stein_num_seeds(sd_first: float, num_first: int, half_width: float) -> int:
    r"""Return the seeds in all that Stein's two-stage rule asks for, the first stage's included.

    .. math:: N = \max(n_0, \lceil (t_{0.975, n_0 - 1}\, s / w)^2 \rceil)

    N depends on the first stage's spread and never on its mean, so that there is no peeking. The
    final interval must be `stein_interval`: mean of all N seeds, but spread and degrees of freedom
    of the first stage. It covers with at least 95 % and is at most ± w wide.

    Args:
        sd_first: Standard deviation s over the first stage's seeds, in units of the outcome, ≥ 0.
        num_first: Seeds n₀ of the first stage, ≥ 2.
        half_width: Wanted half-width w, in units of the outcome, > 0.

    Raises:
        ArgumentError: An argument is out of range.

    Source:
        Stein 1945, "A two-sample test for a linear hypothesis whose power is independent of the
        variance", Ann. Math. Statist. 16.
    """
    _check_stein(sd_first, num_first)
    _check(half_width=half_width)
    return max(num_first, math.ceil((_quantile(num_first) * sd_first / half_width) ** 2))


def stein_interval(
    mean_of_all: float, sd_first: float, num_first: int, num_all: int
) -> tuple[float, float]:
    """Return both ends of the 95 % interval after both stages of Stein's rule.

    Its spread and its degrees of freedom n₀ − 1 are the first stage's: the number of seeds was
    chosen by that spread, so that the spread of all seeds would give too narrow an interval.

    Args:
        mean_of_all: Mean over the seeds of both stages, in units of the outcome.
        sd_first: Standard deviation over the first stage's seeds, ≥ 0.
        num_first: Seeds n₀ of the first stage, ≥ 2.
        num_all: Seeds N of both stages, ≥ n₀.

    Raises:
        ArgumentError: An argument is out of range.

    Source:
        Stein 1945, as in `stein_num_seeds`.
    """
    _check_stein(sd_first, num_first)
    if num_all < num_first:
        msg = (
            "`num_all >= num_first` must hold, because the first stage's seeds count among all, "
            f"but got num_first={num_first!r}, num_all={num_all!r}."
        )
        raise ArgumentError(msg)
    half = _quantile(num_first) * sd_first / math.sqrt(num_all)
    return mean_of_all - half, mean_of_all + half


def _power(noncentrality: float, num_seeds: int, family_size: int) -> float:
    degrees = num_seeds - 1
    critical = stats.t.ppf(1 - ALPHA / family_size / 2, degrees)
    right = stats.nct.sf(critical, degrees, noncentrality)
    # The tail on the wrong side comes out as NaN where its terms vanish in float64.
    wrong = np.nan_to_num(stats.nct.cdf(-critical, degrees, noncentrality), nan=0.0)
    return float(right + wrong)


def _quantile(num_seeds: int) -> float:
    return float(stats.t.ppf(0.975, num_seeds - 1))


def _fewest(is_enough: Callable[[int], bool], wish: str) -> int:
    """Return the smallest number of seeds from 2 on that is enough; more always is, too."""
    upper = 2
    while not is_enough(upper):
        upper *= 2
        if upper > MAX_SEEDS:
            msg = f"a design must do with {MAX_SEEDS:,} seeds, but {wish} takes more."
            raise ArgumentError(msg)
    lower = upper // 2
    while upper - lower > 1:
        middle = (lower + upper) // 2
        lower, upper = (lower, middle) if is_enough(middle) else (middle, upper)
    return upper


def _check(
    *, power: float = POWER, family_size: int = 1, num_seeds: int = 1, **sizes: float
) -> None:
    for name, value in sizes.items():
        if not 0 < value < math.inf:
            msg = f"`0 < {name} < inf` must hold, but got {name}={value!r}."
            raise ArgumentError(msg)
    for name, count in {"num_seeds": num_seeds, "family_size": family_size}.items():
        if count < 1:
            msg = f"`{name} >= 1` must hold, but got {name}={count!r}."
            raise ArgumentError(msg)
    if not ALPHA / family_size < power < 1:
        msg = f"`{ALPHA / family_size:g} < power < 1` must hold, but got power={power!r}."
        raise ArgumentError(msg)


def _check_stein(sd_first: float, num_first: int) -> None:
    if not 0 <= sd_first < math.inf:
        msg = f"`0 <= sd_first < inf` must hold, but got sd_first={sd_first!r}."
        raise ArgumentError(msg)
    if num_first < 2:
        msg = (
            "`num_first >= 2` must hold, because one seed has no spread, but got "
            f"num_first={num_first!r}."
        )
        raise ArgumentError(msg)

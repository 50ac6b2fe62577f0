"""Inference over seeds: t intervals, Holm's adjustment, sign-flip permutation.

Everything works on arrays, one entry an estimate, so that ten thousand cells cost a few array
operations.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import special, stats

from analysis.numbering import Integers

CONFIDENCE = 0.95
"""Coverage of every interval."""

MAX_EXACT_SEEDS = 12
"""Up to so many seeds the sign-flip p enumerates every sign vector."""

NUM_SIGN_DRAWS = 10_000
"""Sign vectors drawn beyond `MAX_EXACT_SEEDS`, the observed one counted besides."""

_SIGN_SEED = 20_241_119
_CHUNK_ELEMENTS = 2**15  # of float64: sums stay in a core's cache
_TIE_TOLERANCE = 1e-12

NO_SPREAD = 1e-12
"""Values that differ by no more than this, times the largest of them or 1, have no spread."""

Floats = npt.NDArray[np.floating[Any]]


def t_interval(mean: Floats, sd: Floats, num_seeds: Integers) -> tuple[Floats, Floats]:
    """Return both ends of the two-sided 95 % t interval; NaN where there is none.

    There is none for one seed or none, and none without spread over seeds, because a t interval
    does not exist there; only a mean of 0 without spread has [0, 0].

    Args:
        mean: Means over seeds, ``[…]``.
        sd: Standard deviations over seeds (n − 1 in the denominator), ``[…]``; ignored for n < 2,
            0 where there is no spread (see `summarize`).
        num_seeds: Seeds, ``[…]``.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        quantiles = stats.t.ppf(0.5 + CONFIDENCE / 2, np.arange(num_seeds.max(initial=0) + 1) - 1)
        half = quantiles[num_seeds] * sd / np.sqrt(num_seeds)
    half = np.where(sd == 0, np.where(mean == 0, 0.0, np.nan), half)
    half = np.where(num_seeds >= 2, half, np.nan)
    return mean - half, mean + half


def t_test(mean: Floats, sd: Floats, num_seeds: Integers) -> Floats:
    """Return two-sided p of no effect; NaN where there is one seed or none.

    Without spread p is 1 for a mean of 0, else NaN. Arguments as in `t_interval`.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        statistic = np.abs(mean) / (sd / np.sqrt(num_seeds))
        p_value = 2 * special.stdtr(num_seeds - 1, -statistic)
    p_value = np.where(sd == 0, np.where(mean == 0, 1.0, np.nan), p_value)
    return np.where(num_seeds >= 2, p_value, np.nan)


def holm(p_values: Floats) -> Floats:
    """Return p values adjusted by Holm's step-down rule.

    Args:
        p_values: The whole family, ``[m]``. An unknown p (NaN) stays unknown and counts in m.

    Source:
        Holm 1979, "A simple sequentially rejective multiple test procedure", Scand. J. Statist. 6.
    """
    adjusted = np.full_like(p_values, np.nan)
    tested = np.flatnonzero(~np.isnan(p_values))
    order = tested[np.argsort(p_values[tested], kind="stable")]
    factors = len(p_values) - np.arange(len(order))
    steps = np.maximum.accumulate(p_values[order] * factors)
    adjusted[order] = np.minimum(steps, 1.0)
    return adjusted


def sign_flip(values: Floats) -> Floats:
    """Return the two-sided sign-flip p of each row's mean.

    Under the null, each seed's effect is as likely as its negative. Exact for n ≤ 12; beyond, from
    10,000 draws of a fixed generator with the observed signs counted in.

    Args:
        values: Effects, ``[N, n]``: one row an estimate, one column a seed.
    """
    num_rows, num_seeds = values.shape
    signs = _sign_vectors(num_seeds)
    is_exact = num_seeds <= MAX_EXACT_SEEDS
    scale = np.maximum(np.abs(values).sum(axis=1), 1.0)
    threshold = np.abs(values.sum(axis=1)) - _TIE_TOLERANCE * scale
    counts = np.empty(num_rows)
    chunk = max(1, _CHUNK_ELEMENTS // signs.shape[1])
    for start in range(0, num_rows, chunk):
        rows = slice(start, start + chunk)
        sums = values[rows] @ signs
        np.abs(sums, out=sums)
        is_as_far = np.packbits(sums >= threshold[rows, None], axis=1)
        counts[rows] = np.bitwise_count(is_as_far).sum(axis=1)
    p_value: Floats = counts / signs.shape[1]
    return p_value if is_exact else (counts + 1) / (signs.shape[1] + 1)


def smallest_sign_flip(num_seeds: int) -> float:
    """Return the smallest sign-flip p that so many seeds can give."""
    if num_seeds <= MAX_EXACT_SEEDS:
        return float(0.5 ** (num_seeds - 1))
    return 1 / (NUM_SIGN_DRAWS + 1)


def _sign_vectors(num_seeds: int) -> Floats:
    """Return sign vectors, ``[n, S]``; the first sign stays +, because the test is two-sided."""
    if num_seeds > MAX_EXACT_SEEDS:
        draws = np.random.default_rng(_SIGN_SEED).integers(0, 2, (num_seeds, NUM_SIGN_DRAWS))
        return draws * 2.0 - 1.0
    codes = np.arange(2 ** (num_seeds - 1))
    bits = (codes[None, :] >> np.arange(num_seeds)[:, None]) & 1
    return 1.0 - 2.0 * bits


@dataclass(frozen=True, slots=True)
class Moments:
    """Moments over seeds, one entry an estimate, ``[G, E]``: a group of rows and an effect.

    Attributes:
        mean: NaN where there is no seed.
        sd: Standard deviation (n − 1 in the denominator); NaN for less than two seeds.
        num_seeds: Seeds that have a value.
    """

    mean: Floats
    sd: Floats
    num_seeds: Integers


def summarize(values: Floats, starts: Integers) -> Moments:
    """Return mean, standard deviation and count of every column in every group of rows.

    Without spread (see `NO_SPREAD`) the standard deviation is exactly 0, and so is a mean that is
    as small; where all values are the same, the mean is exactly that value.

    Args:
        values: One row a seed, one column an effect, ``[N, E]``; NaN where missing.
        starts: First row of each group, ``[G]``, ascending from 0: groups are runs of rows.
    """
    center, num_seeds, (low, high) = _center(values, starts)
    with np.errstate(divide="ignore", invalid="ignore"):
        deviation = values - _spread(center, starts, len(values))
        squares = np.where(np.isnan(values), 0.0, deviation * deviation)
        sd = np.sqrt(np.add.reduceat(squares, starts) / (num_seeds - 1))
    tolerance = NO_SPREAD * np.fmax(1.0, np.fmax(np.abs(low), np.abs(high)))
    is_flat = high - low <= tolerance
    return Moments(
        mean=np.where(is_flat & (np.abs(center) <= tolerance), 0.0, center),
        sd=np.where(num_seeds > 1, np.where(is_flat, 0.0, sd), np.nan),
        num_seeds=num_seeds,
    )


def average(values: Floats, starts: Integers) -> tuple[Floats, Integers]:
    """Return mean and count of every column in every group of rows; arguments as in `summarize`.

    Where all values are the same, the mean is exactly that value; NaN where there is none.
    """
    mean, count, _ = _center(values, starts)
    return mean, count


def _center(values: Floats, starts: Integers) -> tuple[Floats, Integers, tuple[Floats, Floats]]:
    """Return mean, count, and the smallest and largest value."""
    is_there = ~np.isnan(values)
    count = np.add.reduceat(is_there, starts, axis=0, dtype=np.int64)
    low, high = np.fmin.reduceat(values, starts), np.fmax.reduceat(values, starts)
    total = np.add.reduceat(np.where(is_there, values, 0.0), starts)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = total / count
    return np.where(low == high, low, mean), count, (low, high)


def infer(values: Floats, starts: Integers) -> dict[str, Floats | Integers]:
    """Return estimates over seeds with their inference, each ``[G, E]``, NaN where there is none.

    `estimate`, `ci_low`, `ci_high`, `p_value`, `p_sign_flip`, `p_sign_flip_min`, `num_seeds`.
    Interval and t test are NaN for one seed, and without spread unless the mean is 0. Arguments as
    in `summarize`.
    """
    moments = summarize(values, starts)
    mean, sd, num_seeds = moments.mean, moments.sd, moments.num_seeds
    low, high = t_interval(mean, sd, num_seeds)
    p_sign_flip, smallest = _sign_flips(values, starts, num_seeds)
    return {
        "estimate": mean,
        "ci_low": low,
        "ci_high": high,
        "p_value": t_test(mean, sd, num_seeds),
        "p_sign_flip": p_sign_flip,
        "p_sign_flip_min": smallest,
        "num_seeds": num_seeds,
    }


def _sign_flips(values: Floats, starts: Integers, num_seeds: Integers) -> tuple[Floats, Floats]:
    """Return the sign-flip p of every estimate, and the smallest that its seeds can give."""
    p_value, smallest = (np.full(num_seeds.shape, np.nan) for _ in range(2))
    by_effect = values.T
    seeds_there = np.where(np.isnan(by_effect), 0, _spread(num_seeds, starts, len(values)).T)
    for n in np.unique(num_seeds[num_seeds > 0]):
        matrix = by_effect[seeds_there == n].reshape(-1, int(n))
        is_estimate = num_seeds == n
        p_value.T[is_estimate.T] = sign_flip(matrix)
        smallest[is_estimate] = smallest_sign_flip(int(n))
    return p_value, smallest


def _spread(per_group: npt.NDArray[Any], starts: Integers, num_rows: int) -> npt.NDArray[Any]:
    """Return for each row the entry of its group."""
    return np.repeat(per_group, np.diff(starts, append=num_rows), axis=0)

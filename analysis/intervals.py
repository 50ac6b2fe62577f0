"""Inference over seeds: t intervals, Holm's adjustment, sign-flip permutation.

Everything works on arrays, one entry an estimate, so that ten thousand cells cost a few array
operations.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy import stats

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


def t_interval(mean: Floats, sd: Floats, num_seeds: npt.NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Return both ends of the two-sided 95 % t interval; NaN where there is none.

    There is none for one seed or none, and none without spread over seeds, because a t interval
    does not exist there; only a mean of 0 without spread has [0, 0].

    Args:
        mean: Means over seeds, ``[N]``.
        sd: Standard deviations over seeds (n − 1 in the denominator), ``[N]``; ignored for n < 2,
            0 where there is no spread (see `summarize`).
        num_seeds: Seeds, ``[N]``.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        quantile = stats.t.ppf(0.5 + CONFIDENCE / 2, num_seeds - 1)
        half = quantile * sd / np.sqrt(num_seeds)
    half = np.where(sd == 0, np.where(mean == 0, 0.0, np.nan), half)
    half = np.where(num_seeds >= 2, half, np.nan)
    return mean - half, mean + half


def t_test(mean: Floats, sd: Floats, num_seeds: npt.NDArray[np.int64]) -> Floats:
    """Return two-sided p of no effect; NaN where there is one seed or none.

    Without spread p is 1 for a mean of 0, else NaN. Arguments as in `t_interval`.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        statistic = np.abs(mean) / (sd / np.sqrt(num_seeds))
        p_value = 2 * stats.t.sf(statistic, num_seeds - 1)
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
        counts[rows] = (np.abs(values[rows] @ signs) >= threshold[rows, None]).sum(axis=1)
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


def summarize(
    values: pl.Expr, *, names: tuple[str, str, str] = ("estimate", "sd", "num_seeds")
) -> list[pl.Expr]:
    """Return the aggregations mean, standard deviation and count of a column over seeds.

    Without spread (see `NO_SPREAD`) the standard deviation is exactly 0, and so is a mean that is
    as small; where all values are the same, the mean is exactly that value.
    """
    mean, sd, num_seeds = names
    tolerance = NO_SPREAD * pl.max_horizontal(pl.lit(1.0), values.abs().max())
    is_flat = values.max() - values.min() <= tolerance
    center = pl.when(values.min() == values.max()).then(values.min()).otherwise(values.mean())
    return [
        pl.when(is_flat & (center.abs() <= tolerance)).then(0.0).otherwise(center).alias(mean),
        pl.when(is_flat & (values.count() > 1)).then(0.0).otherwise(values.std()).alias(sd),
        values.count().cast(pl.Int64).alias(num_seeds),
    ]


def add_inference(estimates: pl.DataFrame) -> pl.DataFrame:
    """Add `ci_low`, `ci_high`, `p_value`, `p_sign_flip` and `p_sign_flip_min` to estimates.

    Reads `estimate`, `sd`, `num_seeds` and `values` (list, one value a seed). Interval and t test
    are null for one seed, and without spread unless the mean is 0.
    """
    mean = estimates["estimate"].to_numpy()
    num_seeds = estimates["num_seeds"].to_numpy()
    sd = estimates["sd"].fill_null(float("nan")).to_numpy()
    low, high = t_interval(mean, sd, num_seeds)
    columns = {"ci_low": low, "ci_high": high, "p_value": t_test(mean, sd, num_seeds)}
    columns |= _sign_flip_columns(estimates["values"], num_seeds)
    return estimates.with_columns(
        pl.Series(name, array, dtype=pl.Float64).fill_nan(None) for name, array in columns.items()
    )


def _sign_flip_columns(values: pl.Series, num_seeds: npt.NDArray[np.int64]) -> dict[str, Floats]:
    p_value = np.full(len(num_seeds), np.nan)
    smallest = np.full(len(num_seeds), np.nan)
    for n in np.unique(num_seeds):
        rows = np.flatnonzero(num_seeds == n)
        matrix = values.gather(rows).explode().to_numpy().reshape(len(rows), int(n))
        p_value[rows] = sign_flip(matrix)
        smallest[rows] = smallest_sign_flip(int(n))
    return {"p_sign_flip": p_value, "p_sign_flip_min": smallest}

"""Statistics of ranks over samples: Spearman's correlation and the area under the ROC curve."""

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import stats

from analysis.intervals import CONFIDENCE

Floats = npt.NDArray[np.floating[Any]]

_QUANTILE = float(stats.norm.ppf(0.5 + CONFIDENCE / 2))


class Estimate(NamedTuple):
    """A number with its 95 % interval; None for what does not exist."""

    value: float | None
    low: float | None = None
    high: float | None = None


def spearman(x: Floats, y: Floats) -> Estimate:
    """Return the rank correlation of two values a sample, ties at their mean rank.

    The interval is Fisher's z with the variance (1 + ρ²/2) / (n − 3). There is no correlation where
    one of the two is the same everywhere, and no interval for n < 4 or |ρ| = 1.

    Args:
        x: Finite, ``[n]``.
        y: Finite, ``[n]``.

    Source:
        Bonett and Wright 2000, "Sample size requirements for estimating Pearson, Kendall and
        Spearman correlations", Psychometrika 65.
    """
    ranks = np.stack([stats.rankdata(values) for values in (x, y)]) if len(x) else np.zeros((2, 0))
    deviations = ranks - ranks.mean(axis=1, keepdims=True) if len(x) else ranks
    squares = (deviations**2).sum(axis=1)
    if not squares.all():
        return Estimate(None)
    rho = float(np.clip(deviations[0] @ deviations[1] / math.sqrt(squares.prod()), -1, 1))
    if len(x) < 4 or abs(rho) >= 1 - 1e-12:
        return Estimate(rho)
    half = _QUANTILE * math.sqrt((1 + rho**2 / 2) / (len(x) - 3))
    return Estimate(rho, math.tanh(math.atanh(rho) - half), math.tanh(math.atanh(rho) + half))


def auroc(scores: Floats, is_positive: npt.NDArray[np.bool_]) -> Estimate:
    """Return the probability that a positive scores above a negative, equal scores counted half.

    The interval is normal with DeLong's variance, cut to [0, 1]. There is no area where one of the
    two kinds is missing; no interval for fewer than two of a kind, or where that variance is 0.

    Args:
        scores: Finite, ``[n]``.
        is_positive: ``[n]``.

    Source:
        DeLong, DeLong and Clarke-Pearson 1988, Biometrics 44; by mid-ranks as Sun and Xu 2014, IEEE
        Signal Processing Letters 21.
    """
    positive, negative = scores[is_positive], scores[~is_positive]
    num_positive, num_negative = len(positive), len(negative)
    if not num_positive or not num_negative:
        return Estimate(None)
    rank = stats.rankdata(scores)
    above = (rank[is_positive] - stats.rankdata(positive)) / num_negative
    below = 1 - (rank[~is_positive] - stats.rankdata(negative)) / num_positive
    area = float(above.mean())
    if min(num_positive, num_negative) < 2:
        return Estimate(area)
    variance = above.var(ddof=1) / num_positive + below.var(ddof=1) / num_negative
    if variance <= 0:
        return Estimate(area)
    half = _QUANTILE * math.sqrt(variance)
    return Estimate(area, max(0.0, area - half), min(1.0, area + half))

"""Ranks over samples: Spearman with ties, areas under ROC curves, and their intervals."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from analysis.rank_statistics import auroc, spearman


def drawn(seed: int, num: int = 200, *, decimals: int = 1):
    """Two related values a sample with many ties, and a kind that goes with the first."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=num).round(decimals)
    y = (0.5 * x + rng.normal(size=num)).round(decimals)
    return x, y, x + rng.normal(size=num) > 1


@pytest.mark.parametrize("seed", range(5))
def test_spearman_with_ties_is_that_of_scipy(seed: int) -> None:
    x, y, _ = drawn(seed)

    rho, low, high = spearman(x, y)

    assert rho == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12)
    assert low < rho < high


@pytest.mark.parametrize(
    ("x", "y", "rho"),
    [
        ([], [], None),
        ([1.0], [2.0], None),
        ([1, 1, 1, 1, 1], [1, 2, 3, 4, 5], None),
        ([1, 2, 3, 4, 5], [2, 4, 6, 8, 9], 1.0),
        ([1, 2, 3], [1, 3, 2], 0.5),
    ],
)
def test_spearman_has_no_value_or_no_interval_where_there_is_none(x, y, rho) -> None:
    value, low, high = spearman(np.array(x, float), np.array(y, float))

    assert value == pytest.approx(rho)
    assert (low, high) == (None, None)


def test_spearmans_interval_covers_the_truth() -> None:
    rng = np.random.default_rng(0)
    pearson, covered = 0.6, 0
    truth = 6 / np.pi * np.arcsin(pearson / 2)
    for _ in range(500):
        x, z = rng.normal(size=(2, 100))
        _, low, high = spearman(x, pearson * x + np.sqrt(1 - pearson**2) * z)
        covered += low < truth < high

    assert 0.92 < covered / 500 < 0.98


@pytest.mark.parametrize("seed", range(5))
def test_auroc_with_ties_is_that_of_scikit_learn(seed: int) -> None:
    x, _, is_positive = drawn(seed)

    area, low, high = auroc(x, is_positive)

    assert area == pytest.approx(roc_auc_score(is_positive, x), abs=1e-12)
    assert 0 <= low < area < high <= 1


def test_delongs_variance_is_that_of_the_pairs() -> None:
    x, _, is_positive = drawn(1, 30)
    positive, negative = x[is_positive], x[~is_positive]
    wins = (positive[:, None] > negative) + 0.5 * (positive[:, None] == negative)
    variance = wins.mean(1).var(ddof=1) / len(positive) + wins.mean(0).var(ddof=1) / len(negative)

    area, low, _ = auroc(x, is_positive)

    assert (area - low) / 1.959964 == pytest.approx(np.sqrt(variance), abs=1e-6)


@pytest.mark.parametrize(
    ("scores", "is_positive", "area"),
    [
        ([1, 2, 3], [False] * 3, None),
        ([1, 2, 3], [True] * 3, None),
        ([1, 2, 3], [False, False, True], 1.0),
        ([1, 1, 1, 1], [True, False, True, False], 0.5),
    ],
)
def test_auroc_has_no_value_or_no_interval_where_there_is_none(scores, is_positive, area) -> None:
    value, low, high = auroc(np.array(scores, float), np.array(is_positive))

    assert value == area
    assert (low, high) == (None, None)

"""Choose configurations on the validation accuracy of other seeds than the one they are read on.

A configuration chosen on the very trials it is then reported on looks better than it is. So the
choice for a seed reads the validation accuracy of all other seeds, and the outcome is that seed's.
Choices of two seeds share all but two of the seeds they read, and each reads the other seed: the
outcomes they lead to are correlated, and a plain t interval over seeds is too narrow. So intervals
of tuned outcomes are widened (`widen`).

Arrays here are ``[C, S]``: C configurations, S seeds.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy import special

from analysis.intervals import Floats
from analysis.numbering import Integers
from analysis.pairing import ARMS, Diverged, cell_columns, check_outcomes, find_places, score_places

SELECTED_ON = "val_accuracy"
"""The metric that configurations are chosen by; larger is better."""

_TIE_DECIMALS = 12


@dataclass(frozen=True, slots=True)
class Scored:
    """Trials paired and scored for an outcome and for the choice.

    Attributes:
        rows: One row a cell and seed: the cell columns, `cell`, `base`, `seed`, and for each arm
            `y_<arm>` (the outcome), `v_<arm>` (`SELECTED_ON`), null where missing, and
            `diverged_<arm>` (0 or 1).
        cell_columns: Names of the columns that tell cells apart.
    """

    rows: pl.DataFrame
    cell_columns: list[str]


def score_cells(trials: pl.DataFrame, outcome: str, *, diverged: Diverged) -> Scored:
    """Return outcome and validation accuracy of every arm, scored as effects are.

    Arms that pairing does not know are left out.

    Raises:
        ArgumentError: The outcome or the treatment of divergence is unknown.
        SchemaError: Two trials share cell, arm and seed.
    """
    check_outcomes(trials, [outcome, SELECTED_ON], diverged=diverged)
    known = trials.filter(pl.col("arm").is_in(ARMS))
    places = find_places(known)
    scored = score_places(places, known, outcome, diverged=diverged).seeds
    selected = score_places(places, known, SELECTED_ON, diverged=diverged).seeds
    rows = (
        scored.drop("rlp_lambda", "base")
        .with_columns(selected[f"y_{arm}"].alias(f"v_{arm}") for arm in ARMS)
        .join(places.cells, on="cell", validate="m:1", maintain_order="left")
    )
    return Scored(rows, cell_columns(known))


def mean_of_others(scores: Floats) -> Floats:
    """Return the mean over all other seeds, for each configuration and seed, ``[C, S]``, S ≥ 2.

    Rounded to 12 decimals, so that equal scores tie whatever the order they were added in.
    """
    num_seeds = scores.shape[1]
    others = [np.delete(scores, seed, axis=1).mean(axis=1) for seed in range(num_seeds)]
    return np.round(np.stack(others, axis=1), _TIE_DECIMALS)


def widen(values: Floats) -> Floats:
    r"""Return outcomes of tuned configurations with the spread that their mean really has.

    Around each column's mean, deviations grow by :math:`\sqrt{1 + n / (n - 1)}`, so that the
    variance of the mean is taken as :math:`s^2 (1/n + 1/(n - 1))`. In simulated sweeps of 5 and 20
    configurations whose noise validation and test share in part (correlation 0.7), plain 95 % t
    intervals of a tuned difference covered with 92–94 % for 3 seeds, 89–91 % for 5 and 84–87 % for
    10; widened ones with 96–97 %. With nearly all noise shared (0.95) the widened ones covered with
    92–96 % (tests/numerics/test_analysis_tuned_coverage.py repeats the cases of 10 seeds).

    Args:
        values: One row a seed, one column an estimate, ``[n, E]``, n ≥ 2.

    Source:
        Nadeau and Bengio 2003, "Inference for the generalization error", Machine Learning 52: the
        corrected resampled t test, with n − 1 seeds to choose on and 1 to read. A heuristic there
        too: no unbiased estimate of this variance exists.
    """
    num_seeds = len(values)
    mean = values.mean(axis=0)
    factor = np.sqrt(1 + num_seeds / (num_seeds - 1))
    widened: Floats = np.where(np.ptp(values, axis=0) == 0, values, mean + (values - mean) * factor)
    return widened


def best_first(scores: Floats) -> Integers:
    """Return for each seed the configurations from best to worst, ``[C, S]``.

    Of equal ones, that which comes first stands first.
    """
    order: Integers = np.argsort(-scores, axis=0, kind="stable")
    return order


def expected_best(best_first: Floats, num_tried: Integers) -> Floats:
    r"""Return the expected value of the best of k configurations tried at random, ``[K, S]``.

    The k are drawn without replacement from the C there are, and the best of them by the score
    that ordered them is taken:

    .. math:: \sum_{j=0}^{C-1} y_j \binom{C - 1 - j}{k - 1} / \binom{C}{k}

    At k = C this is the value of the best one, at k = 1 the mean.

    Args:
        best_first: Values y_j to report, from the best configuration by score to the worst,
            ``[C, S]``.
        num_tried: The k, 1 ≤ k ≤ C, ``[K]``.

    Source:
        Dodge et al. 2019, "Show Your Work: Improved Reporting of Experimental Results", EMNLP,
        arXiv:1909.03004, section 3. Deviations: there the best is scored on the same validation
        set, and drawn with replacement; here without, and test is reported.
    """
    num_configurations = len(best_first)
    worse = num_configurations - 1 - np.arange(num_configurations)
    k = num_tried[:, None]
    lacking = _log_binomial(worse, np.minimum(k - 1, worse)) - _log_binomial(num_configurations, k)
    weights = np.where(worse >= k - 1, np.exp(lacking), 0.0)
    expected: Floats = (weights / weights.sum(axis=1, keepdims=True)) @ best_first
    return expected


def _log_binomial(
    num: npt.NDArray[np.int64] | int, chosen: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    log: npt.NDArray[np.float64] = (
        special.gammaln(np.asarray(num) + 1.0)
        - special.gammaln(chosen + 1.0)
        - special.gammaln(np.asarray(num) - chosen + 1.0)
    )
    return log


def pick(values: Floats, rows: Integers) -> Floats:
    """Return for each seed the value of its configuration, ``[S]``.

    Args:
        values: ``[C, S]``.
        rows: The configuration of each seed, ``[S]``.
    """
    picked: Floats = np.take_along_axis(values, rows[None], axis=0)[0]
    return picked


def most_frequent(rows: Integers) -> tuple[int, int]:
    """Return the configuration that most seeds chose, the first of several, and how many did."""
    counts = np.bincount(rows)
    return int(counts.argmax()), int(counts.max())

"""The study over simulated sweeps: its shortcuts, and that intervals cover where they must."""

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from scipy import stats

from analysis import intervals
from analysis.effects import estimate_effects
from analysis.estimators import ESTIMATORS
from benchmarks.simulation.scenarios import SCENARIOS
from benchmarks.simulation.study import (
    CELL,
    FAMILY,
    NUMBERS,
    POOL,
    arms_read,
    estimate_sweeps,
    measure,
    rejections,
    summarize,
)
from benchmarks.simulation.sweeps import OUTCOME, simulate, tag_lambda

COVERAGE_SWEEPS = 400
MONTE_CARLO_ERROR = (0.95 * 0.05 / COVERAGE_SWEEPS) ** 0.5


def plain_effects(name: str, num_sweeps: int, num_seeds: int, number: int):
    """Return effects of one simulated sweep by one plain call, its λ untagged."""
    scenario = SCENARIOS[name]
    trials = simulate(scenario, range(num_sweeps), num_seeds, arms=arms_read())
    tags = {tag_lambda(each, [number]).item(): each for each in (0.0, *scenario.grid.lambdas)}
    mine = trials.filter(pl.col("config_sweep") == number).drop("config_sweep")
    mine = mine.with_columns(pl.col("rlp_lambda").replace_strict(tags))
    cells, pooled = estimate_effects(mine, (OUTCOME,), primary=OUTCOME)
    pooled = pooled.filter(pl.col("rlp_lambda").is_not_null())
    return cells.with_columns(num_cells=pl.lit(1, pl.Int64)), pooled


@pytest.mark.parametrize("name", ["base", "diverged", "incomplete"])
@pytest.mark.parametrize("number", [0, 3])
def test_many_sweeps_at_once_give_what_a_plain_call_on_one_gives(name, number):
    together = estimate_sweeps(SCENARIOS[name], 4, 5)

    alone = plain_effects(name, 4, 5, number)

    for found, expected, place in zip(together, alone, (CELL, POOL), strict=True):
        mine = found.filter(pl.col("sweep") == number).select(*place, *NUMBERS)
        assert_frame_equal(mine, expected.select(mine.columns), check_row_order=False)


def is_near_nominal(coverage: pl.Expr) -> pl.Expr:
    return coverage.is_between(0.93 - 2 * MONTE_CARLO_ERROR, 0.97 + 2 * MONTE_CARLO_ERROR)


# Pooled intervals are judged where every sweep pools the cells of the truth: an estimator that is
# missing in some cells of some sweeps pools others there, and its intervals are about those.
@pytest.mark.parametrize("estimator", sorted(ESTIMATORS))
def test_intervals_cover_in_the_base_scenario(estimator):
    effects, _ = measure(SCENARIOS["base"], COVERAGE_SWEEPS, 5)

    found = effects.filter(pl.col("estimator") == estimator)

    judged = found.filter((pl.col("level") == "cell") | (pl.col("all_cells") == 1.0))
    missed = judged.filter(~is_near_nominal(pl.col("coverage")))
    assert len(found) == 4 * len(ESTIMATORS[estimator].effects)
    assert len(judged) >= len(found) / 2
    assert missed.select("level", *POOL, "coverage").rows() == []


def test_estimates_average_to_the_truth_where_effects_vary_by_seed():
    effects, _ = measure(SCENARIOS["varying_effects"], 200, 5)

    found = effects.filter(pl.col("estimator").is_in(["arms", "sham"]), level="pooled")

    assert len(found) > 0
    assert (found["bias"].abs() <= 4 * found["bias_se"]).all()


def test_intervals_with_normal_quantiles_would_not_cover(monkeypatch):
    def z_interval(mean, sd, num_seeds):
        half = stats.norm.ppf(0.975) * sd / np.sqrt(num_seeds)
        return mean - half, mean + half

    monkeypatch.setattr(intervals, "t_interval", z_interval)
    effects, _ = measure(SCENARIOS["base"], COVERAGE_SWEEPS, 5)

    of_cells = effects.filter(pl.col("level") == "cell", pl.col("estimator") == "arms")
    assert not of_cells.select(is_near_nominal(pl.col("coverage")).any()).item()


def test_pooled_intervals_of_a_table_with_holes_cover_the_cells_they_average():
    effects, _ = measure(SCENARIOS["incomplete"], 100, 5)

    pooled = effects.filter(
        pl.col("level") == "pooled", effect="effect_lr", estimator="arms", rlp_lambda=10.0
    ).row(0, named=True)

    assert pooled["coverage"] < 0.6
    assert pooled["coverage_own"] > 0.9
    assert pooled["all_cells"] < 0.5


def test_holm_keeps_the_error_of_the_family_under_the_null():
    _, tests = measure(SCENARIOS["null"], COVERAGE_SWEEPS, 5)

    row = tests.filter(effect=FAMILY, estimator="arms").row(0, named=True)

    assert row["reject_holm"] <= 0.05 + 3 * MONTE_CARLO_ERROR
    assert row["reject_t"] > 0.15


def test_a_summary_counts_by_hand():
    numbers = {"rlp_lambda": 1.0, "estimator": "arms", "effect": "effect_lr", "cells_true": 2}
    estimates = pl.DataFrame(
        {
            "sweep": [0, 1, 2, 3],
            "truth": [0.1] * 4,
            "estimate": [0.0, 0.1, 0.3, None],
            "ci_low": [-0.05, 0.0, None, None],
            "ci_high": [0.05, 0.2, None, None],
            "num_cells": [2, 1, 2, None],
            "covered": [False, True, None, None],
            "covered_own": [True, True, None, None],
        }
    ).with_columns(**{name: pl.lit(value) for name, value in numbers.items()})

    row = summarize(estimates, "pooled").row(0, named=True)

    assert row["bias"] == pytest.approx(0.1 / 3)
    assert row["rmse"] == pytest.approx((0.05 / 3) ** 0.5)
    assert (row["coverage"], row["coverage_own"]) == (0.5, 1.0)
    assert (row["missing"], row["no_interval"]) == (0.25, pytest.approx(1 / 3))
    assert (row["width"], row["all_cells"]) == (pytest.approx(0.15), pytest.approx(2 / 3))


def test_rejections_count_by_hand():
    pooled = pl.DataFrame(
        {
            "sweep": [0, 0, 1, 1],
            "estimator": ["arms"] * 4,
            "effect": ["effect_lr", "effect_total"] * 2,
            "p_value": [0.01, 0.2, 0.04, 0.3],
            "p_holm": [0.02, 0.2, 0.08, 0.3],
            "p_sign_flip": [0.0625, 0.3, 0.03, 0.3],
        }
    )

    found = {row["effect"]: row for row in rejections(pooled).iter_rows(named=True)}

    assert (found["effect_lr"]["reject_t"], found["effect_lr"]["agreement"]) == (1.0, 0.5)
    assert found["effect_total"]["reject_sign_flip"] == 0.0
    assert (found[FAMILY]["reject_t"], found[FAMILY]["reject_holm"]) == (1.0, 0.5)

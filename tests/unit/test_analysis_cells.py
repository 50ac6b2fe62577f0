"""Means of cells and counts of trials."""

import polars as pl
import pytest
from analysis_frames import make_trials, where_arm, write_directory
from scipy import stats

from analysis.cells import count_trials, summarize_cells
from analysis.load import load_trials

f = pl.col


def cells_of(tmp_path, trials: pl.DataFrame, **options) -> dict[str, dict]:
    """Return the row of each arm."""
    loaded = load_trials([write_directory(tmp_path / "run", trials)])
    return {row["arm"]: row for row in summarize_cells(loaded, **options).to_dicts()}


def test_cells_hold_mean_and_interval_over_seeds(tmp_path):
    row = cells_of(tmp_path, make_trials(seeds=(0, 1, 2)))["full"]

    low, high = stats.t.interval(0.95, 2, loc=0.45, scale=0.01 / 3**0.5)
    assert row["test_accuracy"] == pytest.approx(0.45)
    assert row["test_accuracy_sd"] == pytest.approx(0.01)
    assert row["test_accuracy_ci_low"] == pytest.approx(low)
    assert row["test_accuracy_ci_high"] == pytest.approx(high)
    assert row["test_accuracy_num_seeds"] == row["num_trials"] == 3


def test_cells_of_equal_seeds_have_no_interval(tmp_path):
    row = cells_of(tmp_path, make_trials(test_accuracy=0.1, seeds=(0, 1, 2)))["sham"]

    assert row["test_accuracy"] == 0.1
    assert row["test_accuracy_sd"] == 0.0
    assert row["test_accuracy_ci_low"] is row["test_accuracy_ci_high"] is None


def test_divergence_rate_is_over_trials_that_came_to_their_end(tmp_path):
    ends = ["diverged", "completed", "completed", "failed", "stopped"]
    status = pl.col("seed").replace_strict(dict(enumerate(ends)))
    trials = make_trials(seeds=range(5), status=status)

    row = cells_of(tmp_path, trials)["full"]

    assert row["divergence_rate"] == pytest.approx(1 / 3)
    counts = [row[f"num_{name}"] for name in ("completed", "diverged", "stopped", "failed")]
    assert counts == [2, 1, 1, 1]
    assert row["test_accuracy_num_seeds"] == 3


def test_divergence_rate_is_unknown_where_no_trial_came_to_its_end(tmp_path):
    row = cells_of(tmp_path, make_trials(status="failed"))["full"]

    assert row["divergence_rate"] is None
    assert row["test_accuracy"] is None


def test_equivalent_lr_is_the_multiplier_times_lr_and_lr_in_the_control(tmp_path):
    rows = cells_of(tmp_path, make_trials())

    assert rows["full"]["lr_multiplier"] == 1.5
    assert rows["full"]["equivalent_lr"] == pytest.approx(0.15)
    assert rows["control"]["equivalent_lr"] == 0.1


def test_cells_hold_the_requested_outcome_first(tmp_path):
    trials = make_trials(generalization_gap=0.125)

    row = cells_of(tmp_path, trials, outcome="generalization_gap", diverged="last")["full"]

    assert row["generalization_gap"] == 0.125


def test_count_trials_puts_known_arms_first(tmp_path):
    trials = make_trials(arm=where_arm("sham", "arm", "a_new_arm"))
    trials = trials.with_columns(where_arm("full", "status", "failed"))

    counts = count_trials(trials)

    assert counts["arm"].to_list() == [
        "control",
        "full",
        "class_term",
        "uniform_term",
        "a_new_arm",
    ]
    assert counts.row(1, named=True) == {
        "arm": "full",
        "completed": 0,
        "diverged": 0,
        "stopped": 0,
        "failed": 2,
        "total": 2,
    }

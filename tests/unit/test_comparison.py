"""Sweeps side by side: what differs, and by how much the effects do."""

import json

import numpy as np
import polars as pl
import pytest
from analysis_frames import LEVELS, make_trials, write_directory
from scipy import stats

from analysis.comparison import compare_sweeps, short_names, welch_half_width
from rlp_sweeps.cli import main
from rlp_sweeps.errors import ArgumentError

SEEDS = (0, 1, 2, 3)


def noisy(levels, *, seed, **columns):
    trials = make_trials(levels=levels, seeds=SEEDS, **columns)
    noise = np.random.default_rng(seed).normal(scale=0.01, size=len(trials))
    return trials.with_columns(test_accuracy=pl.col("test_accuracy") + pl.Series(noise))


@pytest.fixture
def sweeps(tmp_path):
    better = {**LEVELS, "full": 0.6}
    first = write_directory(tmp_path / "a" / "run", noisy(LEVELS, seed=1, dropout=0.0))
    second = write_directory(tmp_path / "b" / "run", noisy(better, seed=2, dropout=0.5))
    return [first, second]


def gains(directory):
    """Return full less control of each seed."""
    trials = pl.read_parquet(directory / "trials" / "*.parquet").sort("seed")
    by_arm = {arm: trials.filter(pl.col("arm") == arm) for arm in ("full", "control")}
    return (by_arm["full"]["test_accuracy"] - by_arm["control"]["test_accuracy"]).to_numpy()


def test_difference_has_the_interval_that_scipy_gives_two_independent_means(sweeps):
    comparison = compare_sweeps(sweeps)

    total = comparison.effects.filter(
        (pl.col("estimator") == "arms")
        & (pl.col("effect") == "effect_total")
        & pl.col("rlp_lambda").is_null()
        & (pl.col("sweep") == "b/run")
    )
    first, second = gains(sweeps[0]), gains(sweeps[1])
    expected = stats.ttest_ind(second, first, equal_var=False).confidence_interval(0.95)
    assert total["difference"].item() == pytest.approx(second.mean() - first.mean(), abs=1e-12)
    assert total["difference_low"].item() == pytest.approx(expected.low, abs=1e-9)
    assert total["difference_high"].item() == pytest.approx(expected.high, abs=1e-9)


def test_first_sweep_has_no_difference_from_itself(sweeps):
    first = compare_sweeps(sweeps).effects.filter(pl.col("sweep") == "a/run")

    assert len(first) > 0
    assert first["difference"].null_count() == len(first)


def test_settings_that_differ_are_named_and_no_others(sweeps):
    comparison = compare_sweeps(sweeps)

    assert comparison.names == ("a/run", "b/run")
    assert comparison.settings == {"dropout": ("0", "0.5")}


def test_mean_without_interval_gives_no_interval_of_a_difference():
    mean = {"estimate": 0.1, "ci_low": 0.0, "ci_high": 0.2, "num_seeds": 5}
    single = {"estimate": 0.1, "ci_low": None, "ci_high": None, "num_seeds": 1}

    assert welch_half_width(mean, single) is None
    assert welch_half_width({**mean, "ci_high": 0.5}, mean) is None  # no t interval


def test_names_are_the_shortest_ends_that_tell_sweeps_apart(tmp_path):
    assert short_names([tmp_path / "x", tmp_path / "y"]) == ("x", "y")
    assert short_names([tmp_path / "a" / "x", tmp_path / "b" / "x"]) == ("a/x", "b/x")


def test_compare_refuses_one_sweep_or_the_same_twice(sweeps):
    with pytest.raises(ArgumentError, match="at least two sweeps"):
        compare_sweeps(sweeps[:1])
    with pytest.raises(ArgumentError, match="each sweep must be given once"):
        compare_sweeps([sweeps[0], sweeps[0]])


def test_compare_prints_both_sweeps_and_json(sweeps, capsys):
    names = [str(sweep) for sweep in sweeps]

    assert main(["compare", *names]) == 0
    told = capsys.readouterr().out
    assert main(["compare", *names, "--json"]) == 0
    read = json.loads(capsys.readouterr().out)

    assert "less a/run" in told
    assert read["sweeps"] == ["a/run", "b/run"]
    assert {row["sweep"] for row in read["effects"]} == {"a/run", "b/run"}
    assert not (sweeps[0] / "analysis").exists()  # comparing writes nothing

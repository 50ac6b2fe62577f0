"""What a planned number of seeds can see, with the spread stated, read or unknown."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from analysis_frames import make_trials, write_directory

from analysis.sensitivity import judge_sensitivity, read_spreads
from analysis.tables import analyze
from rlp_sweeps.errors import ArgumentError, RunDirectoryError

#: Outcome of the arm full in three seeds, besides its level: a spread of 0.004 exactly.
NOISE = {0: -0.004, 1: 0.0, 2: 0.004}


@pytest.fixture(scope="module")
def pilot(tmp_path_factory) -> Path:
    noise = pl.col("seed").replace_strict(NOISE, return_dtype=pl.Float64)
    is_full = pl.col("arm") == "full"
    trials = make_trials(seeds=(0, 1, 2), lambdas=(1.0, 10.0)).with_columns(
        test_accuracy=pl.lit(0.5)
        + pl.when(is_full).then(noise * (pl.col("rlp_lambda") / 10).sqrt()).otherwise(0.0)
    )
    folder = write_directory(tmp_path_factory.mktemp("pilot") / "run", trials)
    analyze([folder])
    return folder


def test_the_spread_of_a_pilot_is_the_standard_deviation_over_its_seeds(pilot):
    spreads = read_spreads(pilot)

    totals = spreads.filter(pl.col("effect") == "effect_total")
    assert totals["rlp_lambda"].to_list() == [1.0, 10.0]
    assert totals["spread"].to_list() == pytest.approx([0.004 * np.sqrt(0.1), 0.004])
    assert set(totals["num_seeds"]) == {3}


def test_the_statement_names_pilot_effect_and_lambda_of_the_largest_spread(pilot):
    found = judge_sensitivity(5, pilot=pilot)

    assert str(found) == (
        f"with 5 seeds and a seed spread of 0.0040 (pilot {pilot}, effect_total at λ = 10, n = 3), "
        "effects of 0.0067 on test_accuracy are seen with 80 % power (two-sided 5 % t test, no "
        "Holm)"
    )
    told = found.to_json()
    assert told["smallest_effect"] == pytest.approx(1.681997 * 0.004, rel=1e-6)
    assert (told["unit"], told["pilot_rlp_lambda"]) == ("test_accuracy", 10.0)


def test_a_stated_spread_needs_no_pilot():
    assert str(judge_sensitivity(5, seed_spread=0.004)).startswith(
        "with 5 seeds and a seed spread of 0.0040, effects of 0.0067 on test_accuracy are seen"
    )


@pytest.mark.parametrize(("num_seeds", "sds"), [(5, "1.7"), (2, "12")])
def test_without_a_spread_the_effect_is_in_seed_sds(num_seeds, sds):
    found = judge_sensitivity(num_seeds)

    start = f"with {num_seeds} seeds, effects of {sds} seed SDs are seen with 80 % power"
    assert str(found).startswith(start)
    assert (found.to_json()["unit"], found.to_json()["seed_spread"]) == ("seed_spread", None)


def test_one_seed_can_see_nothing():
    found = judge_sensitivity(1, seed_spread=0.004)

    assert str(found) == "with one seed there is no interval, and no effect is told from 0"
    assert found.to_json()["smallest_effect"] is None


def test_a_spread_is_above_zero_and_given_once(pilot):
    with pytest.raises(ArgumentError, match=r"`0 < --seed-spread < inf` must hold, but got 0\.0"):
        judge_sensitivity(5, seed_spread=0.0)
    with pytest.raises(ArgumentError, match="stated or read from a pilot, not both"):
        judge_sensitivity(5, seed_spread=0.1, pilot=pilot)


def test_a_pilot_that_was_not_analyzed_is_refused(tmp_path):
    with pytest.raises(RunDirectoryError, match=r"run `rlp-sweeps analyze .*` first"):
        judge_sensitivity(5, pilot=tmp_path)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda pooled: pooled.drop("ci_low"), r"lacks \['ci_low'\]"),
        (lambda pooled: pooled.with_columns(ci_high="ci_low"), "has no effect on test_accuracy"),
    ],
)
def test_a_pilot_without_spreads_is_refused(pilot, tmp_path, change, sentence):
    (tmp_path / "analysis").mkdir()
    pooled = pl.read_parquet(pilot / "analysis" / "effects_pooled.parquet")
    change(pooled).write_parquet(tmp_path / "analysis" / "effects_pooled.parquet")

    with pytest.raises(RunDirectoryError, match=sentence):
        judge_sensitivity(5, pilot=tmp_path)

"""A sweep that its follow-up continues, by the command line alone."""

import shutil
from pathlib import Path

import polars as pl
import pytest
from test_cli_sweep import SMALL, read_trials, rlp_sweeps

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One small sweep of five trials in folder/before, the same followed up in folder/after."""
    folder = tmp_path_factory.mktemp("follow_up")
    assert rlp_sweeps(f"{SMALL} --output before --no-analyze", folder).returncode == 0
    shutil.copytree(folder / "before", folder / "after")
    done = rlp_sweeps("follow-up after", folder)
    assert done.returncode == 0, done.stderr
    (folder / "printed").write_text(done.stdout)
    return folder


def test_follow_up_says_first_what_it_trains(folder: Path) -> None:
    first = (folder / "printed").read_text().splitlines()[0]

    assert first.startswith("follow-up of after: 3 trials: 1 rescaled (κ ")


def test_rescaled_trials_stand_beside_the_sweep_and_nothing_was_trained_twice(
    folder: Path,
) -> None:
    before, after = read_trials(folder / "before"), read_trials(folder / "after")

    rescaled = after.filter(pl.col("arm").str.starts_with("rescaled"))
    assert after.filter(~pl.col("arm").str.starts_with("rescaled")).equals(before)
    assert sorted(rescaled["arm"]) == [
        "rescaled",
        "rescaled_class_term",
        "rescaled_uniform_term",
    ]


def test_rescaled_trials_are_matched_to_what_their_arm_measured(folder: Path) -> None:
    trials = read_trials(folder / "after")
    by_arm = {row["arm"]: row for row in trials.iter_rows(named=True)}

    for arm in ("full", "class_term", "uniform_term"):
        rescaled = by_arm["rescaled" if arm == "full" else f"rescaled_{arm}"]
        assert rescaled["matched_multiplier"] == by_arm[arm]["lr_multiplier"]
        assert rescaled["rlp_lambda"] == by_arm[arm]["rlp_lambda"]


def test_a_second_follow_up_has_nothing_to_do(folder: Path) -> None:
    done = rlp_sweeps("follow-up after", folder)

    assert done.returncode == 0
    assert "nothing is lacking" in done.stdout


def test_a_dry_run_starts_nothing(folder: Path) -> None:
    done = rlp_sweeps("follow-up before --dry-run --matched-to full", folder)

    assert done.returncode == 0
    assert "1 trial: 1 rescaled" in done.stdout
    assert len(read_trials(folder / "before")) == 5


def test_a_width_asks_for_seeds_by_steins_rule_and_one_seed_has_none(folder: Path) -> None:
    done = rlp_sweeps("follow-up after --half-width 0.01 --dry-run", folder)

    assert done.returncode == 2
    assert done.stderr.count("\n") == 1


def test_a_width_and_a_number_of_seeds_are_refused_together(folder: Path) -> None:
    done = rlp_sweeps("follow-up after --half-width 0.01 --num-seeds 3 --dry-run", folder)

    assert done.returncode == 2
    assert "`--num-seeds 3` and `--half-width 0.01`" in done.stderr

"""A sweep that its follow-up continues, by the command line alone."""

import json
import shutil
from pathlib import Path

import polars as pl
import pytest
from test_cli_sweep import SMALL, read_trials, rlp_sweeps

pytestmark = pytest.mark.slow


TWINS = ("full", "replayed")

SEARCH = """from rlp_sweeps.spaces import LogAxis, Search, SearchSpace

SPACE = SearchSpace(
    axes={
        "lr": LogAxis(low=0.01, high=0.1, num_points=2),
        "rlp_lambda": LogAxis(low=1, high=10, num_points=2, control=0.0),
    },
    arms=("control", "full"),
    num_seeds=2,
    fixed={"num_epochs": 1, "train_samples": 200, "val_samples": 100, "test_samples": 100},
    search=Search(num_points=2),
)
"""


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


def test_replayed_controls_follow_what_their_arm_measured_from_one_evaluation_to_the_next(
    folder: Path,
) -> None:
    shutil.copytree(folder / "after", folder / "replayed")

    done = rlp_sweeps("follow-up replayed --replay --cap 4 --matched-to full", folder)

    assert done.returncode == 0, done.stderr
    trials, epochs = read_trials(folder / "replayed"), read_epochs(folder / "replayed")
    full, replayed = (trials.row(by_predicate=pl.col("arm") == n, named=True) for n in TWINS)
    sums = epochs.filter(pl.col("trial_id") == full["trial_id"]).sort("epoch")
    steps = [sums[name].diff().fill_null(sums[name]) for name in ("trained", "class")]
    kappa = (steps[0] / steps[1]).clip(0, 4)
    said = [float(text) for text in replayed["matched_trajectory"].split(" ")]
    assert said == pytest.approx(kappa.to_list(), rel=1e-5)
    assert replayed["matched_multiplier"] is None
    assert replayed["status"] == "completed"
    effects = pl.read_parquet(folder / "replayed" / "analysis" / "effects.parquet")
    assert "replayed" in set(effects["estimator"])


def read_epochs(directory: Path) -> pl.DataFrame:
    names = {"class_grad_sum": "class", "trained_grad_sum": "trained"}
    return pl.read_parquet(directory / "epochs" / "*.parquet").rename(names)


def test_a_cap_without_replay_is_refused(folder: Path) -> None:
    done = rlp_sweeps("follow-up after --cap 4 --dry-run", folder)

    assert done.returncode == 2
    assert "`--cap 4` without `--replay`" in done.stderr


@pytest.mark.faults
def test_the_points_of_a_finished_search_are_followed_up(folder: Path) -> None:
    (folder / "points.py").write_text(SEARCH)
    run = rlp_sweeps("run points.py --device cpu --output search --no-analyze", folder)
    assert run.returncode == 0, run.stderr

    done = rlp_sweeps("follow-up search --matched-to full --num-seeds 3", folder)

    assert done.returncode == 0, done.stderr
    trials = read_trials(folder / "search")
    by_arm = trials.group_by("arm").len().sort("arm").rows()
    assert by_arm == [("control", 6), ("full", 6), ("rescaled", 6)]
    assert trials["trial_id"].n_unique() == len(trials)
    assert set(trials["status"]) == {"completed"}
    status = rlp_sweeps("status search --json", folder)
    assert json.loads(status.stdout)["num_remaining"] == 0


def test_a_width_asks_for_seeds_by_steins_rule_and_one_seed_has_none(folder: Path) -> None:
    done = rlp_sweeps("follow-up after --half-width 0.01 --dry-run", folder)

    assert done.returncode == 2
    assert done.stderr.count("\n") == 1


def test_a_width_and_a_number_of_seeds_are_refused_together(folder: Path) -> None:
    done = rlp_sweeps("follow-up after --half-width 0.01 --num-seeds 3 --dry-run", folder)

    assert done.returncode == 2
    assert "`--num-seeds 3` and `--half-width 0.01`" in done.stderr

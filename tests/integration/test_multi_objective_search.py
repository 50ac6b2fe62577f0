"""A search with two objectives from end to end: the command line, a killed driver, the front."""

import json
import re
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from optuna.study import StudyDirection
from optuna.trial import TrialState
from sweep_cases import count_mlflow_runs, kill_driver_after, rebuild_study

pytestmark = pytest.mark.slow

NUM_POINTS, NUM_TRIALS = 6, 24
STUDY = """from rlp_sweeps.spaces import LogAxis, Search, SearchSpace

SPACE = SearchSpace(
    claim="Accuracy and memorization pull apart.",
    axes={
        "lr": LogAxis(low=0.01, high=1.0, num_points=2),
        "rlp_lambda": LogAxis(low=0.1, high=30.0, num_points=2, control=0.0),
    },
    arms=("control", "full"),
    num_seeds=2,
    fixed={"dataset": "digits", "train_samples": 128, "backbone": "mlp", "num_epochs": 12,
           "eval_every": 4},
    search=Search(num_points=6, objectives=("val_accuracy", "memorization")),
)
"""


def start(arguments: str, folder: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "rlp_sweeps", *arguments.split()],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def read_trials(directory: Path) -> pl.DataFrame:
    return pl.read_parquet(directory / "trials" / "*.parquet")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("search")
    (folder / "both.py").write_text(STUDY)
    return folder


@pytest.fixture(scope="module")
def killed(folder: Path) -> pl.DataFrame:
    """The rows that a driver of folder/sweep leaves that is killed on its way."""
    options = "--device cpu --max-concurrent 1 --no-analyze"
    driver = start(f"run both.py --output sweep {options}", folder)
    kill_driver_after(driver, folder / "sweep", num_rows=5)
    return read_trials(folder / "sweep")


@pytest.fixture(scope="module")
def resumed(killed: pl.DataFrame, folder: Path) -> tuple[int, str, str]:
    """Exit status, stdout and stderr of the driver that goes on with folder/sweep."""
    driver = start("resume sweep --max-concurrent 1", folder)
    out, err = driver.communicate(timeout=300)
    return driver.returncode, out, err


def test_resumed_search_trains_each_trial_of_each_point_once(
    killed: pl.DataFrame, resumed: tuple[int, str, str], folder: Path
) -> None:
    status, out, err = resumed
    rows = read_trials(folder / "sweep")

    assert status == 0, err
    assert f"results: sweep ({NUM_TRIALS} completed)" in out
    assert len(killed) < len(rows) == rows["trial_id"].n_unique() == NUM_TRIALS
    assert rows["point"].value_counts().sort("point").rows() == [(n, 4) for n in range(6)]
    kept = rows.join(killed.select("trial_id"), on="trial_id", how="semi")
    assert set(kept["finished_at_ms"]) == set(killed["finished_at_ms"])
    assert count_mlflow_runs(folder / "sweep") == {"FINISHED": NUM_TRIALS + 1}


def test_every_point_is_told_the_seeds_mean_of_both_objectives(
    resumed: tuple[int, str, str], folder: Path
) -> None:
    study = rebuild_study(folder / "sweep")

    told = {trial.number: tuple(trial.values) for trial in study.trials}
    full = read_trials(folder / "sweep").filter(arm="full")
    means = full.group_by("point").agg(pl.col("val_accuracy", "memorization").mean())
    assert study.directions == [StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE]
    assert {trial.state for trial in study.trials} == {TrialState.COMPLETE}
    assert told == {
        point: (pytest.approx(accuracy, abs=1e-12), pytest.approx(memorization, abs=1e-12))
        for point, accuracy, memorization in means.rows()
    }


def test_best_points_that_are_printed_are_those_that_no_other_beats_in_both(
    resumed: tuple[int, str, str], folder: Path
) -> None:
    study = rebuild_study(folder / "sweep")

    told = {trial.number: trial.values for trial in study.trials}
    front = {
        number
        for number, (accuracy, memorization) in told.items()
        if not any(
            a >= accuracy and m <= memorization and [a, m] != [accuracy, memorization]
            for a, m in told.values()
        )
    }
    printed = re.findall(r"^best: point (\d+): val_accuracy .*, memorization ", resumed[1], re.M)
    assert 1 <= len(front) <= NUM_POINTS
    assert {trial.number for trial in study.best_trials} == front
    assert sorted(map(int, printed)) == sorted(front)


def test_status_and_analysis_of_a_search_with_two_objectives_are_whole(
    resumed: tuple[int, str, str], folder: Path
) -> None:
    driver = start("status sweep --json", folder)
    status = json.loads(driver.communicate(timeout=120)[0])
    effects = pl.read_parquet(folder / "sweep" / "analysis" / "effects_pooled.parquet")

    assert (status["num_planned"], status["num_remaining"]) == (NUM_TRIALS, 0)
    assert status["counts"]["completed"] == NUM_TRIALS
    assert [set(point["values"]) for point in status["best"]] == [
        {"val_accuracy", "memorization"}
    ] * len(status["best"])
    assert effects.filter(effect="effect_total")["rlp_lambda"].n_unique() == NUM_POINTS + 1
    assert "report: sweep/analysis/report.html" in resumed[1]

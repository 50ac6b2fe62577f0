"""What MLflow is told while a sweep is at work, without Ray."""

import json
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient
from test_mlflow_tracking import epoch_rows, trial_row

from rlp_sweeps.config import TrialConfig
from rlp_sweeps.errors import TrackingError
from rlp_sweeps.tracking.mlflow_feed import EPOCH_COLUMNS, MlflowFeed, news_text
from rlp_sweeps.tracking.mlflow_store import check_store
from rlp_sweeps.tracking.mlflow_sync import sync
from rlp_sweeps.tracking.run_directory import RunDirectory, build_manifest

CONFIGS = [TrialConfig(arm="control", lr=lr, rlp_lambda=0.0, seed=0) for lr in (0.1, 0.2)]


@pytest.fixture
def directory(tmp_path: Path) -> RunDirectory:
    manifest = build_manifest(plan_id="p", sweep_name="tiny", space={}, configs=CONFIGS)
    return RunDirectory.create(tmp_path / "run", manifest)


@pytest.fixture
def uri(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


def runs_by_trial(uri: str, name: str = "run"):
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name(name)
    runs = client.search_runs([experiment.experiment_id])
    return {r.data.tags["trial_id"]: r for r in runs if "trial_id" in r.data.tags}


def end(directory: RunDirectory, config: TrialConfig) -> str:
    directory.write_trial(trial_row(config, "completed"), epoch_rows(config))
    return news_text(ended=[config.trial_id], running={})


def test_feed_leaves_nothing_to_sync_for_ended_trials(directory, uri):
    with MlflowFeed(directory, uri) as feed:
        feed.start("g", CONFIGS)
        for config in CONFIGS:
            feed.take(end(directory, config))

    report = sync(directory, uri)

    assert (report.num_runs_unchanged, report.num_runs_created) == (2, 0)
    assert all(run.data.tags["group_id"] == "g" for run in runs_by_trial(uri).values())


def test_feed_shows_curves_of_running_trials(directory, uri):
    config = CONFIGS[0]
    with MlflowFeed(directory, uri) as feed:
        feed.start("g", [config])
        feed.take(news_text(ended=[], running={config.trial_id: epoch_rows(config)}))

    run = runs_by_trial(uri)[config.trial_id]

    assert run.info.status == "RUNNING"
    assert run.data.metrics["val_accuracy"] == epoch_rows(config)[-1]["val_accuracy"]


def test_feed_does_not_open_an_ended_trial_again(directory, uri):
    with MlflowFeed(directory, uri) as feed:
        feed.start("g", CONFIGS)
        feed.take(end(directory, CONFIGS[0]))
        feed.start("g", CONFIGS)  # its process was lost and started again

    statuses = {i: run.info.status for i, run in runs_by_trial(uri).items()}

    assert statuses == {CONFIGS[0].trial_id: "FINISHED", CONFIGS[1].trial_id: "RUNNING"}


def test_feed_of_a_store_that_is_away_holds_nobody_up(directory, tmp_path):
    (tmp_path / "mlflow.db").write_text("no database")
    started = time.monotonic()

    with MlflowFeed(directory, f"sqlite:///{tmp_path / 'mlflow.db'}") as feed:
        feed.start("g", CONFIGS)
        feed.take(end(directory, CONFIGS[0]))

    assert time.monotonic() - started < 60  # MLflow's import


def test_news_are_empty_where_nothing_is_new():
    assert news_text(ended=[], running={}) == ""


def test_news_carry_what_has_a_curve_exactly():
    row = {"trial_id": "a", "epoch": 1, "val_accuracy": 0.1 + 0.2, "num_steps": 7}

    news = json.loads(news_text(ended=[], running={"a": [row]}))

    assert news == {"ended": [], "running": {"a": [{"epoch": 1, "val_accuracy": 0.1 + 0.2}]}}
    assert "num_steps" not in EPOCH_COLUMNS


def test_check_store_sets_up_nothing(tmp_path):
    check_store(str(tmp_path / "new.db"))

    assert list(tmp_path.iterdir()) == []


def test_check_store_refuses_a_file_that_is_no_database(tmp_path):
    (tmp_path / "a.db").write_text("no database" * 100)

    with pytest.raises(TrackingError, match=r"must answer, but sqlite.*a\.db does not"):
        check_store(str(tmp_path / "a.db"))

import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from rlp_sweeps.config import TrialConfig
from rlp_sweeps.errors import TrackingError
from rlp_sweeps.schema import METRICS
from rlp_sweeps.tracking.mlflow_client import connect
from rlp_sweeps.tracking.mlflow_logger import StoreLink
from rlp_sweeps.tracking.mlflow_records import EPOCH_COUNTER, EPOCH_METRICS, params_of
from rlp_sweeps.tracking.mlflow_tracker import (
    MlflowTarget,
    TrialLogger,
    default_tracking_uri,
    finish_sweep,
    log_sweep_artifacts,
    open_store,
    prepare_sweep,
    sync,
)
from rlp_sweeps.tracking.run_directory import RunDirectory, build_manifest

CONFIGS = [
    TrialConfig(arm="control", lr=0.1, rlp_lambda=0.0, seed=0),
    TrialConfig(arm="full", lr=0.1, rlp_lambda=10.0, seed=0),
    TrialConfig(arm="full", lr=0.3, rlp_lambda=10.0, seed=1, train_samples=64),
]
STATUSES = ("completed", "diverged", "failed")


def epoch_rows(config: TrialConfig, num_epochs: int = 2) -> list[dict[str, Any]]:
    rows = []
    for epoch in range(1, num_epochs + 1):
        metrics = {name: (epoch + i) / 7 for i, name in enumerate(METRICS)}
        row = {"trial_id": config.trial_id, "epoch": epoch, "logged_at_ms": 1_000_000 + epoch}
        rows.append({**row, **metrics})
    return rows


def trial_row(config: TrialConfig, status: str, num_epochs: int = 2) -> dict[str, Any]:
    metrics = {name: epoch_rows(config, num_epochs)[-1][name] for name in METRICS}
    if status == "diverged":  # read at the last finite evaluation, the one before the last
        metrics = {name: 1 / 7 for name in METRICS} | {"lr_multiplier": None}
    if status == "failed":
        metrics = dict.fromkeys(METRICS)
    times = {"started_at_ms": 900_000, "finished_at_ms": 2_000_000, "epochs_completed": num_epochs}
    config_values = config.to_dict()
    return {"trial_id": config.trial_id, "status": status, **config_values, **metrics, **times}


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("store") / "empty.db"
    open_store(str(path))
    return path


def copy_store(source: Path, path: Path) -> str:
    """Copy a database; MLflow's migrations take seconds."""
    with closing(sqlite3.connect(source)) as old, closing(sqlite3.connect(path)) as new:
        old.backup(new)
    return f"sqlite:///{path}"


@pytest.fixture
def directory(tmp_path: Path) -> RunDirectory:
    manifest = build_manifest(
        plan_id="p1", sweep_name="tiny", space={"claim": "a claim"}, configs=CONFIGS
    )
    return RunDirectory.create(tmp_path / "runs" / "tiny", manifest)


@pytest.fixture
def target(directory: RunDirectory, empty_store: Path) -> MlflowTarget:
    uri = copy_store(empty_store, directory.path.parent / "mlflow.db")
    assert uri == default_tracking_uri(directory.path)
    return prepare_sweep(uri, directory)


def log_live(directory: RunDirectory, target: MlflowTarget) -> None:
    for config, status in zip(CONFIGS, STATUSES, strict=True):
        logger = TrialLogger(target)
        logger.start(config.trial_id, config.to_dict(), {"code_version": "1"})
        for row in epoch_rows(config):
            logger.log_epochs([row])
        directory.write_trial(trial_row(config, status), epoch_rows(config))
        assert logger.finish(trial_row(config, status)).is_complete


def child_runs(target: MlflowTarget) -> dict[str, Any]:
    found = connect(target.tracking_uri).search_runs(
        [target.experiment_id], f"tags.`mlflow.parentRunId` = '{target.parent_run_id}'"
    )
    assert len({run.data.tags["trial_id"] for run in found}) == len(found)
    return {run.data.tags["trial_id"]: run for run in found}


def assert_equal_to_parquet(directory: RunDirectory, target: MlflowTarget) -> None:
    rows = directory.read_trials().to_pylist()
    runs = child_runs(target)
    assert len(runs) == len(rows)
    for row in rows:
        last = runs[row["trial_id"]].data.metrics
        expected = {name: row[name] for name in METRICS if row[name] is not None}
        assert {name: last.get(name) for name in expected} == pytest.approx(expected, abs=1e-9)


def all_points(target: MlflowTarget) -> list[tuple[Any, ...]]:
    client = connect(target.tracking_uri)
    return sorted(
        (trial_id, point.key, point.step, point.timestamp, point.value)
        for trial_id, run in child_runs(target).items()
        for name in run.data.metrics
        for point in client.get_metric_history(run.info.run_id, name)
    )


def test_live_runs_equal_the_parquet_rows(directory: RunDirectory, target: MlflowTarget) -> None:
    log_live(directory, target)

    assert_equal_to_parquet(directory, target)
    statuses = [child_runs(target)[config.trial_id].info.status for config in CONFIGS]
    assert statuses == ["FINISHED", "FINISHED", "FAILED"]


def test_a_run_has_params_tags_name_and_one_point_an_evaluation(
    directory: RunDirectory, target: MlflowTarget
) -> None:
    log_live(directory, target)

    run = child_runs(target)[CONFIGS[1].trial_id]
    history = connect(target.tracking_uri).get_metric_history(run.info.run_id, "train_loss")
    assert run.info.run_name == "full lr=0.1 λ=10 ε=0 seed 0"
    assert run.data.params == params_of(CONFIGS[1].to_dict())
    assert set(run.data.params) == set(CONFIGS[1].to_dict())
    wanted = {"arm": "full", "seed": "0", "sweep": "tiny", "code_version": "1"}
    assert run.data.tags.items() >= {**wanted, "status": "diverged"}.items()
    assert [(m.step, m.timestamp) for m in history] == [
        (1, 1_000_001),
        (2, 1_000_002),
        (2, 2_000_000),
    ]


def test_only_headline_metrics_have_a_curve(directory: RunDirectory, target: MlflowTarget) -> None:
    log_live(directory, target)

    several = {key for _, key, step, _, _ in all_points(target) if step == 1}

    assert several == {*EPOCH_METRICS, EPOCH_COUNTER}


def test_null_and_non_finite_metrics_are_not_logged(target: MlflowTarget) -> None:
    config = CONFIGS[0]
    row = {"epoch": 1, "logged_at_ms": 1, "train_loss": float("nan"), "val_loss": float("inf")}
    logger = TrialLogger(target)
    logger.start(config.trial_id, config.to_dict())
    logger.log_epochs([{**row, "train_accuracy": 0.5, "test_loss": None}])
    logger.finish({**trial_row(config, "failed"), "train_loss": float("nan")})

    last = child_runs(target)[config.trial_id].data.metrics
    assert last == {"epoch": 1.0, "train_accuracy": 0.5}


def test_a_resumed_trial_goes_on_in_its_run_and_repeats_nothing(target: MlflowTarget) -> None:
    config = CONFIGS[0]
    first = TrialLogger(target, flush_every_s=0)
    first.start(config.trial_id, config.to_dict())
    first.log_epochs(epoch_rows(config)[:1])

    again = TrialLogger(target)
    again.start(config.trial_id, config.to_dict())
    repeated = [{**row, "logged_at_ms": 5_000_000} for row in epoch_rows(config)]
    again.log_epochs(repeated)
    again.log_epochs(repeated)
    again.finish(trial_row(config, "completed"))

    points = [p[2:] for p in all_points(target) if p[1] == "train_loss"]
    assert [(step, time_ms) for step, time_ms, _ in points] == [(1, 1_000_001), (2, 5_000_000)]


def test_sync_rebuilds_what_the_live_runs_said(
    directory: RunDirectory, target: MlflowTarget, empty_store: Path
) -> None:
    log_live(directory, target)
    elsewhere = copy_store(empty_store, directory.path.parent / "rebuilt.db")

    report = sync(directory, elsewhere)

    rebuilt = prepare_sweep(elsewhere, directory)
    assert (report.num_runs_created, report.num_runs_updated) == (3, 0)
    assert_equal_to_parquet(directory, rebuilt)
    assert all_points(rebuilt) == all_points(target)
    live, new = child_runs(target), child_runs(rebuilt)
    assert all(new[i].data.params == live[i].data.params for i in live)
    assert all(new[i].info.status == live[i].info.status for i in live)


def test_sync_after_live_logging_changes_nothing(
    directory: RunDirectory, target: MlflowTarget
) -> None:
    log_live(directory, target)
    before = all_points(target)

    report = sync(directory, target.tracking_uri)

    assert (report.num_runs_created, report.num_runs_updated) == (0, 0)
    assert all_points(target) == before


def test_sync_twice_changes_nothing(directory: RunDirectory, target: MlflowTarget) -> None:
    for config, status in zip(CONFIGS, STATUSES, strict=True):
        directory.write_trial(trial_row(config, status), epoch_rows(config))
    assert sync(directory).num_runs_created == 3
    before = all_points(target)

    report = sync(directory)

    assert (report.num_runs_created, report.num_runs_updated) == (0, 0)
    assert report.num_runs_unchanged == 3
    assert all_points(target) == before


def test_sync_completes_a_run_that_lost_points_and_corrects_a_wrong_one(
    directory: RunDirectory, target: MlflowTarget
) -> None:
    log_live(directory, target)
    client = connect(target.tracking_uri)
    runs = child_runs(target)
    client.log_metric(runs[CONFIGS[0].trial_id].info.run_id, "test_loss", 9.0, 9_000_000, step=99)
    client.delete_run(runs[CONFIGS[2].trial_id].info.run_id)
    lost = TrialLogger(target)
    lost.start(CONFIGS[2].trial_id, CONFIGS[2].to_dict())
    lost.log_epochs(epoch_rows(CONFIGS[2])[1:])
    lost.finish(trial_row(CONFIGS[2], "failed"))

    report = sync(directory)

    steps = {p[2] for p in all_points(target) if p[:2] == (CONFIGS[2].trial_id, "train_loss")}
    assert (report.num_runs_created, report.num_runs_updated, report.num_runs_unchanged) == (
        0,
        2,
        1,
    )
    assert_equal_to_parquet(directory, target)
    assert steps == {1, 2}
    assert sync(directory).num_runs_updated == 0


def test_sync_closes_open_runs_and_removes_second_ones(
    directory: RunDirectory, target: MlflowTarget
) -> None:
    log_live(directory, target)
    client = connect(target.tracking_uri)
    parent = {"mlflow.parentRunId": target.parent_run_id}
    for trial_id in ("zombie", CONFIGS[0].trial_id):
        client.create_run(target.experiment_id, tags={**parent, "trial_id": trial_id})

    report = sync(directory)

    runs = child_runs(target)
    assert (report.num_runs_closed, report.num_runs_removed) == (1, 1)
    assert runs["zombie"].info.status == "KILLED"
    assert runs["zombie"].data.tags["status"] == "interrupted"
    assert runs[CONFIGS[0].trial_id].info.status == "FINISHED"


def test_sync_of_a_copied_directory_speaks_of_the_same_sweep(
    directory: RunDirectory, target: MlflowTarget
) -> None:
    log_live(directory, target)
    copied = directory.path.rename(directory.path.parent / "renamed")

    report = sync(RunDirectory.open(copied))

    assert (report.experiment_name, report.num_runs_unchanged) == ("tiny", 3)


def test_finish_sweep_closes_what_an_interruption_left_open(
    directory: RunDirectory, target: MlflowTarget
) -> None:
    TrialLogger(target).start(CONFIGS[0].trial_id, CONFIGS[0].to_dict())

    num_closed = finish_sweep(target, {"completed": 0}, is_complete=False)

    parent = connect(target.tracking_uri).get_run(target.parent_run_id)
    assert num_closed == 1
    assert child_runs(target)[CONFIGS[0].trial_id].info.status == "KILLED"
    assert (parent.info.status, parent.data.tags["num_completed"]) == ("KILLED", "0")


def test_prepare_sweep_again_finds_experiment_and_parent_run(
    directory: RunDirectory, target: MlflowTarget
) -> None:
    assert prepare_sweep(target.tracking_uri, directory) == target


def test_two_sweeps_of_one_name_have_an_experiment_each(
    tmp_path: Path, directory: RunDirectory, target: MlflowTarget
) -> None:
    manifest = build_manifest(plan_id="p1", sweep_name="tiny", space={}, configs=[])
    second = RunDirectory.create(tmp_path / "elsewhere" / "tiny", manifest)

    other = prepare_sweep(target.tracking_uri, second)

    assert other.experiment_id != target.experiment_id
    assert other.sweep_name == f"tiny {manifest['sweep_id'][:8]}"


def test_artifacts_stand_at_the_parent_run(directory: RunDirectory, target: MlflowTarget) -> None:
    figures = directory.path / "analysis" / "figures"
    figures.mkdir(parents=True)
    (figures / "plane.svg").write_text("<svg/>")
    (directory.path / "analysis" / "report.html").write_text("<html/>")

    for _ in range(2):
        names = log_sweep_artifacts(target, directory)

    client = connect(target.tracking_uri)
    stored = [a.path for a in client.list_artifacts(target.parent_run_id, "analysis")]
    assert names == ["manifest.json", "analysis/report.html", "analysis/figures/plane.svg"]
    assert sorted(stored) == ["analysis/figures", "analysis/report.html"]
    location = Path(client.get_experiment(target.experiment_id).artifact_location[7:])
    assert location.parent == directory.path.parent / "mlartifacts"


def test_open_store_makes_the_address_absolute_and_sets_write_ahead_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    assert open_store("some.db") == f"sqlite:///{tmp_path}/some.db"
    assert open_store("sqlite:///some.db") == f"sqlite:///{tmp_path}/some.db"
    with closing(sqlite3.connect(tmp_path / "some.db")) as connection:
        assert connection.execute("pragma journal_mode").fetchone() == ("wal",)


def test_open_store_says_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    open_store(str(tmp_path / "a.db"))

    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("mlruns", "must be a SQLite file, a database or a server, but got 'mlruns'"),
        ("file:///tmp/mlruns", "must be a SQLite file, a database or a server"),
        ("sqlite:////no/such/folder/a.db", "the folder of an MLflow database must exist"),
        ("nonsense://host", "must answer, but nonsense://host does not"),
        ("http://u:s3cret@127.0.0.1:9", r"must answer, but http://127.0.0.1:9 does not"),
    ],
)
def test_open_store_refuses_what_is_no_store_within_seconds(uri: str, message: str) -> None:
    started = time.monotonic()

    with pytest.raises(TrackingError, match=message) as caught:
        open_store(uri)

    assert time.monotonic() - started < 10
    assert "s3cret" not in str(caught.value)


def test_open_store_refuses_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "a.db").write_bytes(b"no database" * 1000)

    with pytest.raises(TrackingError, match=r"must answer, but sqlite.*a\.db does not"):
        open_store(str(tmp_path / "a.db"))


def test_a_dead_server_neither_fails_nor_holds_up_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    target = MlflowTarget("http://127.0.0.1:9", "1", "parent")
    connect(target.tracking_uri)  # MLflow's import is no part of the measurement
    link = StoreLink(target.tracking_uri)
    started = time.monotonic()

    outcomes = []
    for config in CONFIGS * 5:
        logger = TrialLogger(target, link=link, flush_every_s=0)
        logger.start(config.trial_id, config.to_dict())
        logger.log_epochs(epoch_rows(config))
        outcomes.append(logger.finish(trial_row(config, "completed")))

    assert time.monotonic() - started < 5
    assert sum(outcome.num_errors for outcome in outcomes) == 1
    assert not any(outcome.is_complete for outcome in outcomes)
    assert all("must answer" in str(outcome.last_error) for outcome in outcomes)


def test_a_store_that_comes_back_gets_everything(
    target: MlflowTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = StoreLink(target.tracking_uri)
    logger = TrialLogger(target, link=link, flush_every_s=0)
    config = CONFIGS[0]
    monkeypatch.setattr(link, "_paused_until", time.monotonic() + 60)
    logger.start(config.trial_id, config.to_dict())
    logger.log_epochs(epoch_rows(config))
    assert child_runs(target) == {}

    monkeypatch.setattr(link, "_paused_until", 0.0)
    outcome = logger.finish(trial_row(config, "completed"))

    run = child_runs(target)[config.trial_id]
    assert (outcome.is_complete, outcome.num_errors) == (True, 0)
    assert run.data.tags["num_epochs_logged"] == "2"

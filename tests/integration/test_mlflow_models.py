"""Trained networks in MLflow: told while a sweep is at work, and by `sync` what it lacks."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
import sweep_cases as cases
import torch
from test_mlflow_tracking import all_points, child_runs, copy_store, empty_store, trial_row

from rlp_sweeps import load_model
from rlp_sweeps.config import TrialConfig
from rlp_sweeps.errors import RunDirectoryError
from rlp_sweeps.orchestration.sweep import resume_sweep, run_sweep
from rlp_sweeps.tracking import mlflow_feed, mlflow_models
from rlp_sweeps.tracking.kept_weights import kept_path, log_models
from rlp_sweeps.tracking.mlflow_client import connect
from rlp_sweeps.tracking.mlflow_feed import MlflowFeed, news_text
from rlp_sweeps.tracking.mlflow_gap import read_gap
from rlp_sweeps.tracking.mlflow_store import MlflowTarget
from rlp_sweeps.tracking.mlflow_sweep import find_links
from rlp_sweeps.tracking.mlflow_sync import sync, sync_within
from rlp_sweeps.tracking.mlflow_tracker import default_tracking_uri, prepare_sweep
from rlp_sweeps.tracking.run_directory import RunDirectory, build_manifest
from rlp_sweeps.training.loop import GroupContext, TrialResult, train_group
from rlp_sweeps.training.trained_model import TrainedModel
from rlp_sweeps.training.weights import load_weights

__all__ = ["empty_store"]

CONFIGS = [
    TrialConfig(
        arm="control",
        lr=lr,
        rlp_lambda=0.0,
        seed=0,
        dataset="synthetic:1,4,4,2,64",
        backbone="mlp",
        num_epochs=2,
        batch_size=16,
    )
    for lr in (0.1, 0.2)
]
IDS = [config.trial_id for config in CONFIGS]
DIVERGED = TrialConfig(arm="control", lr=9.0, rlp_lambda=0.0, seed=0)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[TrialResult]]:
    """Return two networks' weights and rows."""
    folder = tmp_path_factory.mktemp("weights")
    context = GroupContext(group_id="g", data_dir=".", engine="grouped", weights_folder=folder)
    return folder, train_group(CONFIGS, context=context, report=lambda progress: ())


@pytest.fixture
def directory(tmp_path: Path) -> RunDirectory:
    configs = [*CONFIGS, DIVERGED]
    manifest = build_manifest(plan_id="p", sweep_name="tiny", space={}, configs=configs)
    made = RunDirectory.create(tmp_path / "runs" / "tiny", manifest)
    log_models(made)
    return made


@pytest.fixture
def target(directory: RunDirectory, empty_store: Path) -> MlflowTarget:
    uri = copy_store(empty_store, directory.path.parent / "mlflow.db")
    assert uri == default_tracking_uri(directory.path)
    return prepare_sweep(uri, directory)


def end(directory: RunDirectory, trained: Any) -> list[str]:
    """Write weights and rows, those of a diverged trial too; return the trials."""
    folder, results = trained
    for result in results:
        trial_id = result.trial["trial_id"]
        kept_path(directory, trial_id).write_bytes((folder / f"{trial_id}.pt").read_bytes())
        directory.write_trial(result.trial, result.epochs)
    directory.write_trial(trial_row(DIVERGED, "diverged"), [])
    return [*IDS, DIVERGED.trial_id]


def feed(directory: RunDirectory, target: MlflowTarget, trial_ids: list[str]) -> None:
    with MlflowFeed(directory, target.tracking_uri) as told:
        told.start("g", [*CONFIGS, DIVERGED])
        told.take(news_text(ended=trial_ids, running={}))


def models_of(target: MlflowTarget) -> list[Any]:
    return list(connect(target.tracking_uri).search_logged_models([target.experiment_id]))


def counted(target: MlflowTarget) -> Counter[tuple[str, str]]:
    return Counter((m.tags["trial_id"], str(m.status)) for m in models_of(target))


ONE_EACH = Counter({(trial_id, "READY"): 1 for trial_id in IDS})


def test_the_feed_leaves_one_model_a_network_and_nothing_to_sync(
    directory: RunDirectory, target: MlflowTarget, trained: Any
) -> None:
    feed(directory, target, end(directory, trained))
    points = all_points(target)

    report = sync(directory)

    assert counted(target) == ONE_EACH
    assert (report.num_models_added, report.num_models_removed) == (0, 0)
    assert report.num_runs_unchanged == 3
    assert all_points(target) == points


def test_a_model_has_settings_metrics_and_its_run(
    directory: RunDirectory, target: MlflowTarget, trained: Any
) -> None:
    end(directory, trained)

    sync(directory)

    runs = child_runs(target)
    for model in models_of(target):
        run = runs[model.tags["trial_id"]]
        assert model.source_run_id == run.info.run_id
        assert [output.model_id for output in run.outputs.model_outputs] == [model.model_id]
        assert model.params == run.data.params
        assert {metric.key: metric.value for metric in model.metrics} == {
            name: value for name, value in run.data.metrics.items() if name != "epoch"
        }
    assert not runs[DIVERGED.trial_id].outputs.model_outputs


def test_models_add_no_point_to_their_runs(
    directory: RunDirectory, target: MlflowTarget, trained: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    end(directory, trained)
    with monkeypatch.context() as patch:
        patch.setattr("rlp_sweeps.tracking.mlflow_sync.logs_models", lambda directory: False)
        sync(directory)
    points = all_points(target)
    assert not models_of(target)

    assert sync(directory).num_models_added == 2

    assert all_points(target) == points


@pytest.mark.filterwarnings("ignore")  # of MLflow's own modules, when its pyfunc is imported
def test_mlflow_loads_a_model_without_pickle(
    directory: RunDirectory, target: MlflowTarget, trained: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    end(directory, trained)
    sync(directory)
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    images = np.random.default_rng(0).integers(256, size=(5, 1, 4, 4), dtype=np.uint8)
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(target.tracking_uri)
    monkeypatch.setattr("torch.load", _only_weights(torch.load))

    try:
        loaded = {m.tags["trial_id"]: f"models:/{m.model_id}" for m in models_of(target)}
        scores = {i: mlflow.pyfunc.load_model(uri).predict(images) for i, uri in loaded.items()}
    finally:
        mlflow.set_tracking_uri(before)

    for trial_id, found in scores.items():
        weights = load_weights(kept_path(directory, trial_id), torch.device("cpu"))
        own = TrainedModel(weights, torch.device("cpu"))
        with torch.no_grad():
            np.testing.assert_array_equal(found, own(torch.as_tensor(images)).numpy())
    assert len(scores) == 2


def _only_weights(load: Any) -> Any:
    def checked(*arguments: Any, **options: Any) -> Any:
        assert options["weights_only"] is True
        return load(*arguments, **options)

    return checked


def test_the_sweeps_description_leads_to_its_models(
    directory: RunDirectory, target: MlflowTarget
) -> None:
    experiment = connect(target.tracking_uri).get_experiment(target.experiment_id)
    links = find_links(target.tracking_uri, directory)

    assert links["models"] == f"/#/experiments/{target.experiment_id}/models"
    assert "[models](" in experiment.tags["mlflow.note.content"]


STEPS = ["log_model_artifact", "log_batch", "log_outputs", "finalize_logged_model"]


@pytest.mark.parametrize("step", STEPS)
def test_a_model_that_was_cut_off_is_completed_and_stays_one(
    directory: RunDirectory,
    target: MlflowTarget,
    trained: Any,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
) -> None:
    end(directory, trained)
    with monkeypatch.context() as patch:
        cut_off(patch, step)
        with pytest.raises(KeyboardInterrupt):
            sync(directory)
    assert "READY" not in {status for _, status in counted(target)}
    assert models_of(target)

    sync(directory)

    assert counted(target) == ONE_EACH
    linked = [len(child_runs(target)[trial_id].outputs.model_outputs) for trial_id in IDS]
    assert linked == [1, 1]


def cut_off(patch: pytest.MonkeyPatch, step: str) -> None:
    """End `log_model` before a step of its own; calls before it, of runs, are let through."""
    log_model = mlflow_models.log_model

    class Cut:
        def __init__(self, client: Any) -> None:
            self._client = client

        def __getattr__(self, name: str) -> Any:
            if name == step:
                raise KeyboardInterrupt
            return getattr(self._client, name)

    patch.setattr(
        mlflow_models,
        "log_model",
        lambda client, *arguments, **options: log_model(Cut(client), *arguments, **options),
    )


def test_second_models_and_those_of_an_earlier_row_go(
    directory: RunDirectory, target: MlflowTarget, trained: Any
) -> None:
    end(directory, trained)
    sync(directory)
    client = connect(target.tracking_uri)
    first = models_of(target)[0]
    again = dict(source_run_id=first.source_run_id, tags=dict(first.tags))
    twin = client.create_logged_model(target.experiment_id, **again)
    client.finalize_logged_model(twin.model_id, "READY")
    _, results = trained
    other = next(r for r in results if r.trial["trial_id"] != first.tags["trial_id"])
    directory.write_trial({**other.trial, "finished_at_ms": 1}, other.epochs)  # trained once more

    report = sync(directory)

    assert (report.num_models_added, report.num_models_removed) == (1, 2)
    assert counted(target) == ONE_EACH
    assert first.model_id in {model.model_id for model in models_of(target)}


def test_models_outlive_weights_that_were_removed(
    directory: RunDirectory, target: MlflowTarget, trained: Any
) -> None:
    end(directory, trained)
    sync(directory)
    for trial_id in IDS:
        kept_path(directory, trial_id).unlink()

    report = sync(directory)

    assert (report.num_models_added, report.num_models_removed) == (0, 0)
    assert counted(target) == ONE_EACH


def test_a_sweep_that_was_not_asked_for_models_has_none(
    directory: RunDirectory, target: MlflowTarget, trained: Any
) -> None:
    directory.set_setting("log_models", False)

    feed(directory, target, end(directory, trained))
    sync(directory)

    assert models_of(target) == []
    assert not list((directory.path.parent / "mlartifacts").rglob("*.pt"))


def test_a_store_that_refuses_models_takes_all_else_and_is_completed_later(
    directory: RunDirectory, target: MlflowTarget, trained: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any, **options: Any) -> None:
        raise OSError("no room for models")

    trial_ids = end(directory, trained)
    with monkeypatch.context() as patch:
        patch.setattr("mlflow.MlflowClient.log_model_artifact", refuse)
        patch.setattr(mlflow_feed, "_CATCH_UP_EVERY_S", 0.2)
        feed(directory, target, trial_ids)
        gap = sync_within(60, directory)
    statuses = {i: run.info.status for i, run in child_runs(target).items()}

    assert gap is not None
    assert "no room for models" in gap.sentence(directory.path)
    assert statuses == dict.fromkeys(trial_ids, "FINISHED")
    sync(directory)
    assert counted(target) == ONE_EACH
    assert read_gap(directory.path) is None


def test_weights_that_are_a_link_out_of_the_directory_are_not_sent(
    directory: RunDirectory, target: MlflowTarget, trained: Any
) -> None:
    end(directory, trained)
    secret = directory.path.parent / "credentials"
    secret.write_text("AKIA")
    kept_path(directory, IDS[0]).unlink()
    kept_path(directory, IDS[0]).symlink_to(secret)

    with pytest.raises(RunDirectoryError, match="leads out of it"):
        sync(directory)

    assert not list((directory.path.parent / "mlartifacts").rglob("credentials"))


def test_models_of_a_directory_in_a_store_are_logged(
    bucket: str, tmp_path: Path, empty_store: Path, trained: Any
) -> None:
    manifest = build_manifest(plan_id="p", sweep_name="tiny", space={}, configs=CONFIGS)
    directory = RunDirectory.create(f"{bucket}/tiny", manifest)
    log_models(directory)
    end(directory, trained)
    uri = copy_store(empty_store, tmp_path / "mlflow.db")
    target = prepare_sweep(uri, directory)

    feed(directory, target, IDS)

    assert counted(target) == ONE_EACH
    (first, _) = (sorted(path.name for path in folder) for folder in _folders(tmp_path))
    assert {"MLmodel"} < set(first)


def _folders(tmp_path: Path) -> list[list[Path]]:
    found = (tmp_path / "mlartifacts").rglob("artifacts")
    return [list(folder.iterdir()) for folder in found if (folder / "MLmodel").exists()]


@pytest.mark.slow
def test_a_sweep_goes_on_logging_models_where_it_is_resumed(tmp_path: Path) -> None:
    plan, output = cases.plan_case("two_groups"), tmp_path / "run"
    begun = replace(cases.OPTIONS, log_models=True, max_trials=1)
    outcomes = [run_sweep(plan, output=output, options=begun)]

    outcomes.append(resume_sweep(output, options=cases.OPTIONS))

    directory = RunDirectory.open(output)
    target = prepare_sweep(default_tracking_uri(output), directory)
    trial_ids = [trial.trial_id for trial in plan.trials]
    assert [outcome.counts["completed"] for outcome in outcomes] == [1, 2]
    assert [outcome.tracking_error for outcome in outcomes] == [None, None]
    assert counted(target) == Counter({(i, "READY"): 1 for i in trial_ids})
    assert sorted(path.name for path in (output / "weights").iterdir()) == sorted(
        f"{i}.pt" for i in trial_ids
    )
    model = load_model(output, trial_ids[0])
    images_NCHW = torch.zeros(1, 1, 8, 8, dtype=torch.uint8)
    assert model(images_NCHW).shape == (1, 10)

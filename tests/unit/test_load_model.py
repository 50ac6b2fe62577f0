"""A trial's network from its run directory: by its id, from a disk and a store, or a sentence."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_sweep import tiny_directory, tiny_job, tiny_plan, tiny_space

import rlp_sweeps
from rlp_sweeps import load_model
from rlp_sweeps.errors import CheckpointError, DeviceError, RunDirectoryError
from rlp_sweeps.orchestration.planner import SweepPlan
from rlp_sweeps.orchestration.trainable import GroupRun
from rlp_sweeps.tracking.kept_weights import (
    keep_weights,
    kept_path,
    kept_weights,
    log_models,
    logs_models,
)
from rlp_sweeps.tracking.run_directory import RunDirectory
from rlp_sweeps.tracking.sample_rows import keep_samples
from rlp_sweeps.training import part
from rlp_sweeps.training.datasets import split_dataset
from rlp_sweeps.training.weights import load_weights, save_weights

CPU = torch.device("cpu")


@pytest.fixture
def plan() -> SweepPlan:
    return tiny_plan(tiny_space(num_epochs=1))


def train(plan: SweepPlan, directory: RunDirectory) -> None:
    job = tiny_job(directory, engine="grouped")
    GroupRun(job, plan.groups[0], report=lambda values: None).run()


@pytest.mark.parametrize("is_in_store", [False, True], ids=["folder", "store"])
def test_a_network_is_had_by_its_id_and_predicts_what_its_row_says(
    plan: SweepPlan, tmp_path: Path, request: pytest.FixtureRequest, is_in_store: bool
) -> None:
    path = f"{request.getfixturevalue('bucket')}/run" if is_in_store else tmp_path / "run"
    directory = tiny_directory(plan, path)
    log_models(directory)
    train(plan, directory)

    models = {trial.trial_id: load_model(path, trial.trial_id[:9]) for trial in plan.trials}

    for row in directory.read_trials().to_pylist():
        model = models[row["trial_id"]]
        data = split_dataset(model.config, data_dir=".", device=CPU)
        predicted_N = model(data.test_images_NCHW).argmax(1)
        found = (predicted_N == data.test_labels_N).double().mean().item()
        assert (model.config.lr, found) == (row["lr"], row["test_accuracy"])


def test_a_sweep_keeps_no_network_unasked(plan: SweepPlan, tmp_path: Path) -> None:
    directory = tiny_directory(plan, tmp_path / "run")
    before = (tmp_path / "run" / "manifest.json").read_bytes()

    train(plan, directory)

    assert not logs_models(directory)
    assert not (tmp_path / "run" / "weights").exists()
    assert (tmp_path / "run" / "manifest.json").read_bytes() == before


def test_what_was_asked_for_stands_in_the_manifest(plan: SweepPlan, tmp_path: Path) -> None:
    directory = tiny_directory(plan, tmp_path / "run")

    log_models(directory)

    assert logs_models(directory)
    assert logs_models(RunDirectory.open(tmp_path / "run"))
    assert RunDirectory.open(tmp_path / "run").manifest["settings"]["group_size"] == 2


def test_a_trial_that_fails_after_its_network_was_kept_leaves_none(
    plan: SweepPlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = tiny_directory(plan, tmp_path / "run")
    log_models(directory)
    keep_samples(directory)
    monkeypatch.setattr(part.samples, "sample_blocks", lambda *_, **__: 1 / 0)

    train(plan, directory)

    assert set(directory.finished_trials().values()) == {"failed"}
    assert kept_weights(directory) == {}


def test_a_trial_that_diverges_keeps_no_network(tmp_path: Path) -> None:
    space = tiny_space(num_epochs=1).override({"lr": [1e30, 0.1]})
    plan = tiny_plan(space)
    directory = tiny_directory(plan, tmp_path / "run")
    log_models(directory)

    train(plan, directory)

    statuses = directory.finished_trials()
    assert sorted(statuses.values()) == ["completed", "diverged"]
    assert {statuses[i] for i in kept_weights(directory)} == {"completed"}


@pytest.mark.parametrize("status", ["failed", "diverged"])
def test_a_trial_without_an_end_has_none_and_it_is_said(
    plan: SweepPlan, tmp_path: Path, status: str
) -> None:
    directory = tiny_directory(plan, tmp_path / "run")
    log_models(directory)
    trial = plan.trials[0]
    row = {**trial.to_dict(), "trial_id": trial.trial_id, "status": status}
    directory.write_trial(row, [])

    with pytest.raises(RunDirectoryError, match=rf"{trial.trial_id} has {status}; .* show .* why"):
        load_model(tmp_path / "run", trial.trial_id)


def test_a_network_that_was_not_kept_is_told_with_the_option(
    plan: SweepPlan, tmp_path: Path
) -> None:
    train(plan, tiny_directory(plan, tmp_path / "run"))

    with pytest.raises(RunDirectoryError, match=r"holds none of .*`--log-models`.*clean --weights"):
        load_model(tmp_path / "run", plan.trials[0].trial_id)


@pytest.mark.parametrize(
    ("trial", "sentence"),
    [("zz", "a trial to load must have a row, but no finished trial of .* begins with 'zz'"),
     ("", "one trial must begin with '', but 2 do")],
)  # fmt: skip
def test_an_id_that_no_trial_or_several_have_is_refused(
    plan: SweepPlan, tmp_path: Path, trial: str, sentence: str
) -> None:
    train(plan, tiny_directory(plan, tmp_path / "run"))

    with pytest.raises(RunDirectoryError, match=sentence):
        load_model(tmp_path / "run", trial)


def test_other_wrong_requests_are_sentences(plan: SweepPlan, tmp_path: Path) -> None:
    directory = tiny_directory(plan, tmp_path / "run")
    keep_weights(directory)
    train(plan, directory)
    path = kept_path(directory, plan.trials[0].trial_id)
    path.write_bytes(path.read_bytes()[:-100])

    with pytest.raises(CheckpointError, match="must be whole"):
        load_model(directory.path, plan.trials[0].trial_id)
    with pytest.raises(DeviceError, match="device="):
        load_model(directory.path, plan.trials[1].trial_id, device="tpu")
    with pytest.raises(RunDirectoryError, match="must exist"):
        load_model(tmp_path / "none", "a")


def test_a_backbone_that_a_foreign_directory_names_is_not_imported(
    plan: SweepPlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = tiny_directory(plan, tmp_path / "run")
    keep_weights(directory)
    train(plan, directory)
    weights = load_weights(kept_path(directory, plan.trials[0].trial_id), CPU)
    config = replace(weights.config, backbone="os.system")
    save_weights(directory.path / "weights", replace(weights, config=config))
    row = {**config.to_dict(), "trial_id": config.trial_id, "status": "completed"}
    directory.write_trial(row, [])
    monkeypatch.setattr("os.system", lambda *_, **__: pytest.fail("was called"))

    with pytest.raises(RunDirectoryError, match=r"names code .*'os\.system'"):
        load_model(directory.path, config.trial_id)


def test_load_model_is_a_name_of_the_package() -> None:
    assert "load_model" in rlp_sweeps.__all__
    assert rlp_sweeps.load_model is load_model

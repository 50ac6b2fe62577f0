"""A trial's network as a model: what it predicts is what its row says, whatever trained it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from rlp_sweeps.config import TrialConfig
from rlp_sweeps.errors import CheckpointError
from rlp_sweeps.training import datasets
from rlp_sweeps.training.datasets import SplitDataset, split_dataset
from rlp_sweeps.training.loop import GroupContext, TrialResult, train_group
from rlp_sweeps.training.trained_model import TrainedModel, _load_pyfunc
from rlp_sweeps.training.weights import bytes_of_weights, load_weights, save_weights, weights_path

CPU = torch.device("cpu")
BASE = TrialConfig(
    arm="full",
    lr=0.05,
    rlp_lambda=1.0,
    seed=0,
    dataset="synthetic:1,6,6,3,400",
    backbone="mlp",
    dropout=0.3,
    num_random_labels=4,
    num_epochs=2,
    batch_size=20,
)
CASES = {
    "mlp": BASE,
    "normalized by batch": replace(
        BASE, backbone="small_cnn", backbone_width=4, dropout=0.0, dataset="synthetic:1,8,8,3,200"
    ),
    "no class head of its own": replace(BASE, head="single_output", arm="control", rlp_lambda=0.0),
    "projector": replace(BASE, projector_width=8),
    "bf16": replace(BASE, precision="bf16"),
}


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def train(configs: list[TrialConfig], folder: Path, engine: str = "sequential"):
    folder.mkdir()
    context = GroupContext(group_id="g", data_dir=".", engine=engine, weights_folder=folder)
    return train_group(configs, context=context, report=lambda progress: ())


def model_of(result: TrialResult, folder: Path) -> TrainedModel:
    return TrainedModel(load_weights(weights_path(folder, result.trial["trial_id"]), CPU), CPU)


def data_of(config: TrialConfig) -> SplitDataset:
    return split_dataset(config, data_dir=".", device=CPU)


@torch.no_grad()
def accuracy(model: TrainedModel, images_NCHW: torch.Tensor, labels_N: torch.Tensor) -> float:
    return (model(images_NCHW).argmax(1) == labels_N).double().mean().item()


@pytest.mark.parametrize("engine", ["sequential", "grouped", "vmap"])
def test_each_members_model_has_the_accuracies_of_its_row(engine: str, tmp_path: Path) -> None:
    members = [replace(BASE, seed=seed, lr=lr) for seed in (0, 1) for lr in (0.05, 0.2)]

    results = train(members, tmp_path / "weights", engine)

    assert len({result.trial["test_accuracy"] for result in results}) > 1
    for result, config in zip(results, members, strict=True):
        model, data = model_of(result, tmp_path / "weights"), data_of(config)
        assert not model.training
        assert (model.config, model.epoch) == (config, 2)
        test = accuracy(model, data.test_images_NCHW, data.test_labels_N)
        val = accuracy(model, data.val_images_NCHW, data.val_labels_N)
        assert (test, val) == (result.trial["test_accuracy"], result.trial["val_accuracy"])


@pytest.mark.parametrize("name", CASES)
def test_every_kind_of_network_gives_its_test_accuracy_back(name: str, tmp_path: Path) -> None:
    (result,) = train([CASES[name]], tmp_path / "weights")

    model, data = model_of(result, tmp_path / "weights"), data_of(CASES[name])

    test = accuracy(model, data.test_images_NCHW, data.test_labels_N)
    assert test == result.trial["test_accuracy"]


def test_a_model_needs_no_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (result,) = train([BASE], tmp_path / "weights")
    images_NCHW = data_of(BASE).test_images_NCHW
    expected = model_of(result, tmp_path / "weights")(images_NCHW)
    monkeypatch.setattr(datasets, "_load", lambda *arguments: pytest.fail("reads the data"))

    scores = model_of(result, tmp_path / "weights")(images_NCHW)

    assert torch.equal(scores, expected)


def test_mlflow_is_given_the_same_scores(tmp_path: Path) -> None:
    (result,) = train([BASE], tmp_path / "weights")
    images_NCHW = data_of(BASE).test_images_NCHW.repeat(11, 1, 1, 1)  # several batches
    path = weights_path(tmp_path / "weights", BASE.trial_id)

    scores = _load_pyfunc(str(path)).predict(images_NCHW.numpy())

    with torch.no_grad():
        expected = model_of(result, tmp_path / "weights")(images_NCHW)
    assert len(images_NCHW) > 1024
    np.testing.assert_allclose(scores, expected.numpy(), rtol=1e-6, atol=1e-6)


def test_weights_that_do_not_say_what_they_read_are_refused(tmp_path: Path) -> None:
    (result,) = train([BASE], tmp_path / "weights")
    path = weights_path(tmp_path / "weights", BASE.trial_id)
    save_weights(path.parent, replace(load_weights(path, CPU), inputs=None))

    with pytest.raises(CheckpointError, match=r"must say which images .* train the trial again"):
        model_of(result, tmp_path / "weights")


@pytest.mark.parametrize("name", ["mlp", "normalized by batch"])
def test_the_file_is_as_large_as_it_was_said_to_be(name: str, tmp_path: Path) -> None:
    train([CASES[name]], tmp_path / "weights")

    said = bytes_of_weights(CASES[name], data_dir=".")

    size = weights_path(tmp_path / "weights", CASES[name].trial_id).stat().st_size
    assert said == pytest.approx(size, abs=500)

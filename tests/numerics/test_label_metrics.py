"""Accuracies on trained, true and changed labels."""

from typing import Any

import pytest
import torch

from rlp_sweeps.config import TrialConfig
from rlp_sweeps.training.datasets import split_dataset
from rlp_sweeps.training.engines import get_engine
from rlp_sweeps.training.member import Member
from rlp_sweeps.training.metrics import label_sums

CPU = torch.device("cpu")
BASE: dict[str, Any] = {"arm": "control", "lr": 0.05, "rlp_lambda": 0.0, "seed": 0}
BASE |= {"backbone": "mlp", "num_epochs": 2, "batch_size": 32, "train_samples": 200}


def test_label_sums_of_written_out_predictions() -> None:
    predicted, labels, truth = (torch.tensor(x) for x in ([0, 1, 2, 2], [0, 1, 2, 0], [0, 0, 0, 2]))
    logits_NK = torch.nn.functional.one_hot(predicted, 3).float()

    sums = label_sums(logits_NK, labels, truth)

    assert [int(x) for x in sums] == [3, 2, 2]  # changed: 1, 2, 3; truly 0 and 3; as changed 1, 2


def test_metrics_of_a_corrupted_trial_are_those_of_its_predictions() -> None:
    config = TrialConfig(**BASE, label_corruption=0.6)
    data = split_dataset(config, data_dir="", device=CPU)
    member = Member(config, data, CPU)
    member.train_epoch(1)

    metrics = member.evaluate(1)

    with torch.no_grad():
        predicted_N = member.network.eval()(data.train_images_NCHW)[0].argmax(1)
    is_changed_N = data.train_labels_N != data.true_labels_N
    hits_N = predicted_N == data.train_labels_N
    assert 0.4 < metrics["changed_labels"] == is_changed_N.double().mean() < 0.7
    assert metrics["true_label_accuracy"] == (predicted_N == data.true_labels_N).double().mean()
    assert metrics["train_accuracy"] == hits_N.double().mean()
    assert metrics["changed_label_accuracy"] == pytest.approx(
        float(hits_N[is_changed_N].double().mean())
    )


@pytest.mark.parametrize("view_labels", ["same", "random"])
def test_all_views_are_evaluated_with_their_labels(view_labels: str) -> None:
    views = {"augmentation": "crop", "num_views": 3, "view_labels": view_labels}
    config = TrialConfig(**BASE, **views, label_corruption=1.0)
    data = split_dataset(config, data_dir="", device=CPU)
    member = Member(config, data, CPU)
    member.train_epoch(1)

    metrics = member.evaluate(1)

    index_N, hits, truths, changed = torch.arange(200), [], [], []
    for epoch in (1, 2, 3):  # every view in its turn
        draws = member.samples.draw(index_N, "augment", epoch)
        images_NCHW = member.samples.images(index_N, draws, slice(None))
        with torch.no_grad():
            predicted_N = member.network.eval()(images_NCHW)[0].argmax(1)
        hits.append(predicted_N == member.samples.labels(index_N, epoch))
        truths.append(predicted_N == data.true_labels_N)
        changed.append(member.samples.labels(index_N, epoch) != data.true_labels_N)
    assert metrics["train_accuracy"] == pytest.approx(float(torch.cat(hits).double().mean()))
    assert metrics["true_label_accuracy"] == pytest.approx(float(torch.cat(truths).double().mean()))
    assert metrics["changed_labels"] == pytest.approx(float(torch.cat(changed).double().mean()))


@pytest.mark.parametrize("engine", ["sequential", "grouped", "vmap"])
def test_where_no_label_is_changed_none_is_recalled_as_changed(engine: str) -> None:
    config = TrialConfig(**BASE)

    outcome = get_engine(engine)([config], data_dir="", device=CPU).advance(1, evaluates=True)

    metrics = outcome[config.trial_id].metrics
    assert metrics["changed_labels"] == 0
    assert metrics["changed_label_accuracy"] is None
    assert metrics["true_label_accuracy"] == metrics["train_accuracy"] > 0.1

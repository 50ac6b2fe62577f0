"""The RLP head as the network's only output: predictions, gradients, refusals."""

import dataclasses

import pytest
import torch
from torch import Tensor

from rlp_sweeps.config import TrialConfig
from rlp_sweeps.errors import ConfigError
from rlp_sweeps.training.datasets import split_dataset
from rlp_sweeps.training.engines import get_engine
from rlp_sweeps.training.heads import ADVERSARY
from rlp_sweeps.training.loop import GroupContext, train_group
from rlp_sweeps.training.losses import random_label_loss, regularizer_terms
from rlp_sweeps.training.member import Member

CPU = torch.device("cpu")
CONFIG = TrialConfig(
    arm="control",
    lr=0.1,
    rlp_lambda=0.0,
    seed=1,
    dataset="digits",
    head="single_output",
    train_samples=400,
    num_epochs=8,
    batch_size=32,
    backbone="small_cnn",
    backbone_width=4,
    num_random_labels=3,
)


def build(**settings: object) -> Member:
    config = dataclasses.replace(CONFIG, **settings)
    return Member(config, split_dataset(config, data_dir="", device=CPU), CPU)


def batch_of(member: Member) -> tuple[Tensor, Tensor, Tensor]:
    images_NCHW = member.data.train_images_NCHW[:32].double()
    return images_NCHW, member.data.train_labels_N[:32], member.random_labels(1)[:, :32]


def test_the_class_scores_are_the_heads_probabilities_summed_over_random_labels() -> None:
    network = build().network.double().eval()
    images_NCHW = torch.rand(16, 1, 8, 8, dtype=torch.float64) * 255

    logits_NK, features_ND = network(images_NCHW)

    p_NKR = network.heads(features_ND)[ADVERSARY].flatten(1).softmax(1).view(16, 10, 3)
    torch.testing.assert_close(logits_NK.softmax(1), p_NKR.sum(2), rtol=0, atol=1e-12)


def test_the_extractor_is_trained_by_the_regularizer_and_the_head_by_its_own_loss_alone() -> None:
    member = build()
    network = member.network.double().eval()
    images_NCHW, labels_N, random_labels_HN = batch_of(member)
    features_ND, _ = network.read(images_NCHW)
    losses = network.training_losses(
        features_ND, labels_N, random_labels_HN, member.weights, label_smoothing=0.0
    )

    sum(losses).backward(retain_graph=True)

    regularizer = sum(regularizer_terms(network.heads.adversary(features_ND), labels_N))
    wanted = torch.autograd.grad(regularizer, network.extractor_parameters, retain_graph=True)
    for parameter, expected in zip(network.extractor_parameters, wanted, strict=True):
        torch.testing.assert_close(parameter.grad, expected, rtol=0, atol=1e-12)
    head_losses = [
        random_label_loss(logits, labels_N, labels)
        for logits, labels in zip(
            network.heads(features_ND.detach()), random_labels_HN, strict=True
        )
    ]
    wanted = torch.autograd.grad(sum(head_losses), network.heads_parameters)
    for parameter, expected in zip(network.heads_parameters, wanted, strict=True):
        torch.testing.assert_close(parameter.grad, expected, rtol=0, atol=1e-12)
    assert network.backbone.classifier.weight.grad is None


def test_it_learns_the_classes_and_has_no_multiplier() -> None:
    (result,) = train_group(
        [CONFIG], context=GroupContext(group_id="g", data_dir=""), report=lambda _: ()
    )

    row = result.trial
    assert row["status"] == "completed"
    assert row["test_accuracy"] > 0.8
    assert row["train_loss"] == pytest.approx(row["regularizer_class_term"], rel=1e-5)
    assert row["lr_multiplier"] is row["equivalent_lr"] is row["lr_multiplier_class_term"] is None
    assert row["num_parameters"] == sum(p.numel() for p in build().network.extractor_parameters)


def test_the_unused_class_head_stays_as_it_was() -> None:
    member = build(weight_decay=0.1, num_epochs=1)
    before = member.network.backbone.classifier.weight.clone()

    member.train_epoch(1)

    assert torch.equal(member.network.backbone.classifier.weight, before)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"arm": "full", "rlp_lambda": 1.0}, "has no λ, so that its one arm is 'control'"),
        ({"label_smoothing": 0.1}, "no class loss to smooth or scale.*{'label_smoothing': 0.1}"),
        ({"copy_depth": 2}, "reads the last layer"),
        ({"attach_points": "conv1"}, "reads the last layer"),
    ],
)
def test_what_it_does_not_have_is_refused(settings, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        dataclasses.replace(CONFIG, **settings)


@pytest.mark.parametrize("engine", ["grouped", "vmap"])
def test_the_unused_class_heads_of_a_group_stay_as_they_were(engine: str) -> None:
    configs = [dataclasses.replace(CONFIG, weight_decay=0.1, lr=lr) for lr in (0.05, 0.1)]
    group = get_engine(engine)(configs, data_dir="", device=CPU)

    group.advance(1, evaluates=False)

    for config in configs:
        fresh = Member(config, split_dataset(config, data_dir="", device=CPU), CPU).network
        state = group.network_state(config.trial_id)
        assert torch.equal(state["backbone.classifier.weight"], fresh.backbone.classifier.weight)
        assert not torch.equal(state["heads.weight_HJD"], fresh.heads.weight_HJD)

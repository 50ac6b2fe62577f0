"""Projection arms and rescaled ones, on the extractor's parameters (docs/method.md, section 3)."""

import dataclasses

import pytest
import torch
from torch import Tensor

from rlp_sweeps.config import TrialConfig
from rlp_sweeps.training.datasets import split_dataset
from rlp_sweeps.training.engines import get_engine
from rlp_sweeps.training.losses import dot
from rlp_sweeps.training.member import Member, extractor_weights
from rlp_sweeps.training.projection import (
    InnerProducts,
    gradient_weights,
    projected_gradients,
    weigher,
)

CPU = torch.device("cpu")
FULL = TrialConfig(
    arm="full",
    lr=0.05,
    rlp_lambda=3.0,
    seed=0,
    dataset="digits",
    train_samples=64,
    val_samples=16,
    test_samples=16,
    backbone="small_cnn",
    backbone_width=4,
    num_random_labels=3,
    num_epochs=2,
    batch_size=16,
)


def gradients(arm: str) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """Class gradient, regularizer's gradient and the arm's own, one batch, float64."""
    config = dataclasses.replace(FULL, arm=arm)
    data = split_dataset(config, data_dir="", device=CPU)
    network = Member(config, data, CPU).network.double()
    labels_N = data.train_labels_N[:32]
    losses = network.training_losses(
        network.features(data.train_images_NCHW[:32]),
        labels_N,
        (labels_N % 3).expand(2, -1),
        extractor_weights(config),
        label_smoothing=0.0,
    )
    parts = network.extractor_parameters
    own = projected_gradients(*losses, parts, weigh=weigher(extractor_weights(config).projection))
    class_grad, regularizer_grad = (
        list(torch.autograd.grad(loss, parts, retain_graph=True)) for loss in losses
    )
    return class_grad, regularizer_grad, own


def test_what_orthogonal_adds_to_the_class_gradient_is_orthogonal_to_it() -> None:
    class_grad, regularizer_grad, own = gradients("orthogonal")
    added = [a - c for a, c in zip(own, class_grad, strict=True)]

    along = dot(added, class_grad)

    scale = (dot(regularizer_grad, regularizer_grad) * dot(class_grad, class_grad)).sqrt()
    assert abs(along) < 1e-12 * scale
    assert dot(added, added) > 0


def test_grafted_has_the_norm_of_the_class_gradient_and_the_direction_of_the_full_one() -> None:
    class_grad, regularizer_grad, own = gradients("grafted")
    full = [c + r for c, r in zip(class_grad, regularizer_grad, strict=True)]

    cosine = dot(own, full) / (dot(own, own) * dot(full, full)).sqrt()

    assert dot(own, own).item() == pytest.approx(dot(class_grad, class_grad).item(), rel=1e-12)
    assert cosine.item() == pytest.approx(1.0, abs=1e-12)


def test_projections_of_vanished_gradients_are_finite() -> None:
    zero = torch.zeros((), dtype=torch.float64)

    factors = [
        gradient_weights(InnerProducts(zero, zero, zero), projection)
        for projection in ("orthogonal", "grafted")
    ]

    assert [[float(f) for f in pair] for pair in factors] == [[1.0, 1.0], [0.0, 0.0]]


def trained(*configs: TrialConfig, engine: str = "sequential") -> dict[str, dict[str, Tensor]]:
    """Each member's weights after two epochs, by arm."""
    group = get_engine(engine)(list(configs), data_dir="", device=CPU)
    for epoch in (1, 2):
        group.advance(epoch, evaluates=False)
    states = group.state_dict()
    return {config.arm: states[config.trial_id]["network"] for config in configs}


@pytest.mark.parametrize("engine", ["sequential", "grouped"])
def test_rescaled_at_one_equals_control_bit_by_bit(engine) -> None:
    control = dataclasses.replace(FULL, arm="control", rlp_lambda=0.0)
    rescaled = dataclasses.replace(FULL, arm="rescaled", matched_multiplier=1.0)

    weights = trained(control, rescaled, engine=engine)

    for name, tensor in weights["control"].items():
        assert torch.equal(tensor, weights["rescaled"][name]), name


def test_rescaled_equals_the_planted_scale_of_its_multiplier() -> None:
    planted = dataclasses.replace(FULL, arm="control", rlp_lambda=0.0, extractor_scale=1.7)
    rescaled = dataclasses.replace(FULL, arm="rescaled", matched_multiplier=1.7)

    weights = trained(planted, rescaled)

    for name, tensor in weights["control"].items():
        assert torch.equal(tensor, weights["rescaled"][name]), name


@pytest.mark.parametrize("engine", ["sequential", "grouped"])
def test_replayed_at_one_number_equals_rescaled_at_it_bit_by_bit(engine) -> None:
    rescaled = dataclasses.replace(FULL, arm="rescaled", matched_multiplier=1.7)
    replayed = dataclasses.replace(
        FULL, arm="replayed", matched_trajectory=" ".join(["1.7"] * FULL.num_evaluations)
    )

    weights = trained(rescaled, replayed, engine=engine)

    for name, tensor in weights["rescaled"].items():
        assert torch.equal(tensor, weights["replayed"][name]), name


@pytest.mark.parametrize("engine", ["sequential", "grouped"])
def test_replayed_changes_its_scale_from_one_epoch_to_the_next(engine) -> None:
    two = dataclasses.replace(FULL, num_epochs=2, eval_every=1)
    steady = dataclasses.replace(two, arm="rescaled", matched_multiplier=3.0)
    changing = dataclasses.replace(two, arm="replayed", matched_trajectory="3 0.25")
    group = get_engine(engine)([steady, changing], data_dir="", device=CPU)

    group.advance(1, evaluates=False)
    after_first = [s["network"] for s in group.state_dict().values()]
    differ = [not torch.equal(after_first[0][n], after_first[1][n]) for n in after_first[0]]
    outcomes = group.advance(2, evaluates=True)

    assert not any(differ)
    kappa = {c.arm: outcomes[c.trial_id].metrics["lr_multiplier"] for c in (steady, changing)}
    sums = outcomes[changing.trial_id].metrics
    assert kappa["rescaled"] == pytest.approx(3.0, rel=1e-5)
    assert 0.25 < kappa["replayed"] < 3.0
    assert sums["trained_grad_sum"] / sums["class_grad_sum"] == kappa["replayed"]


def first_multiplier(arm: str) -> float:
    config = dataclasses.replace(FULL, arm=arm)
    member = Member(config, split_dataset(config, data_dir="", device=CPU), CPU)
    member.train_epoch(1)
    kappa = member.evaluate(1)["lr_multiplier"]
    assert kappa is not None
    return kappa


def test_projection_arms_pull_less_along_the_class_gradient_than_the_full_one() -> None:
    full, orthogonal, grafted = map(first_multiplier, ("full", "orthogonal", "grafted"))

    assert full > orthogonal > 0
    assert full > grafted > 0

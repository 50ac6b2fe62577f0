"""Mixup: what is drawn, and that every loss of a step is that of both labels by their shares."""

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from rlp_sweeps.config import TrialConfig
from rlp_sweeps.errors import ConfigError
from rlp_sweeps.training.batch import Batch, batch_losses
from rlp_sweeps.training.datasets import split_dataset
from rlp_sweeps.training.heads import OBSERVER
from rlp_sweeps.training.losses import regularizer_terms
from rlp_sweeps.training.member import Member
from rlp_sweeps.training.mixup import PROBE, TRAINING, Mix, draw_mixes
from rlp_sweeps.training.multipliers import probe_gradients
from rlp_sweeps.training.seed_data import SeedData

CPU = torch.device("cpu")
N, R = 24, 3
CONFIG = TrialConfig(
    arm="full",
    lr=0.05,
    rlp_lambda=2.0,
    seed=0,
    train_samples=96,
    batch_size=N,
    num_random_labels=R,
    backbone="mlp",
    backbone_width=8,
    num_epochs=2,
    label_smoothing=0.1,
    mixup_alpha=0.4,
)


def build(**changes: Any) -> Member:
    config = dataclasses.replace(CONFIG, **changes)
    member = Member(config, split_dataset(config, data_dir="", device=CPU), CPU)
    member.network.double()
    return member


def batch_of(member: Member, share: float) -> Batch:
    """The first samples, mixed with their permutation by a written-out share."""
    partner_N = torch.randperm(N, generator=torch.Generator().manual_seed(3))
    images_NCHW = member.data.train_images_NCHW[:N]
    plain = Batch(images_NCHW, member.data.train_labels_N[:N], member.random_labels(1)[:, :N])
    return plain.mixed(Mix(share, partner_N))


def gradients(member: Member, loss: Tensor) -> list[Tensor]:
    parameters = list(member.network.parameters())
    found = torch.autograd.grad(loss, parameters, allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for g, p in zip(found, parameters, strict=True)]


def losses_of(member: Member, batch: Batch) -> Any:
    readings = member.network.read(batch.images_NCHW)
    return batch_losses(member.network, readings, batch, member.weights, label_smoothing=0.1)


def draw(alpha: float = 0.4, **changes: int) -> list[Mix]:
    settings = {"seed": 0, "epoch": 1, "kind": TRAINING, "num_batches": 4, "batch_size": N}
    return draw_mixes(alpha=alpha, **{**settings, **changes})


def test_images_and_class_targets_are_blended_by_one_share() -> None:
    member = build()
    batch = batch_of(member, 0.7)
    assert batch.mix is not None
    partner_N, labels_N = batch.mix.partner_N, member.data.train_labels_N[:N]
    pixels_NCHW = member.data.train_images_NCHW[:N].float()

    class_loss = losses_of(member, batch).class_loss

    torch.testing.assert_close(
        batch.images_NCHW, 0.7 * pixels_NCHW + 0.3 * pixels_NCHW[partner_N], rtol=1e-6, atol=1e-4
    )
    targets_NK = 0.7 * F.one_hot(labels_N, 10) + 0.3 * F.one_hot(labels_N[partner_N], 10)
    logits_NK = member.network(batch.images_NCHW)[0]
    expected = F.cross_entropy(logits_NK, targets_NK.double(), label_smoothing=0.1)
    torch.testing.assert_close(class_loss, expected)


@pytest.mark.parametrize("head", ["nested_joint", "nested_per_class", "single"])
@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_a_steps_gradient_is_that_of_both_labels_by_their_shares(head: str, share: float) -> None:
    member = build(head=head)
    batch = batch_of(member, share)
    partner = batch.partner()
    assert partner is not None

    mixed, own, other = (
        gradients(member, sum(losses_of(member, b)))
        for b in (batch, batch._replace(mix=None), partner)
    )

    for found, left, right in zip(mixed, own, other, strict=True):
        torch.testing.assert_close(found, share * left + (1 - share) * right)


def test_the_heads_learn_soft_targets_and_regularize_by_them() -> None:
    member = build()
    batch, heads = batch_of(member, 0.7), member.network.heads
    assert batch.mix is not None
    readings = member.network.read(batch.images_NCHW)
    features_ND = readings.features_ND
    labels_N, randoms_N = batch.labels_N, batch.random_labels_HN[OBSERVER]

    heads_loss = losses_of(member, batch).heads_loss
    (features_grad,) = torch.autograd.grad(
        batch_losses(
            member.network, readings, batch, member.weights, label_smoothing=0.1
        ).heads_loss,
        features_ND,
        retain_graph=True,
    )

    outputs_N = labels_N * R + randoms_N
    soft_NJ = 0.7 * F.one_hot(outputs_N, 30) + 0.3 * F.one_hot(outputs_N[batch.mix.partner_N], 30)
    logits_HNJ = heads(features_ND).flatten(2)
    expected = sum(F.cross_entropy(logits_NJ, soft_NJ.double()) for logits_NJ in logits_HNJ)
    torch.testing.assert_close(heads_loss, expected)
    own = sum(regularizer_terms(heads(features_ND)[0], labels_N))
    other = sum(regularizer_terms(heads(features_ND)[0], labels_N[batch.mix.partner_N]))
    (regularizer_grad,) = torch.autograd.grad(2.0 * (0.7 * own + 0.3 * other), features_ND)
    torch.testing.assert_close(features_grad, regularizer_grad)


@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_the_multiplier_of_a_planted_scale_is_the_scale(scale: float) -> None:
    member = build(arm="control", rlp_lambda=0.0, extractor_scale=scale)
    halves = [batch_of(member, 0.6), batch_of(member, 0.9)]

    probe_5 = probe_gradients(member.network, halves, member.weights, label_smoothing=0.1)

    assert float(probe_5[1] / probe_5[0]) == pytest.approx(scale, rel=1e-9)


def test_every_batch_has_a_share_and_a_permutation_of_its_own() -> None:
    mixes = draw()

    assert len({mix.share for mix in mixes}) == 4
    assert len({tuple(mix.partner_N.tolist()) for mix in mixes}) == 4
    assert all(sorted(mix.partner_N.tolist()) == list(range(N)) for mix in mixes)


def test_draws_depend_on_seed_epoch_and_kind_alone() -> None:
    first, again = draw(), draw(num_batches=2)
    others = [draw(seed=1), draw(epoch=2), draw(kind=PROBE)]

    assert [mix.share for mix in first[:2]] == [mix.share for mix in again]
    assert torch.equal(first[1].partner_N, again[1].partner_N)
    assert all(other[0].share != first[0].share for other in others)
    assert all(not torch.equal(other[0].partner_N, first[0].partner_N) for other in others)


@pytest.mark.parametrize("alpha", [0.001, 0.4, 1.0, 8.0, 1e6])
def test_shares_follow_the_beta_distribution(alpha: float) -> None:
    shares = torch.tensor([mix.share for mix in draw(alpha, num_batches=4000, batch_size=2)])

    variance = 1 / (4 * (2 * alpha + 1))
    assert shares.isfinite().all()
    assert abs(float(shares.mean()) - 0.5) < 4 * (variance / 4000) ** 0.5
    assert float(shares.double().var()) == pytest.approx(variance, rel=0.1)


def test_without_mixup_batches_are_as_they_were() -> None:
    config = dataclasses.replace(CONFIG, mixup_alpha=0.0)
    data = split_dataset(config, data_dir="", device=CPU)
    plain, mixed = (SeedData(c, data, CPU) for c in (config, CONFIG))

    assert plain.mixes(1) is None
    assert plain.probe_mixes(1) is None
    assert torch.equal(plain.order("order", 1), mixed.order("order", 1))


def test_mixing_is_refused_where_heads_copy_layers() -> None:
    with pytest.raises(ConfigError, match=r"would run twice a step, but got mixup_alpha=0\.4"):
        dataclasses.replace(CONFIG, backbone="vgg16", copy_depth=2)

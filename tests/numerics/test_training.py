"""Identities that training must keep whatever the arm (docs/method.md, "Identities")."""

import dataclasses

import pytest
import torch
from torch.nn import functional as F

from rlp_sweeps.config import TrialConfig
from rlp_sweeps.seeding import stream_seed
from rlp_sweeps.training.backbones import build_backbone
from rlp_sweeps.training.batch import Batch
from rlp_sweeps.training.datasets import normalize, split_dataset
from rlp_sweeps.training.heads import ExtractorWeights, scale_gradient
from rlp_sweeps.training.losses import smoothed_cross_entropy
from rlp_sweeps.training.member import Member
from rlp_sweeps.training.mixup import Mix
from rlp_sweeps.training.multipliers import (
    MultiplierSums,
    multipliers_of,
    probe_gradients,
)

CPU = torch.device("cpu")
CONTROL = TrialConfig(
    arm="control",
    lr=0.05,
    rlp_lambda=0.0,
    seed=1,
    dataset="digits",
    train_samples=128,
    val_samples=32,
    test_samples=64,
    num_epochs=3,
    batch_size=32,
    weight_decay=1e-3,
    label_smoothing=0.1,
    num_random_labels=4,
)
FULL = dataclasses.replace(CONTROL, arm="full", rlp_lambda=2.0)


def build(config: TrialConfig) -> Member:
    return Member(config, split_dataset(config, data_dir="", device=CPU), CPU)


def backbone_weights(member: Member) -> dict[str, torch.Tensor]:
    return {k: v.clone() for k, v in member.network.backbone.state_dict().items()}


def assert_same_bits(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> None:
    assert left.keys() == right.keys()
    assert all(torch.equal(left[name], right[name]) for name in left)


def train_without_heads(config: TrialConfig) -> dict[str, torch.Tensor]:
    """The same backbone trained by a plain loop that knows no heads at all."""
    data = split_dataset(config, data_dir="", device=CPU)
    net = build_backbone(config, image_shape=data.image_shape, num_classes=data.num_classes)
    optimizer = torch.optim.SGD(
        net.parameters(), lr=config.lr, momentum=0.9, weight_decay=config.weight_decay, fused=True
    )
    for epoch in range(1, config.num_epochs + 1):
        generator = torch.Generator().manual_seed(stream_seed(config.seed, "order", epoch))
        for batch in torch.randperm(128, generator=generator).split(32):
            images = normalize(data.train_images_NCHW[batch], data.mean_C, data.std_C)
            loss = F.cross_entropy(net(images), data.train_labels_N[batch], label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return net.state_dict()


def test_observers_leave_the_backbone_bit_identical_to_training_without_heads() -> None:
    config = dataclasses.replace(CONTROL, schedule="constant")
    member = build(config)
    for epoch in (1, 2, 3):
        member.train_epoch(epoch)
        member.evaluate(epoch)

    assert_same_bits(backbone_weights(member), train_without_heads(config))


@pytest.mark.parametrize("other", [{"num_random_labels": 7}, {"head_lr": 1.0}])
def test_the_heads_settings_do_not_touch_the_backbone_of_the_control_arm(other) -> None:
    members = [build(CONTROL), build(dataclasses.replace(CONTROL, **other))]
    for member in members:
        member.train_epoch(1)

    assert_same_bits(*(backbone_weights(member) for member in members))


def test_evaluation_and_probes_do_not_touch_training() -> None:
    members = [build(FULL), build(FULL)]
    for epoch in (1, 2):
        for member in members:
            member.train_epoch(epoch)
        members[1].evaluate(epoch)

    assert_same_bits(*(m.network.state_dict() for m in members))


def test_the_same_seed_twice_gives_the_same_bits_and_another_seed_does_not() -> None:
    members = [build(FULL), build(FULL), build(dataclasses.replace(FULL, seed=2))]
    metrics = []
    for member in members:
        member.train_epoch(1)
        metrics.append(member.evaluate(1))

    assert metrics[0] == metrics[1]
    assert metrics[0] != metrics[2]


@pytest.mark.parametrize("arm", ["full", "class_term", "uniform_term", "sham"])
def test_every_arm_moves_the_backbone_away_from_the_control(arm: str) -> None:
    members = [build(CONTROL), build(dataclasses.replace(FULL, arm=arm))]
    for member in members:
        member.train_epoch(1)

    control, treated = (backbone_weights(member) for member in members)
    assert any(not torch.equal(control[name], treated[name]) for name in control)


def test_the_exact_arms_add_up_in_the_gradient_of_one_step() -> None:
    grads = {}
    for arm in ("control", "full", "class_term", "uniform_term"):
        rlp_lambda = 0.0 if arm == "control" else 2.0
        member = build(dataclasses.replace(CONTROL, arm=arm, rlp_lambda=rlp_lambda))
        member.network.double()
        images = member.data.train_images_NCHW[:32].double()
        labels = member.data.train_labels_N[:32]
        logits, features = member.network(images)
        heads_loss = member.network.heads.one_pass_loss(
            features, labels, member.random_labels(1)[:, :32], member.weights
        )
        (smoothed_cross_entropy(logits, labels, 0.1) + heads_loss).backward()
        grads[arm] = member.network.extractor_parameters[0].grad

    total = grads["class_term"] + grads["uniform_term"] - grads["control"]
    torch.testing.assert_close(grads["full"], total, rtol=0, atol=1e-12)


def test_sham_redraws_the_adversarys_labels_alone() -> None:
    member = build(dataclasses.replace(FULL, arm="sham"))

    first, second = member.random_labels(1), member.random_labels(2)

    assert not torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])
    assert torch.equal(first[1], build(FULL).random_labels(1)[0])


@pytest.mark.parametrize("scale", [2.0, 0.5])
def test_a_planted_extractor_scale_is_measured(scale: float) -> None:
    member = build(dataclasses.replace(CONTROL, extractor_scale=scale))
    for epoch in (1, 2, 3):
        member.train_epoch(epoch)
        metrics = member.evaluate(epoch)

    assert metrics["lr_multiplier"] == pytest.approx(scale, rel=0.01)
    assert metrics["equivalent_lr"] == pytest.approx(scale * member.config.lr, rel=0.01)


def test_a_scale_planted_in_the_network_behind_the_configuration_is_measured(monkeypatch) -> None:
    """κ is measured on the training step's gradient: nothing tells it that the scale is there."""
    member = build(CONTROL)
    plain = member.network.training_losses

    def doubled(features_ND, *args, **kwargs):
        return plain(scale_gradient(features_ND, 2.0), *args, **kwargs)

    monkeypatch.setattr(member.network, "training_losses", doubled)
    for epoch in (1, 2, 3):
        member.train_epoch(epoch)

    assert member.evaluate(3)["lr_multiplier"] == pytest.approx(2.0, rel=0.01)


def as_trained_gradient(member: Member, batch: Batch) -> list[torch.Tensor]:
    """The extractor's gradient exactly as `Member` steps on it."""
    taken = []

    class Taker:
        def step(self) -> None:
            taken.extend(p.grad.clone() for p in member.network.extractor_parameters)

        def zero_grad(self, **_: object) -> None:
            member.network.zero_grad()

    member.optimizer, optimizer = Taker(), member.optimizer
    member._train_step(batch)
    member.optimizer = optimizer
    return taken


def dot(left: list[torch.Tensor], right: list[torch.Tensor]) -> torch.Tensor:
    return sum((x * y).sum() for x, y in zip(left, right, strict=True))


@pytest.mark.parametrize("arm", ["full", "class_term", "uniform_term"])
@pytest.mark.parametrize(("scale", "share"), [(1.0, 1.0), (2.0, 1.0), (2.0, 0.6)])
def test_the_multiplier_is_that_of_a_training_steps_gradient(
    arm: str, scale: float, share: float
) -> None:
    member = build(dataclasses.replace(FULL, arm=arm, extractor_scale=scale))
    member.train_epoch(1)
    member.network.double()
    images, labels = member.data.train_images_NCHW[:64].double(), member.data.train_labels_N[:64]
    randoms = member.random_labels(1)[:, :64]
    halves = (slice(0, 32), slice(32, 64))
    batches = [Batch(images[h], labels[h], randoms[:, h]) for h in halves]
    if share < 1:
        batches = [batch.mixed(Mix(share, torch.arange(32).roll(5))) for batch in batches]
    sums = MultiplierSums(CPU)
    probe = probe_gradients(member.network, batches, member.weights, label_smoothing=0.1)
    sums.add(probe, lr=0.05, num_steps=4)
    trained = [as_trained_gradient(member, batch) for batch in batches]
    member.weights = ExtractorWeights(0.0, 0.0, 1.0)
    plain = [as_trained_gradient(member, batch) for batch in batches]

    expected = (dot(trained[0], plain[1]) + dot(trained[1], plain[0])) / 2 / dot(*plain)

    measured = multipliers_of(sums.sums_4.tolist(), rlp_lambda=2.0)
    assert measured["lr_multiplier"] == pytest.approx(expected.item(), rel=1e-9)


@pytest.mark.parametrize("arm", ["class_term", "uniform_term"])
def test_the_multiplier_of_one_term_alone_is_the_trials_own(arm: str) -> None:
    member = build(dataclasses.replace(FULL, arm=arm))
    for epoch in (1, 2):
        member.train_epoch(epoch)
    metrics = member.evaluate(2)

    assert metrics["lr_multiplier"] == pytest.approx(metrics[f"lr_multiplier_{arm}"], rel=1e-5)


def test_probes_are_summed_with_the_lr_and_the_steps_they_stand_for() -> None:
    sums = MultiplierSums(CPU)
    sums.add(torch.tensor([1.0, 5.0, 3.0, 0.0, 9.9]), lr=0.1, num_steps=10)
    sums.add(torch.tensor([2.0, 1.0, 0.0, -1.0, 9.9]), lr=0.05, num_steps=20)

    kappa = multipliers_of(sums.sums_4.tolist(), rlp_lambda=2.0)

    assert kappa["lr_multiplier"] == pytest.approx(6 / 3)
    assert kappa["lr_multiplier_class_term"] == pytest.approx(1 + 2 * 3 / 3)
    assert kappa["lr_multiplier_uniform_term"] == pytest.approx(1 - 2 * 1 / 3)


def test_the_multiplier_is_missing_where_the_class_gradient_is_below_its_noise() -> None:
    sums = MultiplierSums(CPU)
    sums.sums_4 += torch.tensor([-1e-9, 1.0, 1.0, 0.0])

    assert multipliers_of(sums.sums_4.tolist(), rlp_lambda=1.0) == {
        "lr_multiplier": None,
        "lr_multiplier_class_term": None,
        "lr_multiplier_uniform_term": None,
    }


def test_loss_scale_two_at_lr_a_tenth_equals_lr_two_tenths_under_plain_sgd() -> None:
    """SGD without weight decay: doubling what the extractor and head receive doubles the rate."""
    config = dataclasses.replace(CONTROL, weight_decay=0.0, momentum=0.0, lr=0.1)
    doubled, faster = build(config), build(dataclasses.replace(config, lr=0.2))
    for member, factor in ((doubled, 2.0), (faster, 1.0)):
        member.network.double()
        images = member.data.train_images_NCHW[:32].double()
        logits, _ = member.network(images)
        loss = smoothed_cross_entropy(logits, member.data.train_labels_N[:32], 0.1)
        (factor * loss).backward()
        member.optimizer.step()

    for name, value in backbone_weights(doubled).items():
        torch.testing.assert_close(value, backbone_weights(faster)[name], rtol=0, atol=1e-12)


def test_random_labels_are_independent_of_the_class_and_keyed_by_sample_id() -> None:
    member = build(dataclasses.replace(CONTROL, train_samples=1000))
    labels, randoms = member.data.train_labels_N, member.random_labels(1)[1]
    table = torch.zeros(10, 4).index_put_((labels, randoms), torch.ones(()), accumulate=True)
    expected = table.sum(1, keepdim=True) * table.sum(0) / table.sum()
    smaller = build(dataclasses.replace(CONTROL, train_samples=100))
    by_id = dict(zip(member.data.train_ids_N.tolist(), randoms.tolist(), strict=True))

    chi_square = ((table - expected) ** 2 / expected).sum()

    assert chi_square < 50  # 27 degrees of freedom: the 99.5 % point
    for sample, label in zip(
        smaller.data.train_ids_N.tolist(), smaller.random_labels(1)[1].tolist(), strict=True
    ):
        assert by_id.get(sample, label) == label


def test_training_in_bf16_follows_fp32() -> None:
    losses = []
    for precision in ("fp32", "bf16"):
        member = build(dataclasses.replace(FULL, precision=precision))
        losses.append([member.train_epoch(epoch) for epoch in (1, 2, 3)])

    assert losses[1] == pytest.approx(losses[0], rel=0.05)
    assert losses[1] != losses[0]
    assert losses[1][-1] < losses[1][0]

"""Heads at any attach points: where gradients go, and what observing leaves alone."""

import dataclasses

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from rlp_sweeps.config import TrialConfig
from rlp_sweeps.errors import BackboneError
from rlp_sweeps.training.batch import Batch
from rlp_sweeps.training.datasets import split_dataset
from rlp_sweeps.training.heads import ADVERSARY, RLPHeads
from rlp_sweeps.training.losses import random_label_loss, regularizer_terms
from rlp_sweeps.training.member import Member
from rlp_sweeps.training.multipliers import probe_gradients
from rlp_sweeps.training.observing import online_rows
from rlp_sweeps.training.places import check_places

CPU = torch.device("cpu")
CONTROL = TrialConfig(
    arm="control",
    lr=0.05,
    rlp_lambda=0.0,
    seed=1,
    dataset="digits",
    train_samples=96,
    val_samples=32,
    test_samples=32,
    num_epochs=2,
    batch_size=32,
    backbone="small_cnn",
    backbone_width=4,
    num_random_labels=3,
)
FULL = dataclasses.replace(CONTROL, arm="full", rlp_lambda=2.0)
TWO = {"attach_points": "conv1,linear", "observed_attach_points": "conv2"}


def build(config: TrialConfig, **settings: object) -> Member:
    config = dataclasses.replace(config, **settings)
    return Member(config, split_dataset(config, data_dir="", device=CPU), CPU)


def train(config: TrialConfig, **settings: object) -> Member:
    member = build(config, **settings)
    for epoch in range(1, config.num_epochs + 1):
        member.train_epoch(epoch)
    return member


def backbone_state(member: Member) -> dict[str, Tensor]:
    return {k: v.clone() for k, v in member.network.backbone.state_dict().items()}


def assert_same_bits(left: dict[str, Tensor], right: dict[str, Tensor]) -> None:
    assert left.keys() == right.keys()
    assert [name for name in left if not torch.equal(left[name], right[name])] == []


def by_hand(member: Member, *, head: bool, regularizer: bool, class_loss: bool) -> list[Tensor]:
    """Gradients of extractor, then heads, of losses built from their definitions, one batch."""
    network, labels_N = member.network, member.data.train_labels_N[:32]
    random_labels_HN = member.random_labels(1)[:, :32]
    images_NCHW = member.data.train_images_NCHW[:32].double()
    outputs: dict[str, Tensor] = {}
    for name in ("conv1", "conv2"):
        network.backbone.extractor.get_submodule(name).register_forward_hook(
            lambda _, __, output, name=name: outputs.update({name: output.mean((2, 3))})
        )
    outputs["linear"] = network.features(images_NCHW)
    heads = {"linear": network.heads}
    heads |= dict(zip(("conv1", "conv2"), network.further_heads, strict=True))
    loss = torch.zeros((), dtype=torch.float64)
    if class_loss:
        loss = F.cross_entropy(network.backbone.classifier(outputs["linear"]), labels_N)
    for name, stack in heads.items():
        if regularizer and name != "conv2":
            frozen = torch.einsum("nd,jd->nj", outputs[name], stack.weight_HJD[ADVERSARY].detach())
            logits = (frozen + stack.bias_HJ[ADVERSARY].detach()).view(32, -1, 3)
            loss = loss + member.config.rlp_lambda * sum(regularizer_terms(logits, labels_N))
        if head:
            for logits, labels in zip(stack(outputs[name].detach()), random_labels_HN, strict=True):
                loss = loss + random_label_loss(logits, labels_N, labels)
    parameters = [*network.extractor_parameters, *network.heads_parameters]
    return list(torch.autograd.grad(loss, parameters, materialize_grads=True))


def as_trained(member: Member) -> list[Tensor]:
    network, labels_N = member.network, member.data.train_labels_N[:32]
    features_ND, taps = network.read(member.data.train_images_NCHW[:32].double())
    losses = network.training_losses(
        features_ND,
        labels_N,
        member.random_labels(1)[:, :32],
        member.weights,
        label_smoothing=0.0,
        taps=taps,
    )
    parameters = [*network.extractor_parameters, *network.heads_parameters]
    return list(torch.autograd.grad(sum(losses), parameters))


def double(config: TrialConfig, **settings: object) -> Member:
    member = build(config, **settings)
    member.network.double().eval()
    return member


def test_two_regularized_places_send_the_sum_of_their_gradients() -> None:
    member = double(FULL, **TWO)

    trained = as_trained(member)

    wanted = by_hand(member, head=True, regularizer=True, class_loss=True)
    for got, expected in zip(trained, wanted, strict=True):
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-12)


def test_a_heads_loss_reaches_its_own_weights_alone_at_every_place() -> None:
    member = double(FULL, **TWO)
    num_extractor = len(member.network.extractor_parameters)

    of_heads = by_hand(member, head=True, regularizer=False, class_loss=False)
    of_regularizer = by_hand(member, head=False, regularizer=True, class_loss=False)

    trained = as_trained(member)
    assert all(not grad.any() for grad in of_heads[:num_extractor])
    assert all(not grad.any() for grad in of_regularizer[num_extractor:])
    for got, expected in zip(trained[num_extractor:], of_heads[num_extractor:], strict=True):
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("arm", ["control", "full", "orthogonal"])
@pytest.mark.parametrize("attach_points", [None, "conv1,linear"])
def test_observers_leave_the_extractors_bits_and_all_metrics_alone(arm, attach_points) -> None:
    config = dataclasses.replace(
        FULL, arm=arm, rlp_lambda=0.0 if arm == "control" else 2.0, attach_points=attach_points
    )

    observed, alone = train(config, observed_attach_points="all"), train(config)

    assert len(observed.network.places) == 3
    assert_same_bits(backbone_state(observed), backbone_state(alone))
    assert observed.evaluate(2) == alone.evaluate(2)


def test_places_without_regularizer_are_bit_identical_to_one_at_the_last_layer() -> None:
    several, alone = train(CONTROL, attach_points="conv1,conv2,linear"), train(CONTROL)

    assert_same_bits(backbone_state(several), backbone_state(alone))


def test_naming_the_last_attach_point_changes_no_bit() -> None:
    named, default = train(FULL, attach_points="linear"), train(FULL)

    assert_same_bits(named.network.state_dict(), default.network.state_dict())


def test_heads_at_the_last_layer_start_from_streams_without_a_counter() -> None:
    heads = build(FULL, observed_attach_points="all").network.heads

    alone = RLPHeads(num_features=64, shape=heads.shape, seed=1)

    assert_same_bits(heads.state_dict(), alone.state_dict())


def test_nothing_flows_back_from_a_place_that_only_observes() -> None:
    network = build(FULL, **TWO).network

    readings = network.read(torch.zeros(2, 1, 8, 8))

    flows = {place.attach_point: x.requires_grad for place, _, x in network.stacks(*readings)}
    assert flows == {"linear": True, "conv1": True, "conv2": False}


def test_regularizing_an_earlier_layer_moves_the_extractor_elsewhere() -> None:
    early, late = train(FULL, attach_points="conv1"), train(FULL)

    weights = [backbone_state(member)["extractor.conv1.0.weight"] for member in (early, late)]
    assert not torch.equal(*weights)
    assert early.describe()["num_features"] == 4


def test_a_places_heads_start_alike_whatever_the_other_places_are() -> None:
    members = [build(FULL, attach_points="conv1"), build(FULL, **TWO)]
    first, second = members[0].network.heads, members[1].network.further_heads[0]

    weights = [member.network.heads.weight_HJD for member in members]

    assert torch.equal(first.weight_HJD, second.weight_HJD)
    assert weights[0].shape != weights[1].shape
    assert not torch.equal(first.weight_HJD[0], first.weight_HJD[1])


def test_what_is_measured_is_the_gradient_of_all_places_together() -> None:
    member = double(FULL, **TWO)
    batch = [member.data.train_images_NCHW[:32].double(), member.data.train_labels_N[:32]]
    halves = [Batch(*batch, member.random_labels(1)[:, :32])] * 2
    size = len(member.network.extractor_parameters)

    probe_5 = probe_gradients(member.network, halves, member.weights, label_smoothing=0.0)

    class_grad = by_hand(member, head=False, regularizer=False, class_loss=True)[:size]
    reg_grad = by_hand(member, head=False, regularizer=True, class_loss=False)[:size]
    dots = [
        sum((c * g).sum() for c, g in zip(class_grad, grads, strict=True))
        for grads in (class_grad, reg_grad)
    ]
    assert float(probe_5[0]) == pytest.approx(float(dots[0]), rel=1e-10)
    assert float(probe_5[1]) == pytest.approx(float(dots[0] + dots[1]), rel=1e-10)
    assert float(2.0 * (probe_5[2] + probe_5[3])) == pytest.approx(float(dots[1]), rel=1e-10)


def test_every_place_has_a_row_and_the_main_one_says_what_the_trial_says() -> None:
    member = train(FULL, **TWO)

    rows = online_rows(member.network, member.config, member.data)

    assert [(row["attach_point"], row["layer"]) for row in rows] == [
        ("conv1", 1),
        ("conv2", 2),
        ("linear", 3),
    ]
    assert [row["num_features"] for row in rows] == [4, 8, 64]
    assert rows[2]["train_accuracy"] == member.evaluate(2)["random_label_accuracy"]
    assert len({row["train_accuracy"] for row in rows}) > 1


def test_the_deepest_regularized_place_gives_the_columns() -> None:
    member = train(FULL, attach_points="conv1,conv2", observed_attach_points="linear")

    rows = online_rows(member.network, member.config, member.data)

    assert member.network.places[0].attach_point == "conv2"
    assert member.evaluate(2)["random_label_accuracy"] == rows[1]["train_accuracy"]


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (
            {"attach_points": "layer5"},
            r"'small_cnn' has no attach point\(s\) \['layer5'\]; it has \['conv1', 'conv2', ",
        ),
        ({"observed_attach_points": "conv1,pool"}, r"no attach point\(s\) \['pool'\]"),
        ({"observed_attach_points": "linear"}, "heads at 'linear' regularize where"),
    ],
)
def test_places_that_a_backbone_has_not_are_refused(settings, says: str) -> None:
    config = dataclasses.replace(FULL, **settings)

    with pytest.raises(BackboneError, match=says):
        check_places(config, arms=("full",), image_shape=(1, 8, 8), num_classes=10)

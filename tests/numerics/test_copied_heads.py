"""Heads that copy the last layers of a plain network: what they read, train and send back."""

import copy
import dataclasses

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from rlp_sweeps.config import TrialConfig
from rlp_sweeps.errors import BackboneError, ConfigError
from rlp_sweeps.training.backbones import BACKBONES, PLAIN
from rlp_sweeps.training.copied_heads import CopiedHeads
from rlp_sweeps.training.datasets import split_dataset
from rlp_sweeps.training.heads import ADVERSARY, OBSERVER
from rlp_sweeps.training.losses import head_loss, head_terms_per_sample
from rlp_sweeps.training.member import Member
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
NUM_LAYERS = {"mlp": 3, "small_cnn": 4, "vgg16": 16, "vgg16_bn": 16}


def build(config: TrialConfig, **settings: object) -> Member:
    config = dataclasses.replace(config, **settings)
    return Member(config, split_dataset(config, data_dir="", device=CPU), CPU)


def train(config: TrialConfig, **settings: object) -> Member:
    member = build(config, **settings)
    for epoch in range(1, member.config.num_epochs + 1):
        member.train_epoch(epoch)
    return member


def state_of(module: torch.nn.Module) -> dict[str, Tensor]:
    return {k: v.clone() for k, v in module.state_dict().items()}


def assert_same_bits(left: dict[str, Tensor], right: dict[str, Tensor]) -> None:
    assert left.keys() == right.keys()
    assert [name for name in left if not torch.equal(left[name], right[name])] == []


def shapes(module: torch.nn.Module) -> list[tuple[int, ...]]:
    return [tuple(p.shape) for p in module.parameters()]


def batch_of(member: Member) -> tuple[Tensor, Tensor, Tensor]:
    images_NCHW = member.data.train_images_NCHW[:32].double()
    return images_NCHW, member.data.train_labels_N[:32], member.random_labels(1)[:, :32]


@pytest.mark.parametrize("backbone", PLAIN)
def test_a_copy_has_the_networks_own_last_layers_at_every_depth(backbone: str) -> None:
    depth = NUM_LAYERS[backbone]
    for copy_depth in range(2, depth + 1):
        network = build(CONTROL, backbone=backbone, copy_depth=copy_depth).network
        tail, linear = network.heads.copies[OBSERVER]

        original = shapes(network.backbone.extractor)

        assert shapes(tail) == original[len(original) - len(shapes(tail)) :]
        assert linear(tail(torch.zeros(2, *copy_input(network)))).shape == (2, 30)
        assert network.places[0].layer == depth - copy_depth


def copy_input(network) -> tuple[int, ...]:
    _, _, read = next(network.stacks(*network.eval().read(torch.zeros(2, 1, 8, 8))))
    return tuple(read.shape[1:])


def test_plain_networks_are_those_that_can_be_copied() -> None:
    settings = {"num_classes": 4, "depth": None, "width": None, "dropout": 0.0}
    built = {
        name: build_backbone(image_shape=(3, 16, 16), **settings)
        for name, build_backbone in BACKBONES.items()
    }

    assert tuple(n for n, b in built.items() if b.make_tail is not None) == PLAIN


def test_copies_are_freshly_drawn_and_differ() -> None:
    network = build(CONTROL, copy_depth=2).network
    adversary, observer = (tail.linear[0].weight for tail, _ in network.heads.copies)
    original = network.backbone.extractor.linear[0].weight

    pairs = [(adversary, observer), (adversary, original), (observer, original)]

    assert all(left.shape == right.shape and not torch.equal(left, right) for left, right in pairs)


def test_width_scales_the_copied_layers_and_neither_what_they_read_nor_their_outputs() -> None:
    plain, wide = (build(CONTROL, copy_depth=3, copy_width=w).network for w in (1.0, 2.0))

    narrow, widened = (network.heads.copies[OBSERVER] for network in (plain, wide))

    assert shapes(narrow[0])[0] == (8, 4, 3, 3)
    assert shapes(widened[0])[0] == (16, 4, 3, 3)
    assert (narrow[1].weight.shape, widened[1].weight.shape) == ((30, 64), (30, 128))
    assert_same_bits(state_of(plain.backbone), state_of(wide.backbone))


@pytest.mark.parametrize("copy_depth", [2, 3, 4])
def test_copies_that_observe_leave_the_backbones_bits_alone(copy_depth: int) -> None:
    copied, linear = train(CONTROL, copy_depth=copy_depth), train(CONTROL)

    assert_same_bits(state_of(copied.network.backbone), state_of(linear.network.backbone))


def gradients(member: Member, *, by_hand: bool) -> tuple[list[Tensor], list[Tensor]]:
    """Gradients of extractor and heads, as trained or by the definitions, one batch, float64."""
    network, (images_NCHW, labels_N, random_labels_HN) = member.network, batch_of(member)
    features_ND, taps = network.read(images_NCHW)
    ((_, heads, below),) = network.stacks(features_ND, taps)
    extractor, copies = network.extractor_parameters, list(heads.parameters())
    if not by_hand:
        losses = network.training_losses(
            features_ND, labels_N, random_labels_HN, member.weights, label_smoothing=0.0, taps=taps
        )
        grads = torch.autograd.grad(sum(losses), [*extractor, *copies])
        return list(grads[: len(extractor)]), list(grads[len(extractor) :])
    blocks_N, kind = heads.shape.blocks(labels_N), heads.shape.kind
    terms_N = head_terms_per_sample(
        heads.adversary(below), blocks_N, random_labels_HN[ADVERSARY], kind=kind
    )
    loss = F.cross_entropy(network.backbone.classifier(features_ND), labels_N)
    pulled = loss + member.config.rlp_lambda * sum(terms_N).mean()
    head_losses = [
        head_loss(logits, blocks_N, random_labels_N, kind=kind)
        for logits, random_labels_N in zip(heads(below.detach()), random_labels_HN, strict=True)
    ]
    return (
        list(torch.autograd.grad(pulled, extractor, retain_graph=True)),
        list(torch.autograd.grad(sum(head_losses), copies)),
    )


@pytest.mark.parametrize("head", ["nested_per_class", "single"])
def test_every_kind_of_head_sends_what_its_definition_says_through_a_copy(head: str) -> None:
    member = build(FULL, head=head, copy_depth=3)
    member.network.double()

    trained, wanted = (gradients(member, by_hand=hand) for hand in (False, True))

    for got, expected in zip((*trained[0], *trained[1]), (*wanted[0], *wanted[1]), strict=True):
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("copy_depth", [2, 3])
def test_lambda_passes_the_copy_to_the_layer_below_and_no_further_up(copy_depth: int) -> None:
    member = build(FULL, copy_depth=copy_depth)
    member.network.double()

    trained, wanted = (gradients(member, by_hand=hand) for hand in (False, True))

    for got, expected in zip((*trained[0], *trained[1]), (*wanted[0], *wanted[1]), strict=True):
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-12)
    control = build(CONTROL, copy_depth=copy_depth)
    control.network.double()
    moved = [
        not torch.allclose(g, o, rtol=0, atol=1e-12)
        for g, o in zip(trained[0], gradients(control, by_hand=False)[0], strict=True)
    ]
    names = [name for name, _ in member.network.backbone.extractor.named_parameters()]
    below = {2: ("conv1", "conv2"), 3: ("conv1",)}[copy_depth]
    assert {n.split(".")[0] for n, is_moved in zip(names, moved, strict=True) if is_moved} == set(
        below
    )


@pytest.mark.parametrize("arm", ["class_term", "uniform_term", "sham_norm", "mean_rest", "grafted"])
def test_every_arm_acts_through_a_copy_and_its_statistics_move_once(arm: str) -> None:
    member = train(FULL, arm=arm, copy_depth=3)
    control = train(CONTROL, copy_depth=3)

    metrics = member.evaluate(2)

    norm = member.network.heads.copies[ADVERSARY][0].conv2[1]
    assert int(norm.num_batches_tracked) == 2 * 3
    assert metrics["lr_multiplier"] != pytest.approx(control.evaluate(2)["lr_multiplier"], rel=1e-6)


def test_heads_that_copy_the_full_network_learn_from_pixels() -> None:
    member = train(CONTROL, copy_depth=4, num_epochs=60, lr=0.1, num_random_labels=2, seed=0)
    linear = train(CONTROL, num_epochs=60, lr=0.1, num_random_labels=2, seed=0)

    (row,) = online_rows(member.network, member.config, member.data)

    assert (row["attach_point"], row["layer"], row["num_features"]) == ("pixels", 0, 64)
    assert row["train_accuracy"] == member.evaluate(60)["random_label_accuracy"] > 0.9
    assert_same_bits(state_of(member.network.backbone), state_of(linear.network.backbone))


def test_a_restored_member_with_copies_goes_on_as_it_would_have() -> None:
    whole, half = build(FULL, copy_depth=3), build(FULL, copy_depth=3)
    whole.train_epoch(1)
    half.load_state_dict(copy.deepcopy(whole.state_dict()))

    losses = [member.train_epoch(2) for member in (whole, half)]

    assert losses[0] == losses[1]
    assert_same_bits(state_of(whole.network), state_of(half.network))


@pytest.mark.parametrize(
    ("settings", "arms", "says"),
    [
        ({"copy_depth": 5}, ("control",), "`copy_depth <= 4` must hold .* has 4 layers"),
        ({"backbone": "resnet18", "copy_depth": 2}, ("control",), r"plain network.*\['mlp', 'sm"),
        ({"backbone": "vit", "copy_depth": 2}, ("control",), "got backbone='vit', copy_depth=2"),
        ({"copy_depth": 4}, ("control", "full"), r"no layer below to act on.*\['full'\]"),
    ],
)
def test_copies_that_a_backbone_has_not_are_refused(settings, arms, says: str) -> None:
    config = dataclasses.replace(CONTROL, backbone_width=None, **settings)

    with pytest.raises(BackboneError, match=says):
        check_places(config, arms=arms, image_shape=(1, 8, 8), num_classes=10)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"copy_depth": 0}, "1 <= copy_depth"),
        ({"copy_width": 2.0}, "takes `copy_depth >= 2`, but got copy_depth=1"),
        ({"copy_depth": 2, "attach_points": "conv1"}, "attach points must be none"),
        ({"copy_depth": 2, "dropout": 0.1}, "dropout 0, but got copy_depth=2, {'dropout': 0.1}"),
    ],
)
def test_settings_that_copies_do_not_take_are_refused(settings, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        dataclasses.replace(CONTROL, **settings)


def test_a_copy_is_a_module_of_its_own() -> None:
    assert isinstance(build(CONTROL, copy_depth=2).network.heads, CopiedHeads)

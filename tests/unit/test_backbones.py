"""Parameter counts against published ones, and what each family refuses."""

import itertools
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision.models
from torch import nn

from rlp_sweeps.config import TrialConfig
from rlp_sweeps.errors import BackboneError
from rlp_sweeps.training.backbones import (
    BACKBONES,
    Backbone,
    build_backbone,
    check_backbone,
    pool_features,
)
from rlp_sweeps.training.backbones.vit import Attention, patch_size
from rlp_sweeps.training.backbones.wide_resnet import PreActivationBlock

CIFAR = (3, 32, 32)


def make_config(backbone: str, **settings: Any) -> TrialConfig:
    required = {"arm": "control", "lr": 0.1, "rlp_lambda": 0.0, "seed": 0}
    return TrialConfig(**{**required, "backbone": backbone, **settings})


def build(
    name: str,
    *,
    depth: int | None = None,
    width: int | None = None,
    dropout: float = 0.0,
    num_classes: int = 10,
) -> Backbone:
    return BACKBONES[name](
        image_shape=CIFAR, num_classes=num_classes, depth=depth, width=width, dropout=dropout
    )


def count_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def wide_resnet_parameters(depth: int, k: int, num_classes: int) -> int:
    """Closed form: convolutions without bias, BN with two numbers a channel."""
    stages, num_blocks = (16, 16 * k, 32 * k, 64 * k), (depth - 4) // 6
    total = 27 * 16 + 2 * stages[3] + (stages[3] + 1) * num_classes
    for before, after in itertools.pairwise(stages):
        total += 2 * before + 9 * before * after + 2 * after + 9 * after**2
        total += before * after if before != after else 0
        total += (num_blocks - 1) * (4 * after + 18 * after**2)
    return total


@pytest.mark.parametrize(
    ("depth", "width", "num_classes", "published_millions"),
    [(16, 4, 10, 2.7), (16, 4, 100, 2.8), (28, 2, 10, 1.5), (40, 1, 10, 0.6), (28, 10, 10, 36.5)],
)
def test_wide_resnet_has_as_many_parameters_as_published(
    depth: int, width: int, num_classes: int, published_millions: float
) -> None:
    with torch.device("meta"):
        backbone = build("wide_resnet", depth=depth, width=width, num_classes=num_classes)

    assert count_parameters(backbone) == wide_resnet_parameters(depth, width, num_classes)
    assert count_parameters(backbone) / 1e6 == pytest.approx(published_millions, abs=0.06)


@pytest.mark.parametrize(("num_inputs", "num_outputs", "stride"), [(4, 4, 1), (4, 6, 2)])
def test_wide_resnet_block_adds_its_shortcut_to_the_residual(
    num_inputs: int, num_outputs: int, stride: int
) -> None:
    block = PreActivationBlock(num_inputs, num_outputs, stride=stride, dropout=0.0)
    nn.init.zeros_(block.residual[-1].weight)
    maps_NCHW = torch.randn(2, num_inputs, 6, 6)

    output_NCHW = block(maps_NCHW)

    changes = block.shortcut is not None
    expected = block.shortcut(block.activation(maps_NCHW)) if changes else maps_NCHW
    assert changes == (num_inputs != num_outputs)
    torch.testing.assert_close(output_NCHW, expected)


def test_resnet18_differs_from_torchvisions_in_the_stem_alone() -> None:
    with torch.device("meta"):
        reference, backbone = torchvision.models.resnet18(num_classes=10), build("resnet18")

    stem_7x7, stem_3x3 = 64 * 3 * 49, 64 * 3 * 9
    assert count_parameters(backbone) == count_parameters(reference) - stem_7x7 + stem_3x3
    assert count_parameters(backbone) == 11_173_962


def test_resnet18_computes_what_torchvisions_does_with_the_same_weights() -> None:
    reference = torchvision.models.resnet18(num_classes=10)
    reference.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    reference.maxpool = nn.Identity()
    backbone = build("resnet18")
    with torch.no_grad():
        for ours, theirs in zip(backbone.parameters(), reference.parameters(), strict=True):
            theirs.copy_(ours)
    images_NCHW = torch.randn(2, 3, 16, 16)

    torch.testing.assert_close(backbone(images_NCHW), reference(images_NCHW), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("name", "has_bn"), [("vgg16", False), ("vgg16_bn", True)])
def test_vgg16_has_torchvisions_convolutions(name: str, has_bn: bool) -> None:
    with torch.device("meta"):
        builder = torchvision.models.vgg16_bn if has_bn else torchvision.models.vgg16
        reference, backbone = builder(), build(name)

    convolutions = [p.shape for n, p in backbone.extractor.named_parameters() if "conv" in n]
    assert convolutions == [p.shape for p in reference.features.parameters()]
    hidden, head = 2 * (512 * 512 + 512), 512 * 10 + 10
    assert count_parameters(backbone) == count_parameters(reference.features) + hidden + head


@pytest.mark.parametrize(
    ("shape", "num_poolings"), [((3, 32, 32), 5), ((1, 28, 28), 4), ((1, 8, 8), 3), ((1, 1, 9), 0)]
)
def test_vgg16_leaves_out_poolings_of_maps_of_one_pixel(
    shape: tuple[int, int, int], num_poolings: int
) -> None:
    with torch.device("meta"):
        backbone = BACKBONES["vgg16"](
            image_shape=shape, num_classes=10, depth=None, width=None, dropout=0.0
        )

    assert sum(isinstance(m, nn.MaxPool2d) for m in backbone.modules()) == num_poolings


def test_vgg16_without_bn_carries_the_signal_to_its_features() -> None:
    for shape in ((1, 8, 8), (3, 32, 32)):
        backbone = build_backbone(make_config("vgg16"), image_shape=shape, num_classes=10)

        features_ND = backbone.features(torch.randn(8, *shape))

        assert 0.1 < float(features_ND.detach().square().mean().sqrt()) < 10


def test_vit_attention_equals_torchs() -> None:
    attention, tokens_NTD = Attention(32, num_heads=4), torch.randn(2, 5, 32)
    reference = nn.MultiheadAttention(32, 4, batch_first=True)
    with torch.no_grad():
        reference.in_proj_weight.copy_(attention.qkv.weight)
        reference.in_proj_bias.copy_(attention.qkv.bias)
        reference.out_proj.weight.copy_(attention.projection.weight)
        reference.out_proj.bias.copy_(attention.projection.bias)

    expected, _ = reference(tokens_NTD, tokens_NTD, tokens_NTD)

    torch.testing.assert_close(attention(tokens_NTD), expected)


def test_vit_scales_its_patches_to_the_image() -> None:
    sides = {8: 1, 28: 4, 32: 4, 64: 8, 31: 1}

    assert {side: patch_size((3, side, side)) for side in sides} == sides


def test_vit_has_the_parameters_of_its_closed_form() -> None:
    dim, depth, tokens = 64, 3, 64
    norms, attention, mlp = 4 * dim, 4 * dim**2 + 4 * dim, 8 * dim**2 + 5 * dim
    block = norms + attention + mlp
    embedding = 3 * 16 * dim + dim + tokens * dim

    backbone = build("vit", depth=depth, width=dim)

    assert count_parameters(backbone) == embedding + depth * block + 2 * dim + 10 * dim + 10


def test_small_cnn_pools_as_adaptive_pooling_where_4_divides_the_map() -> None:
    pool = build("small_cnn").extractor.get_submodule("pool")
    maps_NCHW = torch.randn(2, 5, 16, 16)

    torch.testing.assert_close(pool(maps_NCHW), nn.functional.adaptive_avg_pool2d(maps_NCHW, 4))


def test_width_scales_a_backbone() -> None:
    widths = {"mlp": 32, "small_cnn": 4, "wide_resnet": 1, "vgg16": 8, "resnet18": 8, "vit": 64}

    for name, width in widths.items():
        assert count_parameters(build(name, width=width)) < count_parameters(build(name))


def test_mlp_has_as_many_hidden_layers_as_asked_for() -> None:
    assert build("mlp", depth=3).attach_points == ("hidden1", "hidden2", "hidden3")


@pytest.mark.parametrize("name", ["mlp", "small_cnn", "wide_resnet", "vgg16", "resnet18", "vit"])
def test_dropout_changes_training_and_not_evaluation(name: str) -> None:
    backbone, images_NCHW = build(name, dropout=0.5), torch.randn(4, *CIFAR)

    backbone.train()
    assert not torch.equal(backbone(images_NCHW), backbone(images_NCHW))
    backbone.eval()
    assert torch.equal(backbone(images_NCHW), backbone(images_NCHW))


@pytest.mark.parametrize(
    ("name", "settings", "rule"),
    [
        ("wide_resnet", {"depth": 15}, r"`backbone_depth = 6n \+ 4` .* backbone_depth=15"),
        ("wide_resnet", {"depth": 4}, r"backbone_depth=4"),
        ("vgg16", {"depth": 19}, r"backbone 'vgg16' has .* must be 16 or none"),
        ("resnet18", {"depth": 50}, r"must be 18 or none"),
        ("small_cnn", {"depth": 3}, r"must be 4 or none"),
        ("vit", {"width": 100}, r"multiple of 64"),
        ("mlp", {"depth": 1, "dropout": 0.5}, r"between hidden layers"),
    ],
)
def test_a_family_refuses_what_it_cannot_do(name: str, settings: Any, rule: str) -> None:
    with pytest.raises(BackboneError, match=rule):
        build(name, **settings)


def test_an_unknown_backbone_is_refused_with_a_suggestion() -> None:
    with pytest.raises(
        BackboneError,
        match=r"unknown backbone 'resnet'; did you mean 'wide_resnet' or 'resnet18'\?",
    ):
        check_backbone(make_config("resnet"), image_shape=CIFAR, num_classes=10)


def test_an_attach_point_must_be_a_submodule() -> None:
    with pytest.raises(BackboneError, match=r"must name submodules .* \['layer9'\]"):
        Backbone(
            extractor=nn.Sequential(nn.Flatten()),
            classifier=nn.Linear(4, 2),
            attach_points=["layer9"],
        )
    with pytest.raises(BackboneError, match=r"no attach point 'layer5'; .* \['stem', 'layer1'"):
        build("resnet18", width=4).attach_point("layer5")


def test_pool_features_refuses_other_shapes() -> None:
    with pytest.raises(BackboneError, match=r"but got shape \(2, 3, 4, 5, 6\)"):
        pool_features(torch.zeros(2, 3, 4, 5, 6))


@pytest.fixture
def user_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = """
from torch import nn
from rlp_sweeps.training.backbones import Backbone

def build_linear(*, image_shape, num_classes, depth, width, dropout):
    channels, height, side = image_shape
    hidden = nn.Linear(channels * height * side, width or 64)
    extractor = nn.Sequential(nn.Flatten(), hidden, nn.ReLU())
    head = nn.Linear(hidden.out_features, num_classes)
    return Backbone(extractor=extractor, classifier=head, attach_points=["2"])

def build_for_digits(**settings):
    return build_linear(**{**settings, "image_shape": (1, 8, 8)})

def build_for_two(**settings):
    return build_linear(**{**settings, "num_classes": 2})

def build_module(**settings):
    return nn.Flatten()
"""
    (tmp_path / "my_nets.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_nets", raising=False)


@pytest.mark.parametrize("path", ["my_nets.build_linear", "my_nets:build_linear"])
def test_a_users_builder_comes_in_by_dotted_path(user_module: None, path: str) -> None:
    config = make_config(path, backbone_width=12)

    check_backbone(config, image_shape=CIFAR, num_classes=10)
    backbone = build_backbone(config, image_shape=CIFAR, num_classes=10)

    assert backbone.num_features == 12


@pytest.mark.parametrize(
    ("function", "rule"),
    [
        ("build_for_digits", r"must read images of shape \(3, 32, 32\), but failed"),
        ("build_for_two", r"scores of shape \(2, 10\) .* returned \(2, 2\)"),
        ("build_module", r"must return a Backbone, but returned a Flatten"),
        ("absent", r"module 'my_nets' has no 'absent'"),
    ],
)
def test_a_users_builder_is_checked(user_module: None, function: str, rule: str) -> None:
    with pytest.raises(BackboneError, match=rule):
        check_backbone(make_config(f"my_nets.{function}"), image_shape=CIFAR, num_classes=10)

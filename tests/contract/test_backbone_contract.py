"""What every backbone promises, on every shape of image."""

import copy
import subprocess
import sys
from functools import lru_cache

import pytest
import torch
from torch.func import functional_call, grad, stack_module_state, vmap
from torch.nn import functional

from rlp_sweeps.config import TrialConfig
from rlp_sweeps.training.backbones import BACKBONES, Backbone, build_backbone, pool_features

SHAPES = [(1, 8, 8), (1, 28, 28), (3, 32, 32)]
SMALL = {"wide_resnet": (10, 1), "vit": (2, 64), "resnet18": (None, 8)}
SMALL |= {"vgg16": (None, 8), "vgg16_bn": (None, 8)}

State = dict[str, torch.Tensor]

EVERY = pytest.mark.parametrize("name", BACKBONES)
EVERY_SHAPE = pytest.mark.parametrize("shape", SHAPES, ids=str)


def build(name: str, shape: tuple[int, int, int], *, seed: int = 0) -> Backbone:
    depth, width = SMALL.get(name, (None, None))
    config = TrialConfig(
        arm="control",
        lr=0.1,
        rlp_lambda=0.0,
        seed=seed,
        backbone=name,
        backbone_depth=depth,
        backbone_width=width,
    )
    return build_backbone(config, image_shape=shape, num_classes=7)


@lru_cache
def make_images(shape: tuple[int, int, int]) -> torch.Tensor:
    return torch.randn(3, *shape, generator=torch.Generator().manual_seed(0))


@EVERY
@EVERY_SHAPE
def test_every_backbone_returns_features_and_scores(name: str, shape: tuple[int, int, int]) -> None:
    backbone = build(name, shape).eval()

    features_ND = backbone.features(make_images(shape))
    logits_NK = backbone(make_images(shape))

    assert features_ND.shape == (3, backbone.num_features)
    assert features_ND.dtype == torch.float32
    assert logits_NK.shape == (3, 7)
    assert torch.equal(logits_NK, backbone.classifier(features_ND))


@EVERY
@EVERY_SHAPE
def test_attach_points_of_every_backbone_fire_in_order_and_end_at_the_features(
    name: str, shape: tuple[int, int, int]
) -> None:
    backbone = build(name, shape).eval()
    fired: list[str] = []
    outputs: list[torch.Tensor] = []
    for point in backbone.attach_points:
        backbone.attach_point(point).register_forward_hook(
            lambda module, inputs, output, point=point: (
                fired.append(point),
                outputs.append(output),
                None,
            )[-1]
        )

    features_ND = backbone.features(make_images(shape))

    assert tuple(fired) == backbone.attach_points
    assert all(pool_features(output).ndim == 2 for output in outputs)
    assert torch.equal(pool_features(outputs[-1]), features_ND)


@EVERY
def test_every_backbone_has_the_weights_of_its_seed(name: str) -> None:
    first, again, other = (build(name, (1, 8, 8), seed=seed) for seed in (0, 0, 1))

    pairs = zip(first.parameters(), again.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    weights = [p for p in first.named_parameters() if p[0].endswith("weight") and p[1].ndim > 1]
    others = dict(other.named_parameters())
    assert weights
    assert all(not torch.equal(weight, others[key]) for key, weight in weights)


@EVERY
def test_building_every_backbone_leaves_the_global_stream_alone(name: str) -> None:
    torch.manual_seed(11)
    expected = torch.rand(3)

    torch.manual_seed(11)
    build(name, (1, 8, 8))

    assert torch.equal(torch.rand(3), expected)


@EVERY
@EVERY_SHAPE
def test_gradients_reach_every_parameter_of_every_backbone(
    name: str, shape: tuple[int, int, int]
) -> None:
    backbone = build(name, shape).train()

    loss = functional.cross_entropy(backbone(make_images(shape)), torch.arange(3))
    loss.backward()

    for key, parameter in backbone.named_parameters():
        assert parameter.grad is not None, key
        assert bool(parameter.grad.isfinite().all()), key
        assert parameter.grad.abs().sum() > 0, key


@EVERY
def test_every_backbone_trains_side_by_side_under_vmap(name: str) -> None:
    backbones = [build(name, (1, 8, 8), seed=seed).train() for seed in (0, 1)]
    images_NCHW, labels_N = make_images((1, 8, 8)), torch.arange(3)
    template = copy.deepcopy(backbones[0])
    parameters, buffers = stack_module_state(backbones)

    def loss_of(parameters: State, buffers: State) -> torch.Tensor:
        logits_NK = functional_call(template, (parameters, buffers), (images_NCHW,))
        return functional.cross_entropy(logits_NK, labels_N)

    together = vmap(grad(loss_of))(parameters, buffers)

    for index, backbone in enumerate(backbones):
        functional.cross_entropy(backbone(images_NCHW), labels_N).backward()
        for key, parameter in backbone.named_parameters():
            torch.testing.assert_close(together[key][index], parameter.grad, atol=1e-3, rtol=1e-2)


@pytest.mark.slow
def test_training_parts_import_neither_torchvision_nor_scikit_learn() -> None:
    code = (
        "import sys, rlp_sweeps.training.datasets, rlp_sweeps.training.augmentation, "
        "rlp_sweeps.training.backbones; "
        "print([name for name in ('torchvision', 'sklearn', 'scipy') if name in sys.modules])"
    )

    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )

    assert result.stdout.strip() == "[]"

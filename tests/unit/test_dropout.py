"""Our dropout: torch's bits on the CPU, whatever the memory format."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from rlp_sweeps.config import TrialConfig
from rlp_sweeps.training.backbones import Backbone, build_backbone
from rlp_sweeps.training.dropout import Dropout, replace_dropout

SHAPES = [(3,), (7, 5), (4, 3, 6, 5), (64, 32, 8, 8)]


def drop(module: nn.Module, values: torch.Tensor) -> torch.Tensor:
    with torch.random.fork_rng():
        torch.manual_seed(4)
        output: torch.Tensor = module(values)
    return output


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
def test_dropout_has_the_bits_of_torch(
    shape: tuple[int, ...], dtype: torch.dtype, share: float
) -> None:
    values = torch.randn(shape).to(dtype)

    expected = drop(nn.Dropout(share), values)

    assert torch.equal(drop(Dropout(share), values), expected)


def test_dropout_moves_the_random_stream_as_far_as_torch_does() -> None:
    values, after = torch.randn(7, 5), []

    for kind in (nn.Dropout, Dropout):
        torch.manual_seed(4)
        kind(0.5)(values)
        after.append(torch.rand(3))

    assert torch.equal(*after)


def test_dropout_draws_the_same_mask_in_every_memory_format() -> None:
    maps_NCHW = torch.randn(4, 3, 6, 5)

    contiguous = drop(Dropout(0.5), maps_NCHW)
    channels_last = drop(Dropout(0.5), maps_NCHW.contiguous(memory_format=torch.channels_last))

    assert channels_last.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(contiguous, channels_last)


def test_dropout_sends_gradients_through_the_kept_elements_only() -> None:
    values = torch.ones(200, requires_grad=True)

    output = drop(Dropout(0.25), values)
    output.sum().backward()

    assert sorted(set(output.tolist())) == pytest.approx([0.0, 1 / 0.75])
    assert torch.equal(values.grad, output.detach())


def test_dropout_in_place_writes_into_its_input() -> None:
    values = torch.ones(200)
    expected = functional.relu(drop(Dropout(0.5), values))

    output = drop(Dropout(0.5, inplace=True), values)

    assert output is values
    assert torch.equal(values, expected)


@pytest.mark.parametrize(("share", "is_training"), [(0.5, False), (0.0, True)])
def test_dropout_draws_nothing_when_it_drops_nothing(share: float, is_training: bool) -> None:
    values, state = torch.ones(5), torch.get_rng_state()

    assert Dropout(share).train(is_training)(values) is values
    assert torch.equal(torch.get_rng_state(), state)


def test_replace_dropout_reaches_every_level_and_keeps_share_mode_and_rest() -> None:
    inner = nn.Sequential(nn.Dropout(0.25).eval(), nn.ReLU())
    tree = nn.ModuleDict({"a": inner, "b": nn.Dropout(0.5, inplace=True), "c": nn.Dropout2d(0.5)})

    replaced = replace_dropout(tree)

    assert replaced is tree
    assert [type(module) for module in (tree["a"][0], tree["b"])] == [Dropout, Dropout]
    assert (tree["a"][0].p, tree["a"][0].training) == (0.25, False)
    assert (tree["b"].p, tree["b"].inplace, tree["b"].training) == (0.5, True, True)
    assert [type(module) for module in (tree["a"][1], tree["c"])] == [nn.ReLU, nn.Dropout2d]


def test_replace_dropout_replaces_the_module_itself() -> None:
    assert type(replace_dropout(nn.Dropout(0.5))) is Dropout


def build_with_dropout(
    *,
    image_shape: tuple[int, int, int],
    num_classes: int,
    depth: int | None,
    width: int | None,
    dropout: float,
) -> Backbone:
    layers = nn.Sequential(nn.Flatten(), nn.Dropout(dropout), nn.Linear(64, 4))
    return Backbone(extractor=layers, classifier=nn.Linear(4, num_classes), attach_points=["2"])


@pytest.mark.parametrize("name", ["mlp", "vit", f"{__name__}.build_with_dropout"])
def test_every_backbone_that_is_built_has_our_dropout_only(name: str) -> None:
    config = TrialConfig(arm="control", lr=0.1, rlp_lambda=0.0, seed=0, backbone=name, dropout=0.5)

    backbone = build_backbone(config, image_shape=(1, 8, 8), num_classes=3)

    kinds = {type(module) for module in backbone.modules() if isinstance(module, nn.Dropout)}
    assert kinds == {Dropout}

"""Extractors as one module compute what each computes alone, grouped and vmapped."""

import pytest
import torch
from stacked_cases import (
    STACKS,
    assert_close,
    build_extractor,
    build_stack,
    make_images,
    run_alone,
    run_stack,
)
from torch import Tensor, nn
from torch.nn import functional

from rlp_sweeps.errors import BackboneError
from rlp_sweeps.training.backbones import BACKBONES
from rlp_sweeps.training.engines.grouped_modules import GroupedBatchNorm, GroupedConv2d
from rlp_sweeps.training.engines.vmap_extractor import _in_float32

EVERY_BACKBONE = pytest.mark.parametrize("name", BACKBONES)
EVERY_ENGINE = pytest.mark.parametrize("engine", STACKS)
EVERY_LAYOUT = pytest.mark.parametrize("members_per_seed", [(3,), (2, 2), (2, 1)], ids=str)
FLOAT64, FLOAT32, BF16 = (
    1e-12,
    1e-4,
    0.15,
)  # of the norm; BN of maps of one pixel amplifies rounding


def seed_of(member: int, members_per_seed: tuple[int, ...]) -> int:
    seeds = [seed for seed, count in enumerate(members_per_seed) for _ in range(count)]
    return seeds[member]


def compare(
    engine: str,
    extractors: list[nn.Module],
    members_per_seed: tuple[int, ...],
    tolerance: float,
    *,
    verify: bool = False,
) -> None:
    members = range(len(extractors))
    stack = build_stack(engine, extractors, members_per_seed, verify=verify)
    together = run_stack(stack, members, range(len(members_per_seed)))
    for member in members:
        alone = run_alone(extractors[member], member, seed_of(member, members_per_seed))
        assert_close(together[member], alone, tolerance)


@EVERY_LAYOUT
@EVERY_ENGINE
@EVERY_BACKBONE
def test_stack_equals_separate_networks_with_dropout_in_float64(
    name: str, engine: str, members_per_seed: tuple[int, ...]
) -> None:
    members = range(sum(members_per_seed))
    extractors = [build_extractor(name, member).double() for member in members]

    compare(engine, extractors, members_per_seed, FLOAT64)


@EVERY_ENGINE
@EVERY_BACKBONE
def test_stack_equals_separate_networks_in_float32(name: str, engine: str) -> None:
    extractors = [build_extractor(name, member) for member in range(3)]

    compare(engine, extractors, (2, 1), FLOAT32)


@EVERY_ENGINE
@EVERY_BACKBONE
def test_stack_in_eval_mode_uses_the_running_statistics(name: str, engine: str) -> None:
    extractors = [build_extractor(name, member).double() for member in range(2)]
    stack = build_stack(engine, extractors, (2,))
    run_stack(stack, range(2), [0])
    for member, extractor in enumerate(extractors):
        run_alone(extractor, member, 0)

    features_MND = stack.eval()(make_images(1, torch.float64).unsqueeze(0))

    alone = torch.stack([e.eval()(make_images(1, torch.float64)) for e in extractors])
    torch.testing.assert_close(features_MND, alone, atol=1e-12, rtol=1e-11)


@EVERY_ENGINE
@EVERY_BACKBONE
def test_stack_has_the_names_of_one_network_and_its_members_in_front(
    name: str, engine: str
) -> None:
    extractors = [build_extractor(name, member) for member in range(3)]

    stack = build_stack(engine, extractors, (3,))

    state, single = stack.state_dict(), extractors[0].state_dict()
    assert list(state) == list(single)
    assert [n for n, _ in stack.named_parameters()] == [n for n, _ in single_parameters(extractors)]
    for m, extractor in enumerate(extractors):
        for key, tensor in extractor.state_dict().items():
            assert torch.equal(state[key][m], tensor)
            assert state[key].dtype == tensor.dtype
    assert all(type(p) is nn.Parameter and p.is_contiguous() for p in stack.parameters())


def single_parameters(extractors: list[nn.Module]) -> list[tuple[str, nn.Parameter]]:
    return list(extractors[0].named_parameters())


@EVERY_ENGINE
def test_stack_verifies_itself_without_a_trace(engine: str) -> None:
    extractors = [build_extractor("small_cnn", member) for member in range(2)]
    before = {key: value.clone() for key, value in extractors[0].state_dict().items()}
    stream = torch.get_rng_state()

    stack = build_stack(engine, extractors, (2,), verify=True)

    assert torch.equal(torch.get_rng_state(), stream)
    assert all(torch.equal(extractors[0].state_dict()[k], value) for k, value in before.items())
    assert all(module.training for module in [*stack.modules(), *extractors[0].modules()])
    assert stack.layout.members_per_seed == (2,)
    assert stack.layout.generators is None


@EVERY_ENGINE
def test_stack_reads_weights_where_they_lie_at_every_call(engine: str) -> None:
    extractors = [build_extractor("small_cnn", member) for member in range(2)]
    stack = build_stack(engine, [extractors[0], extractors[0]], (2,))
    stack.eval()(make_images(0, torch.float32).unsqueeze(0))

    flat = torch.empty(sum(p.numel() for p in stack.parameters()))
    start = 0
    for name, parameter in stack.named_parameters():
        view = flat[start : start + parameter.numel()].view_as(parameter)
        parameter.data = view.copy_(extractors[1].get_parameter(name).detach().expand_as(view))
        start += parameter.numel()
    features_MND = stack(make_images(0, torch.float32).unsqueeze(0))

    alone_ND = extractors[1].eval()(make_images(0, torch.float32))
    torch.testing.assert_close(features_MND[1], alone_ND, atol=1e-5, rtol=1e-5)


CONVOLUTIONAL = ["small_cnn", "wide_resnet", "vgg16", "vgg16_bn", "resnet18"]


@EVERY_ENGINE
@pytest.mark.parametrize("is_training", [False, True])
@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_conv_stack_runs_in_bf16_and_channels_last(
    name: str, engine: str, *, is_training: bool
) -> None:
    extractors = [build_extractor(name, member, dropout=0.0) for member in range(3)]
    stack = build_stack(engine, extractors, (2, 1)).train(is_training)
    alone = [extractor.train(is_training) for extractor in extractors]
    stack.layout.memory_format = torch.channels_last
    images = [channels_last(make_images(seed, torch.float32)) for seed in range(2)]

    with torch.autocast("cpu", dtype=torch.bfloat16):
        features_MND = stack(torch.stack(images)).float()
        alone_MND = torch.stack([alone[m](images[m // 2]).float() for m in range(3)])
    features_MND.sum().backward()

    difference = float((features_MND - alone_MND).detach().norm())
    assert difference < BF16 * float(alone_MND.detach().norm())
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in stack.parameters())
    assert {p.dtype for p in stack.parameters()} == {torch.float32}


def channels_last(images_NCHW: Tensor) -> Tensor:
    return images_NCHW.contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("members_per_seed", [(1,), (3,), (2, 1)], ids=str)
@pytest.mark.parametrize("name", ["small_cnn", "wide_resnet", "resnet18"])
def test_maps_of_a_grouped_stack_keep_the_layouts_memory_format(
    name: str, members_per_seed: tuple[int, ...]
) -> None:
    extractors = [build_extractor(name, member) for member in range(sum(members_per_seed))]
    stack = build_stack("grouped", extractors, members_per_seed)
    stack.layout.memory_format = torch.channels_last
    maps: list[Tensor] = []
    for module in stack.modules():
        if isinstance(module, GroupedConv2d | GroupedBatchNorm):
            module.register_forward_hook(lambda module, inputs, output: maps.append(output))

    run_stack(stack, range(len(extractors)), range(len(members_per_seed)))

    assert maps
    assert all(m.is_contiguous(memory_format=torch.channels_last) for m in maps)


class LayerOnMaps(nn.Sequential):
    """One layer between a convolution and the features."""

    composes_submodules = True

    def __init__(self, layer: nn.Module) -> None:
        super().__init__(nn.Conv2d(3, 4, 3, padding=1), layer, nn.Flatten(), nn.Linear(256, 5))


LAYERS = {
    "cumulative norm": lambda: nn.BatchNorm2d(4, momentum=None),
    "norm without statistics": lambda: nn.BatchNorm2d(4, track_running_stats=False),
    "norm without weights": lambda: nn.BatchNorm2d(4, affine=False, momentum=0.3, eps=0.1),
    "dilated": lambda: nn.Conv2d(4, 4, 3, padding=2, dilation=2),
    "grouped": lambda: nn.Conv2d(4, 4, 3, padding="same", groups=2),
    "reflecting": lambda: nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect", bias=False),
}


def with_layer(kind: str, member: int) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(member)
        return nn.Sequential(*LayerOnMaps(LAYERS[kind]())).double()


@pytest.mark.parametrize("kind", LAYERS)
@EVERY_LAYOUT
def test_grouped_layer_equals_separate_layers(kind: str, members_per_seed: tuple[int, ...]) -> None:
    extractors = [with_layer(kind, member) for member in range(sum(members_per_seed))]
    stack = build_stack("grouped", extractors, members_per_seed, verify=True)

    for _ in range(3):
        together = run_stack(stack, range(len(extractors)), range(len(members_per_seed)))
        for member, extractor in enumerate(extractors):
            alone = run_alone(extractor, member, seed_of(member, members_per_seed))
            assert_close(together[member], alone, FLOAT64)


@EVERY_LAYOUT
@pytest.mark.parametrize("groups", [1, 3])
def test_grouped_input_convolution_equals_separate_ones(
    groups: int, members_per_seed: tuple[int, ...]
) -> None:
    extractors: list[nn.Module] = [
        nn.Sequential(
            nn.Conv2d(3, 6, 3, stride=2, padding=1, padding_mode="circular", groups=groups),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(96, 5, bias=False),
            nn.BatchNorm1d(5),
        ).double()
        for _ in range(sum(members_per_seed))
    ]

    compare("grouped", extractors, members_per_seed, FLOAT64, verify=True)


class UserBlock(nn.Module):
    """A block with a forward of its own, and what it does to the maps of one network."""

    def __init__(self, act: str) -> None:
        super().__init__()
        self.act = act
        self.conv = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, maps_NCHW: Tensor) -> Tensor:
        outputs = self.conv(maps_NCHW)
        if self.act == "mix channels":
            return outputs + outputs.mean(dim=1, keepdim=True)
        if self.act == "drop":
            return functional.dropout(outputs, 0.5, self.training)
        if self.act == "branch":
            return outputs if float(outputs.sum()) > 0 else -outputs
        return maps_NCHW + functional.relu(outputs)


class ComposingUserBlock(UserBlock):
    composes_submodules = True


def with_block(block: nn.Module) -> list[nn.Module]:
    return [
        nn.Sequential(nn.Conv2d(3, 4, 3), block, nn.Flatten(), nn.Linear(144, 5)).double()
        for _ in range(2)
    ]


def test_users_block_joins_a_grouped_stack_when_it_says_that_it_composes() -> None:
    compare("grouped", with_block(ComposingUserBlock("add")), (2,), FLOAT64, verify=True)


@pytest.mark.parametrize("act", ["add", "mix channels"])
@EVERY_LAYOUT
def test_users_block_needs_no_word_under_vmap(act: str, members_per_seed: tuple[int, ...]) -> None:
    extractors = [*with_block(UserBlock(act)), *with_block(UserBlock(act))]

    compare("vmap", extractors[: sum(members_per_seed)], members_per_seed, FLOAT64, verify=True)


@pytest.mark.parametrize(
    ("engine", "block", "match"),
    [
        ("grouped", UserBlock("add"), r"UserBlock at '1' has a forward .* use engine 'vmap'"),
        ("grouped", ComposingUserBlock("mix channels"), r"features in eval mode differ"),
        ("grouped", ComposingUserBlock("drop"), r"features in train mode differ"),
        ("grouped", nn.Dropout2d(0.5), r"Dropout2d at '1'"),
        ("grouped", nn.PReLU(), r"PReLU at '1'"),
        ("vmap", UserBlock("drop"), r"must run the extractor .* use engine 'sequential'"),
        ("vmap", UserBlock("branch"), r"must run the extractor"),
        ("vmap", nn.Dropout2d(0.5), r"must run the extractor"),
        ("vmap", nn.BatchNorm2d(4, momentum=None), r"must run the extractor"),
    ],
)
def test_stack_refuses_what_it_cannot_compute(engine: str, block: nn.Module, match: str) -> None:
    with pytest.raises(BackboneError, match=f"(?i){match}"):
        build_stack(engine, with_block(block), (2,), verify=True)


@EVERY_ENGINE
def test_stack_refuses_networks_of_two_architectures(engine: str) -> None:
    extractors = [nn.Sequential(nn.Flatten(), nn.Linear(192, width)) for width in (4, 5)]

    with pytest.raises(BackboneError, match=r"one architecture.*'1.bias', '1.weight'"):
        build_stack(engine, extractors, (2,))


def test_grouped_stack_refuses_images_that_the_network_cannot_read() -> None:
    with pytest.raises(BackboneError, match="must run the extractor"):
        build_stack(
            "grouped", [build_extractor("mlp", 0)] * 2, (2,), verify=True, image_shape=(3, 9, 9)
        )


class Shortens(nn.Module):
    """Gives bfloat16, as autocast's convolutions on CUDA."""

    def forward(self, maps: Tensor) -> Tensor:
        return maps.bfloat16()


class Watched(nn.BatchNorm2d):
    """Remembers the dtypes of the maps that it was given."""

    def forward(self, maps: Tensor) -> Tensor:
        DTYPES.append(maps.dtype)
        return super().forward(maps)


DTYPES: list[torch.dtype] = []


def test_vmapped_norms_read_float32_on_cuda_whatever_autocast_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """CUDA's backward raises where torch's weights of ones are shorter than running statistics."""
    extractors = [nn.Sequential(Shortens(), Watched(3), nn.Flatten()) for _ in range(2)]
    stack = build_stack("vmap", extractors, (2,))
    monkeypatch.setattr(torch.Tensor, "is_cuda", True)
    DTYPES.clear()

    stack(make_images(0, torch.float32).unsqueeze(0)).sum().backward()

    assert set(DTYPES) == {torch.float32}


def test_vmapped_norms_read_what_they_are_given_on_a_cpu() -> None:
    maps = torch.zeros(2, 3, 4, 4, dtype=torch.bfloat16)

    assert _in_float32(nn.BatchNorm2d(3), (maps,))[0] is maps

"""Stacks of small backbones beside the same networks alone; shapes as in `extractor_stack`."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from rlp_sweeps.training.backbones import BACKBONES
from rlp_sweeps.training.engines.extractor_stack import StackedExtractor
from rlp_sweeps.training.engines.grouped_extractor import GroupedExtractor
from rlp_sweeps.training.engines.layout import StackLayout
from rlp_sweeps.training.engines.vmap_extractor import VmapExtractor

STACKS: dict[str, type[StackedExtractor]] = {"grouped": GroupedExtractor, "vmap": VmapExtractor}
SMALL = {"wide_resnet": (10, 1), "vit": (1, 64), "mlp": (2, 32), "small_cnn": (None, 8)}
SMALL |= {"resnet18": (None, 4), "vgg16": (None, 4), "vgg16_bn": (None, 4)}
SHAPE = (3, 8, 8)
NUM_SAMPLES = 16


class Outcome(NamedTuple):
    """One member's features, then gradients and buffers by name."""

    features_ND: Tensor
    gradients: dict[str, Tensor]
    buffers: dict[str, Tensor]


def build_extractor(name: str, member: int, *, dropout: float = 0.3) -> nn.Module:
    depth, width = SMALL[name]
    with torch.random.fork_rng():
        torch.manual_seed(1000 + member)
        backbone = BACKBONES[name](
            image_shape=SHAPE, num_classes=7, depth=depth, width=width, dropout=dropout
        )
    return backbone.extractor


def make_images(seed: int, dtype: torch.dtype) -> Tensor:
    generator = torch.Generator().manual_seed(2000 + seed)
    return torch.randn(NUM_SAMPLES, *SHAPE, generator=generator, dtype=dtype)


def make_weights(member: int, like_ND: Tensor) -> Tensor:
    """Return the linear functional of a member's features whose gradient is compared."""
    generator = torch.Generator().manual_seed(3000 + member)
    return torch.randn(like_ND.shape, generator=generator, dtype=like_ND.dtype)


def dropout_generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(4000 + seed)


def run_alone(extractor: nn.Module, member: int, seed: int) -> Outcome:
    parameters = dict(extractor.named_parameters())
    dtype = next(iter(parameters.values())).dtype
    with torch.random.fork_rng():
        torch.manual_seed(4000 + seed)
        features_ND = extractor(make_images(seed, dtype))
    weights_ND = make_weights(member, features_ND)
    gradients = torch.autograd.grad((features_ND * weights_ND).sum(), list(parameters.values()))
    return Outcome(
        features_ND.detach(),
        dict(zip(parameters, gradients, strict=True)),
        dict(extractor.named_buffers()),
    )


def run_stack(
    stack: StackedExtractor, members: Sequence[int], seeds: Sequence[int]
) -> dict[int, Outcome]:
    """Return every member's outcome by its number.

    Args:
        stack: In its order of members.
        members: Their numbers.
        seeds: Of the stack's layout, one a batch of images.
    """
    parameters = dict(stack.named_parameters())
    dtype = next(iter(parameters.values())).dtype
    stack.layout.generators = [dropout_generator(seed) for seed in seeds]
    features_MND = stack(torch.stack([make_images(seed, dtype) for seed in seeds]))
    weights_MND = torch.stack(
        [make_weights(m, like) for m, like in zip(members, features_MND, strict=True)]
    )
    gradients = torch.autograd.grad((features_MND * weights_MND).sum(), list(parameters.values()))
    named = dict(zip(parameters, gradients, strict=True))
    return {
        member: Outcome(
            features_MND[m].detach(),
            {name: gradient[m] for name, gradient in named.items()},
            {name: buffer[m].clone() for name, buffer in stack.named_buffers()},
        )
        for m, member in enumerate(members)
    }


def build_stack(
    engine: str,
    extractors: Sequence[nn.Module],
    members_per_seed: tuple[int, ...],
    *,
    verify: bool = False,
    image_shape: tuple[int, int, int] = SHAPE,
) -> StackedExtractor:
    layout = StackLayout(members_per_seed)
    stack = STACKS[engine](extractors, layout, image_shape=image_shape, verify=verify)
    layout.memory_format = stack.maps_format  # as in a group
    return stack


def assert_close(got: Outcome, expected: Outcome, tolerance: float) -> None:
    """Compare by norm; gradients by the largest gradient's norm, for some are zero but rounding."""
    scale = max(float(gradient.norm()) for gradient in expected.gradients.values())
    assert got.gradients.keys() == expected.gradients.keys()
    assert got.buffers.keys() == expected.buffers.keys()
    assert float((got.features_ND - expected.features_ND).norm()) <= tolerance * float(
        expected.features_ND.norm()
    )
    for name, gradient in expected.gradients.items():
        assert float((got.gradients[name] - gradient).norm()) <= tolerance * scale, name
    for name, buffer in expected.buffers.items():
        torch.testing.assert_close(got.buffers[name], buffer, atol=tolerance, rtol=tolerance)


def assert_same_bits(got: Outcome, expected: Outcome) -> None:
    assert torch.equal(got.features_ND, expected.features_ND)
    for ours, theirs in ((got.gradients, expected.gradients), (got.buffers, expected.buffers)):
        assert ours.keys() == theirs.keys()
        differing = [name for name in theirs if not torch.equal(ours[name], theirs[name])]
        assert differing == []

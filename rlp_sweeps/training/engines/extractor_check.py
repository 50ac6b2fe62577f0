"""Does a stack of extractors compute what each computes alone? Asked when a stack is built.

Shapes: M members, S seeds, N samples, C H W image, D features.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from rlp_sweeps.errors import BackboneError
from rlp_sweeps.training.backbones import ImageShape
from rlp_sweeps.training.dropout import replace_dropout
from rlp_sweeps.training.engines.layout import StackLayout
from rlp_sweeps.training.taps import Tap, tapped_forward

if TYPE_CHECKING:
    from rlp_sweeps.training.engines.extractor_stack import StackedExtractor

NUM_IMAGES = 2
MAX_DIFFERENCE = 1e-2
"""Largest difference, as a share of the norm: far above rounding, far below mixed-up members."""


def verify_stack(
    stack_type: "Callable[..., StackedExtractor]",
    extractor: nn.Module,
    *,
    num_seeds: int,
    image_shape: ImageShape,
    taps: Sequence[Tap] = (),
) -> None:
    """Compare a stack of two members with the two alone, in eval and in train mode, on the CPU.

    The members are copies of the extractor with weights moved apart; random numbers come from a
    fork of torch's CPU stream: neither the extractor nor the streams change.

    Args:
        stack_type: A `StackedExtractor`.
        extractor: One member's.
        num_seeds: Of the stack that is built: with one seed both members read the same images.
        image_shape: Channels, height, width.
        taps: Attach points that are compared as well.

    Raises:
        BackboneError: Features, taps or buffers differ, or the stack cannot run.
    """
    generator = torch.Generator().manual_seed(0)
    singles = [_moved_copy(extractor, generator) for _ in range(2)]
    layout = StackLayout((2,) if num_seeds == 1 else (1, 1))
    dtype = next((p.dtype for p in extractor.parameters()), torch.float32)
    images_SNCHW = torch.randn(
        layout.num_seeds, NUM_IMAGES, *image_shape, generator=generator, dtype=dtype
    )
    engine = str(getattr(stack_type, "engine", stack_type))
    with torch.random.fork_rng(devices=[]), torch.no_grad(), _refusing(engine):
        stack = stack_type(singles, layout, image_shape=image_shape, taps=taps, verify=False)
        names = ["features", *(f"outputs at {tap.attach_point!r}" for tap in taps)]
        for mode in ("eval", "train"):
            is_training = mode == "train"
            alone = _run_alone(singles, layout, images_SNCHW, taps, is_training=is_training)
            layout.generators = [_seeded(seed) for seed in range(layout.num_seeds)]
            together = stack.train(is_training).read(images_SNCHW)
            for name, got_MND, wanted_MND in zip(names, together, alone, strict=True):
                _require_equal(got_MND, wanted_MND, f"{name} in {mode} mode", engine)
        states = [single.state_dict() for single in singles]
        for name, buffer in stack.named_buffers():
            wanted = torch.stack([state[name] for state in states if name in state] or [*buffer])
            _require_equal(buffer, wanted, f"buffers {name!r} after a forward pass", engine)


def _moved_copy(extractor: nn.Module, generator: torch.Generator) -> nn.Module:
    """Return a copy on the CPU, so moved that no two members' weights or buffers are equal."""
    moved = replace_dropout(copy.deepcopy(extractor).cpu())
    with torch.no_grad():
        for tensor in [*moved.parameters(), *moved.buffers()]:
            if tensor.is_floating_point():
                noise = torch.rand(tensor.shape, generator=generator, dtype=tensor.dtype)
                tensor.mul_(1 + 0.2 * noise).add_(0.05 * noise)
    return moved


def _run_alone(
    singles: list[nn.Module],
    layout: StackLayout,
    images_SNCHW: Tensor,
    taps: Sequence[Tap],
    *,
    is_training: bool,
) -> tuple[Tensor, ...]:
    read = []
    for member, single in enumerate(singles):
        seed = member if layout.num_seeds > 1 else 0
        torch.default_generator.manual_seed(seed)
        call = partial(single.train(is_training), images_SNCHW[seed])
        read.append(tapped_forward(single, taps, call))
    return tuple(torch.stack(tensors) for tensors in zip(*read, strict=True))


def _seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _require_equal(got: Tensor, wanted: Tensor, what: str, engine: str) -> None:
    if got.shape != wanted.shape:
        difference = f"have shape {tuple(got.shape)}, not {tuple(wanted.shape)}"
    else:
        norm = torch.linalg.vector_norm(wanted.double())
        share = float(torch.linalg.vector_norm(got.double() - wanted.double()) / norm)
        if share <= MAX_DIFFERENCE or torch.allclose(got, wanted, equal_nan=True):
            return
        difference = f"differ by {share:.2g} of their norm"
    msg = (
        f"engine {engine!r} must compute what each network computes alone, but {what} "
        f"{difference}; use engine 'sequential'."
    )
    raise BackboneError(msg)


@contextmanager
def _refusing(engine: str) -> Iterator[None]:
    try:
        yield
    except BackboneError:
        raise
    except (RuntimeError, ValueError, TypeError, IndexError) as exc:
        reason = str(exc).strip().splitlines()[0].rstrip(".")
        msg = (
            f"engine {engine!r} must run the extractor over stacked weights, but torch failed: "
            f"{reason}. Use engine 'sequential'."
        )
        raise BackboneError(msg) from exc

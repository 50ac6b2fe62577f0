"""Row g, `torch.compile`: a compiled step against the eager one, same network, heads and precision.

Compiled are both losses and their backward; the optimizer is one fused kernel on both sides. Dry
runs trace the step and run it uncompiled.
"""

import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from benchmarks.options import Options
from benchmarks.step_time import Step, heads_step, random_labels, time_sides
from benchmarks.table import Row
from benchmarks.timing import medians, paired_ratio
from rlp_sweeps.training.datasets import SplitDataset
from rlp_sweeps.training.heads import ExtractorWeights
from rlp_sweeps.training.member import Member


def measure_compiled(name: str, settings: Mapping[str, Any], options: Options) -> Iterator[Row]:
    """Yield one row; none, and a word why, on a machine that cannot compile.

    Args:
        name: Of the network.
        settings: Its trial's.
        options: Where.
    """
    is_traced_only = options.is_quick or options.device == "cpu"
    if not is_traced_only and not any(map(shutil.which, ("cc", "gcc", "clang"))):
        print("no C compiler, which Triton needs: the compiled step is left out", file=sys.stderr)
        return
    step = CompiledStep(backend="aot_eager" if is_traced_only else "inductor")
    sides: dict[str, tuple[Mapping[str, Any], Step]] = {
        "eager": (settings, heads_step),
        "compiled": (settings, step),
    }
    seconds = time_sides(sides, options=options)
    yield Row(
        letter="g",
        what=f"{name}, step with heads, {settings['precision']}, compiled",
        against="the same step, eager",
        value=paired_ratio(seconds, "eager", "compiled"),
        measure="times faster",
        how=medians(seconds),
    )


class CompiledStep:
    """`heads_step` with its losses compiled at the first call, for one member."""

    def __init__(self, *, backend: str) -> None:
        self._backend = backend
        self._loss: Callable[[Tensor, Tensor, Tensor], Tensor] | None = None

    def __call__(self, member: Member, data: SplitDataset) -> None:
        """Take one step."""
        if self._loss is None:
            self._loss = torch.compile(
                _loss_of(member), backend=self._backend, fullgraph=True, dynamic=False
            )
        batch = slice(0, member.config.batch_size)
        images_NCHW, labels_N = data.train_images_NCHW[batch], data.train_labels_N[batch]
        torch.autograd.backward(self._loss(images_NCHW, labels_N, random_labels(member, data)))
        member.optimizer.step()
        member.optimizer.zero_grad(set_to_none=True)


def _loss_of(member: Member) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    network, weights = member.network, ExtractorWeights(1.0, 1.0)

    def loss(images_NCHW: Tensor, labels_N: Tensor, random_labels_HN: Tensor) -> Tensor:
        losses = network.training_losses(
            network.features(images_NCHW), labels_N, random_labels_HN, weights, label_smoothing=0.0
        )
        return losses.class_loss + losses.heads_loss

    return loss

"""M extractors as one network of grouped layers: the fastest way for those made of known layers.

M members, S seeds, N samples, C H W image, D features.
"""

import copy
from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from rlp_sweeps.errors import BackboneError
from rlp_sweeps.training.backbones.base import GlobalPool, ImageShape
from rlp_sweeps.training.backbones.vit import PatchEmbedding
from rlp_sweeps.training.dropout import Dropout
from rlp_sweeps.training.engines.extractor_stack import StackedExtractor
from rlp_sweeps.training.engines.grouped_modules import (
    GroupedBatchNorm,
    GroupedConv2d,
    GroupedDropout,
    GroupedFlatten,
    GroupedGlobalPool,
    GroupedLayerNorm,
    GroupedLinear,
    Reading,
    member_outputs,
    pool_members,
)
from rlp_sweeps.training.engines.grouped_vit import GroupedPatchEmbedding
from rlp_sweeps.training.taps import Tap, tapped_forward

GROUPED: dict[type[nn.Module], tuple[Any, tuple[int, ...]]] = {
    nn.Conv2d: (GroupedConv2d, (4,)),
    nn.Linear: (GroupedLinear, (2, 3)),
    nn.BatchNorm2d: (GroupedBatchNorm, (4,)),
    nn.BatchNorm1d: (GroupedBatchNorm, (2,)),
    nn.LayerNorm: (GroupedLayerNorm, (2, 3)),
    nn.Flatten: (GroupedFlatten, (2, 3, 4)),
    GlobalPool: (GroupedGlobalPool, (2, 3, 4)),
    Dropout: (GroupedDropout, (2, 3, 4)),
}
"""The grouped form of a layer, and the dimensions of the inputs that it takes in one network."""

ON_MAPS = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.ZeroPad2d)
"""Layers that treat every channel of a map alike: they run unchanged."""

ELEMENTWISE = (
    nn.Identity,
    nn.ReLU,
    nn.ReLU6,
    nn.LeakyReLU,
    nn.ELU,
    nn.GELU,
    nn.SiLU,
    nn.Mish,
    nn.Hardswish,
    nn.Softplus,
    nn.Sigmoid,
    nn.Tanh,
)
"""Layers that treat every element alike: they run unchanged."""

CHANNELS = 8
"""The backward of a batch normalization in channels_last rounds channels beyond a multiple of so
many otherwise, and which ones those are depends on the number of members."""

READERS_OF_IMAGES = (nn.Sequential, nn.Identity, nn.Flatten, nn.Conv2d, PatchEmbedding)
"""What can read ``[S, N, C, H, W]``; where others read the images, each member gets a copy."""


class GroupedExtractor(StackedExtractor):
    """M extractors as grouped convolutions, batched products and norms over M*C channels.

    A module with a forward of its own is run unchanged if its class has
    ``composes_submodules = True``: see `rlp_sweeps.training.backbones.base`.

    On the CPU with one thread, a member's features, gradients and running statistics have the same
    bits whatever the other members are, how many, of which seeds and in which order, down to a
    single one, which runs beside a copy of itself for that: with contiguous maps, and in
    channels_last where `CHANNELS` divides the channels of every normalized map. Two exceptions, at
    the level of rounding: products of matrices whose members do not start at a multiple of 64
    bytes (batch size or widths that 16 does not divide), and with contiguous maps inner
    convolutions of 2 or 3 channels.

    Raises:
        BackboneError: A module of the extractor has no grouped form.
    """

    engine: ClassVar[str] = "grouped"

    @property
    def maps_format(self) -> torch.memory_format:
        """channels_last on a CPU, unless a member's bits would depend on its company there."""
        layers = list(self.root.modules())
        weights = [layer.weight for layer in layers if isinstance(layer, GroupedConv2d)]
        on_cpu = all(w.device.type == "cpu" and w.dtype == torch.float32 for w in weights)
        norms = [m for m in layers if isinstance(m, GroupedBatchNorm) and not m.is_vectors]
        aligned = all(norm.num_channels % CHANNELS == 0 for norm in norms)
        return torch.channels_last if weights and on_cpu and aligned else super().maps_format

    def convert(self, root: nn.Module, single: nn.Module) -> nn.Module:
        """Return the extractor with every layer in its grouped form."""
        self._copies_images, readings = _record_readings(single, self.image_shape)
        self._tap_dims = _record_outputs(single, self.image_shape, self.taps)
        return self._convert(root, "", readings)

    def run(self, images_SNCHW: Tensor, taps: Sequence[Tap]) -> tuple[Tensor, ...]:
        """Return every member's features, then what the taps read, ``[M, N, D]`` each."""
        assert images_SNCHW.shape[0] == self.layout.num_seeds, "one batch of images a seed"
        inputs = images_SNCHW
        if self._copies_images:
            copies_NMCHW = self.layout.per_member(images_SNCHW).transpose(0, 1)
            inputs = copies_NMCHW.flatten(1, 2).contiguous(memory_format=self.layout.memory_format)
        return tapped_forward(self.root, taps, partial(self.root, inputs), read=self._read)

    def _read(self, tap: Tap, values: Tensor) -> Tensor:
        """Return what the members' heads read at a tap, ``[M, N, D]``."""
        source = values.detach() if tap.is_detached else values
        num_dims = self._tap_dims[tap.attach_point]
        if not tap.pools:
            return member_outputs(source, num_dims=num_dims, layout=self.layout).clone()
        read_MND = pool_members(source, num_dims=num_dims, num_members=self.layout.num_members)
        return read_MND.clone() if num_dims == 2 else read_MND  # a layer above may overwrite

    def _convert(self, module: nn.Module, path: str, readings: dict[str, Reading]) -> nn.Module:
        kind = type(module)
        if module._forward_hooks or module._forward_pre_hooks:
            raise self._refusal(module, path, "runs forward hooks")
        if kind in GROUPED or kind in ON_MAPS:
            return self._convert_layer(module, path, readings)
        if kind in ELEMENTWISE:
            return module
        composes = kind in (nn.Sequential, nn.ModuleList, PatchEmbedding)
        if not composes and not getattr(kind, "composes_submodules", False):
            raise self._refusal(module, path, "has a forward that this engine does not know")
        own = [*module.parameters(recurse=False), *module.buffers(recurse=False)]
        if own and kind is not PatchEmbedding:
            raise self._refusal(module, path, "holds parameters or buffers of its own")
        for name, child in module.named_children():
            setattr(module, name, self._convert(child, f"{path}.{name}".lstrip("."), readings))
        if isinstance(module, PatchEmbedding):
            return GroupedPatchEmbedding(module, self.layout)
        return module

    def _convert_layer(
        self, module: nn.Module, path: str, readings: dict[str, Reading]
    ) -> nn.Module:
        if path not in readings:
            raise self._refusal(module, path, "is never called, or in more than one way")
        grouped, num_dims = GROUPED.get(type(module), (None, (4,)))
        reading = readings[path]
        if reading.num_dims not in num_dims:
            raise self._refusal(module, path, f"reads an input of {reading.num_dims} dimensions")
        if isinstance(module, nn.LayerNorm) and len(module.normalized_shape) > 1:
            raise self._refusal(module, path, "normalizes over several dimensions")
        if isinstance(module, nn.Flatten) and (module.start_dim, module.end_dim) != (1, -1):
            raise self._refusal(module, path, "flattens a part of its dimensions")
        if grouped is None:
            return module
        if self._copies_images:
            reading = Reading(reading.num_dims)
        converted: nn.Module = grouped(module, self.layout, reading)
        return converted.train(module.training)

    def _refusal(self, module: nn.Module, path: str, reason: str) -> BackboneError:
        msg = (
            f"engine {self.engine!r} must know every layer of the extractor, but "
            f"{type(module).__name__} at {path or 'its root'!r} {reason}; use engine 'vmap' or "
            "'sequential', or `composes_submodules = True` where the forward allows it."
        )
        return BackboneError(msg)


def _record_readings(single: nn.Module, image_shape: ImageShape) -> tuple[bool, dict[str, Reading]]:
    """Run one member on blank images and see what every module reads.

    Returns:
        Whether images must be copied for each member, and the reading of each module that is called
        in one way only.
    """
    single = copy.deepcopy(single).eval()
    some = next(single.parameters(), torch.empty(0))
    images_NCHW = torch.zeros(2, *image_shape, dtype=some.dtype, device=some.device)
    seen: dict[str, set[Reading]] = {}
    reads_copies = False

    def record(path: str, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        nonlocal reads_copies
        if len(inputs) != 1 or not isinstance(inputs[0], Tensor):
            return
        is_images = inputs[0] is images_NCHW
        reads_copies |= is_images and type(module) not in READERS_OF_IMAGES
        seen.setdefault(path, set()).add(Reading(inputs[0].ndim, is_images))

    for path, module in single.named_modules():
        module.register_forward_pre_hook(
            lambda module, inputs, path=path: record(path, module, inputs)
        )
    with torch.inference_mode():
        single(images_NCHW)
    return reads_copies, {
        path: next(iter(kinds)) for path, kinds in seen.items() if len(kinds) == 1
    }


def _record_outputs(
    single: nn.Module, image_shape: ImageShape, taps: Sequence[Tap]
) -> dict[str, int]:
    """Return the dimensions of what one member's network gives at each tap."""
    single = copy.deepcopy(single).eval()
    some = next(single.parameters(), torch.empty(0))
    images_NCHW = torch.zeros(2, *image_shape, dtype=some.dtype, device=some.device)
    with torch.inference_mode():
        _, *outputs = tapped_forward(
            single, taps, partial(single, images_NCHW), read=lambda _, output: output
        )
    return {tap.attach_point: x.ndim for tap, x in zip(taps, outputs, strict=True)}

"""Layers of M networks as one layer each, the building blocks of `GroupedExtractor`.

M members, S seeds, N samples, C H W map, T tokens, D features. Between layers the members lie
where the fast kernels want them, by the number of dimensions in one member's network:

    4   maps ``[N, C, H, W]``      →  ``[N, M*C, H, W]``
    3   tokens ``[N, T, D]``       →  ``[M*N, T, D]``
    2   vectors ``[N, D]``         →  ``[M, N, D]``

Images are ``[S, N, C, H, W]`` until the first convolution or flattening reads them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from rlp_sweeps.training.engines.layout import StackLayout


@dataclass(frozen=True, slots=True)
class Reading:
    """What a layer reads in one member's network.

    Attributes:
        num_dims: Dimensions of the input: 4 maps, 3 tokens, 2 vectors.
        is_images: Whether the input is the images themselves.
    """

    num_dims: int
    is_images: bool = False


class GroupedConv2d(nn.Module):
    """M convolutions as a grouped one; those that read images, as an ordinary one a seed.

    The images of a seed are read once by an ordinary convolution with the outputs of all of its
    members: nothing is copied, and a member's numbers do not depend on how many there are.
    """

    def __init__(self, source: nn.Conv2d, layout: StackLayout, reading: Reading) -> None:
        super().__init__()
        self.weight = source.weight
        self.bias = source.bias
        self.layout = layout
        self.is_images = reading.is_images
        self.stride, self.dilation, self.groups = source.stride, source.dilation, source.groups
        self.padding: str | tuple[int, ...] = source.padding
        self.edges: tuple[str, list[int]] | None = None
        if source.padding_mode != "zeros":
            self.edges = (source.padding_mode, source._reversed_padding_repeated_twice)
            self.padding = (0, 0)

    def forward(self, maps: Tensor) -> Tensor:
        """Return maps, ``[N, M*C, H, W]``."""
        bias = None if self.bias is None else self.bias.flatten()
        if self.is_images:
            return self._read_images(maps, bias)
        num_members = self.weight.shape[0]
        if num_members == 1 and maps.device.type == "cpu":
            return self._convolve_lone_member(maps, bias)
        return self._convolve(maps, self.weight.flatten(0, 1), bias, num_members * self.groups)

    def _convolve_lone_member(self, maps: Tensor, bias: Tensor | None) -> Tensor:
        """Convolve beside a copy of itself: oneDNN rounds one group otherwise than several."""
        weight = self.weight.repeat(2, 1, 1, 1, 1).flatten(0, 1)
        doubled = None if bias is None else bias.repeat(2)
        outputs = self._convolve(torch.cat((maps, maps), dim=1), weight, doubled, 2 * self.groups)
        is_last = outputs.stride(3) != 1  # of maps of one pixel, nothing else tells the format
        return outputs[:, : self.weight.shape[1]].contiguous(
            memory_format=torch.channels_last if is_last else torch.contiguous_format
        )

    def _read_images(self, images_SNCHW: Tensor, bias: Tensor | None) -> Tensor:
        counts = self.layout.members_per_seed
        weights = torch.split_with_sizes(self.weight, counts)
        biases: Sequence[Tensor | None] = [None] * len(counts)
        if bias is not None:
            biases = torch.split_with_sizes(
                bias, [count * self.weight.shape[1] for count in counts]
            )
        memory_format = self.layout.memory_format
        outputs = [
            self._read_seed(_laid_out(images_NCHW, memory_format), weight, part)
            for images_NCHW, weight, part in zip(images_SNCHW, weights, biases, strict=True)
        ]
        maps = outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=1)
        return maps.contiguous(memory_format=memory_format)

    def _read_seed(self, images_NCHW: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if self.groups == 1:
            return self._convolve(images_NCHW, weight.flatten(0, 1), bias, 1)
        num_members = weight.shape[0]  # the outputs of one input group would not be neighbours
        copies = images_NCHW.repeat(1, num_members, 1, 1)
        return self._convolve(copies, weight.flatten(0, 1), bias, num_members * self.groups)

    def _convolve(self, maps: Tensor, weight: Tensor, bias: Tensor | None, groups: int) -> Tensor:
        if self.edges is not None:
            mode, widths = self.edges
            maps = functional.pad(maps, widths, mode=mode)
        return functional.conv2d(
            maps, weight, bias, self.stride, self.padding, self.dilation, groups
        )


def _laid_out(images_NCHW: Tensor, memory_format: torch.memory_format) -> Tensor:
    """Return images in a format, with strides that say so where there is one channel, too."""
    images_NCHW = images_NCHW.contiguous(memory_format=memory_format)
    if memory_format == torch.channels_last and images_NCHW.shape[1] == 1:
        _, _, height, width = images_NCHW.shape
        return images_NCHW.as_strided(images_NCHW.shape, (height * width, 1, width, 1))
    return images_NCHW


class GroupedLinear(nn.Module):
    """M linear maps as one batched product."""

    def __init__(self, source: nn.Linear, layout: StackLayout, reading: Reading) -> None:
        super().__init__()
        self.weight: Tensor = source.weight
        self.bias: Tensor | None = source.bias
        self.is_tokens = reading.num_dims == 3

    def forward(self, values: Tensor) -> Tensor:
        """Return vectors, ``[M, N, D]``, or tokens, ``[M*N, T, D]``."""
        inputs = values
        if self.is_tokens:
            inputs = values.reshape(self.weight.shape[0], -1, values.shape[-1])
        outputs: Tensor
        is_small = self.weight[0].numel() < _SPARED_COPY
        if is_small or torch.is_autocast_enabled(values.device.type):
            outputs = _linear_maps(inputs, self.weight, self.bias)
        else:
            outputs = _LinearMaps.apply(inputs, self.weight, self.bias)
        return outputs.view(*values.shape[:2], -1) if self.is_tokens else outputs


_SPARED_COPY = 2**12
"""Numbers in one member's weight from which `_LinearMaps` spares more than its own calls cost. By
the size of one member, for its bits must not depend on how many there are."""


def _linear_maps(inputs_MND: Tensor, weight_MOD: Tensor, bias_MO: Tensor | None) -> Tensor:
    """Return M linear maps of M inputs, ``[M, N, O]``; O outputs."""
    if bias_MO is None:
        return torch.bmm(inputs_MND, weight_MOD.transpose(1, 2))
    return torch.baddbmm(bias_MO.unsqueeze(1), inputs_MND, weight_MOD.transpose(1, 2))


class _LinearMaps(torch.autograd.Function):
    """M linear maps; their weights' gradients come out as the weights lie, without a copy."""

    @staticmethod
    def forward(ctx: Any, inputs_MND: Tensor, weight_MOD: Tensor, bias_MO: Tensor | None) -> Tensor:
        ctx.save_for_backward(inputs_MND, weight_MOD)
        return _linear_maps(inputs_MND, weight_MOD, bias_MO)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_MNO: Tensor) -> tuple[Tensor | None, ...]:
        inputs_MND, weight_MOD = ctx.saved_tensors
        needs_inputs, needs_weight, needs_bias = ctx.needs_input_grad
        return (
            torch.bmm(grad_MNO, weight_MOD) if needs_inputs else None,
            torch.bmm(grad_MNO.transpose(1, 2), inputs_MND) if needs_weight else None,
            grad_MNO.sum(1) if needs_bias else None,
        )


class GroupedBatchNorm(nn.Module):
    """M batch normalizations as one over M*C channels, with `nn.BatchNorm2d`'s bookkeeping."""

    def __init__(
        self,
        source: nn.BatchNorm1d | nn.BatchNorm2d,
        layout: StackLayout,
        reading: Reading,
    ) -> None:
        super().__init__()
        self.weight: Tensor | None = source.weight
        self.bias: Tensor | None = source.bias
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            self.register_buffer(name, getattr(source, name))
        self.running_mean: Tensor | None
        self.running_var: Tensor | None
        self.num_batches_tracked: Tensor | None
        self.eps, self.momentum = source.eps, source.momentum
        self.num_channels = source.num_features
        self.is_vectors = reading.num_dims == 2

    def forward(self, values: Tensor) -> Tensor:
        """Return maps, ``[N, M*C, H, W]``, or vectors, ``[M, N, D]``."""
        if not self.is_vectors:
            return self._normalize(values)
        outputs = self._normalize(values.transpose(0, 1).flatten(1))
        return torch.unflatten(outputs, 1, (values.shape[0], -1)).transpose(0, 1)

    def _normalize(self, values: Tensor) -> Tensor:
        mean, var = self.running_mean, self.running_var
        is_cumulative = self.momentum is None and self.training and mean is not None
        if self.training and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        if is_cumulative:
            mean, var = (torch.empty_like(buffer) for buffer in (mean, var) if buffer is not None)
        outputs = functional.batch_norm(
            values,
            None if mean is None else mean.view(-1),
            None if var is None else var.view(-1),
            None if self.weight is None else self.weight.flatten(),
            None if self.bias is None else self.bias.flatten(),
            self.training or mean is None,
            1.0 if self.momentum is None else self.momentum,
            self.eps,
        )
        if is_cumulative:
            self._average(mean, var)
        return outputs

    @torch.no_grad()
    def _average(self, mean_MC: Tensor | None, var_MC: Tensor | None) -> None:
        """Move the running statistics to the mean over all batches seen."""
        assert self.num_batches_tracked is not None
        share_M1 = 1.0 / self.num_batches_tracked.unsqueeze(1)
        for running, batch in ((self.running_mean, mean_MC), (self.running_var, var_MC)):
            assert running is not None
            assert batch is not None
            running.lerp_(batch, share_M1.to(running.dtype).expand_as(running))


class GroupedLayerNorm(nn.Module):
    """M layer normalizations over the last dimension."""

    def __init__(self, source: nn.LayerNorm, layout: StackLayout, reading: Reading) -> None:
        super().__init__()
        self.weight: Tensor | None = source.weight
        self.bias: Tensor | None = source.bias
        self.normalized_shape, self.eps = source.normalized_shape, source.eps
        self.is_tokens = reading.num_dims == 3

    def forward(self, values: Tensor) -> Tensor:
        """Return vectors, ``[M, N, D]``, or tokens, ``[M*N, T, D]``."""
        normed = functional.layer_norm(values, self.normalized_shape, eps=self.eps)
        if self.weight is None:
            return normed
        apart = normed
        if self.is_tokens:
            apart = normed.view(self.weight.shape[0], -1, values.shape[-1])
        scaled = apart * self.weight.unsqueeze(1)
        if self.bias is not None:
            scaled = scaled + self.bias.unsqueeze(1)
        return scaled.view(values.shape) if self.is_tokens else scaled


class GroupedFlatten(nn.Module):
    """All but samples and members as one vector."""

    def __init__(self, source: nn.Flatten, layout: StackLayout, reading: Reading) -> None:
        super().__init__()
        self.layout = layout
        self.reading = reading

    def forward(self, values: Tensor) -> Tensor:
        """Return vectors, ``[M, N, D]``: views of maps or images of one seed."""
        if self.reading.is_images:
            return self.layout.per_member(values.flatten(2))
        if self.reading.num_dims == 4:
            num_samples, num_members = values.shape[0], self.layout.num_members
            if values.is_contiguous(memory_format=torch.channels_last):
                vectors_MND: Tensor = _FlattenChannelsLast.apply(values, num_members)
                return vectors_MND
            return values.reshape(num_samples, num_members, -1).transpose(0, 1)
        if self.reading.num_dims == 3:
            return torch.unflatten(values.flatten(1), 0, (self.layout.num_members, -1))
        return values


class _FlattenChannelsLast(torch.autograd.Function):
    """Flatten of maps in channels_last, whose gradient comes back in that format.

    Otherwise the gradient would be contiguous, and every elementwise operation below, which reads
    it beside maps in channels_last, three times as slow.
    """

    @staticmethod
    def forward(ctx: Any, maps: Tensor, num_members: int) -> Tensor:
        ctx.shape = maps.shape
        apart_NMCHW = torch.unflatten(maps, 1, (num_members, -1))
        return apart_NMCHW.transpose(0, 1).flatten(2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_MND: Tensor) -> tuple[Tensor, None]:
        num_samples, num_channels, height, width = ctx.shape
        num_members = grad_MND.shape[0]
        grad_MNCHW = torch.unflatten(grad_MND, 2, (num_channels // num_members, height, width))
        grad_NHWMC = grad_MNCHW.permute(1, 3, 4, 0, 2).contiguous()
        return grad_NHWMC.view(num_samples, height, width, num_channels).permute(0, 3, 1, 2), None


def member_outputs(values: Tensor, *, num_dims: int, layout: StackLayout) -> Tensor:
    """Return what every member has between two layers, ``[M, N, …]``.

    Args:
        values: As they lie there.
        num_dims: Dimensions in one member's network.
        layout: Of the stack.
    """
    if num_dims == 4:
        return torch.unflatten(values, 1, (layout.num_members, -1)).transpose(0, 1)
    if num_dims == 3:
        return torch.unflatten(values, 0, (layout.num_members, -1))
    return values


def pool_members(values: Tensor, *, num_dims: int, num_members: int) -> Tensor:
    """Return `pool_features` of every member, ``[M, N, D]``.

    Args:
        values: As they lie between layers.
        num_dims: Dimensions in one member's network.
        num_members: M.
    """
    if num_dims == 4:
        pooled = values.mean(dim=(2, 3))
        return torch.unflatten(pooled, 1, (num_members, -1)).transpose(0, 1)
    if num_dims == 3:
        return torch.unflatten(values.mean(dim=1), 0, (num_members, -1))
    return values


class GroupedGlobalPool(nn.Module):
    """`pool_features` of every member."""

    def __init__(self, source: nn.Module, layout: StackLayout, reading: Reading) -> None:
        super().__init__()
        self.layout = layout
        self.num_dims = reading.num_dims

    def forward(self, values: Tensor) -> Tensor:
        """Return vectors, ``[M, N, D]``."""
        num_members = self.layout.num_members
        return pool_members(values, num_dims=self.num_dims, num_members=num_members)


class GroupedDropout(nn.Module):
    """Dropout with one mask a seed, shared by its members and shaped as in one network."""

    def __init__(self, source: nn.Dropout, layout: StackLayout, reading: Reading) -> None:
        super().__init__()
        self.share = source.p
        self.layout = layout
        self.num_dims = reading.num_dims

    def forward(self, values: Tensor) -> Tensor:
        """Return the input with a share of its elements zeroed and the rest scaled up."""
        if not self.training or self.share == 0:
            return values
        if self.num_dims == 2:
            return values * self.layout.draw_masks(values.shape[1:], self.share, like=values)
        members = (self.layout.num_members, -1)
        if self.num_dims == 3:
            apart = torch.unflatten(values, 0, members)
            masks = self.layout.draw_masks(apart.shape[1:], self.share, like=values)
            return (apart * masks).flatten(0, 1)
        apart = torch.unflatten(values, 1, members)
        shape = torch.Size([apart.shape[0], *apart.shape[2:]])
        masks = self.layout.draw_masks(shape, self.share, like=values)
        return (apart * masks.transpose(0, 1)).flatten(1, 2)

"""Dropout whose masks depend on a generator's state and on the input's shape, and nothing else.

`torch.nn.Dropout` draws in the order of the input's memory format, so that one seed gives other
masks in channels_last layout, and no two networks that run as one can have their own masks.
"""

import torch
from torch import Tensor, nn


class Dropout(nn.Dropout):
    """`nn.Dropout` with masks drawn by `draw_mask` from torch's global generator of the device.

    On the CPU, for contiguous inputs, these are the bits of `torch.nn.functional.dropout`.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Return the input with a share `p` of its elements zeroed and the rest scaled up."""
        if not self.training or self.p == 0:
            return input
        mask = draw_mask(input.shape, self.p, like=input)
        return input.mul_(mask) if self.inplace else input * mask


def draw_mask(
    shape: torch.Size, share: float, *, like: Tensor, generator: torch.Generator | None = None
) -> Tensor:
    """Return a mask of that shape, drawn in contiguous order: 0 or ``1 / (1 - share)``.

    Args:
        shape: Of the mask.
        share: Of zeros, in [0, 1]; at 1 nothing is drawn.
        like: Gives dtype and device.
        generator: On that device; None is torch's global one.
    """
    mask = torch.empty(shape, dtype=like.dtype, device=like.device)
    if share == 1:
        return mask.zero_()
    return mask.bernoulli_(1 - share, generator=generator).div_(1 - share)


def replace_dropout(module: nn.Module) -> nn.Module:
    """Return the module with every `nn.Dropout` in its tree replaced by a `Dropout` like it.

    Args:
        module: Changed in place; returned, for it may itself be an `nn.Dropout`.
    """
    if type(module) is nn.Dropout:
        return Dropout(module.p, inplace=module.inplace).train(module.training)
    for name, child in module.named_children():
        replacement = replace_dropout(child)
        if replacement is not child:
            setattr(module, name, replacement)
    return module

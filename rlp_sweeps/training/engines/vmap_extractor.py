"""M extractors as one by `torch.func.vmap`: for every network that torch can vectorize.

M members, S seeds, N samples, C H W image, D features.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn.modules.batchnorm import _BatchNorm

from rlp_sweeps.training.dropout import Dropout
from rlp_sweeps.training.engines.extractor_stack import StackedExtractor
from rlp_sweeps.training.engines.layout import StackLayout
from rlp_sweeps.training.taps import Tap, tapped_forward


class VmapExtractor(StackedExtractor):
    """M extractors as one vectorized call of the first one's own forward.

    Random layers other than dropout modules are refused: their members would share one draw.
    """

    engine: ClassVar[str] = "vmap"

    def convert(self, root: nn.Module, single: nn.Module) -> nn.Module:
        """Return the extractor with every dropout drawing one mask a seed."""
        for module in root.modules():
            if isinstance(module, _BatchNorm):
                module.register_forward_pre_hook(_in_float32)
        return _convert_dropout(root, self.layout)

    def run(self, images_SNCHW: Tensor, taps: Sequence[Tap]) -> tuple[Tensor, ...]:
        """Return every member's features, then what the taps read, ``[M, N, D]`` each."""
        assert images_SNCHW.shape[0] == self.layout.num_seeds, "one batch of images a seed"
        is_shared = self.layout.num_seeds == 1
        images = images_SNCHW[0] if is_shared else self.layout.per_member(images_SNCHW)
        state = {**dict(self.root.named_parameters()), **dict(self.root.named_buffers())}

        def read(state: dict[str, Tensor], images_NCHW: Tensor) -> tuple[Tensor, ...]:
            call = partial(functional_call, self.root, state, (images_NCHW,))
            return tapped_forward(self.root, taps, call)

        call = vmap(read, in_dims=(0, None if is_shared else 0), randomness="error")
        read_MND: tuple[Tensor, ...] = call(state, images)
        return read_MND


class VmapDropout(nn.Module):
    """Dropout inside a vmapped forward: every member gets the mask of its seed."""

    def __init__(self, share: float, layout: StackLayout) -> None:
        super().__init__()
        self.share = share
        self.layout = layout

    def forward(self, values: Tensor) -> Tensor:
        """Return the input with a share of its elements zeroed and the rest scaled up."""
        if not self.training or self.share == 0:
            return values
        mask: Tensor = _SeedMasks.apply(values.detach(), self.share, self.layout)
        return values * mask


class _SeedMasks(torch.autograd.Function):
    """Masks for the physical tensor behind a vmapped one."""

    @staticmethod
    def forward(values: Tensor, share: float, layout: StackLayout) -> Tensor:
        """Return the mask of a value that all members share; there is one seed then."""
        return layout.draw_masks(values.shape, share, like=values)[0]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Tell that a mask has no gradient."""
        ctx.mark_non_differentiable(output)

    @staticmethod
    def vmap(
        info: Any,
        in_dims: tuple[int | None, ...],
        values: Tensor,
        share: float,
        layout: StackLayout,
    ) -> tuple[Tensor, int]:
        """Return all members' masks and the dimension of the members."""
        members_dim = in_dims[0]
        assert members_dim is not None
        shape = values.movedim(members_dim, 0).shape[1:]
        return layout.draw_masks(shape, share, like=values), 0


def _in_float32(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Give a batch normalization on CUDA maps in float32 where autocast has made them shorter.

    torch normalizes vmapped maps with weights of ones, which it makes in the dtype of the maps;
    beside running statistics in float32 CUDA's backward then raises.
    """
    is_half = inputs[0].is_cuda and inputs[0].dtype in (torch.bfloat16, torch.float16)
    return (inputs[0].float(), *inputs[1:]) if is_half else inputs


def _convert_dropout(module: nn.Module, layout: StackLayout) -> nn.Module:
    if type(module) is Dropout:
        return VmapDropout(module.p, layout)
    for name, child in module.named_children():
        replacement = _convert_dropout(child, layout)
        if replacement is not child:
            setattr(module, name, replacement)
    return module

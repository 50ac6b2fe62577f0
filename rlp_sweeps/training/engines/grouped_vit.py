"""The vision transformer's patch embedding for M networks as one.

M members, S seeds, N samples, C H W image, T tokens, D features. Its encoder blocks need no version
of their own: they only compose layers.
"""

import torch
from torch import Tensor, nn

from rlp_sweeps.training.backbones.vit import PatchEmbedding
from rlp_sweeps.training.engines.layout import StackLayout


class GroupedPatchEmbedding(nn.Module):
    """Patches to tokens, plus each member's own positions.

    Args:
        source: Its children are converted already.
        layout: Of the stack.
    """

    def __init__(self, source: PatchEmbedding, layout: StackLayout) -> None:
        super().__init__()
        self.projection: nn.Module = source.projection
        self.position_1TD = source.position_1TD
        self.dropout = source.dropout
        self.layout = layout

    def forward(self, images_SNCHW: Tensor) -> Tensor:
        """Return tokens, ``[M*N, T, D]``."""
        maps: Tensor = self.projection(images_SNCHW)
        tokens_NMDT = torch.unflatten(maps.flatten(2), 1, (self.layout.num_members, -1))
        tokens_MNTD = tokens_NMDT.permute(1, 0, 3, 2) + self.position_1TD
        output: Tensor = self.dropout(tokens_MNTD.flatten(0, 1))
        return output

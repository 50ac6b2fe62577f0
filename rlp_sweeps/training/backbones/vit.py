"""A small vision transformer.

Shapes: N samples, C H W image, T tokens, D features, A attention heads, E features of one of them,
K classes.
"""

import math
from collections import OrderedDict
from typing import ClassVar

import torch
from torch import Tensor, nn

from rlp_sweeps.errors import BackboneError
from rlp_sweeps.training.backbones.base import (
    Backbone,
    GlobalPool,
    ImageShape,
    make_dropout,
)

FEATURES_PER_ATTENTION_HEAD = 64


class PatchEmbedding(nn.Module):
    """Linear map of non-overlapping patches to tokens, plus learned positions."""

    def __init__(self, image_shape: ImageShape, *, width: int, dropout: float) -> None:
        super().__init__()
        channels, height, side = image_shape
        patch = patch_size(image_shape)
        self.projection = nn.Conv2d(channels, width, patch, stride=patch)
        num_tokens = (height // patch) * (side // patch)
        self.position_1TD = nn.Parameter(torch.empty(1, num_tokens, width))
        nn.init.trunc_normal_(self.position_1TD, std=0.02)
        self.dropout = make_dropout(dropout)

    def forward(self, images_NCHW: Tensor) -> Tensor:
        """Return tokens, ``[N, T, D]``."""
        tokens_NTD = self.projection(images_NCHW).flatten(2).transpose(1, 2)
        output_NTD: Tensor = self.dropout(tokens_NTD + self.position_1TD)
        return output_NTD


class Attention(nn.Module):
    """Multi-head self-attention, written out so that it vectorizes over stacked models."""

    composes_submodules: ClassVar[bool] = True

    def __init__(self, width: int, *, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(width, 3 * width)
        self.projection = nn.Linear(width, width)

    def forward(self, tokens_NTD: Tensor) -> Tensor:
        """Return ``[N, T, D]``."""
        qkv = self.qkv(tokens_NTD).unflatten(-1, (3, self.num_heads, -1))
        query_NATE, key_NATE, value_NATE = (part.transpose(1, 2) for part in qkv.unbind(2))
        scores_NATT = query_NATE @ key_NATE.transpose(-2, -1) / math.sqrt(query_NATE.shape[-1])
        mixed_NTD = (scores_NATT.softmax(dim=-1) @ value_NATE).transpose(1, 2).flatten(2)
        output_NTD: Tensor = self.projection(mixed_NTD)
        return output_NTD


class EncoderBlock(nn.Module):
    """Pre-norm attention and an MLP of ratio 4, each beside an identity."""

    composes_submodules: ClassVar[bool] = True

    def __init__(self, width: int, *, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.attention = nn.Sequential(
            nn.LayerNorm(width), Attention(width, num_heads=num_heads), make_dropout(dropout)
        )
        self.mlp = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, 4 * width),
            nn.GELU(),
            make_dropout(dropout),
            nn.Linear(4 * width, width),
            make_dropout(dropout),
        )

    def forward(self, tokens_NTD: Tensor) -> Tensor:
        """Return ``[N, T, D]``."""
        tokens_NTD = tokens_NTD + self.attention(tokens_NTD)
        output_NTD: Tensor = tokens_NTD + self.mlp(tokens_NTD)
        return output_NTD


def patch_size(image_shape: ImageShape) -> int:
    """Return the patch side in pixels: the largest divisor of both sides up to a 7th of them.

    32 and 28 pixels give 4, 8 pixels give 1, 64 pixels give 8.
    """
    _, height, width = image_shape
    largest = max(1, min(height, width) // 7)
    return max(p for p in range(1, largest + 1) if height % p == 0 and width % p == 0)


def build_vit(
    *,
    image_shape: ImageShape,
    num_classes: int,
    depth: int | None,
    width: int | None,
    dropout: float,
) -> Backbone:
    """Return a pre-norm vision transformer whose features are the mean of its tokens.

    Dropout acts on the embedded patches and after every linear layer but the attention's first, as
    in the source; it never acts on the features themselves.

    Args:
        image_shape: Channels, height, width.
        num_classes: K.
        depth: Encoder blocks, 6 by default.
        width: D, 192 by default; one attention head for each 64 of it.
        dropout: Share in [0, 1).

    Raises:
        BackboneError: `width` is above 64 and not a multiple of 64.

    Source:
        Dosovitskiy et al. 2021, arXiv:2010.11929; mean of tokens in place of a class token after
        Beyer et al. 2022, arXiv:2205.01580. Init: truncated normal of std 0.02, biases 0.
    """
    depth, width = depth or 6, width or 192
    num_heads = max(1, width // FEATURES_PER_ATTENTION_HEAD)
    if width > FEATURES_PER_ATTENTION_HEAD and width % FEATURES_PER_ATTENTION_HEAD:
        msg = (
            "`backbone_width` of backbone 'vit' must be a multiple of 64, or less, but got "
            f"backbone_width={width!r}."
        )
        raise BackboneError(msg)
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        embedding=PatchEmbedding(image_shape, width=width, dropout=dropout)
    )
    for index in range(depth):
        layers[f"block{index + 1}"] = EncoderBlock(width, num_heads=num_heads, dropout=dropout)
    layers["norm"] = nn.LayerNorm(width)
    attach_points = list(layers)
    layers["pool"] = GlobalPool()
    backbone = Backbone(
        extractor=nn.Sequential(layers),
        classifier=nn.Linear(width, num_classes),
        attach_points=attach_points,
    )
    for module in backbone.modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02)
            nn.init.zeros_(module.bias)
    return backbone

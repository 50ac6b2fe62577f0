"""Mixup: a batch's images are blended with those of a permutation of it, and so is the loss.

A step's losses are linear in what they are told a sample is: with the labels y, r of a sample and
y′, r′ of its partner, every loss is ``m L(y, r) + (1 − m) L(y′, r′)`` on the blended image, that of
the class head, of the RLP heads and the regularizer alike.

Source:
    Zhang et al., ICLR 2018, arXiv:1710.09412. What becomes of RLP heads is this project's choice.

Shapes: N samples of a batch, C H W image.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from rlp_sweeps.seeding import stream_seed

TRAINING, PROBE = 0, 1
"""What is mixed: the batches of an epoch, or the half-batches of its probe."""


class Mix(NamedTuple):
    """How one batch is mixed.

    Attributes:
        share: m, the weight of a sample itself, in [0, 1].
        partner_N: Position of its partner in the batch, int64; a permutation.
    """

    share: float
    partner_N: Tensor

    def images(self, images_NCHW: Tensor) -> Tensor:
        """Return the blended images, float32 in [0, 255]."""
        own_NCHW = images_NCHW.float()
        return self.share * own_NCHW + (1 - self.share) * own_NCHW[self.partner_N]


def blend(
    own: Sequence[Tensor], partner: Sequence[Tensor], share: float | Tensor
) -> tuple[Tensor, ...]:
    """Return ``m a + (1 − m) b`` of each pair of losses."""
    return tuple(share * a + (1 - share) * b for a, b in zip(own, partner, strict=True))


def draw_mixes(
    *, alpha: float, seed: int, epoch: int, kind: int, num_batches: int, batch_size: int
) -> list[Mix]:
    """Return how each batch of an epoch is mixed: one m ~ Beta(α, α) and one permutation a batch.

    Args:
        alpha: α > 0.
        seed: The replicate's number.
        epoch: From 1.
        kind: `TRAINING` or `PROBE`.
        num_batches: Batches, or half-batches of a probe.
        batch_size: Samples of each.
    """
    shares = np.random.default_rng(stream_seed(seed, "mixup", epoch, kind, 0)).beta(
        alpha, alpha, size=num_batches
    )
    generator = torch.Generator().manual_seed(stream_seed(seed, "mixup", epoch, kind, 1))
    return [Mix(float(share), torch.randperm(batch_size, generator=generator)) for share in shares]

"""What one step of a group is trained on.

Shapes: S seeds, M members, N samples, C H W image, H = 2 heads.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from rlp_sweeps.training.engines.layout import StackLayout
from rlp_sweeps.training.mixup import Mix


class StackedMix(NamedTuple):
    """How one batch of every seed is mixed.

    Attributes:
        mixes: One a seed.
        share_S: Their shares, in the heads' dtype, on the device.
    """

    mixes: tuple[Mix, ...]
    share_S: Tensor


class StackedBatch(NamedTuple):
    """Images of each seed, augmented and mixed, with what each member learns of their samples.

    Attributes:
        images_SNCHW: uint8, or float32 in [0, 255].
        labels_MN: Class indices, int64.
        targets_MNH: The RLP heads' outputs to hit, int64.
        share_M: Weight of a sample itself in its mixed image; None where images are not mixed.
        partner_MN: Position of its partner in the batch, int64; None likewise.
    """

    images_SNCHW: Tensor
    labels_MN: Tensor
    targets_MNH: Tensor
    share_M: Tensor | None = None
    partner_MN: Tensor | None = None

    def mixed(self, mix: StackedMix | None, layout: StackLayout) -> "StackedBatch":
        """Return the batch with its images blended; itself where they are not to be."""
        if mix is None:
            return self
        partner_SN = torch.stack([alone.partner_N for alone in mix.mixes])
        images = [alone.images(x) for alone, x in zip(mix.mixes, self.images_SNCHW, strict=True)]
        return self._replace(
            images_SNCHW=torch.stack(images),
            share_M=layout.per_member(mix.share_S),
            partner_MN=layout.per_member(partner_SN),
        )

    def partner(self) -> "StackedBatch | None":
        """Return the same images with the labels of their partners; None where not mixed."""
        if self.partner_MN is None:
            return None
        index_MNH = self.partner_MN.unsqueeze(2).expand_as(self.targets_MNH)
        return StackedBatch(
            self.images_SNCHW,
            self.labels_MN.gather(1, self.partner_MN),
            self.targets_MNH.gather(1, index_MNH),
        )

    def clone(self) -> "StackedBatch":
        """Return the batch with tensors of its own."""
        return self._replace(
            **{name: x.clone() for name, x in self._asdict().items() if x is not None}
        )

    def copy_(self, other: "StackedBatch") -> None:
        """Take over the values of a batch of the same shapes, in place."""
        for own, value in zip(self, other, strict=True):
            if own is not None and value is not None:
                own.copy_(value)


def mixes_by_batch(
    mixes: Sequence[Sequence[Mix] | None], num_batches: int, *, like: Tensor
) -> list[StackedMix] | list[None]:
    """Return the mixes of all seeds for each batch; None for each where images are not mixed.

    Args:
        mixes: One list of `num_batches` a seed, or None.
        num_batches: Batches.
        like: Gives dtype and device of the shares.
    """
    drawn = [of_seed for of_seed in mixes if of_seed is not None]
    if not drawn:
        return [None] * num_batches
    by_batch = list(zip(*drawn, strict=True))
    shares_TS = like.new_tensor([[mix.share for mix in batch] for batch in by_batch])
    return [StackedMix(batch, share_S) for batch, share_S in zip(by_batch, shares_TS, strict=True)]

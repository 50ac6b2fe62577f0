"""What the members of a group are trained on: their seeds' batches, and labels of their own.

Members of one seed read the same images with the same class labels; their random labels differ
where an arm draws them anew. All chance is that of `SeedData`, so that a member sees what it sees
alone.

Shapes: S seeds, M members, N samples, C H W image, H = 2 heads, T steps of an epoch.
"""

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from rlp_sweeps.arms import get_arm
from rlp_sweeps.config import TrialConfig
from rlp_sweeps.training.engines.layout import StackLayout
from rlp_sweeps.training.engines.stacked_batch import StackedBatch, mixes_by_batch
from rlp_sweeps.training.heads import HeadShape
from rlp_sweeps.training.seed_data import SeedData


class StackedData:
    """The training samples of these members, batch by batch."""

    def __init__(
        self,
        configs: Sequence[TrialConfig],
        seeds: Mapping[int, SeedData],
        layout: StackLayout,
        *,
        shape: HeadShape,
        like: Tensor,
    ) -> None:
        """Take over the members as they are; others ask for another one.

        Args:
            configs: The members', those of one seed next to each other.
            seeds: Their seeds' data, in the members' order.
            layout: Which members belong to which seed.
            shape: Of every RLP head.
            like: Gives dtype and device of the heads.
        """
        self._configs = configs
        self._seeds = seeds
        self._layout = layout
        self._shape = shape
        self._like = like

    def batches(self, epoch: int) -> Iterator[StackedBatch]:
        """Yield the epoch's batches, the same that each member sees alone."""
        seeds, size = list(self._seeds.values()), self._configs[0].batch_size
        steps, num_samples = seeds[0].steps_per_epoch, seeds[0].samples_per_epoch
        mixes = mixes_by_batch([seed.mixes(epoch) for seed in seeds], steps, like=self._like)
        orders = [seed.order("order", epoch)[:num_samples] for seed in seeds]
        draws = [s.draw(o, "augment", epoch) for s, o in zip(seeds, orders, strict=True)]
        labels_MN, targets_MNH = self._labels(orders, epoch)
        labels_TMN = torch.stack(labels_MN.chunk(steps, dim=1))
        targets_TMNH = torch.stack(targets_MNH.chunk(steps, dim=1))
        for index in range(steps):
            part = slice(index * size, (index + 1) * size)
            images = [s.images(o, d, part) for s, o, d in zip(seeds, orders, draws, strict=True)]
            batch = StackedBatch(torch.stack(images), labels_TMN[index], targets_TMNH[index])
            yield batch.mixed(mixes[index], self._layout)

    def half_batches(self, epoch: int) -> list[StackedBatch]:
        """Return the two disjoint half-batches of the epoch's probe."""
        seeds = list(self._seeds.values())
        half = seeds[0].probe_size
        orders = [seed.order("probe", epoch)[: 2 * half] for seed in seeds]
        draws = [s.draw(o, "probe", epoch) for s, o in zip(seeds, orders, strict=True)]
        labels_MN, targets_MNH = self._labels(orders, epoch)
        mixes = mixes_by_batch([seed.probe_mixes(epoch) for seed in seeds], 2, like=self._like)
        batches = []
        for part, mix in zip((slice(0, half), slice(half, 2 * half)), mixes, strict=True):
            images = [s.images(o, d, part) for s, o, d in zip(seeds, orders, draws, strict=True)]
            batch = StackedBatch(torch.stack(images), labels_MN[:, part], targets_MNH[:, part])
            batches.append(batch.mixed(mix, self._layout))
        return batches

    def random_labels(self, epoch: int) -> Tensor:
        """Return the random labels of the training samples in an epoch, ``[M, H, N]``, int64."""
        drawn: dict[tuple[int, bool], Tensor] = {}
        keys = [(c.seed, get_arm(c.arm).redraws_random_labels) for c in self._configs]
        for seed, redraws in dict.fromkeys(keys):
            drawn[seed, redraws] = self._seeds[seed].random_labels(epoch, redraws=redraws)
        return torch.stack([drawn[key] for key in keys])

    def _labels(self, orders: Sequence[Tensor], epoch: int) -> tuple[Tensor, Tensor]:
        """Return the members' class labels ``[M, N]`` and targets ``[M, N, H]`` in these orders."""
        order_MN = self._layout.per_member(torch.stack(list(orders)))
        labels_SN = torch.stack(
            [s.labels(o, epoch) for s, o in zip(self._seeds.values(), orders, strict=True)]
        )
        labels_MN = self._layout.per_member(labels_SN)
        index_MHN = order_MN.unsqueeze(1).expand(-1, 2, -1)
        random_labels_MHN = self.random_labels(epoch).gather(2, index_MHN)
        first_M1N = self._shape.blocks(labels_MN).unsqueeze(1) * self._shape.num_random_labels
        targets_MHN = first_M1N + random_labels_MHN
        return labels_MN, targets_MHN.transpose(1, 2)

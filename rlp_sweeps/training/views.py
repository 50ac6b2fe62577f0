"""Fixed views: augmented versions of every training sample, drawn once a seed and shown in turn.

Shapes: V views, N training samples, B samples of a batch, C H W image.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from rlp_sweeps.config import TrialConfig
from rlp_sweeps.seeding import stream_seed
from rlp_sweeps.training.augmentation import Augmentation, Draws, build_augmentation
from rlp_sweeps.training.image_arrays import ImageArrays
from rlp_sweeps.training.label_corruption import corrupt_labels, seed_of_corruption


@dataclass(frozen=True, kw_only=True, slots=True)
class Views:
    """The views of a trial's training samples, as augmentation parameters.

    Attributes:
        augmentation: Makes a view of an image.
        draws: Its parameters by name, each ``[V, N, …]``.
        first_N: The view that a sample shows in epoch 1, int64.
        labels_VN: Each view's own label, int64; None where all views have the sample's.
        num_views: V.
    """

    augmentation: Augmentation
    draws: Draws
    first_N: Tensor
    labels_VN: Tensor | None
    num_views: int

    def shown(self, index_B: Tensor, epoch: int) -> Tensor:
        """Return which view these samples show in an epoch, from 1: each in its turn, ``[B]``."""
        return (self.first_N[index_B] + (epoch - 1)) % self.num_views

    def first_labels(self, labels_N: Tensor) -> Tensor:
        """Return the labels of all samples' first views, given those of the samples."""
        return labels_N if self.labels_VN is None else self.labels_VN[0]

    def labels_of(self, index_B: Tensor, view_B: Tensor, labels_N: Tensor) -> Tensor:
        """Return the labels of these views of these samples, given those of all samples."""
        return labels_N[index_B] if self.labels_VN is None else self.labels_VN[view_B, index_B]

    def draws_of(self, index_B: Tensor, view_B: Tensor) -> Draws:
        """Return the augmentation parameters of these views of these samples."""
        return {name: values[view_B, index_B] for name, values in self.draws.items()}


def draw_views(
    config: TrialConfig, arrays: ImageArrays, train_ids_N: Tensor, device: torch.device
) -> Views | None:
    """Return the views of a trial's training samples; None where it has none.

    All is drawn for the whole pool, and therefore keyed by the sample's id there.

    Args:
        config: The trial's.
        arrays: Its data set.
        train_ids_N: Training samples by index in the pool, on the CPU.
        device: Where the views are to be.
    """
    num_views = config.num_views
    if num_views == 0:
        return None
    augmentation, pool_size = build_augmentation(config.augmentation), len(arrays.train_labels_N)
    views: list[Draws] = []
    for view in range(num_views):
        generator = torch.Generator().manual_seed(stream_seed(config.seed, "views", view))
        drawn = augmentation.draw(pool_size, arrays.info.image_shape, generator)
        views.append({name: values[train_ids_N] for name, values in drawn.items()})
    labels = [
        corrupt_labels(
            arrays.train_labels_N,
            label_corruption=config.label_corruption,
            num_classes=arrays.num_classes,
            seed=seed_of_corruption(config),
            view=view,
        )[train_ids_N]
        for view in range(num_views if config.view_labels == "random" else 0)
    ]
    generator = torch.Generator().manual_seed(stream_seed(config.seed, "views"))
    first_N = torch.randint(num_views, (pool_size,), generator=generator)[train_ids_N]
    return Views(
        augmentation=augmentation,
        draws={name: torch.stack([v[name] for v in views]).to(device) for name in views[0]},
        first_N=first_N.to(device),
        labels_VN=torch.stack(labels).to(device) if labels else None,
        num_views=num_views,
    )

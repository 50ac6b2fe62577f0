"""What a trial is evaluated on where metrics say training samples.

These are the training images without augmentation, or, where they have fixed views, all views of
all of them, view after view: what was trained on. Shapes: N training samples, B samples of a batch.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from rlp_sweeps.training.datasets import SplitDataset


class TrainedBatch(NamedTuple):
    """Some of what was trained on.

    Attributes:
        images_BCHW: uint8, or float32 in [0, 255].
        labels_B: Labels trained on.
        true_labels_B: True classes.
        positions: Samples by index in the training part, as a slice or ``[B]``.
    """

    images_BCHW: Tensor
    labels_B: Tensor
    true_labels_B: Tensor
    positions: slice | Tensor


def num_trained(data: SplitDataset) -> int:
    """Return how many images a trial's training samples are evaluated on."""
    return len(data.train_labels_N) * (1 if data.views is None else data.views.num_views)


def trained_batch(data: SplitDataset, batch: slice) -> TrainedBatch:
    """Return those at these places, of `num_trained`."""
    views = data.views
    if views is None:
        return TrainedBatch(
            data.train_images_NCHW[batch],
            data.train_labels_N[batch],
            data.true_labels_N[batch],
            batch,
        )
    num_samples = len(data.train_labels_N)
    places_B = torch.arange(num_trained(data), device=data.train_labels_N.device)[batch]
    view_B, index_B = places_B // num_samples, places_B % num_samples
    return TrainedBatch(
        views.augmentation.apply(data.train_images_NCHW[index_B], views.draws_of(index_B, view_B)),
        views.labels_of(index_B, view_B, data.train_labels_N),
        data.true_labels_N[index_B],
        index_B,
    )

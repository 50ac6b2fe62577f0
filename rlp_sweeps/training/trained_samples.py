"""What a trial is evaluated on where metrics say training samples: images with labels of their own.

These are the training images without augmentation, or, where views have labels of their own, all
views of all of them, view after view. Shapes: N training samples, B samples of a batch.
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
    """Return how many images with labels of their own a trial is trained on."""
    has_own_labels = data.views is not None and data.views.labels_VN is not None
    num_views = data.views.num_views if data.views is not None and has_own_labels else 1
    return len(data.train_labels_N) * num_views


def trained_batch(data: SplitDataset, batch: slice) -> TrainedBatch:
    """Return those at these places, of `num_trained`."""
    views = data.views
    if views is None or views.labels_VN is None:
        return TrainedBatch(
            data.train_images_NCHW[batch],
            data.train_labels_N[batch],
            data.true_labels_N[batch],
            batch,
        )
    num_samples = len(data.train_labels_N)
    places_B = torch.arange(num_trained(data), device=data.train_labels_N.device)[batch]
    view_B, index_B = places_B // num_samples, places_B % num_samples
    images_BCHW = views.augmentation.apply(
        data.train_images_NCHW[index_B], views.draws_of(index_B, view_B)
    )
    labels_B = views.labels_VN[view_B, index_B]
    return TrainedBatch(images_BCHW, labels_B, data.true_labels_N[index_B], index_B)

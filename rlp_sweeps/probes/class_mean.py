"""Nearest class mean: the plainest probe, which others must be compared with.

Shapes: N samples, D features, K classes.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


class ClassMeans(NamedTuple):
    """One mean for each class.

    Attributes:
        means_KD: float64; NaN for a class without samples.
    """

    means_KD: Tensor

    @torch.no_grad()
    def predict(self, features_ND: Tensor) -> Tensor:
        """Return the class whose mean is nearest, ``[N]``, int64; the lowest of equal ones."""
        half_squares_K = self.means_KD.square().sum(1) / 2
        nearness_NK = features_ND.double() @ self.means_KD.T - half_squares_K
        return nearness_NK.nan_to_num(nan=-torch.inf).argmax(1)


@torch.no_grad()
def fit_class_means(features_ND: Tensor, labels_N: Tensor, *, num_classes: int) -> ClassMeans:
    """Return the mean feature vector of every class.

    Args:
        features_ND: Of the training samples.
        labels_N: Their classes, int64.
        num_classes: K.
    """
    members_NK = F.one_hot(labels_N, num_classes).double()
    counts_K1 = members_NK.sum(0).unsqueeze(1)
    return ClassMeans((members_NK.T @ features_ND.double()) / counts_K1)

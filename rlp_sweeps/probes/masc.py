"""MASC: the class whose subspace a feature vector has the least angle with.

Shapes: N samples, D features, K classes, P components of a class.
"""

from typing import NamedTuple

import torch
from torch import Tensor

SHARE_OF_VARIANCE = 0.99


class ClassSubspaces(NamedTuple):
    """One subspace through the origin for each class.

    Attributes:
        directions: Orthonormal, ``[P, D]``, float64, by class; none for a class without samples.
    """

    directions: tuple[Tensor, ...]

    @property
    def mean_num_components(self) -> float:
        """Mean of P over the classes."""
        return sum(len(directions_PD) for directions_PD in self.directions) / len(self.directions)

    @torch.no_grad()
    def predict(self, features_ND: Tensor) -> Tensor:
        """Return the class of the least angle, ``[N]``, int64; the lowest of equal ones.

        The angle of h with a subspace has the cosine ‖V_k h‖ / ‖h‖, so that the largest projection
        has the least angle.
        """
        values_ND = features_ND.double()
        lengths = [(values_ND @ v_PD.T).square().sum(1) for v_PD in self.directions]
        return torch.stack(lengths, dim=1).argmax(1)


@torch.no_grad()
def fit_class_subspaces(
    features_ND: Tensor,
    labels_N: Tensor,
    *,
    num_classes: int,
    share_of_variance: float = SHARE_OF_VARIANCE,
) -> ClassSubspaces:
    """Return each class's main directions, from features that are not centred.

    A class keeps as many components as have a cumulative share of its variance of at most
    `share_of_variance`, and one more: the fewest that exceed it. With few features that can be all
    of them; such classes have the angle 0 with everything.

    Args:
        features_ND: Of the training samples.
        labels_N: Their classes, those trained on or the true ones, int64.
        num_classes: K.
        share_of_variance: In (0, 1).

    Source:
        Ketha and Ramaswamy 2025, arXiv:2501.14687 (minimum angle subspace classifier).
    """
    values_ND = features_ND.double()
    return ClassSubspaces(
        tuple(
            _main_directions(values_ND[labels_N == label], share_of_variance)
            for label in range(num_classes)
        )
    )


def _main_directions(values_ND: Tensor, share_of_variance: float) -> Tensor:
    """Return the right singular vectors to keep, ``[P, D]``, from the smaller Gram matrix."""
    num_samples, num_features = values_ND.shape
    is_wide = num_samples < num_features
    gram = values_ND @ values_ND.T if is_wide else values_ND.T @ values_ND
    if gram.numel() == 0 or not bool(gram.diagonal().sum() > 0):
        return values_ND.new_zeros((0, num_features))  # no samples, or only vectors of 0
    variances, vectors = torch.linalg.eigh(gram)  # ascending
    variances, vectors = variances.flip(0).clamp(min=0), vectors.flip(1)
    shares = variances.cumsum(0) / variances.sum()
    num_kept = min(int((shares <= share_of_variance).sum()) + 1, len(shares))
    if num_kept == num_features:  # the whole space: its classes are level to the last bit
        return torch.eye(num_features, dtype=values_ND.dtype, device=values_ND.device)
    kept: Tensor = vectors[:, :num_kept]
    if is_wide:
        kept = torch.linalg.qr(values_ND.T @ kept).Q  # orthonormal whatever the singular values
    return kept.T

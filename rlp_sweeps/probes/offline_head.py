"""A fresh RLP head trained to convergence on fixed features: what a linear head can recall there.

The head that is trained beside the network lags behind features that move; this one shows what they
hold when they stand still. Shapes: N samples, D features, K classes, R random labels.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from rlp_sweeps.probes.softmax_regression import MAX_ITERATIONS, SoftmaxFit, fit_softmax
from rlp_sweeps.training.losses import true_class_block

TOLERANCE = 1e-4
"""Largest gradient entry at which a head has converged, in nats per unit weight of whitened
features.

A tenth of it takes about ten times as many iterations and moves the accuracy by a few thousandths
(docs/method.md).
"""


class OfflineHead(NamedTuple):
    """A nested joint head at its optimum.

    Attributes:
        fit: Its K·R outputs as one softmax regression.
        num_random_labels: R.
    """

    fit: SoftmaxFit
    num_random_labels: int

    @torch.no_grad()
    def accuracy(self, features_ND: Tensor, labels_N: Tensor, random_labels_N: Tensor) -> float:
        """Return the share of samples whose random label is the largest of its class's block.

        Args:
            features_ND: Raw features.
            labels_N: Class indices, int64: they say which block is read.
            random_labels_N: Random labels, int64, in ``[0, R)``.
        """
        parts_ND = self.fit.batches(features_ND)
        size = len(parts_ND[0])
        hits = torch.zeros((), dtype=torch.int64, device=features_ND.device)
        labels = zip(torch.split(labels_N, size), torch.split(random_labels_N, size), strict=True)
        for part_ND, (classes_N, targets_N) in zip(parts_ND, labels, strict=True):
            logits_NKR = torch.unflatten(self.fit.logits(part_ND), 1, (-1, self.num_random_labels))
            hits += (true_class_block(logits_NKR, classes_N).argmax(1) == targets_N).sum()
        return float(hits) / len(labels_N)


def fit_offline_head(  # noqa: PLR0913  # labels of two kinds, and a stopping rule
    features_ND: Tensor,
    labels_N: Tensor,
    random_labels_N: Tensor,
    *,
    num_classes: int,
    num_random_labels: int,
    max_iterations: int = MAX_ITERATIONS,
    tolerance: float = TOLERANCE,
) -> OfflineHead:
    """Train a nested joint head on L_head = −log p̂_yr until its gradient vanishes.

    Args:
        features_ND: Features of the training samples, raw, float.
        labels_N: Class indices that were trained on, int64, in ``[0, K)``.
        random_labels_N: The observer's fixed random labels, int64, in ``[0, R)``.
        num_classes: K.
        num_random_labels: R.
        max_iterations: L-BFGS iterations at most.
        tolerance: Largest gradient entry at which it has converged, in nats per unit weight of
            whitened features.
    """
    fit = fit_softmax(
        features_ND,
        labels_N * num_random_labels + random_labels_N,
        num_outputs=num_classes * num_random_labels,
        max_iterations=max_iterations,
        tolerance=tolerance,
    )
    return OfflineHead(fit, num_random_labels)

"""A fresh RLP head trained to convergence on fixed features: what a linear head can recall there.

The head that is trained beside the network lags behind features that move; this one shows what they
hold when they stand still. It has the form of that head (``head_kinds.HEADS``). Shapes: N samples,
D features, K classes, R random labels, J outputs, P coordinates of the minimizer.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from rlp_sweeps.probes.softmax_regression import MAX_ITERATIONS, SoftmaxFit, fit_softmax
from rlp_sweeps.training.heads import HeadShape
from rlp_sweeps.training.losses import true_class_block

TOLERANCE = 1e-4
"""Largest gradient entry at which a head has converged, in nats per unit weight of whitened
features.

A tenth of it takes about ten times as many iterations and moves the accuracy by a few thousandths
(docs/method.md).
"""


class OfflineHead(NamedTuple):
    """An RLP head at its optimum.

    Attributes:
        fit: Its outputs as one softmax regression. Where each class has a softmax of its own, their
            outputs side by side, 0 for a class without samples; its loss is that of all samples,
            its gradient and its iterations are the most of any class.
        shape: What the outputs mean.
    """

    fit: SoftmaxFit
    shape: HeadShape

    @torch.no_grad()
    def accuracy(self, features_ND: Tensor, labels_N: Tensor, random_labels_N: Tensor) -> float:
        """Return the share of samples whose random label is the largest of their block.

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
            logits_NBR = torch.unflatten(
                self.fit.logits(part_ND), 1, (-1, self.shape.num_random_labels)
            )
            hits += (
                true_class_block(logits_NBR, self.shape.blocks(classes_N)).argmax(1) == targets_N
            ).sum()
        return float(hits) / len(labels_N)


def fit_offline_head(
    features_ND: Tensor,
    labels_N: Tensor,
    random_labels_N: Tensor,
    *,
    shape: HeadShape,
    max_iterations: int = MAX_ITERATIONS,
    tolerance: float = TOLERANCE,
) -> OfflineHead:
    """Train a head on its own loss, −log of the random label's share, until its gradient vanishes.

    Args:
        features_ND: Features of the training samples, raw, float.
        labels_N: Class indices that were trained on, int64, in ``[0, K)``.
        random_labels_N: The observer's fixed random labels, int64, in ``[0, R)``.
        shape: ``nested_joint`` has one softmax over all K·R outputs, ``nested_per_class`` one over
            the R outputs of each class, fitted to its samples alone, ``single`` one over R.
        max_iterations: L-BFGS iterations at most, of each softmax.
        tolerance: Largest gradient entry at which it has converged, in nats per unit weight of
            whitened features; of a class, in its own mean loss.
    """

    def fitted(features_ND: Tensor, targets_N: Tensor, num_outputs: int) -> SoftmaxFit:
        return fit_softmax(
            features_ND,
            targets_N,
            num_outputs=num_outputs,
            max_iterations=max_iterations,
            tolerance=tolerance,
        )

    if shape.kind != "nested_per_class":
        targets_N = shape.blocks(labels_N) * shape.num_random_labels + random_labels_N
        return OfflineHead(fitted(features_ND, targets_N, shape.num_outputs), shape)
    members = [labels_N == label for label in range(shape.num_blocks)]
    fits = [
        fitted(features_ND[is_in_N], random_labels_N[is_in_N], shape.num_random_labels)
        if bool(is_in_N.any())
        else None
        for is_in_N in members
    ]
    shares = [float(is_in_N.double().mean()) for is_in_N in members]
    return OfflineHead(_side_by_side(fits, shares, features_ND.shape[1], shape), shape)


def _side_by_side(
    fits: list[SoftmaxFit | None], shares: list[float], num_features: int, shape: HeadShape
) -> SoftmaxFit:
    """Return the classes' softmax regressions as one whose outputs are theirs."""
    known = [fit for fit in fits if fit is not None]
    zeros_RD = known[0].weight_JD.new_zeros((shape.num_random_labels, num_features))
    weights = [zeros_RD if fit is None else fit.weight_JD for fit in fits]
    biases = [zeros_RD[:, 0] if fit is None else fit.bias_J for fit in fits]
    losses = (0.0 if fit is None else fit.loss for fit in fits)
    return SoftmaxFit(
        weight_JD=torch.cat(weights),
        bias_J=torch.cat(biases),
        loss=sum(share * loss for share, loss in zip(shares, losses, strict=True)),
        max_gradient=max(fit.max_gradient for fit in known),
        num_iterations=max(fit.num_iterations for fit in known),
        converged=all(fit.converged for fit in known),
        solution=np.concatenate([fit.solution for fit in known]),
    )

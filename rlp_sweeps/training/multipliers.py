"""Measured learning-rate multipliers: how far the regularizer pulls along the class gradient.

With g_c and g_r the gradients of L_class and L_reg on the extractor's parameters, and t running
over probes that each stand for the steps of one epoch,

    κ = 1 + λ · Σ_t η_t ⟨g_r, g_c⟩_t / Σ_t η_t ⟨g_c, g_c⟩_t.

Both products are taken across two disjoint half-batches, because one shared batch biases the ratio.
Per-step ratios are never averaged: ‖g_c‖ vanishes once the training loss does. A probe is taken in
the middle of every epoch, evaluated or not, because gradients fall fastest early.
Source: docs/method.md, "Measured multiplier".
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from rlp_sweeps.training.heads import ExtractorWeights
from rlp_sweeps.training.losses import dot, regularizer_terms, smoothed_cross_entropy
from rlp_sweeps.training.network import RLPNetwork

PROBE_COLUMNS = (
    "class_grad_dot",
    "class_term_grad_dot",
    "uniform_term_grad_dot",
    "regularizer_grad_orthogonal_norm",
)
"""What one probe measures, in this order: ⟨g_c^A, g_c^B⟩; ⟨g_r^A, g_c^B⟩ of the class term and of
the uniform term, symmetrized over A and B; norm of the part of ∇L_reg orthogonal to g_c on A."""


class MultiplierSums:
    """Running sums over a trial's probes, each weighted by learning rate and steps.

    Attributes:
        sums_3: Σ η_t ⟨·, g_c⟩_t of class loss, class term, uniform term, float64, on the device.
    """

    def __init__(self, device: torch.device) -> None:
        self.sums_3 = torch.zeros(3, dtype=torch.float64, device=device)

    def add(self, probe_4: Tensor, *, lr: float, num_steps: int) -> None:
        """Add one probe without waiting for the device.

        Args:
            probe_4: What `probe_gradients` returned.
            lr: η_t, the learning rate of the step at which it was measured.
            num_steps: Steps it stands for.
        """
        self.sums_3 += probe_4[:3] * (lr * num_steps)

    def multipliers(
        self, weights: ExtractorWeights, *, rlp_lambda: float
    ) -> dict[str, float | None]:
        """Return κ as trained, and of λ times each term at weight 1.

        None where the sum of ⟨g_c, g_c⟩ is not positive: all noise. Without regularizer κ is the
        planted scale. The sums carry the noise of one pair of half-batches an epoch, which the
        first epochs dominate.
        """
        class_grad_sum, class_term_sum, uniform_term_sum = self.sums_3.tolist()

        def multiplier(class_term: float, uniform_term: float, scale: float) -> float | None:
            if class_term == uniform_term == 0:
                return scale
            if not class_grad_sum > 0:
                return None
            along = class_term * class_term_sum + uniform_term * uniform_term_sum
            return float(scale + along / class_grad_sum)

        return {
            "lr_multiplier": multiplier(*weights),
            "lr_multiplier_class_term": multiplier(rlp_lambda, 0.0, 1.0),
            "lr_multiplier_uniform_term": multiplier(0.0, rlp_lambda, 1.0),
        }


def probe_gradients(
    network: RLPNetwork,
    half_batches: Sequence[tuple[Tensor, Tensor]],
    *,
    label_smoothing: float,
) -> Tensor:
    """Measure the extractor's gradients on two disjoint half-batches, as training sees them.

    Batch norm runs in train mode, its running statistics are put back afterwards.

    Args:
        network: In train mode; its weights, buffers and ``.grad`` are left as they were.
        half_batches: Two pairs of augmented images, ``[N, C, H, W]``, and classes, ``[N]``.
        label_smoothing: ε of the class loss.

    Returns:
        One number for each of `PROBE_COLUMNS`, ``[4]``, float64, on the device.
    """
    with _restored_buffers(network):
        (class_a, term_a, uniform_a), (class_b, term_b, uniform_b) = (
            _extractor_gradients(network, images_NCHW, labels_N, label_smoothing)
            for images_NCHW, labels_N in half_batches
        )
    regularizer_a = [t + u for t, u in zip(term_a, uniform_a, strict=True)]
    along = dot(regularizer_a, class_a) ** 2 / dot(class_a, class_a).clamp_min(1e-300)
    return torch.stack(
        [
            dot(class_a, class_b),
            (dot(term_a, class_b) + dot(term_b, class_a)) / 2,
            (dot(uniform_a, class_b) + dot(uniform_b, class_a)) / 2,
            (dot(regularizer_a, regularizer_a) - along).clamp_min(0).sqrt(),
        ]
    )


def _extractor_gradients(
    network: RLPNetwork, images_NCHW: Tensor, labels_N: Tensor, label_smoothing: float
) -> list[list[Tensor]]:
    """Return the gradients of L_class, L_reg^class and L_reg^uniform on the extractor."""
    logits_NK, features_ND = network(images_NCHW)
    class_loss = smoothed_cross_entropy(logits_NK, labels_N, label_smoothing)
    terms = regularizer_terms(network.heads.adversary(features_ND), labels_N)
    parameters = network.extractor_parameters
    last = len(terms)
    return [
        list(torch.autograd.grad(loss, parameters, retain_graph=i < last))
        for i, loss in enumerate((class_loss, *terms))
    ]


@contextmanager
def _restored_buffers(network: RLPNetwork) -> Iterator[None]:
    """Put every buffer (batch norm's running statistics) back on leaving."""
    saved = [(buffer, buffer.clone()) for buffer in network.buffers()]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, value in saved:
                buffer.copy_(value)

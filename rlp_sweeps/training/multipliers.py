"""Measured learning-rate multipliers: how far training pulls along the class gradient.

With g_c, g_r and g_t the gradients on the extractor's parameters of L_class, of L_reg and of a
training step (planted scale, λ and arm included), and t running over probes that each stand for the
steps of one epoch,

    κ = Σ_t η_t ⟨g_t, g_c⟩_t / Σ_t η_t ⟨g_c, g_c⟩_t,

which is 1 + λ · Σ_t η_t ⟨g_r, g_c⟩_t / Σ_t η_t ⟨g_c, g_c⟩_t in the arm `full`. All products are
taken across two disjoint half-batches, because one shared batch biases the ratio. Per-step ratios
are never averaged: ‖g_c‖ vanishes once the training loss does. A probe is taken in the middle of
every epoch, evaluated or not, because gradients fall fastest early.
Source: docs/method.md, "Measured multiplier".
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from rlp_sweeps.config import TrialConfig
from rlp_sweeps.head_kinds import SINGLE_OUTPUT
from rlp_sweeps.training.batch import Batch, batch_losses
from rlp_sweeps.training.heads import ExtractorWeights
from rlp_sweeps.training.losses import dot
from rlp_sweeps.training.mixup import blend
from rlp_sweeps.training.network import Readings, RLPNetwork
from rlp_sweeps.training.projection import projected_gradients, weigher

PROBE_COLUMNS = (
    "class_grad_dot",
    "trained_grad_dot",
    "class_term_grad_dot",
    "uniform_term_grad_dot",
    "regularizer_grad_orthogonal_norm",
)
"""What one probe measures, in this order: ⟨g_c^A, g_c^B⟩; ⟨g_t^A, g_c^B⟩; ⟨g_r^A, g_c^B⟩ of the
class term and of the uniform term, these three symmetrized over A and B; norm of the part of ∇L_reg
orthogonal to g_c on A."""
_NUM_LOSSES = 2  # of `ExtractorGradients`, the first ones reach every parameter
NUM_SUMS = 4
"""How many of `PROBE_COLUMNS` are summed, from the first on."""


SUM_COLUMNS = ("class_grad_sum", "trained_grad_sum")
"""Σ η_t ⟨g_c, g_c⟩_t and Σ η_t ⟨g_t, g_c⟩_t from the first epoch on: between two evaluations their
differences say what κ was there."""

MULTIPLIER_COLUMNS = (
    "lr_multiplier",
    "lr_multiplier_class_term",
    "lr_multiplier_uniform_term",
)

Gradient = list[Tensor]
"""One tensor a parameter of the extractor."""


class ExtractorGradients(NamedTuple):
    """What pulls at the extractor on one half-batch."""

    class_loss: Gradient
    trained: Gradient
    class_term: Gradient
    uniform_term: Gradient


class MultiplierSums:
    """Running sums over a trial's probes, each weighted by learning rate and steps.

    Attributes:
        sums_4: Σ η_t ⟨·, g_c⟩_t of class loss, training step, class term and uniform term, float64,
            on the device.
    """

    def __init__(self, device: torch.device) -> None:
        self.sums_4 = torch.zeros(NUM_SUMS, dtype=torch.float64, device=device)

    def add(self, probe_5: Tensor, *, lr: float, num_steps: int) -> None:
        """Add one probe without waiting for the device.

        Args:
            probe_5: What `probe_gradients` returned.
            lr: η_t, the learning rate of the step at which it was measured.
            num_steps: Steps it stands for.
        """
        self.sums_4 += probe_5[:NUM_SUMS] * (lr * num_steps)


def multipliers_of(sums: Sequence[float], *, rlp_lambda: float) -> dict[str, float | None]:
    """Return κ as trained, and of λ times each term at weight 1, by column name.

    None where the sum of ⟨g_c, g_c⟩ is not positive: all noise. The sums carry the noise of one
    pair of half-batches an epoch, which the first epochs dominate.

    Args:
        sums: As `MultiplierSums.sums_4`.
        rlp_lambda: λ.
    """
    class_grad, trained, class_term, uniform_term = sums
    if not class_grad > 0:
        return dict.fromkeys(MULTIPLIER_COLUMNS)
    return {
        "lr_multiplier": trained / class_grad,
        "lr_multiplier_class_term": 1 + rlp_lambda * class_term / class_grad,
        "lr_multiplier_uniform_term": 1 + rlp_lambda * uniform_term / class_grad,
    }


def multiplier_metrics(
    probe: Sequence[float], sums: Sequence[float], config: TrialConfig
) -> dict[str, float | None]:
    """Return the last probe, the sums, κ and the equivalent learning rate by column name.

    Args:
        probe: One number for each of `PROBE_COLUMNS`.
        sums: As `MultiplierSums.sums_4`.
        config: The trial's.
    """
    if config.head == SINGLE_OUTPUT:  # no class loss to measure along
        names = (*PROBE_COLUMNS, *SUM_COLUMNS, *MULTIPLIER_COLUMNS, "equivalent_lr")
        return dict.fromkeys(names)
    multipliers = multipliers_of(sums, rlp_lambda=config.rlp_lambda)
    probed: dict[str, float | None] = dict(zip(PROBE_COLUMNS, probe, strict=True))
    if config.head == "single":  # its regularizer has no terms
        multipliers |= dict.fromkeys(MULTIPLIER_COLUMNS[1:])
        probed |= dict.fromkeys(("class_term_grad_dot", "uniform_term_grad_dot"))
    kappa = multipliers["lr_multiplier"]
    equivalent_lr = None if kappa is None else kappa * config.lr
    summed = dict(zip(SUM_COLUMNS, sums, strict=False))
    return {**probed, **summed, **multipliers, "equivalent_lr": equivalent_lr}


def probe_gradients(
    network: RLPNetwork,
    half_batches: Sequence[Batch],
    weights: ExtractorWeights,
    *,
    label_smoothing: float,
) -> Tensor:
    """Measure the extractor's gradients on two disjoint half-batches, as training sees them.

    Batch norm runs in train mode, its running statistics are put back afterwards.

    Args:
        network: In train mode; its weights, buffers and ``.grad`` are left as they were.
        half_batches: Two of them.
        weights: What the extractor is trained on.
        label_smoothing: ε of the class loss.

    Returns:
        One number for each of `PROBE_COLUMNS`, ``[5]``, float64, on the device.
    """
    with restored_buffers(network):
        on_a, on_b = (
            _extractor_gradients(network, batch, weights, label_smoothing) for batch in half_batches
        )
    return probe_products(on_a, on_b, dot=dot)


def probe_products(
    on_a: ExtractorGradients,
    on_b: ExtractorGradients,
    *,
    dot: Callable[[Gradient, Gradient], Tensor],
) -> Tensor:
    """Return what two half-batches say, one number for each of `PROBE_COLUMNS`, ``[5, …]``.

    Args:
        on_a: Gradients on half-batch A.
        on_b: Gradients on half-batch B.
        dot: Inner product, ``[…]``, float64.
    """

    def across(name: str) -> Tensor:
        left = dot(getattr(on_a, name), on_b.class_loss)
        return (left + dot(getattr(on_b, name), on_a.class_loss)) / 2

    regularizer_a = [t + u for t, u in zip(on_a.class_term, on_a.uniform_term, strict=True)]
    along = dot(regularizer_a, on_a.class_loss) ** 2
    along = along / dot(on_a.class_loss, on_a.class_loss).clamp_min(1e-300)
    return torch.stack(
        [
            dot(on_a.class_loss, on_b.class_loss),
            across("trained"),
            across("class_term"),
            across("uniform_term"),
            (dot(regularizer_a, regularizer_a) - along).clamp_min(0).sqrt(),
        ]
    )


def gradients_of(losses: Sequence[Tensor], parameters: Sequence[Tensor]) -> ExtractorGradients:
    """Return the gradients of class loss, training loss, class term and uniform term.

    The terms have none behind the deepest place that regularizes.

    Args:
        losses: These four, each ``[]``, of one graph.
        parameters: The extractor's.
    """
    last = len(losses) - 1
    return ExtractorGradients(
        *(
            list(
                torch.autograd.grad(
                    loss, parameters, retain_graph=i < last, materialize_grads=i >= _NUM_LOSSES
                )
            )
            for i, loss in enumerate(losses)
        )
    )


def _extractor_gradients(
    network: RLPNetwork, batch: Batch, weights: ExtractorWeights, label_smoothing: float
) -> ExtractorGradients:
    readings = network.read(batch.images_NCHW)
    trained = batch_losses(network, readings, batch, weights, label_smoothing=label_smoothing)
    plain, *terms = _untrained_losses(network, readings, batch, label_smoothing)
    parameters = network.extractor_parameters
    projected = None
    if weights.projection != "none":
        weigh = weigher(weights.projection)
        projected = projected_gradients(*trained, parameters, weigh=weigh)
    losses = (plain, trained.class_loss + trained.heads_loss, *terms)
    gradients = gradients_of(losses, parameters)
    return gradients if projected is None else gradients._replace(trained=projected)


def _untrained_losses(
    network: RLPNetwork, readings: Readings, batch: Batch, label_smoothing: float
) -> tuple[Tensor, ...]:
    """Return class loss, class term and uniform term at weight 1, blended where images are."""
    plain = network.class_loss(
        network.classify(readings.features_ND), batch.labels_N, label_smoothing
    )
    terms = network.adversary_terms(readings, batch.labels_N, batch.random_labels_HN)
    partner = batch.partner()
    if batch.mix is None or partner is None:
        return (plain, *terms)
    other = _untrained_losses(network, readings, partner, label_smoothing)
    return blend((plain, *terms), other, batch.mix.share)


@contextmanager
def restored_buffers(network: nn.Module) -> Iterator[None]:
    """Put every buffer (batch norm's running statistics) back on leaving."""
    saved = [(buffer, buffer.clone()) for buffer in network.buffers()]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, value in saved:
                buffer.copy_(value)

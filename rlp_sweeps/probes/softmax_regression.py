"""Multinomial logistic regression by L-BFGS, for linear probes and offline heads.

Works in float64 from all weights 0: the problem is convex, so that no chance enters. With a ridge
features are standardized by the training samples; without one they are whitened, which changes the
path of the minimizer and not what can be fitted. Shapes: N samples, D features, J outputs, P
coordinates of the minimizer.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

TOLERANCE = 1e-5
"""Largest entry of the gradient at which a fit has converged, in nats per unit weight."""

MAX_ITERATIONS = 2000
"""L-BFGS iterations at most."""

NUM_CORRECTIONS = 20
"""Pairs of steps and gradient changes that L-BFGS remembers."""

LEAST_VARIANCE = 1e-10
"""Directions of less variance, as a share of the largest, are left out: float32 rounds there."""

MAX_OUTPUTS = 2**24
"""Most outputs that are held at once (128 MiB in float64)."""


class SoftmaxFit(NamedTuple):
    """A fitted softmax regression.

    Attributes:
        weight_JD: On raw features, float64.
        bias_J: float64.
        loss: Mean cross-entropy of the training samples, in nats, without the penalty.
        max_gradient: Largest entry of the objective's gradient, in nats per unit weight.
        num_iterations: L-BFGS iterations.
        converged: ``max_gradient <= tolerance``.
        solution: Weights and biases in the coordinates of the minimizer, to start another fit from.
    """

    weight_JD: Tensor
    bias_J: Tensor
    loss: float
    max_gradient: float
    num_iterations: int
    converged: bool
    solution: np.ndarray

    def logits(self, features_ND: Tensor) -> Tensor:
        """Return the outputs of raw features, ``[N, J]``, float64."""
        return F.linear(features_ND.double(), self.weight_JD, self.bias_J)

    def predict(self, features_ND: Tensor) -> Tensor:
        """Return the output that is largest for each sample, ``[N]``, int64; the first of equal."""
        return torch.cat([self.logits(part).argmax(1) for part in self.batches(features_ND)])

    def batches(self, features_ND: Tensor) -> tuple[Tensor, ...]:
        """Return the features in parts whose outputs fit into memory."""
        return torch.split(features_ND, _batch_size(len(self.bias_J)))


class _Loss(NamedTuple):
    value: Tensor
    weight_grad_JP: Tensor
    bias_grad_J: Tensor


@torch.no_grad()
def fit_softmax(  # noqa: PLR0913  # problem and stopping rule
    features_ND: Tensor,
    targets_N: Tensor,
    *,
    num_outputs: int,
    penalty: float = 0.0,
    start: SoftmaxFit | None = None,
    max_iterations: int = MAX_ITERATIONS,
    tolerance: float = TOLERANCE,
) -> SoftmaxFit:
    r"""Minimize the mean cross-entropy plus a ridge on the weights of standardized features.

    .. math:: \frac1N \sum_i -\log p_{t_i}(x_i) + \frac{\mathrm{penalty}}2 \lVert W \rVert^2

    Args:
        features_ND: Raw features, float.
        targets_N: Outputs to hit, int64, in ``[0, J)``.
        num_outputs: J.
        penalty: Weight of the ridge; the bias has none. Without it the features are whitened.
        start: Fit of the same features under another penalty to start from.
        max_iterations: Iterations at most.
        tolerance: Largest gradient entry at which the fit has converged, in nats per unit weight of
            standardized or whitened features.
    """
    from scipy.optimize import minimize  # a quarter of a second that most workers never need

    mean_D, basis_DP = _coordinates(features_ND, whitens=penalty == 0)
    inputs_NP = (features_ND.double() - mean_D) @ basis_DP
    shape = (num_outputs, basis_DP.shape[1])

    def unpacked(flat: np.ndarray) -> tuple[Tensor, Tensor]:
        values = torch.from_numpy(np.array(flat)).to(inputs_NP.device)
        return values[: -shape[0]].view(shape), values[-shape[0] :]

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weight_JP, bias_J = unpacked(flat)
        loss = _cross_entropy(inputs_NP, targets_N, weight_JP, bias_J)
        value = loss.value + penalty / 2 * weight_JP.square().sum()
        weight_grad_JP = loss.weight_grad_JP + penalty * weight_JP
        gradient = torch.cat([weight_grad_JP.flatten(), loss.bias_grad_J])
        return float(value), gradient.cpu().numpy()

    first = np.zeros(shape[0] * (shape[1] + 1)) if start is None else start.solution
    limits = {"maxiter": max_iterations, "maxfun": 10 * max_iterations, "gtol": tolerance}
    options = {"maxcor": NUM_CORRECTIONS, "ftol": 0.0, **limits}
    found = minimize(objective, first, jac=True, method="L-BFGS-B", options=options)
    weight_JP, bias_J = unpacked(found.x)
    max_gradient = float(np.abs(found.jac).max())
    weight_JD = weight_JP @ basis_DP.T
    return SoftmaxFit(
        weight_JD=weight_JD,
        bias_J=bias_J - weight_JD @ mean_D,
        loss=float(_cross_entropy(inputs_NP, targets_N, weight_JP, bias_J).value),
        max_gradient=max_gradient,
        num_iterations=int(found.nit),
        converged=max_gradient <= tolerance,
        solution=found.x,
    )


def _coordinates(features_ND: Tensor, *, whitens: bool) -> tuple[Tensor, Tensor]:
    """Return the mean and the basis in which the minimizer works, ``[D, P]``, float64.

    Standardization divides by the standard deviation; features that do not vary stay as they are.
    Whitening goes on with the principal directions of these, each at variance 1, and leaves out
    those of next to no variance.
    """
    values_ND = features_ND.double()
    mean_D = values_ND.mean(0)
    scale_D = values_ND.std(0, correction=0)
    varies_D = scale_D > 1e-6 * mean_D.abs()  # not by the rounding of float32 alone
    inverse_D = torch.where(varies_D, 1 / scale_D, torch.zeros_like(scale_D))
    if not whitens or not bool(varies_D.any()):
        return mean_D, inverse_D.diag()
    standardized_ND = (values_ND - mean_D) * inverse_D
    variances_D, directions_DD = torch.linalg.eigh(
        standardized_ND.T @ standardized_ND / len(values_ND)
    )
    is_kept_D = variances_D > LEAST_VARIANCE * variances_D[-1]
    directions_DP = directions_DD[:, is_kept_D] / variances_D[is_kept_D].sqrt()
    return mean_D, inverse_D.unsqueeze(1) * directions_DP


def _cross_entropy(
    inputs_NP: Tensor, targets_N: Tensor, weight_JP: Tensor, bias_J: Tensor
) -> _Loss:
    """Return the mean cross-entropy and its gradients, part by part of the samples."""
    value = torch.zeros((), dtype=torch.float64, device=inputs_NP.device)
    weight_grad_JP, bias_grad_J = torch.zeros_like(weight_JP), torch.zeros_like(bias_J)
    size, num_samples = _batch_size(len(bias_J)), len(targets_N)
    parts = zip(torch.split(inputs_NP, size), torch.split(targets_N, size), strict=True)
    for part_NP, part_N in parts:
        log_p_NJ = F.linear(part_NP, weight_JP, bias_J).log_softmax(1)
        hit_N1 = part_N.unsqueeze(1)
        value -= log_p_NJ.gather(1, hit_N1).sum()
        grad_NJ = log_p_NJ.exp_()
        grad_NJ.scatter_add_(1, hit_N1, grad_NJ.new_full(hit_N1.shape, -1.0))
        weight_grad_JP.addmm_(grad_NJ.T, part_NP)
        bias_grad_J += grad_NJ.sum(0)
    return _Loss(value / num_samples, weight_grad_JP / num_samples, bias_grad_J / num_samples)


def _batch_size(num_outputs: int) -> int:
    return max(1, MAX_OUTPUTS // num_outputs)

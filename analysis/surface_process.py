r"""A Gaussian process through one arm's points, as weights on the points' outcomes.

Hyper-parameters are fitted on means over seeds. Given them, a reading of the surface is linear in
the outcomes: every seed is read with the same weights, so that what seeds share cancels between
arms, and the spread over seeds is seen where the surface is read.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.intervals import NO_SPREAD, Floats

LENGTH_BOUNDS = (0.3, 30.0)
"""Bounds of the length scales, in standard deviations of the sampled points on that axis."""

SIGNAL_BOUNDS = (1e-2, 1e3)
NOISE_BOUNDS = (1e-6, 2.0)
"""Bounds of the variances of surface and noise, in the variance of the points' means."""

NUM_RESTARTS = 2
_RANDOM_STATE = 20_241_119
_JITTER = 1e-10  # of the variance of the points' means


@dataclass(frozen=True, slots=True)
class Process:
    """One arm's fitted process; P points, S seeds.

    Attributes:
        points: Standardized axes, ``[P, D]``.
        outcomes: ``[P, S]``.
        scale: Standard deviation of the points' means over seeds, of the outcome; 0 where all are
            the same, and the surface is that value.
        kernel: Covariance of the surface, in units of `scale` squared, without noise.
        noise: Variance of a point's mean around the surface, in units of `scale` squared.
        precision: Inverse of the covariance of the points' means, ``[P, P]``, likewise.
    """

    points: Floats
    outcomes: Floats
    scale: float
    kernel: Any
    noise: float
    precision: Floats

    def weights(self, at: Floats) -> Floats:
        r"""Return the weight of every point in a reading at ``[G, D]``, ``[G, P]``.

        .. math:: f_s(x) = \bar y_s + k(x, X) C^{-1} (y_s - \bar y_s)

        The mean over points belongs to the weights, so that those of a reading sum to 1.
        """
        gain: Floats = self.kernel(at, self.points) @ self.precision
        weights: Floats = gain + (1 - gain.sum(axis=1, keepdims=True)) / len(self.points)
        return weights

    def read(self, at: Floats, averages: Floats) -> tuple[Floats, Floats]:
        r"""Return averages of the surface: per seed, and their interpolation variance.

        The latter is the variance of what weights on a noiseless surface miss of it,

        .. math:: a' k(x, x) a - 2 w' k(X, x) a + w' k(X, X) w

        For the process's own optimal weights that is the posterior variance less :math:`w'Σw`; this
        form holds for the weights in use, whose mean is the plain one.

        Args:
            at: Standardized axes, ``[G, D]``.
            averages: Weights of the places in each average, ``[F, G]``; each sums to 1.

        Returns:
            Values, ``[F, S]``, and variances, of the outcome squared, ``[F]``.
        """
        weights = averages @ self.weights(at)
        among = np.einsum("fg,gh,fh->f", averages, self.kernel(at, at), averages)
        across = np.einsum("fg,gp,fp->f", averages, self.kernel(at, self.points), weights)
        within = np.einsum("fp,pq,fq->f", weights, self.kernel(self.points, self.points), weights)
        variance = np.maximum(among - 2 * across + within, 0.0) * self.scale**2
        return weights @ self.outcomes, variance

    def check(self) -> dict[str, float]:
        """Return how well each point is told by the others; NaN where all points are the same.

        `loo_rms`: root mean square of leave-one-point-out residuals of the means over seeds, each
        in its own predicted standard deviation; about 1 where the process is right. `loo_r2`: 1 −
        their sum of squares over that around the mean. Hyper-parameters stay as fitted, the mean
        leaves the point out.

        Source:
            Rasmussen and Williams 2006, Gaussian Processes for Machine Learning, equations 5.10 to
            5.12, with the mean of the other points in place of 0.
        """
        if self.scale == 0:
            return {"loo_rms": math.nan, "loo_r2": math.nan}
        means = self.outcomes.mean(axis=1)
        centered = (means - means.mean()) / self.scale
        others = -centered / (len(centered) - 1)
        diagonal = self.precision.diagonal()
        residuals = (self.precision @ centered - others * self.precision.sum(axis=1)) / diagonal
        return {
            "loo_rms": float(np.sqrt(np.mean(residuals**2 * diagonal))),
            "loo_r2": float(1 - np.sum(residuals**2) / np.sum(centered**2)),
        }


def fit_process(points: Floats, outcomes: Floats) -> Process:
    """Return the process through one arm's points.

    Matérn covariance (ν = 2.5) with one length scale an axis, and white noise, by largest marginal
    likelihood over bounded hyper-parameters from a fixed set of starts.

    Args:
        points: Standardized axes, ``[P, D]``, P ≥ 2.
        outcomes: ``[P, S]``, finite.
    """
    means = outcomes.mean(axis=1)
    scale = float(means.std())
    if np.ptp(means) <= NO_SPREAD * max(1.0, float(np.abs(means).max())):
        nothing = np.eye(len(points))
        return Process(points, outcomes, 0.0, _no_covariance, 0.0, nothing)
    kernel = _best_kernel(points, (means - means.mean()) / scale)
    signal, noise = kernel.k1, float(kernel.k2.noise_level)
    covariance = signal(points) + (noise + _JITTER) * np.eye(len(points))
    return Process(points, outcomes, scale, signal, noise, np.linalg.inv(covariance))


def _no_covariance(left: Floats, right: Floats) -> Floats:
    return np.zeros((len(left), len(right)))


def _best_kernel(points: Floats, values: Floats) -> Any:
    """Return the kernel of largest marginal likelihood.

    scikit-learn's own optimizer warns wherever a length scale ends at a bound, as it must on an
    axis without effect; so its likelihood is maximized here.
    """
    from scipy.optimize import minimize
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

    lengths = np.ones(points.shape[1])
    surface = ConstantKernel(1.0, SIGNAL_BOUNDS) * Matern(lengths, LENGTH_BOUNDS, nu=2.5)
    kernel = surface + WhiteKernel(0.1, NOISE_BOUNDS)
    model = GaussianProcessRegressor(kernel, alpha=_JITTER, optimizer=None).fit(points, values)

    def loss(theta: Floats) -> tuple[float, Floats]:
        value, gradient = model.log_marginal_likelihood(
            theta, eval_gradient=True, clone_kernel=False
        )
        return -value, -gradient

    bounds = kernel.bounds
    draws = np.random.default_rng(_RANDOM_STATE).uniform(size=(NUM_RESTARTS, len(bounds)))
    starts = [kernel.theta, *(bounds[:, 0] + draws * np.ptp(bounds, axis=1))]
    found = [minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds) for start in starts]
    best = min(found, key=lambda result: float(result.fun))
    return kernel.clone_with_theta(best.x)

r"""The structural model: what a trial's accuracy is made of.

With one replicate's random effects s, learning rate η, λ and ε, an arm a scores

.. math::

    Y_a = level_s + f(\log(κ_a η) - shift_s, ε) + β_s (M_a - M_control)
          + dose(λ) (beyond\_lr + joint) + noise

    \log κ_a = dose(λ) (class + uniform), \quad dose(λ) = λ / (1 + λ)

where an arm has the parts that `ARMS` states. f is a curved hill in log lr. Nothing is clipped:
accuracies of the scenarios lie far enough from 0 and 1. A trial beyond a replicate's largest
equivalent learning rate diverges.

Shapes: N replicates (seeds of all sweeps), E values of ε, L learning rates, A values of λ.
"""

import functools
import math
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt
from scipy import special, stats

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

NUM_CLASSES = 10
CHANCE = 1 / NUM_CLASSES
"""What a diverged trial scores."""

_LOG2_REPLICATES = 14
_EXPECTATION_SEED = 7


@dataclass(frozen=True, kw_only=True, slots=True)
class Parts:
    """What an arm is made of: 1 where it has the part, 0 where it has not.

    Attributes:
        kappa_class: The class term's pull along the class gradient.
        kappa_uniform: The uniform term's pull along (or against) the class gradient.
        recall: Memorization that the class term adds.
        unlearning: Memorization that the uniform term removes.
        beyond_lr: What the class term does beyond a learning rate.
        joint: What class and uniform term do only together.
        matched: Arm whose measured multiplier, that of the same seed, this arm is trained at; empty
            for none.
    """

    kappa_class: int = 0
    kappa_uniform: int = 0
    recall: int = 0
    unlearning: int = 0
    beyond_lr: int = 0
    joint: int = 0
    matched: str = ""


ARMS: dict[str, Parts] = {
    "control": Parts(),
    "full": Parts(kappa_class=1, kappa_uniform=1, recall=1, unlearning=1, beyond_lr=1, joint=1),
    "class_term": Parts(kappa_class=1, recall=1, beyond_lr=1),
    "uniform_term": Parts(kappa_uniform=1, unlearning=1),
    "sham": Parts(kappa_class=1, beyond_lr=1),
    "sham_norm": Parts(kappa_class=1, kappa_uniform=1, recall=1, beyond_lr=1),
    "class_mean": Parts(kappa_class=1, beyond_lr=1),
    "mean_rest": Parts(kappa_uniform=1, recall=1, unlearning=1),
    "rescaled": Parts(kappa_class=1, kappa_uniform=1, matched="full"),
    "rescaled_class_term": Parts(kappa_class=1, matched="class_term"),
    "rescaled_uniform_term": Parts(kappa_uniform=1, matched="uniform_term"),
    "replayed": Parts(kappa_class=1, kappa_uniform=1, matched="full"),
    "replayed_class_term": Parts(kappa_class=1, matched="class_term"),
    "replayed_uniform_term": Parts(kappa_uniform=1, matched="uniform_term"),
    "orthogonal": Parts(recall=1, unlearning=1, beyond_lr=1, joint=1),
    "grafted": Parts(recall=1, unlearning=1, beyond_lr=1, joint=1),
}
"""Every arm of the model. A matched arm has the learning-rate part of another arm and no other."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Hill:
    """Accuracy over log equivalent learning rate: two half parabolas, or a line; and a cliff.

    Attributes:
        height: Accuracy at the optimum for the best ε.
        optimum: Log learning rate of the top.
        left: Loss of accuracy per squared log unit below the optimum.
        right: The same above.
        slope: Gain per log unit, everywhere.
        best_smoothing: ε at which the hill is highest.
        smoothing_loss: Loss of accuracy at ε = 0.
        cliff: Accuracy lost past `cliff_at`.
        cliff_at: Log learning rate at which half the cliff is lost.
        cliff_width: Log units over which it falls.
    """

    height: float = 0.9
    optimum: float = math.log(0.1)
    left: float = 0.02
    right: float = 0.04
    slope: float = 0.0
    best_smoothing: float = 0.1
    smoothing_loss: float = 0.02
    cliff: float = 0.0
    cliff_at: float = math.log(0.8)
    cliff_width: float = 0.1

    def accuracy(self, log_lr: Floats, smoothing: Floats) -> Floats:
        """Return f; arguments broadcast against each other."""
        away = log_lr - self.optimum
        curved = np.where(away < 0, self.left, self.right) * away**2
        fallen = self.cliff * special.expit((log_lr - self.cliff_at) / self.cliff_width)
        off = self.smoothing_loss * (smoothing / self.best_smoothing - 1) ** 2
        accuracy: Floats = self.height + self.slope * away - curved - fallen - off
        return accuracy


@dataclass(frozen=True, kw_only=True, slots=True)
class Model:
    """The parameters; strengths are those at dose 1 (λ → ∞).

    Attributes:
        hill: f.
        log_kappa_class: Log multiplier of the class term.
        log_kappa_uniform: Log multiplier of the uniform term.
        recall: Memorization that the class term adds.
        unlearning: Memorization that the uniform term removes.
        memorization: Memorization of the control.
        beta: Accuracy per unit of memorization.
        beyond_lr: Accuracy that the class term adds beyond a learning rate.
        joint: Accuracy that class and uniform term add only together.
        level_sd: Spread over seeds of the level, which all arms of a seed share.
        shift_sd: Spread over seeds of the hill's place, in log lr.
        beta_sd: Spread over seeds of β.
        kappa_sd: Spread over seeds of each term's log κ, relative to it.
        noise_sd: Standard deviation of a trial's own noise.
        noise_df: Degrees of freedom of its t distribution, scaled to `noise_sd`; None for normal.
        multiplier_sd: Spread of the log of a measured κ; its mean is the true one.
        diverges_at: Log equivalent lr above which a trial diverges; None for never.
        diverges_sd: Spread of that threshold over seeds.
    """

    hill: Hill = Hill()
    log_kappa_class: float = math.log(3)
    log_kappa_uniform: float = -math.log(1.5)
    recall: float = 0.05
    unlearning: float = 0.5
    memorization: float = 0.8
    beta: float = -0.04
    beyond_lr: float = 0.0
    joint: float = 0.0
    level_sd: float = 0.02
    shift_sd: float = 0.0
    beta_sd: float = 0.0
    kappa_sd: float = 0.0
    noise_sd: float = 0.01
    noise_df: int | None = None
    multiplier_sd: float = 0.0
    diverges_at: float | None = None
    diverges_sd: float = 0.15


@dataclass(frozen=True, kw_only=True, slots=True)
class Grid:
    """The points that a sweep trains.

    Attributes:
        lrs: Learning rates η.
        lambdas: Values of λ > 0.
        smoothings: Values of ε.
    """

    lrs: tuple[float, ...] = tuple(0.01 * 2.0**step for step in range(7))
    lambdas: tuple[float, ...] = (1.0, 10.0)
    smoothings: tuple[float, ...] = (0.1,)


@dataclass(frozen=True, slots=True)
class RandomEffects:
    """Standard normal effects of every replicate, each ``[N]``; the model scales them."""

    level: Floats
    shift: Floats
    beta: Floats
    kappa_class: Floats
    kappa_uniform: Floats
    threshold: Floats

    @classmethod
    def draw(cls, generator: np.random.Generator, num_replicates: int) -> "RandomEffects":
        """Return independent draws."""
        return cls(*generator.standard_normal((len(fields(cls)), num_replicates)))


@dataclass(frozen=True, slots=True)
class NoiseFree:
    """An arm without its trials' own noise, each ``[N, E, L, A]`` (A = 1 in the control).

    Attributes:
        y: Outcome of a trial that does not diverge.
        memorization: M.
        has_diverged: Whether the trial diverges.
    """

    y: Floats
    memorization: Floats
    has_diverged: Bools

    @property
    def scored(self) -> Floats:
        """The outcome, chance where the trial diverged."""
        return np.where(self.has_diverged, CHANCE, self.y)


def doses(grid: Grid, arm: str) -> Floats:
    """Return dose(λ), ``[A]``; one dose of 0 for the control."""
    lambdas = np.array([0.0] if arm == "control" else grid.lambdas)
    dose: Floats = lambdas / (1 + lambdas)
    return dose


def log_kappa(model: Model, grid: Grid, arm: str, effects: RandomEffects) -> Floats:
    """Return the arm's true log multiplier, ``[N, 1, 1, A]``."""
    parts = ARMS[arm]
    of_class = model.log_kappa_class * (1 + model.kappa_sd * effects.kappa_class)
    of_uniform = model.log_kappa_uniform * (1 + model.kappa_sd * effects.kappa_uniform)
    strength = parts.kappa_class * of_class + parts.kappa_uniform * of_uniform
    return _aside(strength) * doses(grid, arm)


def noise_free(
    model: Model, grid: Grid, arm: str, effects: RandomEffects, kappa: Floats | None = None
) -> NoiseFree:
    """Return what the arm scores before noise.

    Args:
        model: Its parameters.
        grid: Points.
        arm: Name.
        effects: Of N replicates.
        kappa: Log multiplier that it is trained at, ``[N, E, L, A]`` or what broadcasts to it.
            Default: the true one.
    """
    parts, dose = ARMS[arm], doses(grid, arm)
    if kappa is None:
        kappa = log_kappa(model, grid, arm, effects)
    log_lr = kappa + np.log(grid.lrs)[:, None]
    smoothing = np.array(grid.smoothings)[:, None, None]
    removed = parts.recall * model.recall - parts.unlearning * model.unlearning
    beta = model.beta * (1 + model.beta_sd * effects.beta)
    further = parts.beyond_lr * model.beyond_lr + parts.joint * model.joint
    y = (
        model.hill.accuracy(log_lr - _aside(model.shift_sd * effects.shift), smoothing)
        + _aside(model.level_sd * effects.level)
        + (_aside(beta * removed) + further) * dose
    )
    threshold = math.inf if model.diverges_at is None else model.diverges_at
    has_diverged = log_lr > threshold + _aside(model.diverges_sd * effects.threshold)
    memorization = model.memorization + removed * dose
    return NoiseFree(
        y, np.broadcast_to(memorization, y.shape), np.broadcast_to(has_diverged, y.shape)
    )


@functools.cache
def expected_outcomes(model: Model, grid: Grid) -> dict[str, Floats]:
    """Return every arm's expected outcome with random effects integrated, ``[E, L, A]``.

    A matched arm is trained at its seed's own true κ. The average runs over 2^14 replicates of a
    scrambled Sobol sequence, the same for every arm: exact where there are no random slopes, else
    to about 1e-5.
    """
    sobol = stats.qmc.Sobol(len(fields(RandomEffects)), rng=_EXPECTATION_SEED)
    effects = RandomEffects(*special.ndtri(sobol.random_base2(_LOG2_REPLICATES)).T)
    return {arm: noise_free(model, grid, arm, effects).scored.mean(axis=0) for arm in ARMS}


def _aside(values: Floats) -> Floats:
    """Return values ``[N]`` as ``[N, 1, 1, 1]``."""
    return values[:, None, None, None]

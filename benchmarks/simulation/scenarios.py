"""The scenarios: each breaks one thing that an estimator or its interval leans on."""

import math
from dataclasses import dataclass, field

from benchmarks.simulation.model import ARMS, Grid, Hill, Model


@dataclass(frozen=True, kw_only=True, slots=True)
class Scenario:
    """One design and one truth.

    Attributes:
        says: What it breaks, and where the estimators do not estimate the same thing.
        model: How accuracy comes about.
        grid: Points of a sweep.
        arms: Arms that the sweep trains.
        share_missing: Share of trials that are lost at random.
    """

    says: str
    model: Model = field(default_factory=Model)
    grid: Grid = field(default_factory=Grid)
    arms: tuple[str, ...] = tuple(ARMS)
    share_missing: float = 0.0


SCENARIOS: dict[str, Scenario] = {
    "base": Scenario(
        says="Normal noise, effects alike in every seed. By term and by mechanism differ: the "
        "class term also adds recall, and the uniform term also lowers the learning rate.",
    ),
    "varying_effects": Scenario(
        says="Optimum, κ and β differ between seeds. The truth is the mean over seeds; a curved f "
        "makes the effects skewed.",
        model=Model(shift_sd=0.3, beta_sd=0.5, kappa_sd=0.3),
    ),
    "heavy_tails": Scenario(
        says="Noise is t with 3 degrees of freedom at the same standard deviation.",
        model=Model(noise_df=3),
    ),
    "cliff": Scenario(
        says="f falls by 0.3 past lr 0.8. Truths as in base away from the cliff; a curve through "
        "seven learning rates cannot follow it.",
        model=Model(hill=Hill(cliff=0.3)),
    ),
    "diverged": Scenario(
        says="Trials past an equivalent lr of about 0.9 diverge and score chance. The truth is the "
        "mean score, divergence included: that is what every estimator but curve and alignment "
        "reads; f of these two has the same divergence in it. A diverged trial has a κ.",
        model=Model(diverges_at=math.log(0.9)),
    ),
    "interaction": Scenario(
        says="Class and uniform term do 0.03 only together: arms halves it between the terms, by "
        "mechanism it is all memorization, and so it is for sham.",
        model=Model(joint=0.03),
    ),
    "class_beyond_lr": Scenario(
        says="The class term adds 0.03 beyond a learning rate: learning rate for arms and sham, "
        "memorization (the rest) for matched, curve and alignment.",
        model=Model(beyond_lr=0.03),
    ),
    "noisy_multiplier": Scenario(
        says="κ is measured with a log error of 0.3, apart in every trial; a rescaled trial trains "
        "at what its seed's trial measured. The truth is at the true κ.",
        model=Model(multiplier_sd=0.3),
    ),
    "linear": Scenario(
        says="f is a line in log lr: a shift of the curve is an offset, so alignment is not "
        "identified.",
        model=Model(hill=Hill(height=0.8, left=0.0, right=0.0, slope=0.03)),
    ),
    "null": Scenario(
        says="The regularizer does nothing at all; every effect is 0.",
        model=Model(log_kappa_class=0.0, log_kappa_uniform=0.0, beta=0.0),
    ),
    "control_and_full": Scenario(
        says="The design of P1: no arm but control and full.",
        arms=("control", "full"),
    ),
    "incomplete": Scenario(
        says="3 % of the trials are lost at random. The truth of a pooled effect is the mean over "
        "all cells; the estimate stands on the cells of the largest block without a hole.",
        share_missing=0.03,
    ),
}
"""Every scenario by name."""

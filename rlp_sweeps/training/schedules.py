"""Learning-rate schedules: a factor in [0, 1] on the peak learning rate, per step."""

import math

STEP_DROPS = (0.3, 0.6, 0.8)
"""Shares of the training after which the `step` schedule divides by 5: epochs 60, 120, 160 of 200
(Zagoruyko and Komodakis 2016, arXiv:1605.07146, section 3)."""
STEP_FACTOR = 0.2


def lr_factor(schedule: str, *, step: int, num_steps: int, warmup_steps: int = 0) -> float:
    """Return the factor on the peak learning rate at one step.

    Args:
        schedule: ``cosine`` (to 0, Loshchilov and Hutter 2017, arXiv:1608.03983), ``constant`` or
            ``step``.
        step: Number of steps taken before this one, in ``[0, num_steps)``.
        num_steps: Steps of the whole training.
        warmup_steps: First steps, over which the factor rises linearly to 1.
    """
    if step < warmup_steps:
        return (step + 1) / (warmup_steps + 1)
    progress = (step - warmup_steps) / max(1, num_steps - warmup_steps)
    if schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * progress))
    if schedule == "step":
        return float(STEP_FACTOR ** sum(progress >= drop for drop in STEP_DROPS))
    return 1.0

"""Arms: the interventions that separate the learning-rate effect from the memorization effect.

An arm is two weights and a flag (docs/method.md, section 3). With the exact split of the nested
joint head, the extractor's gradient is ``∇L_class + λ (w_c ∇L_reg^class + w_u ∇L_reg^uniform)``.
"""

from dataclasses import dataclass

from rlp_sweeps.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class Arm:
    """One intervention on the extractor's gradient.

    Attributes:
        weight_class_term: w_c, the weight of the second classification loss inside the regularizer.
        weight_uniform_term: w_u, the weight of the unlearning of random labels.
        redraws_random_labels: The adversary's random labels are redrawn every epoch, so that there
            is nothing to unlearn; the observer's stay fixed.
        reads: What comparing this arm with others tells.
    """

    weight_class_term: float
    weight_uniform_term: float
    redraws_random_labels: bool = False
    reads: str


ARMS: dict[str, Arm] = {
    "control": Arm(weight_class_term=0.0, weight_uniform_term=0.0, reads="nothing: λ = 0"),
    "full": Arm(weight_class_term=1.0, weight_uniform_term=1.0, reads="the total effect"),
    "class_term": Arm(weight_class_term=1.0, weight_uniform_term=0.0, reads="the class term alone"),
    "uniform_term": Arm(
        weight_class_term=0.0, weight_uniform_term=1.0, reads="the uniform term alone"
    ),
    "sham": Arm(
        weight_class_term=1.0,
        weight_uniform_term=1.0,
        redraws_random_labels=True,
        reads="the regularizer when there is nothing to unlearn",
    ),
}


def get_arm(name: str) -> Arm:
    """Return the arm of that name.

    Raises:
        ConfigError: No such arm.
    """
    if name not in ARMS:
        msg = f"unknown arm {name!r}; the arms are {list(ARMS)}."
        raise ConfigError(msg)
    return ARMS[name]

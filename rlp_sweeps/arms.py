"""Arms: the interventions that separate the learning-rate effect from the memorization effect.

An arm says what the extractor's gradient is made of (docs/method.md, section 3). With the exact
split of the nested joint head it is ``∇L_class + λ (w_c ∇L_reg^class + w_u ∇L_reg^uniform)``; the
block-mean split has two weights of its own. Projection arms combine the gradients of L_class and
L_reg on the extractor's parameters; matched arms train on L_class alone, at a measured multiple:
`rescaled` at one for the whole training, `replayed` at one for each interval between evaluations.
"""

from dataclasses import dataclass
from typing import Literal

from rlp_sweeps.errors import ConfigError
from rlp_sweeps.misspelling import advice

Projection = Literal["none", "orthogonal", "grafted"]
"""How the gradients of L_class and L_reg meet on the extractor's parameters."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Arm:
    """One intervention on the extractor's gradient.

    Attributes:
        weight_class_term: w_c, the weight of the second classification loss inside the regularizer.
        weight_uniform_term: w_u, the weight of the unlearning of random labels.
        weight_class_mean: Weight of the class part of the block-mean split.
        weight_mean_rest: Weight of the rest of the block-mean split.
        redraws_random_labels: The adversary's random labels are redrawn every epoch, so that there
            is nothing to unlearn; the observer's stay fixed.
        permutes_uniform_term: A sample gets the uniform term's gradient of another sample of its
            class: same size, wrong sample.
        projection: ``none``: the gradients add up. ``orthogonal``: of L_reg only what is orthogonal
            to L_class. ``grafted``: their sum, at the norm of L_class alone.
        matched_to: The arm whose measured multiplier scales the gradient of L_class, or None.
        replays: The multiplier is that of each interval between evaluations, not of the whole.
        reads: What comparing this arm with others tells.
    """

    weight_class_term: float = 0.0
    weight_uniform_term: float = 0.0
    weight_class_mean: float = 0.0
    weight_mean_rest: float = 0.0
    redraws_random_labels: bool = False
    permutes_uniform_term: bool = False
    projection: Projection = "none"
    matched_to: str | None = None
    replays: bool = False
    reads: str

    @property
    def is_regularized(self) -> bool:
        """Whether the regularizer reaches the extractor."""
        weights = (self.weight_class_term, self.weight_uniform_term)
        return any((*weights, self.weight_class_mean, self.weight_mean_rest))

    @property
    def has_lambda(self) -> bool:
        """Whether a trial of this arm has a λ: its own, or that of the trials it is matched to."""
        return self.is_regularized or self.matched_to is not None


ARMS: dict[str, Arm] = {
    "control": Arm(reads="nothing: λ = 0"),
    "full": Arm(weight_class_term=1.0, weight_uniform_term=1.0, reads="the total effect"),
    "class_term": Arm(weight_class_term=1.0, reads="the class term alone"),
    "uniform_term": Arm(weight_uniform_term=1.0, reads="the uniform term alone"),
    "sham": Arm(
        weight_class_term=1.0,
        weight_uniform_term=1.0,
        redraws_random_labels=True,
        reads="the regularizer when there is nothing to unlearn",
    ),
    "sham_norm": Arm(
        weight_class_term=1.0,
        weight_uniform_term=1.0,
        permutes_uniform_term=True,
        reads="the regularizer when every sample unlearns another one's label",
    ),
    "class_mean": Arm(weight_class_mean=1.0, reads="the block-mean split's class part alone"),
    "mean_rest": Arm(weight_mean_rest=1.0, reads="the block-mean split's rest alone"),
    "orthogonal": Arm(
        weight_class_term=1.0,
        weight_uniform_term=1.0,
        projection="orthogonal",
        reads="the regularizer without its part along the class gradient",
    ),
    "grafted": Arm(
        weight_class_term=1.0,
        weight_uniform_term=1.0,
        projection="grafted",
        reads="the regularizer's direction at the control's step size",
    ),
    "rescaled": Arm(matched_to="full", reads="the learning rate that `full` amounts to"),
    "rescaled_class_term": Arm(
        matched_to="class_term", reads="the learning rate that `class_term` amounts to"
    ),
    "rescaled_uniform_term": Arm(
        matched_to="uniform_term", reads="the learning rate that `uniform_term` amounts to"
    ),
    "replayed": Arm(
        matched_to="full",
        replays=True,
        reads="the learning rates that `full` amounts to, one after the other",
    ),
    "replayed_class_term": Arm(
        matched_to="class_term",
        replays=True,
        reads="the learning rates that `class_term` amounts to, one after the other",
    ),
    "replayed_uniform_term": Arm(
        matched_to="uniform_term",
        replays=True,
        reads="the learning rates that `uniform_term` amounts to, one after the other",
    ),
}

MAIN_ARMS = ("control", "full", "class_term", "uniform_term", "sham")
"""What a space with a λ trains where it names no arms."""


def get_arm(name: str) -> Arm:
    """Return the arm of that name.

    Raises:
        ConfigError: No such arm.
    """
    if name not in ARMS:
        msg = f"unknown arm {name!r}; " + advice(
            name, ARMS, otherwise=f"the arms are {list(ARMS)}."
        )
        raise ConfigError(msg)
    return ARMS[name]

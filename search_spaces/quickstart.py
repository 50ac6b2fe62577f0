"""Digits, a small CNN, the five arms: both effects apart within two minutes on two CPU cores.

Claim:
    The RLP regularizer changes test accuracy in two ways at once: by unlearning random labels and
    by an implicit, larger learning rate. At a small learning rate the second one helps.

Source:
    Becker and Risse, arXiv:2411.19640, appendix A.3, figure A.1 (λ × learning rate), asked of the
    1,797 digits that come with scikit-learn instead of CIFAR-100.

Deviations:
    Data set, network and epochs are chosen for the time they take, the number of seeds by a power
    calculation on seeds that the study does not use (docs/measurements.md), none for the effects
    they show. The learning rates end at 0.1, because at 0.3 with λ = 10 every arm with the class
    term lost its training (both pilots are in docs/measurements.md). What comes out is a statement
    on digits and this network; a null is an answer.
"""

from rlp_sweeps.spaces import LogAxis, SearchSpace

SPACE = SearchSpace(
    claim="At a small learning rate the regularizer's gain is an implicit, larger learning rate.",
    source="arXiv:2411.19640, figure A.1 (on digits instead of CIFAR-100)",
    axes={
        "lr": LogAxis(low=0.003, high=0.1, num_points=3),
        "rlp_lambda": LogAxis(low=1.0, high=10.0, num_points=2, control=0.0),
    },
    arms=("control", "full", "class_term", "uniform_term", "sham"),
    num_seeds=5,
    fixed={
        "dataset": "digits",
        "backbone": "small_cnn",
        "num_random_labels": 10,
        "optimizer": "sgd",
        "momentum": 0.9,
        "schedule": "cosine",
        "num_epochs": 12,
        "batch_size": 64,
        "eval_every": 4,
    },
)

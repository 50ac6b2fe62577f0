"""Digits, a small CNN, every arm: λ × learning rate × label smoothing, to be followed up.

Claim:
    λ helps at a low learning rate and hurts at a high one, as a larger learning rate would (A.3);
    with little label smoothing it helps, at the best ε it does not, and at a large λ all ε
    coincide (A.4). If the regularizer is a learning rate, controls at the measured multiplier do
    what it does.

Source:
    Becker and Risse, arXiv:2411.19640, appendices A.3 and A.4, figures A.1 and A.2, asked of the
    1,797 digits that come with scikit-learn and a small CNN instead of CIFAR-100.

Deviations:
    Network, epochs and the ends of the axes are those of the recipe ``quickstart``, with learning
    rates up to 0.3, because both sides chose 0.1 there as their best. The three axes are crossed,
    where the paper shows two pairs. Matched controls are trained afterwards:
    ``rlp-sweeps follow-up DIR --replay``.
"""

from rlp_sweeps.spaces import ChoiceAxis, LogAxis, SearchSpace

SPACE = SearchSpace(
    claim="λ acts as a larger learning rate (A.3) and as label smoothing (A.4).",
    source="arXiv:2411.19640, figures A.1 and A.2 (on digits instead of CIFAR-100)",
    axes={
        "lr": LogAxis(low=0.003, high=0.3, num_points=5),
        "rlp_lambda": LogAxis(low=1.0, high=10.0, num_points=3, control=0.0),
        "label_smoothing": ChoiceAxis(choices=(0.0, 0.1, 0.3)),
    },
    arms=(
        "control",
        "full",
        "class_term",
        "uniform_term",
        "sham",
        "sham_norm",
        "class_mean",
        "mean_rest",
        "orthogonal",
        "grafted",
    ),
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
        "eval_every": 2,
    },
)

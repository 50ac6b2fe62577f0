"""Fashion-MNIST, a small CNN: λ × learning rate × label smoothing on part of the images.

Claim:
    λ helps at a low learning rate and hurts at a high one, as a larger learning rate would (A.3);
    with little label smoothing it helps, at the best ε it does not (A.4). If the regularizer is a
    learning rate, controls at the measured multiplier do what it does.

Source:
    Becker and Risse, arXiv:2411.19640, appendices A.3 and A.4, figures A.1 and A.2, asked of
    Fashion-MNIST and a small CNN instead of CIFAR-100 and a WideResNet-16-4.

Deviations:
    2,000 training images, 1,000 for validation and 4,000 of the test set, a CNN of 8 and 16
    channels, 12 epochs and two values of λ and of ε are what an hour of two CPU cores takes with
    its follow-up, not the paper's. Its momentum and its
    number of random labels R could not be recovered and are 0.9 and 10 here. Matched controls are
    trained afterwards: ``rlp-sweeps follow-up DIR --replay``.
"""

from rlp_sweeps.spaces import ChoiceAxis, LogAxis, SearchSpace

SPACE = SearchSpace(
    claim="λ acts as a larger learning rate (A.3) and as label smoothing (A.4).",
    source="arXiv:2411.19640, figures A.1 and A.2 (on Fashion-MNIST instead of CIFAR-100)",
    axes={
        "lr": LogAxis(low=0.003, high=0.3, num_points=4),
        "rlp_lambda": LogAxis(low=1.0, high=10.0, num_points=2, control=0.0),
        "label_smoothing": ChoiceAxis(choices=(0.0, 0.1)),
    },
    arms=("control", "full", "class_term", "uniform_term", "sham"),
    num_seeds=5,
    fixed={
        "dataset": "fashion_mnist",
        "train_samples": 2000,
        "val_samples": 1000,
        "test_samples": 4000,
        "backbone": "small_cnn",
        "backbone_width": 8,
        "num_random_labels": 10,
        "optimizer": "sgd",
        "momentum": 0.9,
        "schedule": "cosine",
        "num_epochs": 12,
        "batch_size": 64,
        "eval_every": 3,
    },
)

"""CIFAR-100, WideResNet-16-4: λ × learning rate, with and without augmentation.

Claim:
    At a low learning rate λ raises test accuracy, at a high one it lowers it: the pattern of a
    larger learning rate. The paper calls it crucial to separate this implicit effect from the
    removal of memorization, and does not separate them; the arms here do.

Source:
    Becker and Risse, arXiv:2411.19640, appendix A.3, figure A.1.

Deviations:
    Taken from the paper: network, data set, SGD with momentum, cosine schedule, batch 256, 200
    epochs, no other regularization. Not recovered from it, and therefore swept or chosen: the base
    learning rate and the values of λ (swept), the momentum (0.9), the number of random labels R
    (10), and whether the figure's runs were augmented (both). Evaluations every 10 epochs.
"""

from rlp_sweeps.spaces import ChoiceAxis, LogAxis, SearchSpace

SPACE = SearchSpace(
    claim="At a low learning rate λ raises test accuracy, at a high one it lowers it.",
    source="arXiv:2411.19640, figure A.1",
    axes={
        "augmentation": ChoiceAxis(choices=("none", "flip_crop")),
        "lr": LogAxis(low=0.01, high=1.0, num_points=5),
        "rlp_lambda": LogAxis(low=0.1, high=100.0, num_points=4, control=0.0),
    },
    arms=("control", "full", "class_term", "uniform_term", "sham"),
    num_seeds=3,
    fixed={
        "dataset": "cifar100",
        "backbone": "wide_resnet",
        "backbone_depth": 16,
        "backbone_width": 4,
        "num_random_labels": 10,
        "optimizer": "sgd",
        "momentum": 0.9,
        "schedule": "cosine",
        "num_epochs": 200,
        "batch_size": 256,
        "precision": "bf16",
        "eval_every": 10,
    },
)

"""CIFAR-100, WideResNet-16-4: label smoothing ε × λ at a fixed learning rate.

Claim:
    With little label smoothing λ helps; at the best ε it hurts; at a large λ all ε coincide. The
    regularizer would then replace label smoothing rather than add to it.

Source:
    Becker and Risse, arXiv:2411.19640, appendix A.4, figure A.2.

Deviations:
    Taken from the paper: network, data set, SGD with momentum, cosine schedule, batch 256, 200
    epochs. Not recovered from it, and therefore chosen: the learning rate (0.1, a common one for
    this network; ``--set lr=0.1,0.5`` makes it an axis), the momentum (0.9), the number of random
    labels R (10), augmentation (none) and the values of ε and λ. Evaluations every 10 epochs.
"""

from rlp_sweeps.spaces import ChoiceAxis, LogAxis, SearchSpace

SPACE = SearchSpace(
    claim="With little label smoothing λ helps, at the best ε it hurts, at large λ all coincide.",
    source="arXiv:2411.19640, figure A.2",
    axes={
        "label_smoothing": ChoiceAxis(choices=(0.0, 0.05, 0.1, 0.2, 0.4)),
        "rlp_lambda": LogAxis(low=0.1, high=100.0, num_points=4, control=0.0),
    },
    arms=("control", "full", "class_term", "uniform_term", "sham"),
    num_seeds=3,
    fixed={
        "lr": 0.1,
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

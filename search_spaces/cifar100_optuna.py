"""CIFAR-100, WideResNet-16-4: Optuna over learning rate, λ and label smoothing.

Claim:
    Once learning rate and label smoothing are tuned, λ adds nothing to test accuracy: its gain at
    untuned settings is that of the settings it stands in for.

Source:
    Becker and Risse, arXiv:2411.19640, appendices A.3 and A.4, figures A.1 and A.2, read together.

Deviations:
    The paper walks two grids; here TPE samples points of learning rate, λ and ε, and is told the
    mean of `val_accuracy` over the seeds in the arm `full`. Each point also trains its control, so
    that every point is a complete cell with a total effect; the split into its two parts is left to
    the grids, whose cells hold every arm. Momentum 0.9 and R = 10 are chosen, not recovered.
"""

from rlp_sweeps.spaces import LinearAxis, LogAxis, Search, SearchSpace

SPACE = SearchSpace(
    claim="Once learning rate and label smoothing are tuned, λ adds nothing to test accuracy.",
    source="arXiv:2411.19640, figures A.1 and A.2",
    axes={
        "lr": LogAxis(low=0.01, high=1.0, num_points=5),
        "rlp_lambda": LogAxis(low=0.01, high=100.0, num_points=5, control=0.0),
        "label_smoothing": LinearAxis(low=0.0, high=0.4, num_points=5),
    },
    arms=("control", "full"),
    num_seeds=3,
    search=Search(num_points=60, objectives=("val_accuracy",), objective_arm="full"),
    fixed={
        "dataset": "cifar100",
        "backbone": "wide_resnet",
        "backbone_depth": 16,
        "backbone_width": 4,
        "augmentation": "flip_crop",
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

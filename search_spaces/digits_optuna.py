"""Digits, a small CNN: Optuna over learning rate, λ and label smoothing, in minutes on a laptop.

Claim:
    Once learning rate and label smoothing are tuned, λ adds nothing to test accuracy.

Source:
    Becker and Risse, arXiv:2411.19640, appendices A.3 and A.4, figures A.1 and A.2, read together,
    asked of the 1,797 digits that come with scikit-learn instead of CIFAR-100.

Deviations:
    The paper walks two grids; here TPE samples points, and is told the mean of `val_accuracy` over
    the seeds in the arm `full`. Each point also trains its control, so that every point is a
    complete cell with a total effect. With ``--set`` the axes and the training can be changed.
"""

from rlp_sweeps.spaces import LinearAxis, LogAxis, Search, SearchSpace

SPACE = SearchSpace(
    claim="Once learning rate and label smoothing are tuned, λ adds nothing to test accuracy.",
    source="arXiv:2411.19640, figures A.1 and A.2 (on digits instead of CIFAR-100)",
    axes={
        "lr": LogAxis(low=0.003, high=0.3, num_points=5),
        "rlp_lambda": LogAxis(low=0.1, high=10.0, num_points=5, control=0.0),
        "label_smoothing": LinearAxis(low=0.0, high=0.4, num_points=5),
    },
    arms=("control", "full"),
    num_seeds=3,
    search=Search(num_points=30),
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

"""The sweep that faults are injected into: twelve trials in four groups, a few seconds of training.

The four of them with the largest learning rate diverge.
"""

from rlp_sweeps.spaces import ChoiceAxis, SearchSpace

GROUP_SIZE = 3
NUM_TRIALS = 12

SPACE = SearchSpace(
    axes={
        "lr": ChoiceAxis(choices=(0.05, 0.2, 1e12)),
        "rlp_lambda": ChoiceAxis(choices=(1.0,), control=0.0),
    },
    arms=("control", "full"),
    num_seeds=2,
    fixed={
        "dataset": "digits",
        "train_samples": 128,
        "backbone": "mlp",
        "batch_size": 64,
        "num_epochs": 60,
        "eval_every": 10,
    },
)

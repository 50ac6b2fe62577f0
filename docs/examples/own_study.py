"""Does λ act on a network and a data set of one's own?"""

from rlp_sweeps.spaces import ChoiceAxis, LogAxis, SearchSpace

SPACE = SearchSpace(
    claim="λ lowers memorization on stripes.",
    axes={
        "lr": ChoiceAxis(choices=(0.03, 0.1)),
        "rlp_lambda": LogAxis(low=1.0, high=1.0, num_points=1, control=0.0),
    },
    arms=("control", "full"),
    num_seeds=2,
    fixed={
        "dataset": "my_data.load",
        "backbone": "my_nets.build",
        "num_epochs": 3,
        "batch_size": 50,
    },
)

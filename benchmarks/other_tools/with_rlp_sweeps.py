"""The study in this tool.

rlp-sweeps run benchmarks/other_tools/with_rlp_sweeps.py --output DIR
rlp-sweeps resume DIR
rlp-sweeps ui DIR
"""

from rlp_sweeps.spaces import ChoiceAxis, SearchSpace

SPACE = SearchSpace(
    claim="On digits, what λ = 10 does to accuracy came with the class term.",
    axes={
        "lr": ChoiceAxis(choices=(0.01, 0.05)),
        "rlp_lambda": ChoiceAxis(choices=(10.0,), control=0.0),
    },
    arms=("control", "full", "class_term", "uniform_term"),
    num_seeds=3,
    fixed={
        "dataset": "digits",
        "backbone": "mlp",
        "schedule": "constant",
        "num_epochs": 10,
        "batch_size": 64,
    },
)

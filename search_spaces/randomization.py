"""Networks fit random labels, and regularizers do not keep them from it.

Claim:
    A network that learns its classes fits labels drawn at random just as completely, though nothing
    of them carries over to test samples; weight decay and dropout do not prevent it.

Source:
    Zhang et al., ICLR 2017, arXiv:1611.03530, section 2.

Deviations:
    The small size asks it of the 1,797 digits and a small CNN, weight decay and dropout crossed.
    "Fits" is read as a training accuracy above 99 %, with a regularizer above 95 %, and "nothing
    carries over" as a test accuracy within 5 points of chance.
"""

from rlp_sweeps.spaces import ChoiceAxis, Claim, SearchSpace

SOURCE = "arXiv:1611.03530, section 2"
PLAIN = "label_corruption = 1 AND weight_decay = 0 AND dropout = 0"


def _mean(expression: str, where: str) -> str:
    return f"SELECT seed, AVG({expression}) AS value FROM trials WHERE {where} GROUP BY seed"


CLAIMS = (
    Claim(
        text="Random labels are fitted.",
        source=SOURCE,
        quantity="Training accuracy on random labels, no regularizer",
        measure=_mean("train_accuracy", PLAIN),
        expects="above",
        bound=0.99,
    ),
    Claim(
        text="Nothing of random labels carries over to test samples.",
        source=SOURCE,
        quantity="Test accuracy after training on random labels, less chance",
        measure=_mean("test_accuracy - 0.1", PLAIN),
        expects="within",
        bound=0.05,
    ),
    Claim(
        text="Weight decay does not prevent it.",
        source=SOURCE,
        quantity="Training accuracy on random labels with weight decay alone",
        measure=_mean(
            "train_accuracy", "label_corruption = 1 AND weight_decay > 0 AND dropout = 0"
        ),
        expects="above",
        bound=0.95,
    ),
    Claim(
        text="Dropout does not prevent it.",
        source=SOURCE,
        quantity="Training accuracy on random labels with dropout alone",
        measure=_mean(
            "train_accuracy", "label_corruption = 1 AND weight_decay = 0 AND dropout > 0"
        ),
        expects="above",
        bound=0.95,
    ),
)

SPACE = SearchSpace(
    claim="Networks fit random labels; weight decay and dropout do not prevent it.",
    source=SOURCE,
    axes={
        "label_corruption": ChoiceAxis(choices=(0.0, 1.0)),
        "weight_decay": ChoiceAxis(choices=(0.0, 0.0005)),
        "dropout": ChoiceAxis(choices=(0.0, 0.3)),
    },
    arms=("control",),
    num_seeds=5,
    fixed={
        "lr": 0.03,
        "dataset": "digits",
        "backbone": "small_cnn",
        "num_random_labels": 10,
        "num_epochs": 150,
        "batch_size": 64,
        "eval_every": 30,
    },
    claims=CLAIMS,
)

PAPER = SearchSpace(
    claim=SPACE.claim,
    source=SOURCE,
    axes=SPACE.axes,
    arms=("control",),
    num_seeds=3,
    fixed={
        "lr": 0.05,
        "dataset": "cifar10",
        "backbone": "wide_resnet",
        "backbone_depth": 16,
        "backbone_width": 4,
        "num_random_labels": 10,
        "num_epochs": 300,
        "batch_size": 128,
        "precision": "bf16",
        "eval_every": 30,
    },
    claims=CLAIMS,
)

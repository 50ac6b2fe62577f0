"""How deep a head must reach to read random labels: heads that copy the last layers of a network.

Claim:
    Heads that copy more layers, and so read an earlier one, recall more.

Source:
    Becker and Risse, arXiv:2411.19640, section 3.1.3 (VGG16).

Deviations:
    The small size asks it of the 1,797 digits and a multilayer perceptron of four hidden layers
    instead of CIFAR-100 and VGG16; a head that copies all five layers reads the pixels. Whether a
    deeper head recalls more for reading earlier or for being larger is told by the control that
    widens the copied layers, ``widened_copies``.
"""

from rlp_sweeps.spaces import ChoiceAxis, Claim, SearchSpace

SOURCE = "arXiv:2411.19640, section 3.1.3"


def _difference(first: int, second: int) -> str:
    return f"""
        SELECT a.seed, a.memorization - b.memorization AS value
        FROM trials a JOIN trials b ON a.seed = b.seed
        WHERE a.copy_depth = {first} AND b.copy_depth = {second}
              AND a.copy_width = 1 AND b.copy_width = 1
    """


CLAIMS = (
    Claim(
        text="A head that copies the whole network recalls more than a linear one.",
        source=SOURCE,
        quantity="Memorization of a head that copies five layers, less that of one",
        measure=_difference(5, 1),
        expects="above",
    ),
    Claim(
        text="One more copied layer raises recall.",
        source=SOURCE,
        quantity="Memorization of a head that copies two layers, less that of one",
        measure=_difference(2, 1),
        expects="above",
    ),
)

SPACE = SearchSpace(
    claim="Heads that copy more layers recall more.",
    source=SOURCE,
    axes={"copy_depth": ChoiceAxis(choices=(1, 2, 3, 4, 5))},
    arms=("control",),
    num_seeds=5,
    fixed={
        "lr": 0.03,
        "dataset": "digits",
        "backbone": "mlp",
        "backbone_depth": 4,
        "backbone_width": 64,
        "num_random_labels": 10,
        "num_epochs": 100,
        "batch_size": 64,
        "eval_every": 20,
    },
    claims=CLAIMS,
)

PAPER = SearchSpace(
    claim=SPACE.claim,
    source=SOURCE,
    axes={"copy_depth": ChoiceAxis(choices=(1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16))},
    arms=("control",),
    num_seeds=3,
    fixed={
        "lr": 0.05,
        "dataset": "cifar100",
        "backbone": "vgg16",
        "num_random_labels": 10,
        "num_epochs": 200,
        "batch_size": 256,
        "precision": "bf16",
        "eval_every": 20,
    },
    claims=(
        Claim(
            text="A head that copies the whole network recalls more than a linear one.",
            source=SOURCE,
            quantity="Memorization of a head that copies sixteen layers, less that of one",
            measure=_difference(16, 1),
            expects="above",
        ),
        Claim(
            text="Recall rises steeply between five and seven layers from the output.",
            source=SOURCE,
            quantity="Memorization of a head that copies seven layers, less that of five",
            measure=_difference(7, 5),
            expects="above",
            bound=0.1,
        ),
    ),
)

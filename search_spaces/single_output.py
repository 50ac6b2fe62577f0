"""The random-label head as the network's only output: classes without a class head.

Claim:
    A network whose class prediction is the head's own, summed over random labels, learns its
    classes; its extractor is trained by the regularizer alone.

Source:
    Becker and Risse, arXiv:2411.19640, appendix A.5.

Deviations:
    The small size asks it of the 1,797 digits and a small CNN. "Learns its classes" is read as a
    test accuracy above 90 %, "as well" as within 2 points of the network with a class head.
"""

from rlp_sweeps.spaces import ChoiceAxis, Claim, SearchSpace

SOURCE = "arXiv:2411.19640, appendix A.5"


def _difference(outcome: str) -> str:
    return f"""
        SELECT s.seed, s.{outcome} - n.{outcome} AS value
        FROM trials s JOIN trials n ON s.seed = n.seed
        WHERE s.head = 'single_output' AND n.head = 'nested_joint'
    """


CLAIMS = (
    Claim(
        text="A network whose only output is the head learns its classes.",
        source=SOURCE,
        quantity="Test accuracy of the single-output network",
        measure="SELECT seed, test_accuracy AS value FROM trials WHERE head = 'single_output'",
        expects="above",
        bound=0.9,
    ),
    Claim(
        text="It learns them as well as a network with a class head.",
        source="this project's question",
        quantity="Test accuracy, single-output network less one with a class head and no "
        "regularizer",
        measure=_difference("test_accuracy"),
        expects="within",
        bound=0.02,
    ),
    Claim(
        text="It memorizes less.",
        source="this project's question",
        quantity="Memorization, single-output network less one with a class head and no "
        "regularizer",
        measure=_difference("memorization"),
        expects="below",
    ),
)

SPACE = SearchSpace(
    claim="The random-label head can be a network's only output.",
    source=SOURCE,
    axes={"head": ChoiceAxis(choices=("nested_joint", "single_output"))},
    arms=("control",),
    num_seeds=5,
    fixed={
        "lr": 0.03,
        "dataset": "digits",
        "backbone": "small_cnn",
        "num_random_labels": 10,
        "num_epochs": 60,
        "batch_size": 64,
        "eval_every": 20,
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
        "lr": 0.1,
        "dataset": "cifar100",
        "backbone": "wide_resnet",
        "backbone_depth": 16,
        "backbone_width": 4,
        "num_random_labels": 10,
        "num_epochs": 200,
        "batch_size": 256,
        "precision": "bf16",
        "eval_every": 20,
    },
    claims=CLAIMS,
)

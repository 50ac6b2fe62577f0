"""Does a head that copies more layers recall more for reading earlier, or for being larger?

Claim:
    What a head gains by copying one more layer, and so reading an earlier one, it does not gain by
    copied layers that are four times as wide.

Source:
    Becker and Risse, arXiv:2411.19640, section 3.1.3 (copied layers, and the control of their
    width).

Deviations:
    The small size asks it of the 1,797 digits and a multilayer perceptron of four hidden layers
    instead of CIFAR-100 and VGG16. Hidden units are 64, so that the widened head of two layers has
    some 42,000 weights and the head of three layers 15,000.
"""

from rlp_sweeps.spaces import ChoiceAxis, Claim, SearchSpace

SOURCE = "arXiv:2411.19640, section 3.1.3"


def _difference(first: tuple[int, int], second: tuple[int, int]) -> str:
    """Return the query of memorization at one (copy_depth, copy_width) less that at another."""
    return f"""
        SELECT a.seed, a.memorization - b.memorization AS value
        FROM trials a JOIN trials b ON a.seed = b.seed
        WHERE a.copy_depth = {first[0]} AND a.copy_width = {first[1]}
              AND b.copy_depth = {second[0]} AND b.copy_width = {second[1]}
    """


def _claims(shallow: int, deep: int) -> tuple[Claim, ...]:
    return (
        Claim(
            text="Copying more layers raises recall beyond what four times wider ones do.",
            source=SOURCE,
            quantity=f"Memorization of a head that copies {deep} layers, less that of one that "
            f"copies {shallow} of four times the width",
            measure=_difference((deep, 1), (shallow, 4)),
            expects="above",
        ),
        Claim(
            text="Wider copies recall more.",
            source="this project's question",
            quantity=f"Memorization of a head that copies {shallow} layers of four times the "
            "width, less that of one of the network's own",
            measure=_difference((shallow, 4), (shallow, 1)),
            expects="above",
        ),
    )


SPACE = SearchSpace(
    claim="A deeper copy recalls more for reading earlier, not for being larger.",
    source=SOURCE,
    axes={
        "copy_depth": ChoiceAxis(choices=(2, 3)),
        "copy_width": ChoiceAxis(choices=(1.0, 4.0)),
    },
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
    claims=_claims(2, 3),
)

PAPER = SearchSpace(
    claim=SPACE.claim,
    source=SOURCE,
    axes={
        "copy_depth": ChoiceAxis(choices=(5, 7)),
        "copy_width": ChoiceAxis(choices=(1.0, 4.0)),
    },
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
    claims=_claims(5, 7),
)

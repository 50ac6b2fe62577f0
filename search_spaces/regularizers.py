"""What common regularizers do to memorization: dropout × weight decay × label smoothing.

Claim:
    Dropout, weight decay and label smoothing each lower memorization.

Source:
    Becker and Risse, arXiv:2411.19640, section 3; Becker et al., ICLR 2026.

Deviations:
    The papers vary one regularizer at a time; here the three are crossed, at off and on, and each
    claim is a main effect: on less off, averaged over the other two. The small size asks it of the
    1,797 digits and a small CNN. The strengths are chosen: dropout 0.3, weight decay 0.005, label
    smoothing 0.2.
"""

from rlp_sweeps.spaces import ChoiceAxis, Claim, SearchSpace

SOURCE = "arXiv:2411.19640, section 3"


def _main_effect(name: str) -> str:
    """Return the query of on less off, averaged over the other two regularizers."""
    return f"""
        SELECT seed,
               AVG(memorization) FILTER (WHERE {name} > 0)
               - AVG(memorization) FILTER (WHERE {name} = 0) AS value
        FROM trials GROUP BY seed
    """


CLAIMS = tuple(
    Claim(
        text=f"{words} lowers memorization.",
        source=SOURCE,
        quantity=f"Memorization with {words.lower()} less without, over the other two",
        measure=_main_effect(name),
        expects="below",
    )
    for name, words in (
        ("dropout", "Dropout"),
        ("weight_decay", "Weight decay"),
        ("label_smoothing", "Label smoothing"),
    )
)

SPACE = SearchSpace(
    claim="Dropout, weight decay and label smoothing each lower memorization.",
    source=SOURCE,
    axes={
        "dropout": ChoiceAxis(choices=(0.0, 0.3)),
        "weight_decay": ChoiceAxis(choices=(0.0, 0.005)),
        "label_smoothing": ChoiceAxis(choices=(0.0, 0.2)),
    },
    arms=("control",),
    num_seeds=8,
    fixed={
        "lr": 0.03,
        "dataset": "digits",
        "backbone": "small_cnn",
        "num_random_labels": 10,
        "num_epochs": 60,
        "batch_size": 64,
        "eval_every": 10,
    },
    claims=CLAIMS,
)

PAPER = SearchSpace(
    claim=SPACE.claim,
    source=SOURCE,
    axes={
        "dropout": ChoiceAxis(choices=(0.0, 0.3)),
        "weight_decay": ChoiceAxis(choices=(0.0, 0.0005)),
        "label_smoothing": ChoiceAxis(choices=(0.0, 0.1)),
    },
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
        "eval_every": 10,
    },
    claims=CLAIMS,
)

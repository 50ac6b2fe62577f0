"""λ under label noise: does unlearning random labels keep a network from wrong ones?

Claim:
    Where a share of the training labels is wrong, the regularizer raises test accuracy.

Source:
    Becker et al., ICLR 2026 (label noise).

Deviations:
    The small size asks it of the 1,797 digits, 40 % of whose labels are redrawn, a small CNN and
    the nested joint head, whose exact split says which term helps. Both sides have the same
    learning rate; a gain that a tuned control has as well would need its rate swept.
"""

from rlp_sweeps.spaces import ChoiceAxis, Claim, SearchSpace

SOURCE = "ICLR 2026 (OpenReview qBknFL81JO)"


def _effect(arm: str, corruption: float, outcome: str = "test_accuracy") -> str:
    """Return the query of an arm less its control at λ = 10."""
    return f"""
        SELECT f.seed AS seed, f.{outcome} - c.{outcome} AS value
        FROM trials f JOIN trials c
        ON f.seed = c.seed AND f.label_corruption = c.label_corruption
        WHERE f.arm = '{arm}' AND f.rlp_lambda = 10 AND c.arm = 'control'
              AND f.label_corruption = {corruption}
    """


CLAIMS = (
    Claim(
        text="Under label noise the regularizer helps.",
        source=SOURCE,
        quantity="Test accuracy, full less control, λ = 10, 40 % of labels redrawn",
        measure=_effect("full", 0.4),
        expects="above",
    ),
    Claim(
        text="It helps more under label noise than without.",
        source=SOURCE,
        quantity="The same gain, less that without noise",
        measure=f"""
            WITH noisy AS ({_effect("full", 0.4)}), clean AS ({_effect("full", 0.0)})
            SELECT noisy.seed, noisy.value - clean.value AS value
            FROM noisy JOIN clean ON noisy.seed = clean.seed
        """,
        expects="above",
    ),
    Claim(
        text="The unlearning of random labels is what helps: the uniform term alone does.",
        source=SOURCE,
        quantity="Test accuracy, uniform term less control, λ = 10, 40 % of labels redrawn",
        measure=_effect("uniform_term", 0.4),
        expects="above",
    ),
    Claim(
        text="It keeps wrong labels from being learned.",
        source=SOURCE,
        quantity="Share of changed training labels that are learned, full less control, λ = 10",
        measure=_effect("full", 0.4, "changed_label_accuracy"),
        expects="below",
    ),
)

SPACE = SearchSpace(
    claim="Under label noise the regularizer raises test accuracy.",
    source=SOURCE,
    axes={
        "label_corruption": ChoiceAxis(choices=(0.0, 0.4)),
        "rlp_lambda": ChoiceAxis(choices=(1.0, 10.0), control=0.0),
    },
    arms=("control", "full", "class_term", "uniform_term", "sham"),
    num_seeds=5,
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
    axes=SPACE.axes,
    arms=SPACE.arms,
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

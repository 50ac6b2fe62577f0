"""How much is memorized while a network learns its classes, without any regularizer.

Claim:
    A linear head on features that are trained for classes alone recalls a large share of the
    random labels, and this share keeps rising after the training set is fitted.

Source:
    Becker and Risse, arXiv:2411.19640, section 3 (random-label accuracy over training).

Deviations:
    The small size asks it of the 1,797 digits and a small CNN, with R = 10 random labels; "a large
    share" is read as more than half of what chance leaves, "fitted" as a training accuracy of 99 %
    or more. At the paper's size network, data, schedule, batch and epochs are the paper's; learning
    rate, momentum and R are chosen, not recovered.
"""

from rlp_sweeps.spaces import ChoiceAxis, Claim, SearchSpace

SOURCE = "arXiv:2411.19640, section 3"

CLAIMS = (
    Claim(
        text="A linear head recalls most random labels from features trained for classes alone.",
        source=SOURCE,
        quantity="Memorization at the end of training (0 at chance, 100 at perfect recall)",
        measure="SELECT seed, memorization AS value FROM trials",
        expects="above",
        bound=0.5,
    ),
    Claim(
        text="Memorization keeps rising after the training set is fitted.",
        source=SOURCE,
        quantity="Memorization at the end less that at the first evaluation with a training "
        "accuracy of at least 99 %",
        measure="""
            WITH fitted AS (
                SELECT trial_id, MIN(epoch) AS epoch FROM epochs
                WHERE train_accuracy >= 0.99 GROUP BY trial_id
            )
            SELECT t.seed, t.memorization - e.memorization AS value
            FROM fitted f
            JOIN epochs e ON e.trial_id = f.trial_id AND e.epoch = f.epoch
            JOIN trials t ON t.trial_id = f.trial_id
        """,
        expects="above",
    ),
)

SPACE = SearchSpace(
    claim="Features trained for classes alone memorize, and go on doing so once these are fitted.",
    source=SOURCE,
    axes={"lr": ChoiceAxis(choices=(0.03,))},
    arms=("control",),
    num_seeds=10,
    fixed={
        "dataset": "digits",
        "backbone": "small_cnn",
        "num_random_labels": 10,
        "num_epochs": 120,
        "batch_size": 64,
        "eval_every": 4,
    },
    claims=CLAIMS,
)

PAPER = SearchSpace(
    claim=SPACE.claim,
    source=SOURCE,
    axes={"lr": ChoiceAxis(choices=(0.1,))},
    arms=("control",),
    num_seeds=5,
    fixed={
        "dataset": "cifar100",
        "backbone": "wide_resnet",
        "backbone_depth": 16,
        "backbone_width": 4,
        "num_random_labels": 10,
        "num_epochs": 200,
        "batch_size": 256,
        "precision": "bf16",
        "eval_every": 4,
    },
    claims=CLAIMS,
)

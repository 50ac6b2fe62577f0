"""Is memorizing random class labels malign, and does augmentation make it benign?

Claim:
    A network that memorizes random class labels without augmentation loses what its features told
    before training (malign); with augmentation it memorizes as well, but its features separate the
    true classes better than before training and than pixels do (benign).

Source:
    Anagnostidis et al., ICLR 2023, arXiv:2210.14019.

Deviations:
    The small size asks it of 300 digits and a small CNN, with crops as augmentation, on
    cross-entropy and for 600 epochs, instead of CIFAR-10 and a ResNet-18 on a squared error behind
    a wide projector for thousands of epochs. Features are read by kNN at the layer that validates
    best. At the paper's size the ReLU within the projector is a guess.
"""

from rlp_sweeps.spaces import ChoiceAxis, Claim, SearchSpace

SOURCE = "ICLR 2023, arXiv:2210.14019"


def knn(source: str) -> str:
    """Return the query of kNN's test accuracy at the layer that validates best, by trial."""
    rows = f"""
        SELECT trial_id, val_accuracy, test_accuracy FROM probes
        WHERE probe = 'knn' AND source = '{source}' AND pooling = 'average'
    """
    return f"""
        SELECT r.trial_id AS trial_id, AVG(r.test_accuracy) AS knn
        FROM ({rows}) r JOIN (
            SELECT trial_id, MAX(val_accuracy) AS best FROM ({rows}) GROUP BY trial_id
        ) b ON r.trial_id = b.trial_id AND r.val_accuracy = b.best
        GROUP BY r.trial_id
    """


def _against(source: str, augmentation: str) -> str:
    return f"""
        SELECT t.seed, a.knn - b.knn AS value
        FROM trials t JOIN ({knn("trained")}) a ON t.trial_id = a.trial_id
        JOIN ({knn(source)}) b ON t.trial_id = b.trial_id
        WHERE t.augmentation {augmentation}
    """


CLAIMS = (
    Claim(
        text="Random labels are memorized with augmentation as well.",
        source=SOURCE,
        quantity="Training accuracy on random labels, with augmentation, images as they are",
        measure="SELECT seed, train_accuracy AS value FROM trials WHERE augmentation <> 'none'",
        expects="above",
        bound=0.99,
    ),
    Claim(
        text="Without augmentation memorization is malign.",
        source=SOURCE,
        quantity="Test accuracy of kNN, trained less untrained network, no augmentation",
        measure=_against("random_init", "= 'none'"),
        expects="below",
    ),
    Claim(
        text="With augmentation features tell more than before training.",
        source=SOURCE,
        quantity="Test accuracy of kNN, trained less untrained network, with augmentation",
        measure=_against("random_init", "<> 'none'"),
        expects="above",
    ),
    Claim(
        text="With augmentation features tell more than pixels.",
        source=SOURCE,
        quantity="Test accuracy of kNN, trained network less pixels, with augmentation",
        measure=_against("pixels", "<> 'none'"),
        expects="above",
    ),
    Claim(
        text="Augmentation makes memorization less malign.",
        source=SOURCE,
        quantity="Test accuracy of kNN on the trained network, with less without augmentation",
        measure=f"""
            WITH k AS (
                SELECT t.seed AS seed, t.augmentation AS augmentation, a.knn AS knn
                FROM trials t JOIN ({knn("trained")}) a ON t.trial_id = a.trial_id
            )
            SELECT w.seed, w.knn - n.knn AS value FROM k w JOIN k n ON w.seed = n.seed
            WHERE w.augmentation <> 'none' AND n.augmentation = 'none'
        """,
        expects="above",
    ),
)

SPACE = SearchSpace(
    claim="Memorizing random labels is malign without augmentation and benign with it.",
    source=SOURCE,
    axes={"augmentation": ChoiceAxis(choices=("none", "crop"))},
    arms=("control",),
    num_seeds=5,
    fixed={
        "lr": 0.03,
        "label_corruption": 1.0,
        "dataset": "digits",
        "train_samples": 300,
        "backbone": "small_cnn",
        "num_random_labels": 10,
        "num_epochs": 600,
        "batch_size": 50,
        "eval_every": 100,
    },
    claims=CLAIMS,
    probes=("knn",),
)

PAPER = SearchSpace(
    claim=SPACE.claim,
    source=SOURCE,
    axes={"augmentation": ChoiceAxis(choices=("none", "p3"))},
    arms=("control",),
    num_seeds=3,
    fixed={
        "lr": 0.0003,
        "label_corruption": 1.0,
        "dataset": "cifar10",
        "backbone": "resnet18",
        "projector_width": 65_536,
        "num_random_labels": 10,
        "optimizer": "adamw",
        "loss": "mse",
        "num_epochs": 5000,
        "batch_size": 256,
        "precision": "bf16",
        "eval_every": 500,
    },
    claims=CLAIMS,
    probes=("knn",),
)

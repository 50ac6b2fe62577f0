"""How many fixed views of an image it takes until memorizing its random label is benign.

Claim:
    The more views of each sample share its random label, the more their features tell of the true
    classes, and the harder they are to memorize; views with labels of their own tell less.

Source:
    Anagnostidis et al., ICLR 2023, arXiv:2210.14019 (fixed views, labels of their own).

Deviations:
    As in ``benign_memorization``, for 400 epochs. Crops of 8 × 8 digits have few values, so that
    eight views are the most here.
"""

from rlp_sweeps.spaces import ChoiceAxis, Claim, SearchSpace
from search_spaces.benign_memorization import knn

SOURCE = "ICLR 2023, arXiv:2210.14019"

READ = f"""
    SELECT t.seed AS seed, t.num_views AS num_views, t.view_labels AS view_labels,
           t.train_accuracy AS train_accuracy, a.knn AS knn
    FROM trials t JOIN ({knn("trained")}) a ON t.trial_id = a.trial_id
"""


def _many_less_one(outcome: str) -> str:
    return f"""
        WITH k AS ({READ})
        SELECT m.seed, m.{outcome} - o.{outcome} AS value FROM k m JOIN k o ON m.seed = o.seed
        WHERE m.num_views = 8 AND m.view_labels = 'same'
              AND o.num_views = 1 AND o.view_labels = 'same'
    """


CLAIMS = (
    Claim(
        text="More views with one label tell more of the true classes.",
        source=SOURCE,
        quantity="Test accuracy of kNN, eight views less one, labelled alike",
        measure=_many_less_one("knn"),
        expects="above",
    ),
    Claim(
        text="More views are harder to memorize.",
        source=SOURCE,
        quantity="Training accuracy on random labels, eight views less one, labelled alike",
        measure=_many_less_one("train_accuracy"),
        expects="below",
    ),
    Claim(
        text="Views with labels of their own tell less than views labelled alike.",
        source=SOURCE,
        quantity="Test accuracy of kNN, eight views, labels of their own less labelled alike",
        measure=f"""
            WITH k AS ({READ})
            SELECT r.seed, r.knn - s.knn AS value FROM k r JOIN k s ON r.seed = s.seed
            WHERE r.num_views = 8 AND r.view_labels = 'random'
                  AND s.num_views = 8 AND s.view_labels = 'same'
        """,
        expects="below",
    ),
)

SPACE = SearchSpace(
    claim="More views that share a random label make memorizing it benign.",
    source=SOURCE,
    axes={
        "num_views": ChoiceAxis(choices=(1, 8)),
        "view_labels": ChoiceAxis(choices=("same", "random")),
    },
    arms=("control",),
    num_seeds=5,
    fixed={
        "lr": 0.03,
        "label_corruption": 1.0,
        "augmentation": "crop",
        "dataset": "digits",
        "train_samples": 300,
        "backbone": "small_cnn",
        "num_random_labels": 10,
        "num_epochs": 400,
        "batch_size": 50,
        "eval_every": 200,
    },
    claims=CLAIMS,
    probes=("knn",),
)

PAPER = SearchSpace(
    claim=SPACE.claim,
    source=SOURCE,
    axes={
        "num_views": ChoiceAxis(choices=(1, 8, 64)),
        "view_labels": ChoiceAxis(choices=("same", "random")),
    },
    arms=("control",),
    num_seeds=3,
    fixed={
        "lr": 0.0003,
        "label_corruption": 1.0,
        "augmentation": "p3",
        "dataset": "cifar10",
        "backbone": "resnet18",
        "projector_width": 65_536,
        "num_random_labels": 10,
        "optimizer": "adamw",
        "loss": "mse",
        "num_epochs": 5000,
        "batch_size": 256,
        "precision": "bf16",
        "eval_every": 2500,
    },
    claims=CLAIMS,
    probes=("knn",),
)

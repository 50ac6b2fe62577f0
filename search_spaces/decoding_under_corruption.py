"""What the layers of a network that was trained on corrupted labels still know of the true ones.

Claim:
    Subspaces of each class's features (MASC) decode the true class of test samples better than the
    network that was trained on corrupted labels does, and that far into corruption.

Source:
    Ketha and Ramaswamy, arXiv:2501.14687.

Deviations:
    The small size asks it of the 1,797 digits and a multilayer perceptron of three hidden layers;
    at the paper's size of CIFAR-10 and a ResNet-18. The plain probes stand beside MASC, the
    network before training and the pixels beside the trained one, and the layer is chosen on
    validation samples, not on test samples.
"""

from rlp_sweeps.spaces import ChoiceAxis, Claim, SearchSpace

SOURCE = "arXiv:2501.14687"
BETWEEN = "t.label_corruption > 0 AND t.label_corruption < 1"


def _decoded(probe: str, *, labels: str, source: str = "trained") -> str:
    """Return the query of a probe's test accuracy at the layer that validates best."""
    rows = f"""
        SELECT trial_id, val_accuracy, test_accuracy FROM probes
        WHERE probe = '{probe}' AND label_set = '{labels}' AND source = '{source}'
              AND pooling = 'average'
    """
    return f"""
        SELECT r.trial_id AS trial_id, AVG(r.test_accuracy) AS decoded
        FROM ({rows}) r JOIN (
            SELECT trial_id, MAX(val_accuracy) AS best FROM ({rows}) GROUP BY trial_id
        ) b ON r.trial_id = b.trial_id AND r.val_accuracy = b.best
        GROUP BY r.trial_id
    """


def _mean(expression: str, joins: str, where: str) -> str:
    """Return the query of a mean over the shares of corruption, where all of them were probed."""
    num_shares = 4 if where == BETWEEN else 1
    return f"""
        SELECT t.seed, AVG({expression}) AS value
        FROM trials t {joins} WHERE {where} GROUP BY t.seed HAVING COUNT(*) = {num_shares}
    """


def _join(name: str, query: str) -> str:
    return f"JOIN ({query}) {name} ON {name}.trial_id = t.trial_id"


MASC = _join("m", _decoded("masc", labels="trained"))
MASC_TRUE = _join("w", _decoded("masc", labels="true"))

CLAIMS = (
    Claim(
        text="MASC on the corrupted labels beats the network trained on them.",
        source=SOURCE,
        quantity="Test accuracy of MASC less the network's, over p = 0.2 … 0.8",
        measure=_mean("m.decoded - t.test_accuracy", MASC, BETWEEN),
        expects="above",
    ),
    Claim(
        text="MASC on the true labels decodes even where all labels were random.",
        source=SOURCE,
        quantity="Test accuracy of MASC on true labels less the network's, at p = 1",
        measure=_mean("w.decoded - t.test_accuracy", MASC_TRUE, "t.label_corruption = 1"),
        expects="above",
        bound=0.2,
    ),
    Claim(
        text="MASC decodes better than the plain nearest class mean.",
        source=SOURCE,
        quantity="Test accuracy of MASC less that of the class means, both fitted to the corrupted "
        "labels, over p = 0.2 … 0.8",
        measure=_mean(
            "m.decoded - c.decoded",
            f"{MASC} {_join('c', _decoded('class_mean', labels='trained'))}",
            BETWEEN,
        ),
        expects="above",
    ),
    Claim(
        text="What is decoded at p = 1 was learned: the trained network beats itself before "
        "training.",
        source=SOURCE,
        quantity="Test accuracy of MASC on true labels, trained less untrained network, at p = 1",
        measure=_mean(
            "w.decoded - u.decoded",
            f"{MASC_TRUE} {_join('u', _decoded('masc', labels='true', source='random_init'))}",
            "t.label_corruption = 1",
        ),
        expects="above",
    ),
)

SPACE = SearchSpace(
    claim="Class subspaces of corrupted networks decode the true classes.",
    source=SOURCE,
    axes={"label_corruption": ChoiceAxis(choices=(0.0, 0.2, 0.4, 0.6, 0.8, 1.0))},
    arms=("control",),
    num_seeds=5,
    fixed={
        "lr": 0.03,
        "dataset": "digits",
        "backbone": "mlp",
        "backbone_depth": 3,
        "backbone_width": 256,
        "num_random_labels": 10,
        "num_epochs": 100,
        "batch_size": 64,
        "eval_every": 20,
    },
    claims=CLAIMS,
    probes=("knn", "masc", "class_mean", "lda"),
)

PAPER = SearchSpace(
    claim=SPACE.claim,
    source=SOURCE,
    axes={"label_corruption": ChoiceAxis(choices=(0.0, 0.2, 0.4, 0.6, 0.8, 1.0))},
    arms=("control",),
    num_seeds=3,
    fixed={
        "lr": 0.05,
        "dataset": "cifar10",
        "backbone": "resnet18",
        "num_random_labels": 10,
        "num_epochs": 200,
        "batch_size": 128,
        "precision": "bf16",
        "eval_every": 20,
    },
    claims=CLAIMS,
    probes=("knn", "masc", "class_mean", "lda"),
)

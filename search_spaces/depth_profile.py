"""Where in a network random labels can be read: heads at every layer, trained beside the network.

Claim:
    Memorization rises with depth: a head at the first layer recalls next to nothing, one at the
    last layer much.

Source:
    Becker et al., ICLR 2026 (heads at every layer).

Deviations:
    The small size asks it of the 1,797 digits and a multilayer perceptron of five layers; "next to
    nothing" is read as less than 10 points of memorization. All heads are trained with the network
    and only observe. Heads that are fitted to the trained network until they have converged stand
    beside them; that their profile falls was first seen on seeds 0 and 1 of a shorter training.
    The Fashion-MNIST size (`FASHION`) asks it of all its images and a small CNN; its settings were
    chosen for the time they take, on three epochs of seed 0 at another learning rate.
"""

from rlp_sweeps.spaces import ChoiceAxis, Claim, SearchSpace

SOURCE = "ICLR 2026 (OpenReview qBknFL81JO)"


def _at(layer: str, *, probe: str = "rlp_online", source: str = "trained") -> str:
    """Return the query of the memorization that a head finds at the first or the last layer."""
    return f"""
        SELECT p.trial_id AS trial_id, p.memorization AS memorization
        FROM probes p JOIN (
            SELECT {"MIN" if layer == "first" else "MAX"}(layer) AS layer FROM probes
            WHERE source = 'trained'
        ) edge ON p.layer = edge.layer
        WHERE p.probe = '{probe}' AND p.source = '{source}' AND p.pooling = 'average'
    """


def _difference(first: str, second: str) -> str:
    return f"""
        SELECT t.seed, a.memorization - b.memorization AS value
        FROM trials t JOIN ({first}) a ON t.trial_id = a.trial_id
        JOIN ({second}) b ON t.trial_id = b.trial_id
    """


CLAIMS = (
    Claim(
        text="A head at the first layer recalls next to nothing.",
        source=SOURCE,
        quantity="Memorization at the first layer, head trained beside the network",
        measure=f"""
            SELECT t.seed, a.memorization AS value
            FROM trials t JOIN ({_at("first")}) a ON t.trial_id = a.trial_id
        """,
        expects="below",
        bound=0.1,
    ),
    Claim(
        text="Memorization rises with depth.",
        source=SOURCE,
        quantity="Memorization at the last layer less that at the first, heads trained beside the "
        "network",
        measure=_difference(_at("last"), _at("first")),
        expects="above",
    ),
    Claim(
        text="So it does for heads that have converged.",
        source="this project's question",
        quantity="The same of heads fitted to the trained network's features until they converged",
        measure=_difference(_at("last", probe="rlp_offline"), _at("first", probe="rlp_offline")),
        expects="above",
    ),
    Claim(
        text="What converged heads recall at the last layer was learned.",
        source="this project's question",
        quantity="Memorization at the last layer, converged heads, trained less untrained network",
        measure=_difference(
            _at("last", probe="rlp_offline"),
            _at("last", probe="rlp_offline", source="random_init"),
        ),
        expects="above",
    ),
)

SPACE = SearchSpace(
    claim="Memorization rises with depth.",
    source=SOURCE,
    axes={"lr": ChoiceAxis(choices=(0.03,))},
    arms=("control",),
    num_seeds=8,
    fixed={
        "observed_attach_points": "all",
        "dataset": "digits",
        "backbone": "mlp",
        "backbone_depth": 5,
        "backbone_width": 32,
        "num_random_labels": 10,
        "num_epochs": 100,
        "batch_size": 64,
        "eval_every": 20,
    },
    claims=CLAIMS,
    probes=("rlp_offline",),
)

FASHION = SearchSpace(
    claim=SPACE.claim,
    source=SOURCE,
    axes={"lr": ChoiceAxis(choices=(0.03,))},
    arms=("control",),
    num_seeds=5,
    fixed={
        "observed_attach_points": "all",
        "dataset": "fashion_mnist",
        "backbone": "small_cnn",
        "num_random_labels": 10,
        "num_epochs": 12,
        "batch_size": 128,
        "eval_every": 12,
    },
    claims=CLAIMS,
    probes=("rlp_offline",),
)

PAPER = SearchSpace(
    claim=SPACE.claim,
    source=SOURCE,
    axes={"lr": ChoiceAxis(choices=(0.1,))},
    arms=("control",),
    num_seeds=3,
    fixed={
        "observed_attach_points": "all",
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
    probes=("rlp_offline",),
)

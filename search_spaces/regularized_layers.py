"""Regularizing the last layer, or every layer: does memorization go, or move?

Claim:
    Regularized at the last layer only, memorization moves to earlier layers; regularized at every
    layer, it goes there as well.

Source:
    Becker et al., ICLR 2026 (last layer only, subsets of layers).

Deviations:
    The small size asks it of the 1,797 digits, a multilayer perceptron of five layers and the
    nested joint head, whose exact split is in the arms. The heads are trained beside the network;
    a head of each layer stands in every trial. The Fashion-MNIST size (`FASHION`) asks it of all
    its images and layers of 256 features at λ = 2, because at 10 seed 0, which it leaves out,
    diverged where every layer was regularized.
"""

from rlp_sweeps.spaces import ChoiceAxis, Claim, SearchSpace

SOURCE = "ICLR 2026 (OpenReview qBknFL81JO)"
LAST = "hidden5"
EVERY = "hidden1,hidden2,hidden3,hidden4,hidden5"


def _change(attach_points: str, layers: str, *, strength: int = 10) -> str:
    """Return the query of full less control at one λ, memorization averaged over layers."""
    return f"""
        WITH recalled AS (
            SELECT trial_id, AVG(memorization) AS memorization FROM probes
            WHERE probe = 'rlp_online' AND source = 'trained' AND pooling = 'average' AND {layers}
            GROUP BY trial_id
        ), read AS (
            SELECT t.seed AS seed, t.arm AS arm, t.rlp_lambda AS rlp_lambda,
                   r.memorization AS memorization
            FROM trials t JOIN recalled r ON t.trial_id = r.trial_id
            WHERE t.attach_points = '{attach_points}'
        )
        SELECT f.seed, f.memorization - c.memorization AS value
        FROM read f JOIN read c ON f.seed = c.seed
        WHERE f.arm = 'full' AND f.rlp_lambda = {strength} AND c.arm = 'control'
    """


def _claims(strength: int) -> tuple[Claim, ...]:
    """Return what is claimed, asked at one λ."""
    return (
        Claim(
            text="The last layer forgets what it is regularized on.",
            source=SOURCE,
            quantity="Memorization at the last layer, full less control, "
            f"λ = {strength} there alone",
            measure=_change(LAST, "layer = 5", strength=strength),
            expects="below",
        ),
        Claim(
            text="Regularized at the last layer, memorization moves to earlier ones.",
            source=SOURCE,
            quantity="Memorization over the four earlier layers, full less control, "
            f"λ = {strength} at the last layer alone",
            measure=_change(LAST, "layer < 5", strength=strength),
            expects="above",
        ),
        Claim(
            text="Regularized at every layer, it goes from the earlier ones as well.",
            source=SOURCE,
            quantity="Memorization over the four earlier layers, full less control, "
            f"λ = {strength} at every layer",
            measure=_change(EVERY, "layer < 5", strength=strength),
            expects="below",
        ),
    )


SPACE = SearchSpace(
    claim="Regularized at the last layer only, memorization moves to earlier layers.",
    source=SOURCE,
    axes={
        "attach_points": ChoiceAxis(choices=(LAST, EVERY)),
        "rlp_lambda": ChoiceAxis(choices=(1.0, 10.0), control=0.0),
    },
    arms=("control", "full", "class_term", "uniform_term", "sham"),
    num_seeds=5,
    fixed={
        "lr": 0.03,
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
    claims=_claims(10),
)

FASHION = SearchSpace(
    claim=SPACE.claim,
    source=SOURCE,
    axes={
        "attach_points": ChoiceAxis(choices=(LAST, EVERY)),
        "rlp_lambda": ChoiceAxis(choices=(2.0,), control=0.0),
    },
    arms=("control", "full"),
    num_seeds=5,
    first_seed=1,
    fixed={
        "lr": 0.03,
        "observed_attach_points": "all",
        "dataset": "fashion_mnist",
        "backbone": "mlp",
        "backbone_depth": 5,
        "backbone_width": 256,
        "num_random_labels": 10,
        "num_epochs": 20,
        "batch_size": 128,
        "eval_every": 10,
    },
    claims=_claims(2),
)

"""Under λ the head recalls less: has the network forgotten, or is the head blinded?

Claim:
    What the regularized head no longer recalls is gone from the features: a fresh head, fitted
    afterwards until it has converged, recalls less as well.

Source:
    This project's diagnostic for Becker and Risse, arXiv:2411.19640.

Deviations:
    The 1,797 digits and a multilayer perceptron of 24 features, so few that a converged head cannot
    recall all labels from just anything. The network before training and Gaussian features are the
    floor.
"""

from rlp_sweeps.spaces import ChoiceAxis, Claim, SearchSpace

SOURCE = "this project's question on arXiv:2411.19640"


def _recalled(probe: str, source: str = "trained") -> str:
    return f"""
        SELECT trial_id, memorization FROM probes
        WHERE probe = '{probe}' AND source = '{source}' AND attach_point = 'hidden2'
              AND pooling = 'average'
    """


def _change(probe: str) -> str:
    """Return the query of what a probe recalls, full less control at λ = 10."""
    return f"""
        WITH read AS (
            SELECT t.seed AS seed, t.arm AS arm, t.rlp_lambda AS rlp_lambda,
                   r.memorization AS memorization
            FROM trials t JOIN ({_recalled(probe)}) r ON t.trial_id = r.trial_id
        )
        SELECT f.seed, f.memorization - c.memorization AS value
        FROM read f JOIN read c ON f.seed = c.seed
        WHERE f.arm = 'full' AND f.rlp_lambda = 10 AND c.arm = 'control'
    """


CLAIMS = (
    Claim(
        text="The observer that was trained beside the network recalls less.",
        source=SOURCE,
        quantity="Memorization read by the observer, full less control, λ = 10",
        measure=_change("rlp_online"),
        expects="below",
    ),
    Claim(
        text="A converged head recalls less as well: the network has forgotten.",
        source=SOURCE,
        quantity="Memorization read by a converged head, full less control, λ = 10",
        measure=_change("rlp_offline"),
        expects="below",
    ),
    Claim(
        text="Under λ a converged head recalls no more than from the network before training.",
        source=SOURCE,
        quantity="Memorization read by a converged head under full, λ = 10, trained less untrained "
        "network",
        measure=f"""
            SELECT t.seed, a.memorization - b.memorization AS value
            FROM trials t JOIN ({_recalled("rlp_offline")}) a ON t.trial_id = a.trial_id
            JOIN ({_recalled("rlp_offline", "random_init")}) b ON t.trial_id = b.trial_id
            WHERE t.arm = 'full' AND t.rlp_lambda = 10
        """,
        expects="below",
    ),
)

SPACE = SearchSpace(
    claim="What a regularized head no longer recalls is gone from the features.",
    source=SOURCE,
    axes={"rlp_lambda": ChoiceAxis(choices=(1.0, 10.0), control=0.0)},
    arms=("control", "full", "class_term", "uniform_term", "sham"),
    num_seeds=5,
    fixed={
        "lr": 0.03,
        "dataset": "digits",
        "backbone": "mlp",
        "backbone_depth": 2,
        "backbone_width": 24,
        "num_random_labels": 10,
        "num_epochs": 60,
        "batch_size": 64,
        "eval_every": 20,
    },
    claims=CLAIMS,
    probes=("rlp_online", "rlp_offline"),
)

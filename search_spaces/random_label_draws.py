"""How much the luck of the random labels, and their number R, move what is measured.

Claim:
    Memorization and its fall under λ are properties of the network, not of one draw of labels.

Source:
    This project's diagnostic for Becker and Risse, arXiv:2411.19640, who draw labels once.

Deviations:
    Four draws for each seed with all else equal, down to the control's weights; R = 2, 10 and 50.
    "Not of one draw" is read as a standard deviation between draws, within seed, of less than 3
    points of memorization.
"""

from rlp_sweeps.spaces import ChoiceAxis, Claim, SearchSpace

SOURCE = "this project's question on arXiv:2411.19640"

EFFECT = """
    SELECT f.seed AS seed, f.num_random_labels AS num_random_labels,
           f.memorization - c.memorization AS effect
    FROM trials f JOIN trials c ON f.seed = c.seed AND f.num_random_labels = c.num_random_labels
         AND f.random_label_draw = c.random_label_draw
    WHERE f.arm = 'full' AND c.arm = 'control'
"""


def _spread(rows: str, value: str) -> str:
    """Return the query of the root mean variance between draws, over R, by seed."""
    return f"""
        WITH v AS (
            SELECT seed, num_random_labels, VARIANCE({value}) AS variance FROM ({rows}) r
            GROUP BY seed, num_random_labels
        )
        SELECT seed, SQRT(AVG(variance)) AS value FROM v GROUP BY seed
    """


CLAIMS = (
    Claim(
        text="Another draw of random labels gives the same memorization.",
        source=SOURCE,
        quantity="Standard deviation of memorization between draws, control",
        measure=_spread("SELECT * FROM trials WHERE arm = 'control'", "memorization"),
        expects="below",
        bound=0.03,
    ),
    Claim(
        text="Another draw of random labels gives the same fall of memorization.",
        source=SOURCE,
        quantity="Standard deviation between draws of memorization, full less control, λ = 10",
        measure=_spread(EFFECT, "effect"),
        expects="below",
        bound=0.03,
    ),
    Claim(
        text="λ lowers memorization at every R.",
        source=SOURCE,
        quantity="Memorization, full less control, λ = 10, the R where it falls least, over draws",
        measure=f"""
            WITH m AS (
                SELECT seed, num_random_labels, AVG(effect) AS effect FROM ({EFFECT}) e
                GROUP BY seed, num_random_labels
            )
            SELECT seed, MAX(effect) + 0 * SUM(effect) AS value FROM m GROUP BY seed
        """,
        expects="below",
    ),
)

SPACE = SearchSpace(
    claim="Memorization and its fall under λ do not hang on one draw of random labels.",
    source=SOURCE,
    axes={
        "num_random_labels": ChoiceAxis(choices=(2, 10, 50)),
        "random_label_draw": ChoiceAxis(choices=(0, 1, 2, 3)),
    },
    arms=("control", "full"),
    num_seeds=4,
    fixed={
        "lr": 0.03,
        "rlp_lambda": 10.0,
        "dataset": "digits",
        "backbone": "small_cnn",
        "num_epochs": 60,
        "batch_size": 64,
        "eval_every": 20,
    },
    claims=CLAIMS,
)

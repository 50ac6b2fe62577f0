"""Digits, a small CNN, the five arms: both effects apart within two minutes on two CPU cores.

Claim:
    The RLP regularizer changes test accuracy in two ways at once: by unlearning random labels and
    by an implicit, larger learning rate. At a small learning rate the second one helps.

Source:
    Becker and Risse, arXiv:2411.19640, appendix A.3, figure A.1 (λ × learning rate), asked of the
    1,797 digits that come with scikit-learn instead of CIFAR-100.

Deviations:
    Data set, network and epochs are chosen for the time they take, the number of seeds by a power
    calculation on seeds that the study does not use (docs/measurements.md), none for the effects
    they show. The learning rates end at 0.1, because at 0.3 with λ = 10 every arm with the class
    term lost its training (both pilots are in docs/measurements.md). What comes out is a statement
    on digits and this network; a null is an answer.
"""

from rlp_sweeps.spaces import Claim, LogAxis, SearchSpace

SOURCE = "arXiv:2411.19640, figure A.1"

GAIN = """
    SELECT f.seed AS seed, f.lr AS lr, f.test_accuracy - c.test_accuracy AS gain,
           f.random_label_accuracy - c.random_label_accuracy AS recalled
    FROM trials f JOIN trials c ON f.seed = c.seed AND f.lr = c.lr
    WHERE f.arm = 'full' AND f.rlp_lambda > 9 AND c.arm = 'control'
"""

CLAIMS = (
    Claim(
        text="At a small learning rate λ helps.",
        source=SOURCE,
        quantity="Test accuracy, full less control, λ = 10, lr 0.003",
        measure=f"SELECT seed, gain AS value FROM ({GAIN}) g WHERE lr < 0.004",
        expects="above",
    ),
    Claim(
        text="The gain falls as the learning rate rises.",
        source=SOURCE,
        quantity="That gain at lr 0.1, less that at lr 0.003",
        measure=f"""
            WITH g AS ({GAIN})
            SELECT high.seed, high.gain - low.gain AS value FROM g high JOIN g low
            ON high.seed = low.seed WHERE high.lr > 0.09 AND low.lr < 0.004
        """,
        expects="below",
    ),
    Claim(
        text="λ lowers memorization.",
        source="arXiv:2411.19640, section 3",
        quantity="Random-label accuracy, full less control, λ = 10, over lr",
        measure=f"SELECT seed, AVG(recalled) AS value FROM ({GAIN}) g GROUP BY seed",
        expects="below",
    ),
)

SPACE = SearchSpace(
    claim="At a small learning rate the regularizer's gain is an implicit, larger learning rate.",
    source="arXiv:2411.19640, figure A.1 (on digits instead of CIFAR-100)",
    axes={
        "lr": LogAxis(low=0.003, high=0.1, num_points=3),
        "rlp_lambda": LogAxis(low=1.0, high=10.0, num_points=2, control=0.0),
    },
    arms=("control", "full", "class_term", "uniform_term", "sham"),
    num_seeds=5,
    fixed={
        "dataset": "digits",
        "backbone": "small_cnn",
        "num_random_labels": 10,
        "optimizer": "sgd",
        "momentum": 0.9,
        "schedule": "cosine",
        "num_epochs": 12,
        "batch_size": 64,
        "eval_every": 4,
    },
    claims=CLAIMS,
)

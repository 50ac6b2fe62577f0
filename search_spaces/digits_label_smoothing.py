"""Digits, a small CNN: label smoothing ε × λ at a fixed learning rate.

Claim:
    With little label smoothing λ helps; at the best ε it hurts; at a large λ all ε coincide. The
    regularizer would then replace label smoothing rather than add to it.

Source:
    Becker and Risse, arXiv:2411.19640, appendix A.4, figure A.2, asked of the 1,797 digits and a
    small CNN instead of CIFAR-100 and a WideResNet-16-4 (``cifar100_label_smoothing_lambda``).

Deviations:
    Learning rate, ε and λ are chosen. The best ε is the control's, chosen on validation samples and
    reported on test samples. "All ε coincide" is asked of the ends: ε = 0.4 less ε = 0 at λ = 10
    is to lie within 1 point.
"""

from rlp_sweeps.spaces import ChoiceAxis, Claim, SearchSpace

SOURCE = "arXiv:2411.19640, figure A.2"

GAIN = """
    SELECT f.seed AS seed, f.label_smoothing AS label_smoothing, f.rlp_lambda AS rlp_lambda,
           c.val_accuracy AS control_val, f.test_accuracy - c.test_accuracy AS gain
    FROM trials f JOIN trials c ON f.seed = c.seed AND f.label_smoothing = c.label_smoothing
    WHERE f.arm = 'full' AND c.arm = 'control'
"""

CLAIMS = (
    Claim(
        text="Without label smoothing λ helps.",
        source=SOURCE,
        quantity="Test accuracy, full less control, at ε = 0, over all λ",
        measure=f"""
            SELECT seed, AVG(gain) AS value FROM ({GAIN}) g
            WHERE label_smoothing = 0 GROUP BY seed
        """,
        expects="above",
    ),
    Claim(
        text="At the best label smoothing λ hurts.",
        source=SOURCE,
        quantity="Test accuracy, full less control, at the ε where that seed's control validates "
        "best, over all λ",
        measure=f"""
            WITH g AS ({GAIN}), best AS (SELECT seed, MAX(control_val) AS top FROM g GROUP BY seed)
            SELECT g.seed, AVG(g.gain) AS value
            FROM g JOIN best ON g.seed = best.seed AND g.control_val = best.top GROUP BY g.seed
        """,
        expects="below",
    ),
    Claim(
        text="At a large λ all ε coincide.",
        source=SOURCE,
        quantity="Test accuracy of full at λ = 10, ε = 0.4 less ε = 0",
        measure="""
            SELECT a.seed, a.test_accuracy - b.test_accuracy AS value
            FROM trials a JOIN trials b ON a.seed = b.seed
            WHERE a.arm = 'full' AND a.rlp_lambda = 10 AND a.label_smoothing = 0.4
                  AND b.arm = 'full' AND b.rlp_lambda = 10 AND b.label_smoothing = 0
        """,
        expects="within",
        bound=0.01,
    ),
)

SPACE = SearchSpace(
    claim="With little label smoothing λ helps, at the best ε it hurts, at large λ all coincide.",
    source="arXiv:2411.19640, figure A.2 (on digits instead of CIFAR-100)",
    axes={
        "label_smoothing": ChoiceAxis(choices=(0.0, 0.1, 0.2, 0.4)),
        "rlp_lambda": ChoiceAxis(choices=(0.3, 1.0, 3.0, 10.0), control=0.0),
    },
    arms=("control", "full", "class_term", "uniform_term", "sham"),
    num_seeds=5,
    fixed={
        "lr": 0.01,
        "dataset": "digits",
        "backbone": "small_cnn",
        "num_random_labels": 10,
        "optimizer": "sgd",
        "momentum": 0.9,
        "schedule": "cosine",
        "num_epochs": 20,
        "batch_size": 64,
        "eval_every": 10,
    },
    claims=CLAIMS,
)

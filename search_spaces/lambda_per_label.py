"""The single head's strength is λ over the number of random labels R.

Claim:
    At chance the gradient of −log(1 − p̂_r) is 1/R of that of −log p̂_r, so that the regularizer of
    a head with R outputs acts with λ/R: ten times the labels need ten times the λ.

Source:
    Becker et al., ICLR 2026 (λ up to 1e5 with R up to 1e5).

Deviations:
    The small size asks it of 300 digits and a small CNN, with R = 10 and 100: with all digits a
    head of R outputs memorized too little (13 points at R = 10) for anything to be unlearned, and
    from λ = 1 on nothing was left to compare (both seen on seeds 0 to 7, which the study leaves
    out). What is compared is the share of the control's memorization that is left; "the same" is
    read as within 15 points of it.
"""

from rlp_sweeps.spaces import ChoiceAxis, Claim, SearchSpace

SOURCE = "ICLR 2026 (OpenReview qBknFL81JO)"


def _left(num_random_labels: int, rlp_lambda: float) -> str:
    """Return the query of the share of the control's memorization that a λ leaves at an R."""
    return f"""
        SELECT f.seed AS seed, f.memorization / c.memorization AS share
        FROM trials f JOIN trials c
        ON f.seed = c.seed AND f.num_random_labels = c.num_random_labels
        WHERE f.arm = 'full' AND c.arm = 'control'
              AND f.num_random_labels = {num_random_labels} AND f.rlp_lambda = {rlp_lambda:g}
    """


def _difference(first: tuple[int, float], second: tuple[int, float]) -> str:
    return f"""
        WITH a AS ({_left(*first)}), b AS ({_left(*second)})
        SELECT a.seed, a.share - b.share AS value FROM a JOIN b ON a.seed = b.seed
    """


def _claims(first: float) -> tuple[Claim, ...]:
    """Return what is claimed, from the smallest λ on; the next ones are ten times as large each."""
    low, middle, high = first, 10 * first, 100 * first
    same_lambda = Claim(
        text="At the same λ, a head with ten times the random labels unlearns less.",
        source=SOURCE,
        quantity=f"Share of memorization left by λ = {middle:g} at R = 100, less that at R = 10",
        measure=_difference((100, middle), (10, middle)),
        expects="above",
    )
    same_ratio = (
        Claim(
            text=f"At the same λ/R = {at_ten / 10:g}, both unlearn the same.",
            source=SOURCE,
            quantity=f"Share of memorization left at R = 100, λ = {at_hundred:g}, less that at "
            f"R = 10, λ = {at_ten:g}",
            measure=_difference((100, at_hundred), (10, at_ten)),
            expects="within",
            bound=0.15,
        )
        for at_ten, at_hundred in ((low, middle), (middle, high))
    )
    return (same_lambda, *same_ratio)


SPACE = SearchSpace(
    claim="A single head's regularizer acts with λ/R.",
    source=SOURCE,
    axes={
        "num_random_labels": ChoiceAxis(choices=(10, 100)),
        "rlp_lambda": ChoiceAxis(choices=(0.01, 0.1, 1.0), control=0.0),
    },
    arms=("control", "full"),
    num_seeds=8,
    first_seed=20,
    fixed={
        "lr": 0.03,
        "head": "single",
        "dataset": "digits",
        "train_samples": 300,
        "backbone": "small_cnn",
        "num_epochs": 200,
        "batch_size": 50,
        "eval_every": 20,
    },
    claims=_claims(0.01),
)

PAPER = SearchSpace(
    claim=SPACE.claim,
    source=SOURCE,
    axes={
        "num_random_labels": ChoiceAxis(choices=(10, 100, 1000)),
        "rlp_lambda": ChoiceAxis(choices=(1.0, 10.0, 100.0, 1000.0, 10000.0), control=0.0),
    },
    arms=("control", "full"),
    num_seeds=3,
    fixed={
        "lr": 0.1,
        "head": "single",
        "dataset": "cifar100",
        "backbone": "wide_resnet",
        "backbone_depth": 16,
        "backbone_width": 4,
        "num_epochs": 200,
        "batch_size": 256,
        "precision": "bf16",
        "eval_every": 10,
    },
    claims=_claims(1.0),
)

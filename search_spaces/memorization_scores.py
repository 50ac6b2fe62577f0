"""Which samples are memorized: scores of single samples, beside the random-label head's confidence.

Claim:
    Samples that networks predict right only where they were trained on them are the atypical and
    the mislabelled ones; most samples are not memorized in this sense.

Source:
    Feldman and Zhang, NeurIPS 2020, arXiv:2008.03703.

Deviations:
    The small size asks it of the 1,797 digits and a small CNN, each of 40 seeds a training on
    70 % of its training samples, where the paper trains thousands of networks on CIFAR-100 and
    ImageNet. A tenth of the labels is redrawn, the same in all seeds, so that what is mislabelled
    is known. Whether the random-label head ranks samples alike is this project's question.
    Intervals are over samples, for the networks that were trained.
"""

from rlp_sweeps.spaces import ChoiceAxis, Claim, SearchSpace

SOURCE = "arXiv:2008.03703"
OURS = "this project's question"


def _of(name: str, count: str) -> str:
    """Return the query of a number with its interval over samples."""
    return f"""
        SELECT {name} AS estimate, {name}_ci_low AS ci_low, {name}_ci_high AS ci_high,
               {count} AS n FROM score_comparison
    """


CLAIMS = (
    Claim(
        text="Memorization scores tell mislabelled samples from the others.",
        source=SOURCE,
        quantity="Area under the ROC curve of the score (n: mislabelled samples)",
        measure=_of("auroc_score", "num_planted"),
        expects="above",
        bound=0.9,
        unit="",
    ),
    Claim(
        text="The random-label head's confidence tells them as well.",
        source=OURS,
        quantity="Area under the ROC curve of its confidence (n: mislabelled samples)",
        measure=_of("auroc_rlp", "num_planted"),
        expects="above",
        bound=0.5,
        unit="",
    ),
    Claim(
        text="Among rightly labelled samples it ranks them as the scores do.",
        source=OURS,
        quantity="Spearman's rank correlation of score and confidence, true labels (n: samples)",
        measure=_of("spearman_true", "num_samples - num_planted"),
        expects="above",
        unit="",
    ),
)

SPACE = SearchSpace(
    claim="Memorized samples are the mislabelled and the atypical ones.",
    source=SOURCE,
    axes={"lr": ChoiceAxis(choices=(0.03,))},
    arms=("control",),
    num_seeds=40,
    fixed={
        "subset_share": 0.7,
        "label_corruption": 0.1,
        "corruption_seed": 0,
        "dataset": "digits",
        "backbone": "small_cnn",
        "num_random_labels": 10,
        "num_epochs": 60,
        "batch_size": 64,
        "eval_every": 20,
    },
    claims=CLAIMS,
    keep_samples=True,
)

PAPER = SearchSpace(
    claim=SPACE.claim,
    source=SOURCE,
    axes={"lr": ChoiceAxis(choices=(0.1,))},
    arms=("control",),
    num_seeds=2000,
    fixed={
        "subset_share": 0.7,
        "label_corruption": 0.1,
        "corruption_seed": 0,
        "augmentation": "flip_crop",
        "dataset": "cifar100",
        "backbone": "wide_resnet",
        "backbone_depth": 16,
        "backbone_width": 4,
        "num_random_labels": 10,
        "num_epochs": 160,
        "batch_size": 512,
        "precision": "bf16",
        "eval_every": 40,
    },
    claims=CLAIMS,
    keep_samples=True,
)

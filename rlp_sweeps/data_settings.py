"""Settings of what a trial is trained on: defaults, rules and columns; a part of ``config``."""

from collections.abc import Callable, Mapping
from typing import Any

from rlp_sweeps.column import Column
from rlp_sweeps.errors import ConfigError

DATA_DEFAULTS: dict[str, Any] = {
    "label_corruption": 0.0,
    "train_fraction": 1.0,
    "imbalance_factor": 1.0,
    "num_views": 0,
    "view_labels": "same",
    "corruption_seed": None,
    "subset_share": 1.0,
    "random_label_draw": 0,
    "mixup_alpha": 0.0,
    "loss": "cross_entropy",
}
"""Settings by name, at values that change nothing."""

LOSSES = ("cross_entropy", "mse")
"""What the class head is trained on."""

VIEW_LABELS = ("same", "random")
"""What fixed views of a sample are labelled with: its label, or one drawn for each."""


def _is_alpha(value: Any) -> bool:
    return value == 0 or 1e-3 <= value < float("inf")  # type: ignore[no-any-return]  # of bool


DATA_RULES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "label_corruption": ("0 <= label_corruption <= 1", lambda v: 0 <= v <= 1),
    "train_fraction": ("0 < train_fraction <= 1", lambda v: 0 < v <= 1),
    "imbalance_factor": ("1 <= imbalance_factor < inf", lambda v: 1 <= v < float("inf")),
    "num_views": ("0 <= num_views", lambda v: v >= 0),
    "view_labels": (f"view_labels in {VIEW_LABELS}", lambda v: v in VIEW_LABELS),
    "corruption_seed": ("0 <= corruption_seed", lambda v: v >= 0),
    "subset_share": ("0 < subset_share <= 1", lambda v: 0 < v <= 1),
    "random_label_draw": ("0 <= random_label_draw", lambda v: v >= 0),
    "mixup_alpha": ("mixup_alpha = 0 or 0.001 <= mixup_alpha < inf", _is_alpha),
    "loss": (f"loss in {LOSSES}", lambda v: v in LOSSES),
}
"""What must hold of each, and its test."""


def check_data_settings(settings: Mapping[str, Any]) -> None:
    """Refuse views that would be alike, labels a view with nothing to draw, and mixed copies.

    Args:
        settings: Of a trial, by name.

    Raises:
        ConfigError: They do not go together.
    """
    num_views, label_corruption = settings["num_views"], settings["label_corruption"]
    if num_views and settings["augmentation"] == "none":
        msg = (
            "`augmentation != 'none'` must hold where num_views >= 1, because views differ by it "
            f"alone, but got num_views={num_views!r}; choose an augmentation or num_views=0."
        )
        raise ConfigError(msg)
    if settings["view_labels"] == "random" and not (num_views and label_corruption):
        msg = (
            "view_labels='random' needs num_views >= 1 and label_corruption > 0, but got "
            f"num_views={num_views!r}, label_corruption={label_corruption!r}; label_corruption=1 "
            "draws all labels."
        )
        raise ConfigError(msg)
    if settings["mixup_alpha"] and settings["copy_depth"] > 1:
        msg = (
            "`mixup_alpha == 0` must hold where heads copy layers, which would run twice a step, "
            f"but got mixup_alpha={settings['mixup_alpha']!r}, "
            f"copy_depth={settings['copy_depth']!r}; use copy_depth=1."
        )
        raise ConfigError(msg)


# fmt: off
DATA_COLUMNS = (
    Column("label_corruption", "f64", "share, [0, 1]", "config",
           "Probability that a training label is redrawn uniformly over all classes, the true one "
           "included.", default=0.0),
    Column("train_fraction", "f64", "share, (0, 1]", "config",
           "Share of the training samples that is kept, class by class.", default=1.0),
    Column("imbalance_factor", "f64", "≥ 1", "config",
           "Samples kept of the first class over those of the last, falling exponentially between "
           "them (long tail).", default=1.0),
    Column("num_views", "i64", "count", "config",
           "Fixed augmented views of every training sample, shown in turn; metrics on training "
           "samples are on all of them. 0: augmentation is drawn anew in every epoch.", default=0),
    Column("view_labels", "str", "", "config",
           "Whether fixed views have the sample's label (same) or each one that is corrupted apart "
           "from the others' (random).", default="same"),
    Column("corruption_seed", "i64", "count", "config",
           "Number that fixes which labels are redrawn, the same in all seeds; null: each seed "
           "redraws its own."),
    Column("subset_share", "f64", "share, (0, 1]", "config",
           "Share of the training samples that is trained on, drawn by every seed for itself.",
           default=1.0),
    Column("random_label_draw", "i64", "count", "config",
           "Number of the draw of random labels: other numbers give the same seed other random "
           "labels, with all else equal.", default=0),
    Column("mixup_alpha", "f64", "≥ 0", "config",
           "α of mixup: every batch is blended with a permutation of itself, weights m and 1 − m, "
           "m ~ Beta(α, α); 0: it is not.", default=0.0),
    Column("loss", "str", "", "config",
           "L_class: cross_entropy, or mse, the squared error of the class head's outputs on "
           "one-hot targets.", default="cross_entropy"),
)
"""Their columns of the table ``trials``."""

LABEL_METRIC_COLUMNS = (
    Column("changed_labels", "f64", "share, [0, 1]", "diagnostic",
           "Share of the training labels that differ from the true ones."),
    Column("true_label_accuracy", "f64", "share, [0, 1]", "outcome",
           "Share of the training samples that are predicted as their true class, eval mode; "
           "`train_accuracy` where no label is changed."),
    Column("changed_label_accuracy", "f64", "share, [0, 1]", "outcome",
           "Share of the training samples with a changed label that are predicted as that label, "
           "eval mode; null where no label is changed."),
)
"""Metrics of the table ``trials`` that tell the labels trained on from the true ones."""
# fmt: on

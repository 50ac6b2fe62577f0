"""Settings of what a trial is trained on: defaults, rules and columns; a part of ``config``."""

from collections.abc import Callable
from typing import Any

from rlp_sweeps.column import Column

DATA_DEFAULTS: dict[str, Any] = {
    "label_corruption": 0.0,
    "train_fraction": 1.0,
    "imbalance_factor": 1.0,
}
"""Settings by name, at values that change nothing."""

DATA_RULES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "label_corruption": ("0 <= label_corruption <= 1", lambda v: 0 <= v <= 1),
    "train_fraction": ("0 < train_fraction <= 1", lambda v: 0 < v <= 1),
    "imbalance_factor": ("1 <= imbalance_factor < inf", lambda v: 1 <= v < float("inf")),
}
"""What must hold of each, and its test."""

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

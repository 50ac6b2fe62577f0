"""Columns of the table ``benign``, a part of ``schema.py``."""

from rlp_sweeps.column import Column

MEMORIZED_ABOVE = 0.99
"""Share of random class labels above which they count as memorized, where no other is given."""


def _differences(reference: str, what: str) -> tuple[Column, ...]:
    name = f"over_{reference}"
    return (
        Column(name, "f64", "difference of shares", "outcome",
               f"knn_trained − knn_{reference} ({what}), mean over seeds of the per-seed "
               "difference."),
        Column(f"{name}_ci_low", "f64", "difference of shares", "outcome",
               "Lower end of its 95 % t interval over seeds; null for n = 1 and without spread."),
        Column(f"{name}_ci_high", "f64", "difference of shares", "outcome",
               "Upper end of the same."),
    )  # fmt: skip


# fmt: off
BENIGN = (
    Column("lr", "f64", "per step", "identity",
           "Cell: peak learning rate."),
    Column("rlp_lambda", "f64", "≥ 0", "identity",
           "Cell: λ; 0 in the control arm."),
    Column("label_smoothing", "f64", "share, [0, 1)", "identity",
           "Cell: ε."),
    Column("arm", "str", "", "identity",
           "The arm."),
    Column("num_seeds", "i64", "count", "outcome",
           "Completed trials on random class labels."),
    Column("num_diverged", "i64", "count", "outcome",
           "Diverged ones, which are left out."),
    Column("train_accuracy", "f64", "share, [0, 1]", "outcome",
           "On the random class labels trained on, eval mode, mean over seeds."),
    Column("train_accuracy_ci_low", "f64", "share", "outcome",
           "Lower end of its 95 % t interval over seeds; null for n = 1 and without spread."),
    Column("train_accuracy_ci_high", "f64", "share", "outcome",
           "Upper end of the same."),
    Column("memorized_above", "f64", "share, [0, 1]", "provenance",
           "Bound that train_accuracy must exceed, interval included, to count as memorized."),
    Column("num_probed_seeds", "i64", "count", "outcome",
           "Seeds with kNN of the network, of itself before training and of pixels."),
    Column("attach_point", "str", "", "outcome",
           "Layer of the network that validates best in most of these seeds."),
    Column("knn_trained", "f64", "share, [0, 1]", "outcome",
           "Test accuracy of kNN on true labels at each seed's best validating layer, mean over "
           "probed seeds."),
    Column("knn_random_init", "f64", "share, [0, 1]", "outcome",
           "The same of the network before training, at its own best validating layer."),
    Column("knn_pixels", "f64", "share, [0, 1]", "outcome",
           "The same of the images."),
    *_differences("random_init", "the network before training"),
    *_differences("pixels", "the images"),
    Column("verdict", "str", "", "outcome",
           "benign, malign, not memorizing; null where it cannot be told (docs/method.md)."),
    Column("reason", "str", "", "outcome",
           "Why there is no verdict; null where there is one."),
)
# fmt: on

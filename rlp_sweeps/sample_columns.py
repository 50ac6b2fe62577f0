"""Columns of the table ``samples``, a part of ``schema.py``."""

from rlp_sweeps.column import Column

# fmt: off
SAMPLES = (
    Column("trial_id", "str", "", "identity",
           "Key into trials.", required=True),
    Column("split", "str", "", "identity",
           "pool (the training pool, seen or not) or test (a test set of the data set's own; where "
           "it has none, its test samples are pool samples that no trial of the seed has seen).",
           required=True),
    Column("sample_id", "i64", "count", "identity",
           "Index in the training pool, or in the data set's own test set.", required=True),
    Column("is_trained", "bool", "", "provenance",
           "Whether the trial was trained on the sample; validation samples are unseen.",
           required=True),
    Column("label", "i64", "class", "provenance",
           "The label that the trial was trained on, or would have been."),
    Column("true_label", "i64", "class", "provenance",
           "The data set's own label; another one than `label` where one was planted."),
    Column("is_correct", "bool", "", "outcome",
           "Whether the prediction is `label`: eval mode, no augmentation, at the trial's end.",
           required=True),
    Column("class_confidence", "f64", "share, [0, 1]", "outcome",
           "Softmax of the class head at `label`."),
    Column("random_label", "i64", "[0, R)", "provenance",
           "The sample's random label in this seed; null for test samples."),
    Column("rlp_confidence", "f64", "share, [0, 1]", "outcome",
           "Observer head's softmax within the R outputs of `label`'s block, at `random_label`. "
           "1/R at chance; means memory where the sample was trained on; null for test samples."),
)
# fmt: on

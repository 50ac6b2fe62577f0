"""Columns of the tables that memorization scores are written to, a part of ``schema.py``."""

from rlp_sweeps.column import Column

# fmt: off
_CELL = (
    Column("lr", "f64", "per step", "identity",
           "Cell: peak learning rate."),
    Column("rlp_lambda", "f64", "≥ 0", "identity",
           "Cell: λ."),
    Column("label_smoothing", "f64", "share, [0, 1)", "identity",
           "Cell: ε."),
    Column("arm", "str", "", "identity",
           "The arm of the trials that are compared."),
)
_SE_BOUND = Column(
    "se_bound", "f64", "as the score", "diagnostic",
    "½ √(1/num_seen + 1/num_unseen): no standard error over trainings is larger.")

MEMORIZATION_SCORES = (
    *_CELL,
    Column("sample_id", "i64", "count", "identity",
           "Index in the training pool."),
    Column("label", "i64", "class", "identity",
           "The label it was trained on; a sample has a row for each that it had."),
    Column("is_planted", "bool", "", "provenance",
           "Whether the label is another one than the true one."),
    Column("num_seen", "i64", "count", "outcome",
           "Trials of the cell that were trained on it."),
    Column("num_unseen", "i64", "count", "outcome",
           "Trials of the cell that were not."),
    Column("accuracy_seen", "f64", "share, [0, 1]", "outcome",
           "Share of the trials that saw it which predict its label; null for none."),
    Column("accuracy_unseen", "f64", "share, [0, 1]", "outcome",
           "Share of the trials that did not see it which predict its label; null for none."),
    Column("memorization_score", "f64", "share, [−1, 1]", "outcome",
           "accuracy_seen − accuracy_unseen; null where either is."),
    _SE_BOUND,
    Column("se", "f64", "as the score", "diagnostic",
           "Plug-in standard error √(p(1 − p)/(n − 1) of either kind, summed); 0 where the trials "
           "of a kind agree; null for fewer than 2 of a kind."),
    Column("rlp_confidence", "f64", "share, [0, 1]", "outcome",
           "Mean over the trials that saw it, each with a random label of its own."),
    Column("class_confidence", "f64", "share, [0, 1]", "outcome",
           "Mean over the trials that saw it."),
)

INFLUENCES = (
    *_CELL,
    Column("sample_id", "i64", "count", "identity",
           "The training sample that is in or out."),
    Column("test_split", "str", "", "identity",
           "test, or pool where the data set has no test set of its own."),
    Column("test_id", "i64", "count", "identity",
           "The sample that is predicted: its index in that split."),
    Column("influence", "f64", "share, [−1, 1]", "outcome",
           "Share of the trials that saw the training sample which predict the test sample, less "
           "that of the trials that did not; over trials that did not see the test sample."),
    Column("num_seen", "i64", "count", "outcome",
           "Trials of the first kind."),
    Column("num_unseen", "i64", "count", "outcome",
           "Trials of the second kind."),
    _SE_BOUND,
)

SCORE_COMPARISON = (
    *_CELL,
    Column("num_trials", "i64", "count", "provenance",
           "Trained networks that the scores stand on."),
    Column("num_samples", "i64", "count", "provenance",
           "Samples with a score, of all labels."),
    Column("mean_num_seen", "f64", "count", "provenance",
           "Mean num_seen of these."),
    Column("mean_num_unseen", "f64", "count", "provenance",
           "Mean num_unseen of these."),
    Column("mean_score", "f64", "share, [−1, 1]", "outcome",
           "Mean memorization score."),
    Column("memorized_share", "f64", "share, [0, 1]", "outcome",
           "Share of the samples that score 0.25 or more."),
    Column("se_bound", "f64", "as the score", "diagnostic",
           "Largest se_bound of these samples."),
    Column("reliability", "f64", "≤ 1", "diagnostic",
           "1 − mean squared se over the variance of the scores: the share of their variance that "
           "is no noise of trainings; null where no se is known or scores do not differ."),
    Column("spearman", "f64", "[−1, 1]", "outcome",
           "Rank correlation of memorization_score and rlp_confidence over samples."),
    Column("spearman_ci_low", "f64", "[−1, 1]", "outcome",
           "Lower end of its 95 % interval over samples (Bonett and Wright 2000)."),
    Column("spearman_ci_high", "f64", "[−1, 1]", "outcome",
           "Upper end of the same."),
    Column("spearman_true", "f64", "[−1, 1]", "outcome",
           "The same among samples with their true label alone."),
    Column("spearman_true_ci_low", "f64", "[−1, 1]", "outcome",
           "Lower end of its 95 % interval."),
    Column("spearman_true_ci_high", "f64", "[−1, 1]", "outcome",
           "Upper end of the same."),
    Column("num_planted", "i64", "count", "provenance",
           "Samples with a score whose label is another one than the true one."),
    Column("auroc_score", "f64", "share, [0, 1]", "outcome",
           "How well the score tells planted labels from true ones; null where none are planted."),
    Column("auroc_score_ci_low", "f64", "share, [0, 1]", "outcome",
           "Lower end of its 95 % interval over samples (DeLong et al. 1988); null at 0 and 1."),
    Column("auroc_score_ci_high", "f64", "share, [0, 1]", "outcome",
           "Upper end of the same."),
    Column("auroc_rlp", "f64", "share, [0, 1]", "outcome",
           "How well rlp_confidence does; higher is taken to mean planted."),
    Column("auroc_rlp_ci_low", "f64", "share, [0, 1]", "outcome",
           "Lower end of its 95 % interval."),
    Column("auroc_rlp_ci_high", "f64", "share, [0, 1]", "outcome",
           "Upper end of the same."),
)
# fmt: on

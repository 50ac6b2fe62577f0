"""Columns of the table ``probes``, a part of ``schema.py``."""

from rlp_sweeps.column import Column

# fmt: off
PROBES = (
    Column("trial_id", "str", "", "identity",
           "Key into trials.", required=True),
    Column("source", "str", "", "identity",
           "What gives the features: trained (the network), random_init (itself before training), "
           "gaussian (i.i.d. normal features of the same D), pixels (the images).",
           required=True),
    Column("attach_point", "str", "", "identity",
           "Layer that is read: one of the backbone's attach points, or pixels.", required=True),
    Column("pooling", "str", "", "identity",
           "What becomes of maps and tokens: average over places, or flatten; rlp_online: average.",
           required=True),
    Column("probe", "str", "", "identity",
           "rlp_online (an observer as trained beside the network, at each place with heads), "
           "rlp_offline (a fresh RLP head at its optimum; a linear one beside copies, whose "
           "observer rlp_online is), knn, masc, class_mean, lda, linear (docs/method.md).",
           required=True),
    Column("label_set", "str", "", "identity",
           "Labels the probe was fitted to: true classes, those trained on (trained), random.",
           required=True),
    Column("layer", "i64", "layers", "provenance",
           "Number of the attach point in forward order, from 1; 0: pixels."),
    Column("num_features", "i64", "count", "provenance",
           "D at the attach point."),
    Column("num_train_samples", "i64", "count", "provenance",
           "Samples the probe was fitted to, and train_accuracy is a share of; rlp_online with "
           "num_views = k: k a sample, all views."),
    Column("num_val_samples", "i64", "count", "provenance",
           "Samples that val_accuracy is a share of."),
    Column("num_test_samples", "i64", "count", "provenance",
           "Samples that test_accuracy is a share of."),
    Column("chance_accuracy", "f64", "share, [0, 1]", "provenance",
           "1/K for classes, 1/R for random labels."),
    Column("train_accuracy", "f64", "share, [0, 1]", "outcome",
           "On the training samples: of random labels within the true class's block for RLP "
           "probes, else of true classes; null for knn."),
    Column("val_accuracy", "f64", "share, [0, 1]", "outcome",
           "On the validation samples, of true classes; null for RLP probes. Layers are chosen "
           "by it."),
    Column("test_accuracy", "f64", "share, [0, 1]", "outcome",
           "On the test samples, of true classes; null for RLP probes."),
    Column("memorization", "f64", "0 at chance, 1 at perfect recall", "outcome",
           "(train_accuracy − 1/R) / (1 − 1/R) of RLP probes; null elsewhere."),
    Column("probe_loss", "f64", "nats, mean over samples", "diagnostic",
           "Cross-entropy that rlp_offline and linear end at on the training samples, without "
           "penalty."),
    Column("converged", "bool", "", "diagnostic",
           "Whether max_gradient is within the tolerance: 1e-4 for rlp_offline, 1e-5 for linear; "
           "null where nothing is iterated."),
    Column("num_iterations", "i64", "steps", "diagnostic",
           "Iterations of L-BFGS, 2000 at most."),
    Column("max_gradient", "f64", "nats per unit weight", "diagnostic",
           "Largest entry of the gradient at the end, on whitened (rlp_offline) or standardized "
           "(linear) features."),
    Column("inverse_penalty", "f64", "> 0", "diagnostic",
           "C of the linear probe, chosen on validation out of 0.001, 0.01, 0.1, 1, 10, 100."),
    Column("mean_num_components", "f64", "components", "diagnostic",
           "Directions that masc keeps, mean over the classes."),
    Column("probe_time_s", "f64", "s", "provenance",
           "Fit and prediction; features are not counted."),
    Column("device", "str", "", "provenance",
           "cpu, or the name of the GPU that the probe ran on."),
    Column("code_version", "str", "", "provenance",
           "Version of rlp-sweeps that probed, with git commit where known."),
)
# fmt: on

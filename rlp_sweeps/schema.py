"""One definition of every table's columns: name, dtype, unit and meaning.

Parquet files are written from it, the analysis checks against it, and docs/results.md is printed
from it (``python -m rlp_sweeps.schema``). A column's role says what the analysis may do with it:
only columns of role ``config`` that vary (and foreign columns that begin with `CONFIG_PREFIX`) tell
cells apart.
"""

from rlp_sweeps.attach_points import PLACE_COLUMNS
from rlp_sweeps.benign_columns import BENIGN
from rlp_sweeps.claim_columns import CLAIM_VALUES, CLAIMS
from rlp_sweeps.class_head import CLASS_HEAD_COLUMNS
from rlp_sweeps.column import Column
from rlp_sweeps.data_settings import DATA_COLUMNS, LABEL_METRIC_COLUMNS
from rlp_sweeps.effect_columns import (
    EFFECTS,
    EFFECTS_POOLED,
    EFFECTS_SURFACE,
    EFFECTS_SURFACE_POOLED,
    SURFACE_CHECKS,
)
from rlp_sweeps.probe_columns import PROBES
from rlp_sweeps.sample_columns import SAMPLES
from rlp_sweeps.score_columns import INFLUENCES, MEMORIZATION_SCORES, SCORE_COMPARISON

SCHEMA_VERSION = 1
"""Version of the tables and of the manifest; a newer one is refused, see docs/results.md."""

CONFIG_PREFIX = "config_"
"""Foreign columns with this prefix are treated as configuration by the analysis."""

STATUSES = ("completed", "diverged", "stopped", "failed")

KEPT_STATUSES = ("completed", "stopped")
"""Ends after which a trial's network is kept: the others have none that is worth reading."""

# fmt: off
CONFIG_COLUMNS = (
    Column("arm", "str", "", "config",
           "Intervention on the extractor: control, full, class_term, uniform_term, sham, "
           "sham_norm, class_mean, mean_rest, orthogonal, grafted; or a control at a measured κ: "
           "rescaled, rescaled_class_term, rescaled_uniform_term, replayed, "
           "replayed_class_term, replayed_uniform_term.", required=True),
    Column("lr", "f64", "per step", "config",
           "Peak learning rate η.", required=True),
    Column("rlp_lambda", "f64", "≥ 0", "config",
           "Strength λ of the regularizer on the extractor; 0 in the control arm; in rescaled "
           "arms that of the trials they are matched to.", required=True),
    Column("label_smoothing", "f64", "share, [0, 1)", "config",
           "ε of q′(k) = (1 − ε) δ_ky + ε/K.", required=True),
    Column("seed", "i64", "count", "config",
           "The replicate's number; arms of one seed share init, order, split and "
           "random labels.", required=True),
    Column("num_random_labels", "i64", "count", "config",
           "R, the number of different random labels.", required=True),
    Column("weight_decay", "f64", "≥ 0", "config",
           "L2 penalty (SGD) or decoupled decay (AdamW) on extractor and class head."),
    Column("momentum", "f64", "[0, 1)", "config",
           "SGD's momentum, or AdamW's β₁."),
    Column("extractor_scale", "f64", "> 0", "config",
           "Planted factor on the extractor's gradient of the class loss."),
    Column("matched_multiplier", "f64", "1: no rescaling", "provenance",
           "κ that a rescaled arm scales the extractor's class gradient by; null elsewhere."),
    Column("matched_trajectory", "str", "1: no rescaling", "provenance",
           "κ of each interval between evaluations that a replayed arm scales the extractor's "
           "class gradient by, separated by spaces; null elsewhere."),
    Column("dataset", "str", "", "config",
           "Name of a data set, or a dotted path to a loader."),
    Column("train_samples", "i64", "count", "config",
           "Training samples kept after the split; null: all."),
    Column("val_samples", "i64", "count", "config",
           "Validation samples; null: the data set's own share."),
    Column("test_samples", "i64", "count", "config",
           "Test samples kept; null: all."),
    *DATA_COLUMNS,
    Column("augmentation", "str", "", "config",
           "Name of the training augmentation."),
    Column("backbone", "str", "", "config",
           "Name of a backbone, or a dotted path to a builder."),
    Column("backbone_depth", "i64", "layers", "config",
           "Depth of the backbone; null: its default."),
    Column("backbone_width", "i64", "factor", "config",
           "Width of the backbone; null: its default."),
    Column("dropout", "f64", "share, [0, 1)", "config",
           "Dropout inside the backbone."),
    *CLASS_HEAD_COLUMNS,
    Column("head", "str", "", "config",
           "Kind of RLP head."),
    *PLACE_COLUMNS,
    Column("head_lr", "f64", "per step", "config",
           "Peak learning rate of the RLP heads; null: `lr`."),
    Column("head_weight_decay", "f64", "≥ 0", "config",
           "Weight decay of the RLP heads."),
    Column("optimizer", "str", "", "config",
           "sgd or adamw."),
    Column("nesterov", "bool", "", "config",
           "Nesterov momentum (SGD)."),
    Column("schedule", "str", "", "config",
           "Learning-rate schedule after warm-up: cosine, constant, step."),
    Column("warmup_epochs", "i64", "epochs", "config",
           "Epochs of linear warm-up."),
    Column("num_epochs", "i64", "epochs", "config",
           "Epochs of a trial trained to its end."),
    Column("batch_size", "i64", "samples", "config",
           "Samples of one step."),
    Column("precision", "str", "", "config",
           "fp32, or bf16 (autocast)."),
    Column("eval_every", "i64", "epochs", "config",
           "Epochs between two evaluations; the last epoch always counts."),
)

_METRIC_COLUMNS = (
    Column("train_accuracy", "f64", "share, [0, 1]", "outcome",
           "Class accuracy on the labels of the training samples, eval mode, no augmentation but "
           "that of fixed views.", required=True),
    Column("val_accuracy", "f64", "share, [0, 1]", "outcome",
           "Class accuracy on the validation samples.", required=True),
    Column("test_accuracy", "f64", "share, [0, 1]", "outcome",
           "Class accuracy on the test samples.", required=True),
    Column("train_loss", "f64", "nats, mean over samples", "outcome",
           "Cross-entropy on the training samples, eval mode, without label smoothing."),
    Column("val_loss", "f64", "nats, mean over samples", "outcome",
           "Cross-entropy on the validation samples."),
    Column("test_loss", "f64", "nats, mean over samples", "outcome",
           "Cross-entropy on the test samples.", required=True),
    Column("generalization_gap", "f64", "share, [−1, 1]", "outcome",
           "train_accuracy − test_accuracy."),
    *LABEL_METRIC_COLUMNS,
    Column("random_label_accuracy", "f64", "share, [0, 1]", "outcome",
           "Observer head on training samples, eval mode: argmax over the R outputs "
           "of the true class.", required=True),
    Column("memorization", "f64", "0 at chance, 1 at perfect recall", "outcome",
           "(random_label_accuracy − 1/R) / (1 − 1/R)."),
    Column("adversary_random_label_accuracy", "f64", "share, [0, 1]", "diagnostic",
           "The same, read at the head that the extractor is trained against."),
    Column("head_loss", "f64", "nats, mean over samples", "diagnostic",
           "−log p̂_yr of the observer on the training samples, eval mode."),
    Column("regularizer_loss", "f64", "nats, mean over samples", "diagnostic",
           "L_reg of the adversary on the training samples, eval mode."),
    Column("regularizer_class_term", "f64", "nats, mean over samples", "diagnostic",
           "Class part of L_reg: −log P_y."),
    Column("regularizer_uniform_term", "f64", "nats, mean over samples", "diagnostic",
           "Uniform part of L_reg, ≥ log R."),
    Column("lr_multiplier", "f64", "1: no implicit effect", "outcome",
           "κ of the extractor's gradient as a training step computes it, aggregated "
           "from the first epoch on.", required=True, nullable=True),
    Column("lr_multiplier_class_term", "f64", "1: no implicit effect", "diagnostic",
           "κ of λ times the class term at weight 1, along this trial's own path."),
    Column("lr_multiplier_uniform_term", "f64", "1: no implicit effect", "diagnostic",
           "κ of λ times the uniform term at weight 1, along this trial's own path."),
    Column("equivalent_lr", "f64", "per step", "outcome",
           "η′ = κη, the learning rate a control would need."),
)

TRIALS = (
    Column("trial_id", "str", "", "identity",
           "Hash of the configuration that affects numbers.", required=True),
    Column("status", "str", "", "identity",
           "completed, diverged, stopped (by a scheduler) or failed.", required=True),
    *CONFIG_COLUMNS,
    *_METRIC_COLUMNS,
    Column("weight_class_term", "f64", "", "provenance",
           "w_c of the arm."),
    Column("weight_uniform_term", "f64", "", "provenance",
           "w_u of the arm."),
    Column("rlp_lambda_per_label", "f64", "≥ 0", "provenance",
           "λ/R, the effective strength of a single head's regularizer; null for other heads."),
    Column("num_classes", "i64", "count", "provenance",
           "K of the data set."),
    Column("num_train_samples", "i64", "count", "provenance",
           "Samples trained on."),
    Column("num_parameters", "i64", "count", "provenance",
           "Parameters of extractor and class head."),
    Column("num_features", "i64", "count", "provenance",
           "D, numbers of a sample that the heads read; below copied layers all of a map."),
    Column("epochs_completed", "i64", "epochs", "provenance",
           "Epochs trained, the diverging one included."),
    Column("metrics_epoch", "i64", "epochs", "provenance",
           "Epoch the metrics of this row were read at: the last finite evaluation."),
    Column("wall_time_s", "f64", "s", "provenance",
           "Training and evaluation of this trial."),
    Column("started_at_ms", "i64", "ms since 1970, UTC", "provenance",
           "Start of the trial."),
    Column("finished_at_ms", "i64", "ms since 1970, UTC", "provenance",
           "End of the trial."),
    Column("engine", "str", "", "provenance",
           "How the trial's group was trained."),
    Column("group_id", "str", "", "provenance",
           "The group the trial was trained in."),
    Column("point", "i64", "count", "provenance",
           "Number of the sampled point in a search; null in a grid."),
    Column("device", "str", "", "provenance",
           "cpu, or the name of the GPU."),
    Column("hostname", "str", "", "provenance",
           "Machine the trial ran on."),
    Column("code_version", "str", "", "provenance",
           "Version of rlp-sweeps, with git commit where known."),
    Column("error", "str", "", "provenance",
           "Trace of a failed trial; why a diverged trial ended."),
)

EPOCHS = (
    Column("trial_id", "str", "", "identity",
           "Key into trials.", required=True),
    Column("epoch", "i64", "epochs", "identity",
           "Epochs completed at this evaluation, from 1.", required=True),
    Column("step", "i64", "steps", "provenance",
           "Optimizer steps completed at this evaluation."),
    Column("current_lr", "f64", "per step", "diagnostic",
           "Learning rate η_t of the last step."),
    Column("train_step_loss", "f64", "nats, mean over samples", "diagnostic",
           "L_class (smoothed, train mode, augmented), mean over the steps since the last "
           "evaluation; a squared error where loss is mse."),
    *_METRIC_COLUMNS,
    Column("class_grad_dot", "f64", "squared nats per unit weight", "diagnostic",
           "⟨g_c^A, g_c^B⟩ on the extractor, two disjoint half-batches, mid-epoch."),
    Column("trained_grad_dot", "f64", "squared nats per unit weight", "diagnostic",
           "⟨g_t^A, g_c^B⟩ of a training step's gradient, symmetrized over the half-batches."),
    Column("class_term_grad_dot", "f64", "squared nats per unit weight", "diagnostic",
           "⟨g_r^A, g_c^B⟩ of the class term, symmetrized over the half-batches."),
    Column("uniform_term_grad_dot", "f64", "squared nats per unit weight", "diagnostic",
           "⟨g_r^A, g_c^B⟩ of the uniform term, symmetrized over the half-batches."),
    Column("regularizer_grad_orthogonal_norm", "f64", "nats per unit weight", "diagnostic",
           "Norm of the part of ∇L_reg (both terms, λ = 1) orthogonal to g_c, on one probe batch."),
    Column("class_grad_sum", "f64", "squared nats per unit weight, times lr", "diagnostic",
           "Σ_t η_t ⟨g_c^A, g_c^B⟩_t from the first epoch on: the denominator of `lr_multiplier`."),
    Column("trained_grad_sum", "f64", "squared nats per unit weight, times lr", "diagnostic",
           "Σ_t η_t ⟨g_t^A, g_c^B⟩_t from the first epoch on: the numerator of `lr_multiplier`."),
    Column("epoch_time_s", "f64", "s", "provenance",
           "Training and evaluation since the last row."),
    Column("logged_at_ms", "i64", "ms since 1970, UTC", "provenance",
           "When the row was measured."),
)
# fmt: on

TABLES: dict[str, tuple[Column, ...]] = {
    "trials": TRIALS,
    "epochs": EPOCHS,
    "probes": PROBES,
    "samples": SAMPLES,
    "effects": EFFECTS,
    "effects_pooled": EFFECTS_POOLED,
    "effects_surface": EFFECTS_SURFACE,
    "effects_surface_pooled": EFFECTS_SURFACE_POOLED,
    "surface_checks": SURFACE_CHECKS,
    "claims": CLAIMS,
    "claim_values": CLAIM_VALUES,
    "benign": BENIGN,
    "memorization_scores": MEMORIZATION_SCORES,
    "influences": INFLUENCES,
    "score_comparison": SCORE_COMPARISON,
}

SIMULATED_HOST = "simulated-"
"""How the `hostname` of a trial begins that nobody trained."""

METRICS = tuple(column.name for column in _METRIC_COLUMNS)
"""Names of the metrics that stand in both trials and epochs."""

_ONE_ROW = {
    "trials": "One row a trial, whatever its end. Files: `trials/*.parquet`.",
    "epochs": "One row a trial and evaluation. Files: `epochs/*.parquet`.",
    "probes": "One row a trial, source, attach point, pooling, probe and label set, written by "
    "`rlp-sweeps run --probe` and `rlp-sweeps probe`, and with every completed trial that has "
    "heads at several places (rlp_online). Files: `probes/*.parquet`.",
    "samples": "One row a completed trial and sample, written by `rlp-sweeps run --keep-samples`; "
    "numbers in 32 bits. Files: `samples/*.parquet`.",
    "effects": "One row a cell, outcome, estimator and effect; further cell columns stand beside "
    "lr, λ and ε. File: `analysis/effects.parquet`.",
    "effects_pooled": "The same averaged over cells within seed. "
    "File: `analysis/effects_pooled.parquet`.",
    "effects_surface": "Model-based, for designs that are no grid: one row a reference cell and "
    "effect, on the primary outcome; further axes stand beside lr, λ and ε. Empty elsewhere. "
    "File: `analysis/effects_surface.parquet`.",
    "effects_surface_pooled": "The same averaged over the reference cells of each λ within seed. "
    "File: `analysis/effects_surface_pooled.parquet`.",
    "surface_checks": "One row an arm: how well its surface tells points that it has not seen. "
    "File: `analysis/surface_checks.parquet`.",
    "claims": "One row a claim of the recipe: what the interval over seeds says of it "
    "(docs/analysis.md). File: `analysis/claims.parquet`.",
    "claim_values": "One row a claim and seed. File: `analysis/claim_values.parquet`.",
    "benign": "One row a cell and arm trained on random class labels (`label_corruption` 1); "
    "further axes stand beside lr, λ and ε. Empty elsewhere. File: `analysis/benign.parquet`.",
    "memorization_scores": "One row a cell, arm, sample of the training pool and label, where the "
    "run kept samples; further cell columns stand beside lr, λ and ε here and in the two tables "
    "below. File: `analysis/memorization_scores.parquet`.",
    "influences": "One row a cell, arm, training sample and test sample, of influences of at least "
    "0.15 and four largest standard errors, the largest million of a cell. "
    "File: `analysis/influences.parquet`.",
    "score_comparison": "One row a cell and arm: memorization scores against random-label "
    "confidence. File: `analysis/score_comparison.parquet`.",
}


def to_markdown() -> str:
    """Return docs/results.md: every table, one row a column."""
    lines = [
        "# The result tables",
        "",
        "Printed from `rlp_sweeps/schema.py` by `make docs`; do not edit by hand. "
        f"Schema version {SCHEMA_VERSION}.",
        "A run directory also holds `manifest.json`: schema version, resolved space, every planned "
        "trial's configuration, versions and machine.",
    ]
    for table, columns in TABLES.items():
        lines += ["", f"## {table}", "", _ONE_ROW[table], ""]
        lines += ["| column | dtype | unit, range | role | meaning |", "|---|---|---|---|---|"]
        for column in columns:
            required = " (required)" if column.required else ""
            lines.append(
                f"| `{column.name}` | {column.dtype} | {column.unit or '–'} "
                f"| {column.role}{required} | {column.meaning} |"
            )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(to_markdown(), end="")

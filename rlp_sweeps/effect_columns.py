"""Columns of the tables of effects, a part of ``schema.py``."""

from rlp_sweeps.column import Column

# fmt: off
_EFFECT_VALUE_COLUMNS = (
    Column("estimator", "str", "", "identity",
           "arms, matched, replayed, curve, alignment, sham, projection or block_mean "
           "(docs/method.md).",
           required=True),
    Column("effect", "str", "", "identity",
           "effect_total, effect_lr, effect_memorization, interaction, specificity; in the tables "
           "*_legs.parquet the legs and further pieces that docs/method.md names.",
           required=True),
    Column("estimate", "f64", "of the outcome", "outcome",
           "Mean over seeds of the per-seed effect.", required=True),
    Column("ci_low", "f64", "of the outcome", "outcome",
           "Lower end of the 95 % t interval over seeds; null for n = 1 and without spread."),
    Column("ci_high", "f64", "of the outcome", "outcome",
           "Upper end of the 95 % t interval over seeds; null for n = 1 and without spread."),
    Column("p_value", "f64", "[0, 1]", "outcome",
           "Two-sided t test of no effect; null where there is no interval."),
    Column("p_holm", "f64", "[0, 1]", "outcome",
           "p_value adjusted by Holm within the confirmatory family; null outside."),
    Column("p_sign_flip", "f64", "[0, 1]", "outcome",
           "Sign-flip permutation p over seeds."),
    Column("p_sign_flip_min", "f64", "[0, 1]", "outcome",
           "Smallest p_sign_flip that this number of seeds can give."),
    Column("num_seeds", "i64", "count", "outcome",
           "Seeds the estimate stands on.", required=True),
    Column("num_diverged", "i64", "count", "outcome",
           "Diverged trials of the arms it reads, however they are scored.", required=True),
)

EFFECTS = (
    Column("outcome", "str", "", "identity",
           "Column of trials that the effect is on.", required=True),
    Column("lr", "f64", "per step", "identity",
           "Cell: peak learning rate.", required=True),
    Column("rlp_lambda", "f64", "> 0", "identity",
           "Cell: λ of the regularized arms.", required=True),
    Column("label_smoothing", "f64", "share, [0, 1)", "identity",
           "Cell: ε.", required=True),
    *_EFFECT_VALUE_COLUMNS,
)

EFFECTS_POOLED = (
    Column("outcome", "str", "", "identity",
           "Column of trials that the effect is on.", required=True),
    Column("rlp_lambda", "f64", "> 0", "identity",
           "λ of the cells pooled over; null: all of them.", required=True, nullable=True),
    *_EFFECT_VALUE_COLUMNS,
    Column("num_cells", "i64", "count", "outcome",
           "Cells averaged within each seed.", required=True),
)

_SURFACE_VALUE_COLUMNS = (
    Column("estimator", "str", "", "identity",
           "surface: read off a model, one Gaussian process per arm (docs/analysis.md)."),
    Column("effect", "str", "", "identity",
           "effect_total, effect_lr, effect_memorization, interaction, as contrasts of arms."),
    Column("estimate", "f64", "of the outcome", "outcome",
           "Mean over seeds of the effect read off each seed's surfaces."),
    Column("ci_low", "f64", "of the outcome", "outcome",
           "Lower end of the 95 % interval: spread over seeds and interpolation; null for n = 1."),
    Column("ci_high", "f64", "of the outcome", "outcome",
           "Upper end of the same."),
    Column("interpolation_share", "f64", "share, [0, 1]", "outcome",
           "Share of the squared standard error that is interpolation, which seeds do not lower; "
           "null for n = 1."),
    Column("num_seeds", "i64", "count", "outcome",
           "Seeds the surfaces stand on."),
    Column("num_diverged", "i64", "count", "outcome",
           "Diverged trials among those the surfaces of its arms stand on, however scored."),
)

EFFECTS_SURFACE = (
    *EFFECTS[:4],
    *_SURFACE_VALUE_COLUMNS,
)

EFFECTS_SURFACE_POOLED = (
    EFFECTS[0],
    Column("rlp_lambda", "f64", "> 0", "identity",
           "λ of the reference cells averaged over."),
    *_SURFACE_VALUE_COLUMNS,
    Column("num_cells", "i64", "count", "outcome",
           "Reference cells averaged over: those of this λ inside the sampled points of every "
           "arm."),
    Column("num_cells_outside", "i64", "count", "outcome",
           "Reference cells of this λ that lie outside and are missing."),
)

SURFACE_CHECKS = (
    EFFECTS[0],
    Column("arm", "str", "", "identity",
           "The arm that the surface is fitted to."),
    Column("num_points", "i64", "count", "outcome",
           "Sampled points it stands on, each with every seed."),
    Column("num_seeds", "i64", "count", "outcome",
           "Seeds it stands on."),
    Column("noise_sd", "f64", "of the outcome", "diagnostic",
           "Fitted scatter of the points' means over seeds around the surface."),
    Column("loo_rms", "f64", "about 1 where the model is right", "diagnostic",
           "Root mean square of leave-one-point-out residuals, each in its predicted standard "
           "deviation; null where all points are the same."),
    Column("loo_r2", "f64", "≤ 1", "diagnostic",
           "R² of the leave-one-point-out predictions; below 0 the surface explains nothing."),
)
# fmt: on

"""Means over seeds of every cell and arm, and how its trials ended."""

import polars as pl

from analysis.intervals import summarize, t_interval
from analysis.pairing import Diverged, cell_columns, score
from rlp_sweeps.schema import STATUSES

CELL_METRICS = (
    "test_accuracy",
    "val_accuracy",
    "train_accuracy",
    "test_loss",
    "random_label_accuracy",
    "memorization",
    "lr_multiplier",
    "equivalent_lr",
)
"""Metrics whose mean, standard deviation and interval stand in the cells table."""


def summarize_cells(
    trials: pl.DataFrame, *, outcome: str = "test_accuracy", diverged: Diverged = "chance"
) -> pl.DataFrame:
    """Return one row a cell and arm; control rows have λ = 0 and serve every λ.

    Columns: the cell columns, `arm`, `num_trials`, `num_<status>`, `divergence_rate` (diverged over
    trials trained to their end, null where none was), and for each metric its mean over seeds under
    the metric's own name, with `_sd`, `_ci_low`, `_ci_high` (95 % t interval, null for one seed)
    and `_num_seeds`. Metrics are scored as in effects.
    """
    metrics = list(dict.fromkeys([outcome, *CELL_METRICS]))
    keys = [*cell_columns(trials), "arm"]
    is_status = {name: (pl.col("status") == name).sum().cast(pl.Int64) for name in STATUSES}
    ended = is_status["completed"] + is_status["diverged"]
    grouped = trials.with_columns(score(name, diverged=diverged) for name in metrics).group_by(keys)
    cells = grouped.agg(
        pl.len().cast(pl.Int64).alias("num_trials"),
        *(count.alias(f"num_{name}") for name, count in is_status.items()),
        pl.when(ended > 0).then(is_status["diverged"] / ended).alias("divergence_rate"),
        *(expr for name in metrics for expr in _moments(name)),
    ).sort(keys, nulls_last=True)
    intervals = [series for name in metrics for series in _interval(cells, name)]
    order = [f"{name}{end}" for name in metrics for end in _ENDINGS]
    leading = [name for name in cells.columns if name not in order]
    return cells.with_columns(intervals).select(*leading, *order)


_ENDINGS = ("", "_sd", "_ci_low", "_ci_high", "_num_seeds")


def _moments(name: str) -> list[pl.Expr]:
    return summarize(pl.col(name), names=(name, f"{name}_sd", f"{name}_num_seeds"))


def _interval(cells: pl.DataFrame, name: str) -> list[pl.Series]:
    low, high = t_interval(
        cells[name].fill_null(float("nan")).to_numpy(),
        cells[f"{name}_sd"].fill_null(float("nan")).to_numpy(),
        cells[f"{name}_num_seeds"].to_numpy(),
    )
    return [
        pl.Series(f"{name}_ci_low", low, dtype=pl.Float64).fill_nan(None),
        pl.Series(f"{name}_ci_high", high, dtype=pl.Float64).fill_nan(None),
    ]


def count_trials(trials: pl.DataFrame) -> pl.DataFrame:
    """Return one row an arm: `arm`, one count a status, and `total`; known arms come first."""
    order = pl.col("arm").replace_strict(ARM_ORDER, default=len(ARM_ORDER), return_dtype=pl.Int64)
    counts = trials.group_by("arm").agg(
        *((pl.col("status") == name).sum().cast(pl.Int64).alias(name) for name in STATUSES),
        total=pl.len().cast(pl.Int64),
    )
    return counts.sort(order, "arm")


ARM_ORDER = {
    arm: number
    for number, arm in enumerate(("control", "full", "class_term", "uniform_term", "sham"))
}
"""Order of the arms in tables and figures."""

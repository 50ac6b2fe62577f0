"""Means over seeds of every cell and arm, and how its trials ended."""

from collections.abc import Iterator

import numpy as np
import polars as pl

from analysis.intervals import summarize, t_interval
from analysis.numbering import Integers, group_rows, number_rows
from analysis.pairing import ARMS, Diverged, cell_columns, score
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
    order, starts = group_rows(number_rows(trials, keys))
    scores = (score(name, diverged=diverged).alias(name) for name in metrics)
    scored = trials.select("status", *scores)
    return trials.select(keys)[order[starts]].select(
        *keys,
        *_ends(scored["status"], order, starts),
        *(column for name in metrics for column in _moments(scored[name], order, starts)),
    )


def _ends(status: pl.Series, order: Integers, starts: Integers) -> Iterator[pl.Series]:
    """Yield the number of trials, the number with each status, and the rate of divergence."""
    yield pl.Series("num_trials", np.diff(starts, append=len(status)))
    counts = {
        name: np.add.reduceat((status == name).to_numpy()[order], starts, dtype=np.int64)
        for name in STATUSES
    }
    for name, count in counts.items():
        yield pl.Series(f"num_{name}", count)
    ended = counts["completed"] + counts["diverged"]
    rate = np.divide(counts["diverged"], ended, out=np.full(len(ended), np.nan), where=ended > 0)
    yield pl.Series("divergence_rate", rate).fill_nan(None)


def _moments(values: pl.Series, order: Integers, starts: Integers) -> Iterator[pl.Series]:
    """Yield mean, standard deviation, interval and number of seeds of a metric."""
    name = values.name
    moments = summarize(values.to_numpy()[order, None], starts)
    mean, sd, num_seeds = moments.mean[:, 0], moments.sd[:, 0], moments.num_seeds[:, 0]
    low, high = t_interval(mean, sd, num_seeds)
    columns = {name: mean, f"{name}_sd": sd, f"{name}_ci_low": low, f"{name}_ci_high": high}
    yield from (pl.Series(column, array).fill_nan(None) for column, array in columns.items())
    yield pl.Series(f"{name}_num_seeds", num_seeds)


def of_one_cell(metric: str) -> dict[str, pl.Expr]:
    """Return what an average over cells stands on, and the interval where it is of one cell.

    Aggregates of the cells table: `ci_low`, `ci_high`, `num_cells`, `num_trials` and
    `num_diverged`. An interval over seeds is none of an average over cells, hence null there.
    """
    is_one = pl.len() == 1
    ends = {end: pl.col(f"{metric}_{end}").first() for end in ("ci_low", "ci_high")}
    return {
        **{end: pl.when(is_one).then(first) for end, first in ends.items()},
        "num_cells": pl.len().cast(pl.Int64),
        "num_trials": pl.col("num_trials").sum(),
        "num_diverged": pl.col("num_diverged").sum(),
    }


def count_trials(trials: pl.DataFrame) -> pl.DataFrame:
    """Return one row an arm: `arm`, one count a status, and `total`; known arms come first."""
    order = pl.col("arm").replace_strict(ARM_ORDER, default=len(ARM_ORDER), return_dtype=pl.Int64)
    num = pl.col("num")
    ends = trials.select("arm", "status").group_by("arm", "status").agg(num=pl.len().cast(pl.Int64))
    counts = ends.group_by("arm").agg(
        *(num.filter(pl.col("status") == name).sum().alias(name) for name in STATUSES),
        total=num.sum(),
    )
    return counts.sort(order, "arm")


ARM_ORDER = {arm: number for number, arm in enumerate(ARMS)}
"""Order of the arms in tables and figures."""

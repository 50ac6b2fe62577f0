"""Why an estimate is missing in a cell and seed, and the sentence that says so."""

from collections.abc import Sequence
from enum import IntEnum
from typing import Any

import numpy as np
import polars as pl

from analysis.intervals import Floats
from analysis.wording import format_short


class Reason(IntEnum):
    """Why an estimate that reads curves is missing, although control and full have a value."""

    NONE = 0
    NO_KAPPA = 1
    FEW_CONTROLS = 2
    FEW_LRS = 3
    NO_CURVATURE = 4
    AT_EDGE = 5
    OUTSIDE = 6


_TEXTS = {
    Reason.NO_KAPPA: "full has no positive `lr_multiplier`",
    Reason.FEW_CONTROLS: "the seed has one control trial over lr, which is no curve",
    Reason.FEW_LRS: "the row has fewer than four lr",
    Reason.NO_CURVATURE: "the control bends too little over lr, against what the best shift misses "
    "of the row, to tell a shift along lr from an offset",
    Reason.AT_EDGE: "the best shift lies at the edge of what the swept lr allow",
    Reason.OUTSIDE: "the equivalent lr, {wanted}, lies outside the swept {swept}, and nothing is "
    "extrapolated",
}


def describe(
    reason: np.ndarray[Any, Any], *, wanted: Floats, low: Floats, high: Floats
) -> Sequence[pl.Series]:
    """Return the columns that `tell_gaps` reads: `gap`, `wanted_lr`, `swept_low`, `swept_high`.

    Args:
        reason: A `Reason` for each place, ``[places]``; ``NONE`` where nothing is missing.
        wanted: Learning rate at which the control would have to be read, ``[places]``.
        low: Smallest lr of the seed's control trials, ``[places]``.
        high: Largest, ``[places]``.
    """
    columns = {"wanted_lr": wanted, "swept_low": low, "swept_high": high}
    return [
        pl.Series("gap", reason, dtype=pl.Int8),
        *(pl.Series(name, values).fill_nan(None) for name, values in columns.items()),
    ]


def tell_gaps(name: str, frame: pl.DataFrame) -> str | None:
    """Return in how many cells and seeds an estimator has no value, and why; None where in none.

    Args:
        name: The estimator's.
        frame: As its `per_seed` returns it, with the columns of `describe`.
    """
    there = frame.filter(pl.col("y_control").is_not_null() & pl.col("y_full").is_not_null())
    missing = there.filter(pl.col("gap") != Reason.NONE)
    if missing.is_empty():
        return None
    num_cells = there["cell"].n_unique()
    reasons = missing["gap"].value_counts(sort=True)["gap"].to_list()
    parts = [_part(Reason(gap), missing.filter(pl.col("gap") == gap), num_cells) for gap in reasons]
    return (
        f"Estimator {name} has no value in {len(missing):,} of {len(there):,} cells and seeds: "
        f"{'; '.join(parts)}."
    )


def _part(reason: Reason, rows: pl.DataFrame, num_cells: int) -> str:
    swept = rows.select(pl.col("swept_low").min(), pl.col("swept_high").max()).row(0)
    wanted = rows.select(low=pl.col("wanted_lr").min(), high=pl.col("wanted_lr").max()).row(0)
    text = _TEXTS[reason].format(wanted=_range(*wanted), swept=_range(*swept))
    return f"in {rows['cell'].n_unique():,} of {num_cells:,} cells {text}"


def _range(low: float, high: float) -> str:
    texts = [format_short(low), format_short(high)]
    return " … ".join(dict.fromkeys(texts))

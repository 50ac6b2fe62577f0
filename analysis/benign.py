"""Benign or malign memorization: what networks trained on random class labels learned besides.

A cell *memorizes* if its eval-mode accuracy on the random labels lies above a bound, interval over
seeds included. It is *benign* if, besides, kNN on true labels reads more from its features than
from those of the untrained network and from the pixels, both beyond the interval over seeds, paired
by seed; else *malign*. One seed gives no verdict.

Source:
    Anagnostidis et al., ICLR 2023, arXiv:2210.14019, compare kNN on true labels with the network at
    initialization and with pixels; the bound and the intervals are this project's (docs/method.md).
"""

from typing import Any

import numpy as np
import polars as pl

from analysis.intervals import Moments, summarize, t_interval
from analysis.numbering import group_rows, number_rows
from analysis.pairing import cell_columns
from rlp_sweeps.benign_columns import MEMORIZED_ABOVE
from rlp_sweeps.errors import ArgumentError

_SOURCES = ("trained", "random_init", "pixels")
_COMPARED = ("random_init", "pixels")
_VALUES = (
    "train_accuracy",
    *(f"knn_{source}" for source in _SOURCES),
    *(f"over_{source}" for source in _COMPARED),
)
_WITH_INTERVAL = ("train_accuracy", "over_random_init", "over_pixels")
NO_SEEDS = "no verdict from one seed"
NO_PROBES = "not probed"
FEW_PROBES = "probed in one seed"


def judge_memorization(
    trials: pl.DataFrame, probes: pl.DataFrame, *, memorized_above: float = MEMORIZED_ABOVE
) -> pl.DataFrame:
    """Return one row a cell and arm that was trained on random class labels (`schema.BENIGN`).

    Columns: the cell columns, `arm`, and what `schema.BENIGN` says. Empty where no trial has
    `label_corruption` 1.

    Args:
        trials: As `load_trials` returns them; completed ones are read.
        probes: As `load_probes` returns them; rows of kNN on true labels are read.
        memorized_above: Bound on `train_accuracy`, a share in [0, 1).

    Raises:
        ArgumentError: The bound is no such share.
    """
    if not 0 <= memorized_above < 1:
        msg = f"`0 <= memorized_above < 1` must hold, but got memorized_above={memorized_above!r}."
        raise ArgumentError(msg)
    keys = [*cell_columns(trials), "arm"]
    on_random = pl.col("label_corruption") == 1 if "label_corruption" in trials.columns else False
    values = _values(trials.filter(on_random), best_neighbours(probes))
    if values.is_empty():
        return values.select(keys).with_columns(verdict=pl.lit(None, pl.String))
    order, starts = group_rows(number_rows(values, keys))
    moments = summarize(values.select(_VALUES).to_numpy()[order], starts)
    by_name = _Moments(moments)
    ends = values.select(*keys, "attach_point", "status")[order]
    return (
        ends[starts]
        .select(keys)
        .with_columns(
            num_seeds=by_name.num_seeds("train_accuracy"),
            num_diverged=np.add.reduceat((ends["status"] == "diverged").to_numpy(), starts),
            **by_name.columns("train_accuracy"),
            memorized_above=pl.lit(memorized_above),
            num_probed_seeds=by_name.num_seeds("over_pixels"),
            attach_point=_most_common(ends["attach_point"], starts),
            **{k: v for n in _VALUES[1:] for k, v in by_name.columns(n).items()},
            verdict=_verdicts(by_name, memorized_above),
            reason=_reasons(by_name, memorized_above),
        )
        .with_columns(pl.col(pl.Int64, pl.UInt64, pl.Int32).cast(pl.Int64))
    )


def best_neighbours(probes: pl.DataFrame) -> pl.DataFrame:
    """Return one row a probed trial: test accuracy of kNN on true labels, by what gives features.

    Of each source the layer and pooling with the best validation accuracy is read, the lowest
    layer among equal ones. Columns: `trial_id`, `knn_trained`, `knn_random_init`, `knn_pixels`
    (null where a source was not probed), and `attach_point` of the first.
    """
    is_read = (pl.col("probe") == "knn") & (pl.col("label_set") == "true")
    best = (
        probes.filter(is_read & pl.col("source").is_in(_SOURCES))
        .sort("val_accuracy", "layer", "pooling", descending=[True, False, False], nulls_last=True)
        .unique(["trial_id", "source"], keep="first", maintain_order=True)
    )

    def of(source: str, column: str) -> pl.Expr:
        return pl.col(column).filter(pl.col("source") == source).first()

    accuracies = {f"knn_{source}": of(source, "test_accuracy") for source in _SOURCES}
    return best.group_by("trial_id").agg(**accuracies, attach_point=of("trained", "attach_point"))


def _values(trials: pl.DataFrame, neighbours: pl.DataFrame) -> pl.DataFrame:
    """Return the trials with `_VALUES`, all of them null where a trial was not completed."""
    is_completed = pl.col("status") == "completed"
    over = {f"over_{s}": pl.col("knn_trained") - pl.col(f"knn_{s}") for s in _COMPARED}
    known = pl.all_horizontal(pl.col(f"over_{s}").is_not_null() for s in _COMPARED)
    return (
        trials.join(neighbours, on="trial_id", how="left", validate="1:1", maintain_order="left")
        .with_columns(**over)
        .with_columns(pl.when(known).then(pl.col(name)).alias(name) for name in _VALUES[1:])
        .with_columns(
            pl.when(is_completed).then(pl.col(name)).cast(pl.Float64).alias(name)
            for name in _VALUES
        )
    )


class _Moments:
    """Moments over seeds and their intervals, by name of the value."""

    def __init__(self, moments: Moments) -> None:
        self._moments = moments
        self._low, self._high = t_interval(moments.mean, moments.sd, moments.num_seeds)

    def num_seeds(self, name: str) -> pl.Series:
        return pl.Series(self._moments.num_seeds[:, _VALUES.index(name)])

    def columns(self, name: str) -> dict[str, pl.Series]:
        """Return mean and, where it is told, interval; null where there is none."""
        at = (slice(None), _VALUES.index(name))
        found = {name: self._moments.mean[at]}
        if name in _WITH_INTERVAL:
            found |= {f"{name}_ci_low": self._low[at], f"{name}_ci_high": self._high[at]}
        return {key: pl.Series(array).fill_nan(None) for key, array in found.items()}

    def exceeds(self, name: str, bound: float) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Tell which cells lie above a bound, interval included; without spread, in every seed."""
        at = (slice(None), _VALUES.index(name))
        is_flat = self._moments.sd[at] == 0
        with np.errstate(invalid="ignore"):
            above: np.ndarray[Any, np.dtype[np.bool_]] = np.where(
                is_flat, self._moments.mean[at] > bound, self._low[at] > bound
            )
        return above & (self._moments.num_seeds[at] > 1)


def _verdicts(moments: _Moments, bound: float) -> pl.Series:
    is_memorizing = moments.exceeds("train_accuracy", bound)
    is_benign = moments.exceeds("over_random_init", 0.0) & moments.exceeds("over_pixels", 0.0)
    found = np.where(is_benign, "benign", "malign")
    verdicts = pl.Series(np.where(is_memorizing, found, "not memorizing"))
    return pl.select(pl.when(_reasons(moments, bound).is_null()).then(verdicts)).to_series()


def _reasons(moments: _Moments, bound: float) -> pl.Series:
    is_memorizing = moments.exceeds("train_accuracy", bound)
    num_trained = moments.num_seeds("train_accuracy").to_numpy()
    num_probed = moments.num_seeds("over_pixels").to_numpy()
    return pl.Series(
        [
            NO_SEEDS
            if trained < 2
            else None
            if probed > 1 or not memorizes
            else (FEW_PROBES if probed else NO_PROBES)
            for trained, probed, memorizes in zip(
                num_trained, num_probed, is_memorizing, strict=True
            )
        ],
        dtype=pl.String,
    )


def _most_common(names: pl.Series, starts: np.ndarray[Any, np.dtype[np.int64]]) -> pl.Series:
    """Return each group's most common name, the first in the alphabet of equally common ones."""
    groups = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(names)))
    counts = (
        pl.DataFrame({"group": groups, "name": names})
        .group_by("group", "name")
        .len()
        .sort("group", pl.col("name").is_null(), -pl.col("len").cast(pl.Int64), "name")
        .unique("group", keep="first", maintain_order=True)
    )
    return counts["name"]

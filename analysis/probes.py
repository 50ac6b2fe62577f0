"""What probes found, over seeds: every layer's profile, and the layer that validates best."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from analysis.cells import ARM_ORDER
from analysis.intervals import summarize, t_interval
from analysis.numbering import run_starts
from analysis.pairing import cell_columns
from analysis.result import Analysis
from rlp_sweeps.probe_columns import PROBES as PROBE_COLUMNS

PROBES = ("rlp_online", "rlp_offline", "knn", "masc", "class_mean", "lda", "linear")
SOURCES = ("trained", "random_init", "gaussian", "pixels")
"""Orders of tables and figures; names that are in neither come last."""

PROBE_TABLES = ("probe_profile", "probe_layers")
"""Tables that are written where completed trials were probed, by file name without its end."""

_KEY = tuple(column.name for column in PROBE_COLUMNS if column.role == "identity")
_READ = (*_KEY, "layer", "val_accuracy", "test_accuracy", "memorization")
_PLACE = ("pooling", "probe", "label_set", "source", "layer", "attach_point")


@dataclass(frozen=True, kw_only=True, slots=True)
class Probed:
    """What probes found in completed trials.

    Attributes:
        rows: One row a trial, place and probe: the cell columns, `arm`, `seed`, the key of the
            table ``probes``, `layer`, `val_accuracy`, `metric` (`memorization` of random labels,
            else `test_accuracy`) and `value`.
        profile: One row a cell, arm, place and probe: `estimate`, the mean of `value` over seeds,
            `ci_low`, `ci_high` (95 % t interval, null for one seed), `num_seeds`.
        layers: One row a cell, arm, source and probe with a validation accuracy: the layer whose
            mean `val_accuracy` over seeds is best, the lowest of equal ones, and its `estimate`.
    """

    rows: pl.DataFrame
    profile: pl.DataFrame
    layers: pl.DataFrame

    def tables(self) -> dict[str, pl.DataFrame]:
        """Return the tables that are written, by file name without its end."""
        return dict(zip(PROBE_TABLES, (self.profile, self.layers), strict=True))


def with_probes(analysis: Analysis, probes: pl.DataFrame) -> Analysis:
    """Return the analysis with what probes found; without, where no completed trial has any rows.

    Args:
        analysis: As `build_analysis` returns it.
        probes: As `load_probes` returns them.
    """
    trials = analysis.trials.filter(pl.col("status") == "completed")
    cell = cell_columns(analysis.trials)
    is_random = pl.col("label_set") == "random"
    joined = probes.join(
        trials.select("trial_id", *cell, "arm", "seed"), on="trial_id", validate="m:1"
    )
    if joined.is_empty():
        return analysis
    analysis = replace(analysis, notes=(*analysis.notes, *_lost_heads(joined)))
    known = joined.with_columns(
        pl.lit(None, pl.Float64).alias(name)
        for name in ("val_accuracy", "test_accuracy", "memorization")
        if name not in joined.columns
    )
    rows = known.select(
        *(*cell, "arm", "seed", *_KEY, "layer", "val_accuracy"),
        metric=pl.when(is_random).then(pl.lit("memorization")).otherwise(pl.lit("test_accuracy")),
        value=pl.when(is_random).then("memorization").otherwise("test_accuracy"),
    ).filter(pl.col("value").is_finite())
    if rows.is_empty():
        return analysis
    profile = over_seeds(rows, [*cell, "arm", *_PLACE])
    probed = Probed(rows=rows, profile=profile, layers=_choose_layers(rows, profile, cell))
    return replace(analysis, probed=probed)


def _lost_heads(probes: pl.DataFrame) -> Iterator[str]:
    """Yield which observers blew up in trials that did not: they have a row, and no number."""
    if "memorization" not in probes.columns:
        return
    has_number = pl.col("memorization").is_finite().fill_null(value=False)
    lost = probes.filter(pl.col("probe") == "rlp_online", ~has_number).sort("layer")
    if lost.is_empty():
        return
    counts = lost.group_by("attach_point", maintain_order=True).len()
    places = ", ".join(f"{name} ({number})" for name, number in counts.iter_rows())
    num_trials = lost["trial_id"].n_unique()
    yield (
        f"{num_trials} completed trial(s) have observers that blew up, at {places}: what they "
        "recall is missing. The networks, which no observer touches, stand as they are."
    )


def over_seeds(rows: pl.DataFrame, keys: Sequence[str]) -> pl.DataFrame:
    """Return one row a group: keys, `metric`, `estimate`, `ci_low`, `ci_high`, `num_seeds`.

    Args:
        rows: One row a group and seed, with `metric` and `value`; not empty.
        keys: Columns that tell groups apart.
    """
    ordered = rows.sort(*_in_order(keys), "seed", nulls_last=True)
    starts = run_starts(ordered, keys)
    moments = summarize(ordered["value"].to_numpy()[:, None], starts)
    mean, sd, num_seeds = moments.mean[:, 0], moments.sd[:, 0], moments.num_seeds[:, 0]
    low, high = t_interval(mean, sd, num_seeds)
    return ordered[starts].select(
        *keys,
        "metric",
        estimate=pl.Series(mean),
        ci_low=pl.Series(low).fill_nan(None),
        ci_high=pl.Series(high).fill_nan(None),
        num_seeds=pl.Series(num_seeds.astype(np.int64)),
    )


def _in_order(names: Sequence[str]) -> list[pl.Expr]:
    """Return what rows are sorted by: arms, probes and sources in their own order."""
    orders = {"arm": tuple(ARM_ORDER), "probe": PROBES, "source": SOURCES}
    order: list[pl.Expr] = []
    for name in names:
        ranks = {value: number for number, value in enumerate(orders.get(name, ()))}
        if ranks:
            order.append(pl.col(name).replace_strict(ranks, default=len(ranks)))
        order.append(pl.col(name))
    return order


def _choose_layers(rows: pl.DataFrame, profile: pl.DataFrame, cell: list[str]) -> pl.DataFrame:
    """Return the profile's rows of the layers that validate best, with their `val_accuracy`."""
    keys = [*cell, "arm", *_PLACE]
    validated = rows.filter(pl.col("val_accuracy").is_finite())
    means = validated.group_by(keys).agg(pl.col("val_accuracy").mean())
    joined = profile.join(
        means, on=keys, how="inner", nulls_equal=True, validate="1:1", maintain_order="left"
    )
    ordered = joined.sort("val_accuracy", "layer", descending=[True, False], maintain_order=True)
    network = [name for name in keys if name not in {"layer", "attach_point"}]
    best = ordered.unique(network, keep="first", maintain_order=True)
    return best.sort(*_in_order(network), nulls_last=True).select(
        *keys, "val_accuracy", "metric", "estimate", "ci_low", "ci_high", "num_seeds"
    )

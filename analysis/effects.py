"""Effects with their intervals: one row a cell, or pooled over cells, for each λ and for all.

An effect needs all the arms it reads. As long as some seed of a scope (a cell, or the cells pooled
over) has every core effect of an estimator, the parts stand on those complete seeds only. So does
the total, and the parts sum to it, unless that would throw away most of it: complete seeds must be
at least two, and at least half of those that have the total's own arms; otherwise the total stands
on all of the latter. Where no seed is complete, each effect stands on the seeds with its own arms.
Further effects always do.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import polars as pl

from analysis.estimators import ESTIMATORS, Estimator
from analysis.intervals import holm, infer
from analysis.numbering import Integers, run_starts
from analysis.pairing import (
    ARMS,
    CONTROL,
    Diverged,
    Paired,
    check_outcomes,
    find_places,
    score_places,
)
from analysis.pooling import average_within_seed, keep_blocks

Scope = tuple[str, ...]
_Counts = dict[Scope, dict[str, Integers]]

FAMILY_ESTIMATOR = "arms"
FAMILY_EFFECTS = ("effect_total", "effect_lr", "effect_memorization")
"""The confirmatory family: these effects of `arms` on the primary outcome, pooled for each λ."""

CELL_SCOPE: Scope = ("cell",)
POOLED: tuple[Scope, ...] = (("rlp_lambda",), ())
"""Scopes, as the columns that tell them apart: every cell; every λ over its cells, and all."""

MIN_COMPLETE_SEEDS = 2
"""Seeds with every arm from which on the total may keep to them."""

VALUE_COLUMNS = (
    "estimate",
    "ci_low",
    "ci_high",
    "p_value",
    "p_holm",
    "p_sign_flip",
    "p_sign_flip_min",
    "num_seeds",
    "num_diverged",
)


def estimate_effects(
    trials: pl.DataFrame,
    outcomes: Sequence[str],
    *,
    primary: str,
    diverged: Diverged = "chance",
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the effects of every cell, and those pooled over cells (`schema.EFFECTS`, `_POOLED`).

    Args:
        trials: As `load_trials` returns them.
        outcomes: Columns of trials that the effects are on, without repeats.
        primary: The outcome that the confirmatory family is about.
        diverged: What a diverged trial scores.

    Raises:
        ArgumentError: An outcome is unknown.
        SchemaError: Two trials share cell, arm and seed.
    """
    estimates = estimate(trials, outcomes, primary=primary, diverged=diverged)
    return estimates.cells, estimates.pooled


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimates:
    """Effects, and what their estimators have to say.

    Attributes:
        cells: One row a cell, outcome, estimator and effect (`schema.EFFECTS`).
        pooled: The same pooled over cells (`schema.EFFECTS_POOLED`).
        absent: Why an estimator has no value anywhere, by its name; on the primary outcome.
        remarks: Sentences on single cells; on the primary outcome.
    """

    cells: pl.DataFrame
    pooled: pl.DataFrame
    absent: Mapping[str, str]
    remarks: tuple[str, ...]


def estimate(
    trials: pl.DataFrame,
    outcomes: Sequence[str],
    *,
    primary: str,
    diverged: Diverged = "chance",
    estimators: Sequence[str] = tuple(ESTIMATORS),
) -> Estimates:
    """Return what `estimate_effects` does, and why estimates are missing.

    Args:
        trials: As there.
        outcomes: As there.
        primary: As there.
        diverged: As there.
        estimators: Names out of `ESTIMATORS`, in their order.
    """
    check_outcomes(trials, outcomes, diverged=diverged)
    places = find_places(trials)
    num_diverged = {scope: _count_diverged(places.seeds, scope) for scope in (CELL_SCOPE, *POOLED)}
    keys = places.cells.drop("cell", "base")

    def estimate_one(outcome: str) -> _OfOutcome:
        found = _estimate_outcome(
            score_places(places, trials, outcome, diverged=diverged), num_diverged, estimators
        )
        name = pl.lit(outcome).alias("outcome")
        cells = found.cells.hstack(keys[found.cells["cell"]]).with_columns(name)
        return found._replace(cells=cells, pooled=found.pooled.with_columns(name))

    with ThreadPoolExecutor() as pool:  # NumPy and Polars compute outside the interpreter's lock
        found = dict(zip(outcomes, pool.map(estimate_one, outcomes), strict=True))
    of_primary = found.get(primary)
    return Estimates(
        cells=_in_schema_order(pl.concat(part.cells for part in found.values())),
        pooled=_with_family(pl.concat(part.pooled for part in found.values()), primary),
        absent=of_primary.absent if of_primary else {},
        remarks=tuple(of_primary.remarks) if of_primary else (),
    )


class _OfOutcome(NamedTuple):
    """What is found on one outcome, as in `Estimates`."""

    cells: pl.DataFrame
    pooled: pl.DataFrame
    absent: Mapping[str, str]
    remarks: Sequence[str]


def _estimate_outcome(
    paired: Paired, num_diverged: _Counts, estimators: Sequence[str]
) -> _OfOutcome:
    """Return the effects of cells and the pooled ones by every estimator whose arms are there."""
    cells, pooled = [], []
    absent: dict[str, str] = {}
    remarks: list[str] = []
    for estimator in map(ESTIMATORS.__getitem__, estimators):
        if why := estimator.why_absent(paired):
            absent[estimator.name] = why
            if estimator.name != FAMILY_ESTIMATOR:
                continue
        frame = estimator.per_seed(paired)
        values = _values(frame, estimator)
        if estimator.explain is None and not any(values[e].count() for e in estimator.core):
            absent.setdefault(estimator.name, "no cell and seed has the arms that it compares")
        name = pl.lit(estimator.name).alias("estimator")
        cells.append(_cell_effects(values, estimator, num_diverged).with_columns(name))
        pooled.append(_pooled_effects(values, estimator, num_diverged).with_columns(name))
        if estimator.explain is not None:
            remarks += estimator.explain(frame)
    return _OfOutcome(pl.concat(cells), pl.concat(pooled), absent, remarks)


def cell_names(effects: pl.DataFrame) -> list[str]:
    """Return the cell columns of a table of cells' effects."""
    end = effects.columns.index("estimator")
    return effects.columns[1:end]


def per_seed_effects(paired: Paired, estimator: Estimator) -> pl.DataFrame:
    """Return one row a cell and seed: one column an effect (null where missing), `is_complete`.

    `is_complete`: every core effect of the estimator has a value in that cell and seed.
    """
    return _values(estimator.per_seed(paired), estimator)


def _values(frame: pl.DataFrame, estimator: Estimator) -> pl.DataFrame:
    return frame.select(
        *("cell", "base", "rlp_lambda", "seed", *estimator.effects),
        is_complete=pl.all_horizontal(pl.col(estimator.core).is_not_null()),
    )


def _usable(values: pl.DataFrame, scope: Scope, effects: Sequence[str]) -> pl.DataFrame:
    """Return the values with null wherever estimates of a scope do not stand on them."""
    if values["is_complete"].all():
        return values
    keys = [*scope, "_all"]
    judged = values.with_columns(_all=pl.lit(0))
    judged = judged.join(
        _completeness(judged, scope, keys),
        on=keys,
        how="left",
        validate="m:1",
        maintain_order="left",
    )
    is_usable = pl.col("is_complete") | ~pl.col("has_complete").fill_null(value=False)
    is_whole_total = ~pl.col("is_restricted").fill_null(value=True)
    return judged.with_columns(
        pl.when(is_usable | is_whole_total if effect == "effect_total" else is_usable)
        .then(pl.col(effect))
        .alias(effect)
        for effect in effects
    )


def _completeness(values: pl.DataFrame, scope: Scope, keys: list[str]) -> pl.DataFrame:
    """Return for each scope whether a seed is complete, and whether the total keeps to such seeds.

    Compared are the blocks that would be pooled, in places (cell and seed); in a cell, a place is a
    seed. Where the complete block is no smaller than the other, the total keeps to it as well.
    """
    total = ["effect_total"]
    totals = values.drop_nulls(total)
    whole, complete = (
        keep_blocks(part, scope, total)
        .drop_nulls(total)
        .group_by(keys)
        .agg(pl.len().alias("places"), pl.col("seed").n_unique().alias("seeds"))
        for part in (totals, totals.filter("is_complete"))
    )
    both = whole.join(complete, on=keys, how="left", suffix="_complete", validate="1:1")
    places, places_complete = pl.col("places"), pl.col("places_complete")
    is_most = (pl.col("seeds_complete") >= MIN_COMPLETE_SEEDS) & (2 * places_complete >= places)
    return both.select(
        *keys,
        has_complete=places_complete.is_not_null(),
        is_restricted=(is_most | (places_complete >= places)).fill_null(value=False),
    )


def _estimate(
    values: pl.DataFrame,
    scope: Scope,
    effects: Sequence[str],
    counts: Mapping[str, Integers],
) -> pl.DataFrame:
    """Return one row a scope and effect that has a value: the estimate over seeds, and the counts.

    Args:
        values: One row a scope and seed, sorted, one column an effect.
        scope: Columns that tell estimates apart.
        effects: Names of the effects.
        counts: Further columns by name, ``[scopes, effects]``.
    """
    starts = run_starts(values, scope)
    columns = {**infer(values.select(effects).to_numpy(), starts), **counts}
    scopes, numbers = np.divmod(np.arange(len(starts) * len(effects)), len(effects))
    return (
        values.select(*scope, "seed")[starts[scopes]]
        .select(
            *scope,
            pl.Series("effect", effects, dtype=pl.String).gather(numbers),
            *(pl.Series(name, array.ravel()) for name, array in columns.items()),
        )
        .with_columns(pl.col(pl.Float64).fill_nan(None))
        .filter(pl.col("num_seeds") > 0)
    )


def _cell_effects(
    values: pl.DataFrame, estimator: Estimator, num_diverged: _Counts
) -> pl.DataFrame:
    usable = _usable(values, CELL_SCOPE, estimator.core)
    counts = {"num_diverged": _sum_over_arms(num_diverged[CELL_SCOPE], estimator)}
    return _estimate(usable, CELL_SCOPE, estimator.effects, counts)


def _pooled_effects(
    values: pl.DataFrame, estimator: Estimator, num_diverged: _Counts
) -> pl.DataFrame:
    found = []
    for scope in POOLED:
        usable = _usable(values, scope, estimator.core)
        averaged, num_cells = average_within_seed(usable, scope, estimator.effects)
        counts = {
            "num_diverged": _sum_over_arms(num_diverged[scope], estimator),
            "num_cells": np.maximum.reduceat(num_cells, run_starts(averaged, scope)),
        }
        found.append(_estimate(averaged, scope, estimator.effects, counts))
    return pl.concat(found, how="diagonal")


def _count_diverged(seeds: pl.DataFrame, scope: Scope) -> dict[str, Integers]:
    """Return for each arm the diverged trials in every scope, each counted once.

    A control trial serves several λ; in a scope over all of them it still counts once.

    Args:
        seeds: As in `Places`.
        scope: Columns that tell scopes apart.
    """
    is_first = pl.struct("base", "seed").is_first_distinct()
    has_twins = scope != CELL_SCOPE and seeds["diverged_control"].sum() > 0
    is_counted = {CONTROL: is_first} if has_twins else {}
    counts = (
        (pl.col(f"diverged_{arm}") * is_counted.get(arm, 1)).sum().cast(pl.Int64).alias(arm)
        for arm in ARMS
    )
    grouped = seeds.with_columns(_all=pl.lit(0)).group_by("_all", *scope).agg(counts)
    return {arm: grouped.sort("_all", *scope)[arm].to_numpy() for arm in ARMS}


def _sum_over_arms(counts: Mapping[str, Integers], estimator: Estimator) -> Integers:
    """Return the sum of the counts of the arms that each effect reads, ``[scopes, effects]``."""
    sums: list[Integers] = [
        np.sum([counts[arm] for arm in arms], axis=0) for arms in estimator.arms.values()
    ]
    return np.stack(sums, axis=1)


def _in_schema_order(effects: pl.DataFrame) -> pl.DataFrame:
    identity = ["outcome", "lr", "rlp_lambda", "label_smoothing"]
    known = {*identity, "estimator", "effect", *VALUE_COLUMNS, "cell"}
    further = [name for name in effects.columns if name not in known]
    effects = effects.with_columns(p_holm=pl.lit(None, pl.Float64))
    return effects.select(*identity, *further, "estimator", "effect", *VALUE_COLUMNS)


def is_family(primary: str) -> pl.Expr:
    """Return whether a row of pooled effects belongs to the confirmatory family."""
    return (
        (pl.col("outcome") == primary)
        & (pl.col("estimator") == FAMILY_ESTIMATOR)
        & pl.col("effect").is_in(FAMILY_EFFECTS)
        & pl.col("rlp_lambda").is_not_null()
    )


def _with_family(pooled: pl.DataFrame, primary: str) -> pl.DataFrame:
    family = pooled.select(is_family(primary).alias("is_family"))["is_family"].to_numpy()
    p_values = pooled["p_value"].fill_null(float("nan")).to_numpy()
    adjusted = np.full(len(pooled), np.nan)
    adjusted[family] = holm(p_values[family])
    p_holm = pl.Series("p_holm", adjusted, dtype=pl.Float64).fill_nan(None)
    columns = ["outcome", "rlp_lambda", "estimator", "effect", *VALUE_COLUMNS, "num_cells"]
    return pooled.with_columns(p_holm).select(columns)

"""Notes on what estimates stand on: pooled without all cells and seeds, parts without the total's.

A pooled estimate may leave out places (a cell and seed) for three reasons, and a note gives the one
that holds.
"""

from collections.abc import Iterator
from typing import Any

import polars as pl

from analysis.estimators import ESTIMATORS, Estimator
from analysis.pairing import REGULARIZED_ARMS, Diverged, cell_columns, pair_arms

MAX_NOTES = 6
"""Values of λ up to which each has its note."""

_BASIS = ("num_seeds", "num_cells")


def pooling_notes(
    trials: pl.DataFrame, pooled: pl.DataFrame, outcome: str, *, diverged: Diverged
) -> Iterator[str]:
    """Yield which total effects leave out cells or seeds, and why.

    Estimators that explain their cells themselves are left to do so.
    """
    there = (
        trials.lazy()
        .filter(pl.col("arm").is_in(REGULARIZED_ARMS))
        .group_by("rlp_lambda")
        .agg(
            cells_there=pl.struct(cell_columns(trials)).n_unique(),
            seeds_there=pl.col("seed").n_unique(),
        )
        .collect()
    )
    is_partial = (pl.col("num_cells") < pl.col("cells_there")) | (
        pl.col("num_seeds") < pl.col("seeds_there")
    )
    explained = [name for name, estimator in ESTIMATORS.items() if estimator.explain is not None]
    rows = _totals_and_parts(pooled, outcome).join(there, on="rlp_lambda", validate="m:1")
    rows = rows.filter(is_partial & ~pl.col("estimator").is_in(explained))
    if rows.is_empty():
        return
    seeds = pair_arms(trials, outcome, diverged=diverged).seeds
    for row in rows.head(MAX_NOTES).iter_rows(named=True):
        at_lambda = seeds.filter(pl.col("rlp_lambda") == row["rlp_lambda"])
        yield (
            f"At λ = {row['rlp_lambda']:g}, estimator {row['estimator']} pools "
            f"{row['num_cells']} of {row['cells_there']} cells over {row['num_seeds']} of "
            f"{row['seeds_there']} seeds: {_reason(row, at_lambda)}."
        )
    if len(rows) > MAX_NOTES:
        yield f"So it is at {len(rows) - MAX_NOTES} further λ; see `num_cells`."


def _reason(row: dict[str, Any], seeds: pl.DataFrame) -> str:
    estimator = ESTIMATORS[row["estimator"]]
    used: int = row["num_cells"] * row["num_seeds"]
    arms = estimator.arms["effect_total"]
    if used == _count_places(seeds, arms):
        return f"elsewhere {', '.join(arms[:-1])} or {arms[-1]} has no value"
    is_shared = all(row[name] == row[f"{name}_parts"] for name in _BASIS)
    if is_shared and used == _count_places(seeds, _all_arms(estimator)):
        return (
            f"elsewhere {', '.join(_all_arms(estimator)[:-1])} or {_all_arms(estimator)[-1]} has "
            "no value, and the total stands on the same seeds as its parts"
        )
    return (
        "cells lack different seeds, and a pooled effect stands on cells that all have the same "
        "ones; taken is the largest such block found"
    )


def _all_arms(estimator: Estimator) -> tuple[str, ...]:
    return tuple(dict.fromkeys(arm for effect in estimator.core for arm in estimator.arms[effect]))


def _count_places(seeds: pl.DataFrame, arms: tuple[str, ...]) -> int:
    return seeds.select([f"y_{arm}" for arm in arms]).drop_nulls().height


def split_notes(of_cells: pl.DataFrame, pooled: pl.DataFrame, outcome: str) -> Iterator[str]:
    """Yield where the parts stand on other seeds or cells than the total that they split."""
    rows = _totals_and_parts(pooled, outcome).filter(_is_split(_BASIS))
    for row in rows.head(MAX_NOTES).iter_rows(named=True):
        scope = "Over all λ" if row["rlp_lambda"] is None else f"At λ = {row['rlp_lambda']:g}"
        yield (
            f"{scope}, the total effect on {outcome} stands on {_basis(row, '')}, its parts on "
            f"{_basis(row, '_parts')}, because few have all four arms: the parts do not stand on "
            "the same seeds as the total and need not sum to it."
        )
    if len(rows) > MAX_NOTES:
        yield f"So it is in {len(rows) - MAX_NOTES} further scopes; see `num_seeds`."
    num_cells = _totals_and_parts(of_cells, outcome).filter(_is_split(_BASIS[:1])).height
    if num_cells:
        yield (
            f"Cells whose total effect on {outcome} stands on more seeds than its parts, so that "
            f"these need not sum to it: {num_cells:,}."
        )


def _totals_and_parts(effects: pl.DataFrame, outcome: str) -> pl.DataFrame:
    """Return the rows of total effects, with `num_seeds_parts` (and cells) of their parts."""
    rows = effects.filter(pl.col("outcome") == outcome)
    end = effects.columns.index("effect")
    basis = [name for name in _BASIS if name in effects.columns]
    keys = effects.columns[:end]
    parts = rows.filter(pl.col("effect") == "effect_memorization").select(*keys, *basis)
    totals = rows.filter(pl.col("effect") == "effect_total")
    return totals.join(
        parts, on=keys, how="left", suffix="_parts", nulls_equal=True, maintain_order="left"
    )


def _is_split(basis: tuple[str, ...]) -> pl.Expr:
    return pl.any_horizontal(
        (pl.col(name) != pl.col(f"{name}_parts")).fill_null(value=False) for name in basis
    )


def _basis(row: dict[str, Any], suffix: str) -> str:
    seeds, cells = row[f"num_seeds{suffix}"], row[f"num_cells{suffix}"]
    return f"{seeds} seed{'s' * (seeds != 1)} and {cells} cell{'s' * (cells != 1)}"

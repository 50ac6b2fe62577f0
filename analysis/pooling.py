"""Pool effects over cells: averaged within seed first, on a block where every cell has every seed.

If one cell lacks a seed, a plain average would mix what differs between cells into what differs
between seeds. So the average stands on a block: cells × seeds without a hole. Where the table has
holes, the block with the most entries is taken among the seed sets that some cell has, and their
running intersections from the fullest cell down; how many cells and seeds it has stands beside
every estimate. The choice reads which trials are missing, never a value.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

from analysis.intervals import average
from analysis.numbering import Integers, group_rows, number_rows

Presence = npt.NDArray[np.bool_]


def largest_block(presence: Presence) -> tuple[Presence, Presence]:
    """Return masks of the cells and of the seeds of the chosen block.

    Args:
        presence: Whether the cell has the seed, ``[cells, seeds]``; at least one entry is true.
    """
    distinct = np.unique(presence[presence.any(axis=1)], axis=0)
    fullest_first = np.argsort(-distinct.sum(axis=1), kind="stable")
    running = np.logical_and.accumulate(distinct[fullest_first], axis=0)
    candidates = np.concatenate([distinct, running[running.any(axis=1)]])
    sizes = candidates.sum(axis=1)
    holds = (candidates.astype(np.int64) @ presence.T.astype(np.int64)) == sizes[:, None]
    num_cells = holds.sum(axis=1)
    best = np.lexsort((num_cells, num_cells * sizes))[-1]
    return holds[best], candidates[best]


def keep_blocks(values: pl.DataFrame, scope: Sequence[str], effects: Sequence[str]) -> pl.DataFrame:
    """Return the values with null wherever a place lies outside the block of its scope and effect.

    Args:
        values: One row a cell and seed: `cell`, `seed`, the scope's columns, and one column an
            effect, null where missing.
        scope: Columns that tell pooled estimates apart, besides the effect.
        effects: Names of the effects' columns.
    """
    places = values.drop(effects)
    blocks: dict[bytes, pl.Series] = {}
    kept = []
    for effect in effects:
        presence = values[effect].is_not_null()
        key = presence.to_numpy().tobytes()
        if key not in blocks:
            blocks[key] = _in_block(places, presence, scope)
        kept.append(pl.when(blocks[key]).then(pl.col(effect)).alias(effect))
    return values.with_columns(kept)


def _in_block(places: pl.DataFrame, presence: pl.Series, scope: Sequence[str]) -> pl.Series:
    """Return which places lie in the block of their scope, by which of them have a value."""
    there = places.with_row_index("_row").with_columns(_all=pl.lit(0)).filter(presence)
    scopes = there.lazy().group_by("_all", *scope)
    is_block = pl.len() == pl.col("cell").n_unique() * pl.col("seed").n_unique()
    if scopes.agg(is_block=is_block).collect()["is_block"].all():
        return presence
    holed = scopes.agg("_row", is_block=is_block).filter(~pl.col("is_block")).collect()["_row"]
    is_kept = presence.to_numpy().copy()
    for rows in holed:
        is_kept[rows.to_numpy()] = _block_of(places[rows])
    return pl.Series(is_kept)


def _block_of(places: pl.DataFrame) -> Presence:
    """Return which of these places lie in their largest block."""
    cells, seeds = places["cell"].unique().sort(), places["seed"].unique().sort()
    presence = np.zeros((len(cells), len(seeds)), dtype=bool)
    rows = cells.search_sorted(places["cell"]).to_numpy()
    columns = seeds.search_sorted(places["seed"]).to_numpy()
    presence[rows, columns] = True
    has_cell, has_seed = largest_block(presence)
    is_kept: Presence = has_cell[rows] & has_seed[columns]
    return is_kept


def average_within_seed(
    values: pl.DataFrame, scope: Sequence[str], effects: Sequence[str]
) -> tuple[pl.DataFrame, Integers]:
    """Return effects averaged over cells, and the number of cells in each average.

    One row a scope and seed, sorted, with one column an effect, null where no cell has a value; and
    of the same size ``[rows, effects]`` the numbers of cells. Arguments as in `keep_blocks`.
    """
    order, starts = group_rows(number_rows(values, [*scope, "seed"]))
    pooled = keep_blocks(values, scope, effects).select(effects)[order]
    means, num_cells = average(pooled.to_numpy(), starts)
    columns = (
        pl.Series(effect, mean).fill_nan(None)
        for effect, mean in zip(effects, means.T, strict=True)
    )
    groups = values.select(*scope, "seed")[order[starts]]
    return groups.with_columns(columns), num_cells

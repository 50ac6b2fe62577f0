"""Pool effects over cells: averaged within seed first, on a block where every cell has every seed.

If one cell lacks a seed, a plain average would mix what differs between cells into what differs
between seeds. So the average stands on a block: cells × seeds without a hole. Where the table has
holes, the block with the most entries is taken among the seed sets that some cell has, and their
running intersections from the fullest cell down; how many cells and seeds it has stands beside
every estimate. The choice reads which trials are missing, never a value.
"""

import numpy as np
import numpy.typing as npt
import polars as pl

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


def keep_blocks(values: pl.DataFrame, scope: list[str]) -> pl.DataFrame:
    """Return the rows that lie in the block of their scope and effect.

    Args:
        values: One row a cell, seed and effect that has a value: `cell`, `seed`, `effect`, `value`
            and the scope's columns.
        scope: Columns that tell pooled estimates apart, besides `effect`.
    """
    keys = [*scope, "effect"]
    extents = values.group_by(keys).agg(
        places=pl.len(), cells=pl.col("cell").n_unique(), seeds=pl.col("seed").n_unique()
    )
    if extents.select((pl.col("places") == pl.col("cells") * pl.col("seeds")).all()).item():
        return values
    sizes = values.with_columns(
        is_block=pl.len().over(keys)
        == pl.col("cell").n_unique().over(keys) * pl.col("seed").n_unique().over(keys)
    )
    whole = sizes.filter("is_block").drop("is_block")
    holed = sizes.filter(~pl.col("is_block")).drop("is_block")
    blocks = [_block_of(part) for part in holed.partition_by(keys, maintain_order=True)]
    return pl.concat([whole, *blocks]) if blocks else whole


def _block_of(values: pl.DataFrame) -> pl.DataFrame:
    cells, seeds = values["cell"].unique().sort(), values["seed"].unique().sort()
    presence = np.zeros((len(cells), len(seeds)), dtype=bool)
    rows = cells.search_sorted(values["cell"]).to_numpy()
    columns = seeds.search_sorted(values["seed"]).to_numpy()
    presence[rows, columns] = True
    has_cell, has_seed = largest_block(presence)
    return values.filter(pl.Series(has_cell[rows] & has_seed[columns]))


def average_within_seed(values: pl.DataFrame, scope: list[str]) -> pl.DataFrame:
    """Return one row a scope, effect and seed: `value` averaged over cells, and `num_cells`."""
    pooled = keep_blocks(values, scope)
    return pooled.group_by(*scope, "effect", "seed", maintain_order=True).agg(
        value=pl.when(pl.col("value").min() == pl.col("value").max())
        .then(pl.col("value").min())
        .otherwise(pl.col("value").mean()),
        num_cells=pl.len().cast(pl.Int64),
    )

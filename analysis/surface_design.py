"""Designs that are no grid: their axes, what was sampled, and where a surface is read.

A search samples points; hardly two of them share a learning rate or a λ, so that nothing can be
averaged over cells of one λ. A smooth surface through the points can be read at a λ instead.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from analysis.intervals import Floats
from analysis.pairing import CELL, CONTROL, Paired
from analysis.pooling import largest_block

MIN_POINTS = 8
"""Distinct points that every arm must have, and cells with `full` and control."""

MAX_POINTS = 400
"""Distinct cells beyond which no surface is fitted: its cost grows with their third power."""

MAX_AXES = 5
"""Axes beyond which no surface is fitted: few points leave next to nothing inside their hull."""

LOG_AXES = ("lr", "rlp_lambda")
"""Axes that are read on a log scale; every other one is read as it is."""

_MIN_FILLED = 0.5
"""Share of the product of the axes' levels from which on cells are a grid, if an incomplete one."""

_NUM_LEVELS = {"rlp_lambda": 3, "lr": 5}
_OTHER_LEVELS = 2
_HULL_TOLERANCE = 1e-9  # in barycentric coordinates

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Design:
    """Cells with `full` and control that are no grid.

    Attributes:
        cells: One row a cell: `cell`, `base` (see `Paired`) and the columns that tell cells apart.
        places: One row a cell and seed, as in `Paired.seeds`, of these cells.
        axes: Names of the cell columns that vary, λ among them where it does.
        fixed: Names of those that do not.
    """

    cells: pl.DataFrame
    places: pl.DataFrame
    axes: tuple[str, ...]
    fixed: tuple[str, ...]

    def lacks(self) -> str | None:
        """Return why no surface can be fitted through these cells; None where one can."""
        values = self.cells.select(self.axes)
        if strange := [name for name in self.axes if not _is_scale(values[name])]:
            return (
                f"{', '.join(strange)} {'varies' if len(strange) == 1 else 'vary'} and is no "
                "number in every cell (on a log axis: above 0)"
            )
        if len(self.axes) > MAX_AXES:
            return f"{len(self.axes)} axes vary ({', '.join(self.axes)}), at most {MAX_AXES} may"
        if len(self.cells) > MAX_POINTS:
            return f"{len(self.cells):,} points were sampled, at most {MAX_POINTS} can be fitted"
        return None

    def axes_of(self, arm: str) -> list[int]:
        """Return which axes an arm has, as their numbers; the control has no λ."""
        return [n for n, name in enumerate(self.axes) if arm != CONTROL or name != "rlp_lambda"]

    def scaled(self, values: pl.DataFrame) -> Floats:
        """Return the axes' values, log scale where there is one, ``[rows, axes]``."""
        columns = [
            np.log(values[name].to_numpy()) if name in LOG_AXES else values[name].to_numpy()
            for name in self.axes
        ]
        return np.stack(columns, axis=1).astype(np.float64)

    def standardized(self, scaled: Floats) -> Floats:
        """Return scaled values in standard deviations of the cells from their mean."""
        sampled = self.scaled(self.cells)
        standard: Floats = (scaled - sampled.mean(axis=0)) / sampled.std(axis=0)
        return standard


@dataclass(frozen=True, slots=True)
class Sample:
    """The points of one arm whose trials are there in every seed of the block; P points.

    Attributes:
        points: Standardized axes of the arm, ``[P, D]``.
        outcomes: Scored outcomes, ``[P, S]``.
        num_diverged: Diverged trials among them.
    """

    points: Floats
    outcomes: Floats
    num_diverged: int


def find_design(paired: Paired) -> Design | None:
    """Return the cells with `full` and control; None where they are a grid, or less than eight.

    A grid fills at least half of the product of the levels that its axes have.
    """
    has_both = pl.col("y_full").is_not_null() & pl.col("y_control").is_not_null()
    there = paired.seeds.filter(has_both)["cell"].unique()
    cells = paired.cells.filter(pl.col("cell").is_in(there.implode())).sort("cell")
    levels = {name: cells[name].n_unique() for name in cells.columns[2:]}
    if len(cells) < MIN_POINTS or len(cells) >= _MIN_FILLED * math.prod(levels.values()):
        return None
    return Design(
        cells=cells,
        places=paired.seeds.filter(pl.col("cell").is_in(there.implode())),
        axes=tuple(name for name, num in levels.items() if num > 1),
        fixed=tuple(name for name, num in levels.items() if num == 1),
    )


def _is_scale(column: pl.Series) -> bool:
    """Tell whether a column can be an axis: numbers throughout, on a log axis above 0."""
    if not column.dtype.is_numeric() or column.has_nulls():
        return False
    is_finite = bool(column.cast(pl.Float64).is_finite().all())
    return is_finite and (column.name not in LOG_AXES or bool((column > 0).all()))


def find_samples(design: Design, arms: Sequence[str]) -> dict[str, Sample]:
    """Return each arm's points on one block: every point of every arm has every seed.

    The block is chosen as pooling does (`pooling.largest_block`), by which trials are there; an arm
    may have no point in it.
    """
    seeds = design.places["seed"].unique().sort().to_numpy()
    tables = {arm: _table_of(design, arm, seeds) for arm in arms}
    presence = np.concatenate([~np.isnan(y) for _, y, _ in tables.values()])
    has_row, has_seed = largest_block(presence)
    samples: dict[str, Sample] = {}
    start = 0
    for arm, (points, y, diverged) in tables.items():
        kept = has_row[start : start + len(y)]
        start += len(y)
        block = np.ix_(kept, has_seed)
        samples[arm] = Sample(points[kept], y[block], int(diverged[block].sum()))
    return samples


def _table_of(design: Design, arm: str, seeds: npt.NDArray[np.int64]) -> tuple[Floats, ...]:
    """Return an arm's points, ``[P, D]``, outcomes and whether diverged, ``[P, S]``."""
    key = "base" if arm == CONTROL else "cell"
    rows = design.places.drop_nulls(f"y_{arm}").unique([key, "seed"], keep="first")
    cells = design.cells.unique(key, keep="first").sort(key)
    columns = np.searchsorted(seeds, rows["seed"].to_numpy())
    place = (cells[key].search_sorted(rows[key]).to_numpy(), columns)
    y = np.full((len(cells), len(seeds)), np.nan)
    diverged = np.zeros_like(y)
    y[place] = rows[f"y_{arm}"].to_numpy()
    diverged[place] = rows[f"diverged_{arm}"].to_numpy()
    points = design.standardized(design.scaled(cells))[:, design.axes_of(arm)]
    return points, y, diverged


def reference_grid(design: Design) -> Floats:
    """Return where the surface is read, scaled axes, ``[G, axes]``; λ varies slowest.

    Levels lie in the middle of equal parts of each axis's sampled range: of three parts for λ
    (1/6, 1/2, 5/6), of five for lr, of two for every other axis.
    """
    sampled = design.scaled(design.cells)
    low, high = sampled.min(axis=0), sampled.max(axis=0)
    levels = []
    for number, name in enumerate(design.axes):
        num = _NUM_LEVELS.get(name, _OTHER_LEVELS)
        levels.append(low[number] + (high - low)[number] * (np.arange(num) + 0.5) / num)
    order = sorted(range(len(levels)), key=lambda number: design.axes[number] != "rlp_lambda")
    grid = np.array(list(itertools.product(*(levels[number] for number in order))))
    back: Floats = grid[:, np.argsort(order)]
    return back


def is_inside(points: Floats, at: Floats) -> Bools:
    """Return which of `at`, ``[G, D]``, lie in the convex hull of the points, ``[P, D]``.

    None does where the points fill no volume.
    """
    from scipy.spatial import Delaunay, QhullError

    if points.shape[1] == 1:
        between: Bools = ((at >= points.min()) & (at <= points.max()))[:, 0]
        return between
    try:
        hull = Delaunay(points)
    except QhullError:
        return np.zeros(len(at), dtype=bool)
    inside: Bools = hull.find_simplex(at, tol=_HULL_TOLERANCE) >= 0
    return inside


def cell_values(design: Design, scaled: Floats) -> dict[str, list[float]]:
    """Return the cell columns of reference cells, fixed ones included, in their units.

    Args:
        design: The design that the cells belong to.
        scaled: Scaled axes, ``[G, axes]``.
    """
    values: dict[str, list[float]] = {}
    for name in (*CELL, *(axis for axis in design.axes if axis not in CELL)):
        if name in design.fixed:
            values[name] = [float(design.cells[name][0])] * len(scaled)
        else:
            column = scaled[:, design.axes.index(name)]
            values[name] = (np.exp(column) if name in LOG_AXES else column).tolist()
    return values

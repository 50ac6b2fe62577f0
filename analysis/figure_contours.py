"""Lines of equal equivalent learning rate over a map of lr and λ.

A control at lr η′ and a regularized trial with κη = η′ pull equally hard along the class gradient.
On the line that is labelled η′ lie the cells that amount to the control at η′, so that a map reads
as one of learning rates alone where it has one colour along a line.
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.intervals import Floats
from analysis.wording import format_short

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DARK, _LIGHT = "#000000", "#ffffff"  # on colours of the map: the same in a light and a dark page
CONTOURS = "equivalent-lr"
"""What the id of every drawn set of lines begins with in the SVG."""

_LABEL_WIDTH = 0.1
"""Room for a label, in widths of a map; at least 0.8 of a cell."""


def draw_contours(axes: "Axes", equivalent_lrs: Floats, lrs: Sequence[float], *, name: str) -> None:
    """Draw where the equivalent lr is one of the swept ones, if it is known in 2 × 2 cells or more.

    The logarithm is interpolated between the middles of cells, which are one unit wide and high.

    Args:
        axes: With the map on it.
        equivalent_lrs: κη of each cell, ``[λ, lr]``; NaN where it is missing or not above 0.
        lrs: Of the columns, ascending.
        name: What tells these lines from others in the drawing.
    """
    import matplotlib.patheffects as effects

    if min(equivalent_lrs.shape) < 2 or np.isnan(equivalent_lrs).all():
        return
    heights = np.ma.masked_invalid(np.log(equivalent_lrs))
    levels = [lr for lr in lrs if heights.min() + 1e-9 < np.log(lr) < heights.max() - 1e-9]
    if not levels:
        return
    rows, columns = (np.arange(size) + 0.5 for size in heights.shape)
    style: dict[str, Any] = {"colors": _LIGHT, "linewidths": 0.9, "linestyles": "solid"}
    lines = axes.contour(columns, rows, heights, levels=np.log(levels), zorder=2, **style)
    if not any(len(points) for segments in lines.allsegs for points in segments):
        lines.remove()  # the cells that are known are no neighbours
        return
    lines.set_gid(f"{CONTOURS}-{name}")
    lines.set_path_effects([effects.withStroke(linewidth=2.0, foreground=DARK)])
    under = {"facecolor": _LIGHT, "edgecolor": "none", "pad": 0.6, "alpha": 0.85}
    places = _place_labels(lines.allsegs, width=max(0.8, _LABEL_WIDTH * len(lrs)))
    label: dict[str, Any] = {"color": DARK, "fontsize": 6, "bbox": under, "zorder": 4}
    for lr, place in zip(levels, places, strict=True):
        if place is not None:
            axes.text(*place, format_short(lr), ha="center", va="center", **label)


def _place_labels(
    lines: Sequence[Sequence[Floats]], *, width: float
) -> list[tuple[float, float] | None]:
    """Return where each line is labelled: between two rows, as far up as there is room.

    Args:
        lines: Of each level its segments, points ``[n, 2]``.
        width: Least distance of two labels between the same rows.
    """
    taken: list[tuple[float, float]] = []
    places: list[tuple[float, float] | None] = []
    for segments in lines:
        crossings = sorted((c for s in segments for c in _crossings(s)), key=lambda c: -c[1])
        free = (
            (x, y) for x, y in crossings if all(y != v or abs(x - u) >= width for u, v in taken)
        )
        place = next(free, None)
        places.append(place)
        if place is not None:
            taken.append(place)
    return places


def _crossings(points: Floats) -> Iterator[tuple[float, float]]:
    """Yield where a polygon through points ``[n, 2]`` crosses a border between two rows."""
    for (x, y), (u, v) in itertools.pairwise(points):
        low, high = sorted((y, v))
        for border in range(int(np.ceil(low)), int(np.floor(high)) + 1):
            share = 0.0 if v == y else (border - y) / (v - y)
            yield float(x + share * (u - x)), float(border)


def tell_contours(
    *, is_grid: bool, is_known: bool, is_drawn: bool, normalizing: Sequence[str]
) -> str:
    """Return the caption's sentences on the lines; empty where there is no κ to draw them from.

    Args:
        is_grid: Whether cells are drawn as a grid.
        is_known: Whether a cell has a κη.
        is_drawn: Whether there is a line.
        normalizing: Optimizers under which κη is no learning rate.
    """
    if not is_grid:
        return " The points form no grid for lines of equal equivalent lr κη." * is_known
    if not is_drawn:
        return ""
    caveat = (
        f" Under {', '.join(normalizing)} κη is no learning rate: the lines join cells of equal "
        "pull along the class gradient alone."
    ) * bool(normalizing)
    return (
        " White lines join cells of one equivalent lr κη (mean over seeds), each labelled with the "
        "swept lr of the control that they amount to, from which it starts at λ = 0: where a line "
        "leans left, the regularizer pulls along the class gradient; where it leans right, "
        "against it. Cells whose κ is missing or not above 0 are left out; between cells log κη "
        f"is interpolated.{caveat}"
    )

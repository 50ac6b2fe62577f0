"""Heat maps over lr and λ, one panel an arm; for sampled points, which form no grid, a scatter.

Over a grid lie lines of equal equivalent learning rate κη (`figure_contours`).
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import polars as pl

from analysis.canvas import MUTED, PAPER, Figure, canvas, log_axis, spread_out
from analysis.cells import of_one_cell
from analysis.figure_contours import CONTOURS, DARK, draw_contours, tell_contours
from analysis.figure_words import describe_map, tell_level, tell_number
from analysis.intervals import Floats
from analysis.marks import Sheet
from analysis.optimizers import normalizing_optimizers
from analysis.pairing import CONTROL, REGULARIZED_ARMS
from analysis.result import Analysis
from analysis.wording import format_short, quantity_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable

MAX_GRID = 12
"""Values of lr or λ up to which cells are drawn as a grid."""

Extend = Literal["min", "max", "neither"]
"""Which end of a colour scale values lie beyond."""

_EVEN_LUMINANCE = 0.179
"""Luminance on which black and white stand out alike, by 4.6 to 1 (WCAG 2.2)."""

MAX_LRS = 500
"""Values of lr drawn at all, evenly chosen where there are more."""


def draw_heat_map(analysis: Analysis, metric: str, *, name: str, color_map: str) -> Figure | None:
    """Return means of a metric over lr and λ, one panel an arm; None without regularized trials.

    The row λ = 0 is the control's, the same in every panel.
    """
    data = heat_map_data(analysis, metric)
    if data.is_empty():
        return None
    quantity = quantity_of(metric)
    arms = [arm for arm in REGULARIZED_ARMS if arm in data["arm"]]
    lrs, lambdas = (data[column].unique().sort().to_list() for column in ("lr", "rlp_lambda"))
    is_grid = max(len(lrs), len(lambdas)) <= MAX_GRID
    low, high, extend = color_limits(data["value"])
    num_columns = min(2, len(arms)) if len(lrs) > 3 or not is_grid else len(arms)
    num_rows = -(-len(arms) // num_columns)
    panel_height = max(1.2, 0.34 * len(lambdas)) if is_grid else 2.4
    height = num_rows * (panel_height + 0.7)
    with canvas(width=7.8, height=height, name=name) as (drawing, sheet):
        grid = drawing.subplots(num_rows, num_columns, squeeze=False, sharex=True, sharey=True)
        for axes, arm in zip(grid.flat, arms, strict=False):
            panel = data.filter(pl.col("arm") == arm)
            draw = _draw_grid if is_grid else _draw_points
            shown = draw(axes, panel, (lrs, lambdas), limits=(low, high), color_map=color_map)
            axes.set_title(arm)
            _mark_cells(sheet, axes, panel, (lrs, lambdas) if is_grid else None, quantity.noun)
        _label_panels(grid, num_panels=len(arms))
        bar = drawing.colorbar(shown, ax=grid, fraction=0.03, pad=0.01, aspect=30, extend=extend)
        bar.outline.set_visible(False)
        for solids in bar.ax.collections:
            solids.set(rasterized=False, edgecolor="face")
    contours = tell_contours(
        is_grid=is_grid,
        is_known=data["equivalent_lr"].count() > 0,
        is_drawn=CONTOURS in sheet.svg,
        normalizing=normalizing_optimizers(analysis.trials),
    )
    return Figure(
        name=name,
        title=f"{quantity.noun.capitalize()} over lr and λ",
        caption=_caption(analysis, metric, is_grid=is_grid, extend=extend, contours=contours),
        alt=describe_map(data, quantity.noun),
        svg=sheet.svg,
        data=data,
    )


def _label_panels(grid: Any, *, num_panels: int) -> None:
    """Name the outer axes of a grid of panels, and hide those that are left over."""
    for axes in grid.flat[num_panels:]:
        axes.set_visible(False)
    for axes in grid[-1]:
        axes.set_xlabel("lr")
    for axes in grid[:, 0]:
        axes.set_ylabel("λ")


def color_limits(values: pl.Series) -> tuple[float, float, Extend]:
    """Return the ends of the colour scale, and which of them values lie beyond.

    A few cells far from all others, such as trainings that broke, would leave one colour to the
    rest: where the outer twentieth on a side takes more than half of the range, it is cut off.
    """
    numbers = np.sort(values.to_numpy())
    low, high = float(numbers[0]), float(numbers[-1])
    inner_low, inner_high = (float(q) for q in np.quantile(numbers, (0.05, 0.95), method="nearest"))
    span = high - low
    cuts_low, cuts_high = inner_low - low > span / 2, high - inner_high > span / 2
    low, high = inner_low if cuts_low else low, inner_high if cuts_high else high
    extend: Extend = "min" if cuts_low else "max" if cuts_high else "neither"
    return low, high if high > low else low + 1e-9, extend


def heat_map_data(analysis: Analysis, metric: str) -> pl.DataFrame:
    """Return one row an arm, lr and λ, over further cell columns.

    Columns: `value`, the metric's mean; what it stands on (`cells.of_one_cell`); `equivalent_lr`,
    the mean of κη over cells where it is above 0, null where there is none.
    """
    cells = analysis.cells.drop_nulls(metric)
    regularized = cells.filter(pl.col("arm").is_in(REGULARIZED_ARMS) & (pl.col("rlp_lambda") > 0))
    arms = regularized.select("arm").unique()
    control = cells.filter(pl.col("arm") == CONTROL).drop("arm").join(arms, how="cross")
    both = pl.concat([regularized, control], how="diagonal")
    lrs = spread_out(both["lr"].unique().sort().to_list(), MAX_LRS)
    equivalent_lr = pl.col("equivalent_lr")
    return (
        both.filter(pl.col("lr").is_in(lrs))
        .group_by("arm", "lr", "rlp_lambda")
        .agg(
            value=pl.col(metric).mean(),
            **of_one_cell(metric),
            equivalent_lr=equivalent_lr.filter(equivalent_lr > 0).mean(),
        )
        .sort("arm", "rlp_lambda", "lr")
    )


def _on_grid(panel: pl.DataFrame, column: str, ticks: tuple[list[float], list[float]]) -> Floats:
    """Return a column as ``[λ, lr]``; NaN where there is no value."""
    lrs, lambdas = ticks
    values = np.full((len(lambdas), len(lrs)), np.nan)
    for row in panel.drop_nulls(column).iter_rows(named=True):
        values[lambdas.index(row["rlp_lambda"]), lrs.index(row["lr"])] = row[column]
    return values


def luminance(rgb: Sequence[float]) -> float:
    """Return the relative luminance of an sRGB colour, 0 black to 1 white (WCAG 2.2)."""
    linear = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in rgb)
    return sum(
        weight * channel for weight, channel in zip((0.2126, 0.7152, 0.0722), linear, strict=True)
    )


def _draw_grid(
    axes: "Axes",
    panel: pl.DataFrame,
    ticks: tuple[list[float], list[float]],
    *,
    limits: tuple[float, float],
    color_map: str,
) -> "ScalarMappable":
    lrs, lambdas = ticks
    values = _on_grid(panel, "value", ticks)
    low, high = limits
    mesh = axes.pcolormesh(
        np.ma.masked_invalid(values),
        cmap=color_map,
        vmin=low,
        vmax=high,
        edgecolors=PAPER,
        linewidth=1.5,
    )
    draw_contours(axes, _on_grid(panel, "equivalent_lr", ticks), lrs, name=panel["arm"][0])
    digits = 3 if high - low < 0.1 else 2
    for (row_index, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            cell = mesh.to_rgba(np.asarray(value))
            color = DARK if luminance(tuple(map(float, cell[:3]))) > _EVEN_LUMINANCE else "#ffffff"
            place = (column + 0.5, row_index + 0.5)
            text = f"{value:.{digits}f}"
            under = {"facecolor": cell, "edgecolor": "none", "pad": 0.8}  # lines stop at numbers
            axes.text(*place, text, ha="center", va="center", color=color, fontsize=8, bbox=under)
    axes.set_xticks(np.arange(len(lrs)) + 0.5, [format_short(lr) for lr in lrs])
    axes.set_yticks(np.arange(len(lambdas)) + 0.5, [format_short(value) for value in lambdas])
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    return mesh


def _mark_cells(
    sheet: Sheet,
    axes: "Axes",
    panel: pl.DataFrame,
    ticks: tuple[list[float], list[float]] | None,
    noun: str,
) -> None:
    """Say every cell's value; `ticks` are lr and λ of a grid, None where the cells are points."""
    for row in panel.iter_rows(named=True):
        xs, ys = [row["lr"]], [row["rlp_lambda"]]
        if ticks is not None:
            column, line = ticks[0].index(row["lr"]), ticks[1].index(row["rlp_lambda"])
            xs, ys = [column + 0.1, column + 0.9], [line + 0.1, line + 0.9]
        name = f"{row['arm']} · lr {format_short(row['lr'])} · λ {format_short(row['rlp_lambda'])}"
        equivalent = row["equivalent_lr"]
        pull = "" if equivalent is None else f"equivalent lr κη {format_short(equivalent)}"
        value = f"{noun} {tell_level(row['value'], row['ci_low'], row['ci_high'])}"
        sheet.mark(axes, xs, ys, name, value, tell_number(row), pull)


def _draw_points(
    axes: "Axes",
    panel: pl.DataFrame,
    ticks: tuple[list[float], list[float]],
    *,
    limits: tuple[float, float],
    color_map: str,
) -> "ScalarMappable":
    smallest = min(value for value in ticks[1] if value > 0)
    points = axes.scatter(
        panel["lr"],
        panel["rlp_lambda"],
        c=panel["value"],
        cmap=color_map,
        vmin=limits[0],
        vmax=limits[1],
        s=22,
        edgecolors=MUTED,
        linewidths=0.4,
    )
    log_axis(axes)
    log_axis(axes, which="y", linear_below=smallest)
    return points


def _caption(
    analysis: Analysis, metric: str, *, is_grid: bool, extend: Extend, contours: str
) -> str:
    names = analysis.cells.columns[: analysis.cells.columns.index("arm")]
    further = [name for name in names if name not in {"lr", "rlp_lambda"}]
    varying = [name for name in further if analysis.cells[name].n_unique() > 1]
    over = f", averaged over {', '.join(varying)}" * bool(varying)
    unit = "; 0 is chance, 1 is perfect recall" * (metric == "memorization")
    shape = "" if is_grid else " Each point is one sampled cell."
    if analysis.cells["lr"].n_unique() > MAX_LRS:
        shape += f" {MAX_LRS} values of lr are drawn, evenly chosen."
    if extend != "neither":
        shape += " Colours leave out a few cells far from all others; the arrow is their end."
    return (
        f"Mean over seeds{over}{unit}. λ = 0 is the control, the same in every panel. "
        f"Stopped and failed trials are missing.{contours}{shape}"
    )

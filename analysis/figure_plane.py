"""The memorization–accuracy plane: where each arm leads from its control."""

from typing import TYPE_CHECKING

import polars as pl

from analysis.canvas import (
    ARM_COLORS,
    ARM_MARKERS,
    Figure,
    canvas,
    draw_legend,
    share_axis,
    spread_out,
)
from analysis.cells import ARM_ORDER
from analysis.figure_words import describe_plane, tell_level, tell_number
from analysis.marks import Sheet
from analysis.pairing import CONTROL, REGULARIZED_ARMS
from analysis.result import Analysis
from analysis.wording import format_short, quantity_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_CELLS = 40
"""Cells drawn in a panel, evenly chosen where there are more."""

MAX_PANELS = 4
"""Values of λ drawn, one panel each."""


def draw_plane(analysis: Analysis) -> Figure | None:
    """Return outcome against memorization, an arrow from each control; None without pairs."""
    data = plane_data(analysis)
    if data.is_empty():
        return None
    quantity = quantity_of(analysis.outcome)
    lambdas = data["rlp_lambda"].unique().sort().to_list()
    num_columns = min(2, len(lambdas))
    num_rows = -(-len(lambdas) // num_columns)
    height = 0.6 + 3.0 * num_rows
    with canvas(width=3.8 * num_columns, height=height, name="plane") as (drawing, sheet):
        grid = drawing.subplots(num_rows, num_columns, squeeze=False, sharex=True)
        for axes, rlp_lambda in zip(grid.flat, lambdas, strict=False):
            here = data.filter(pl.col("rlp_lambda") == rlp_lambda)
            _draw_plane(axes, here)
            _mark_cells(sheet, axes, here, quantity.noun)
            axes.set_title(f"λ = {format_short(rlp_lambda)}")
            axes.set_xlabel("memorization (0 chance, 1 perfect recall)")
            axes.set_ylabel(f"{quantity.noun}")
        for axes in grid.flat[len(lambdas) :]:
            axes.set_visible(False)
        handles = dict(zip(*reversed(grid.flat[0].get_legend_handles_labels()), strict=True))
        draw_legend(drawing, handles)
    return Figure(
        name="memorization_plane",
        title=f"Memorization and {quantity.noun}",
        caption="Means over seeds. Each arrow leads from a cell's control to one of its arms: left "
        "is less memorization, up is a higher value. Cells differ in lr and whatever else varies; "
        f"of more than {MAX_CELLS}, every n-th is drawn.",
        alt=describe_plane(data, analysis.outcome),
        svg=sheet.svg,
        data=data,
    )


def _draw_plane(axes: "Axes", data: pl.DataFrame) -> None:
    for arm in (CONTROL, *(arm for arm in REGULARIZED_ARMS if arm in data["arm"])):
        rows = data.filter(pl.col("arm") == arm)
        if arm == CONTROL:
            rows = data.unique(["x_control", "y_control"]).select(x="x_control", y="y_control")
        color, marker = ARM_COLORS[arm], ARM_MARKERS[arm]
        axes.scatter(rows["x"], rows["y"], color=color, marker=marker, s=26, zorder=3, label=arm)
    for row in data.iter_rows(named=True):
        axes.annotate(
            "",
            xy=(row["x"], row["y"]),
            xytext=(row["x_control"], row["y_control"]),
            arrowprops={
                "arrowstyle": "-|>",
                "color": ARM_COLORS[row["arm"]],
                "alpha": 0.45,
                "linewidth": 1,
                "shrinkA": 3,
                "shrinkB": 3,
            },
        )
    share_axis(axes)
    share_axis(axes, which="x")


def _mark_cells(sheet: Sheet, axes: "Axes", data: pl.DataFrame, noun: str) -> None:
    """Say both values of every arm and of its control."""
    controls = data.unique([f"{name}_control" for name in "xy"], maintain_order=True).to_dicts()
    points = [(row, CONTROL, "_control") for row in controls]
    points += [(row, row["arm"], "") for row in data.to_dicts()]
    for row, arm, end in points:
        x, y = (
            tell_level(row[f"{axis}{end}"], row[f"{axis}_low{end}"], row[f"{axis}_high{end}"])
            for axis in "xy"
        )
        number = tell_number({"num_trials": row[f"num_trials{end}"]})
        name = f"{arm} · lr {format_short(row['lr'])}"
        values = (f"{noun} {y}", f"memorization {x}", number)
        sheet.mark(axes, [row[f"x{end}"]], [row[f"y{end}"]], name, *values)


def plane_data(analysis: Analysis) -> pl.DataFrame:
    """Return what the plane draws: one row a cell and regularized arm, with its control's place.

    `x` is memorization, `y` the outcome, each with `_low` and `_high`, the ends of its interval;
    with `num_trials`, and all of these of the control with `_control` behind the name.
    """
    cells = analysis.cells
    names = cells.columns[: cells.columns.index("arm")]
    base = [name for name in names if name != "rlp_lambda"]
    metrics = {"x": "memorization", "y": analysis.outcome}
    values = {axis: pl.col(metric) for axis, metric in metrics.items()}
    ends = {
        f"{axis}_{end}": pl.col(f"{metric}_ci_{end}")
        for axis, metric in metrics.items()
        for end in ("low", "high")
    }
    points = cells.select(*names, "arm", **values, **ends, num_trials="num_trials").drop_nulls(
        ["x", "y"]
    )
    swept = points.filter(pl.col("rlp_lambda") > 0)["rlp_lambda"].unique().sort().to_list()
    lambdas = spread_out(swept, MAX_PANELS)
    bases = points.select(base).unique().sort(base, nulls_last=True)
    points = points.join(
        bases.gather_every(-(-len(bases) // MAX_CELLS) or 1), on=base, how="semi", nulls_equal=True
    )
    control = points.filter(pl.col("arm") == CONTROL).drop("arm", "rlp_lambda")
    regularized = points.filter(
        pl.col("arm").is_in(REGULARIZED_ARMS) & (pl.col("rlp_lambda") > 0)
    ).filter(pl.col("rlp_lambda").is_in(lambdas))
    order = pl.col("arm").replace_strict(ARM_ORDER, return_dtype=pl.Int64)
    return regularized.join(
        control, on=base, suffix="_control", validate="m:1", nulls_equal=True
    ).sort(*names, order, nulls_last=True)

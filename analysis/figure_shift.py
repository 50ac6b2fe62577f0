"""The shift: the regularized row over lr, and over the learning rate that it amounts to."""

from typing import TYPE_CHECKING, Any

import polars as pl

from analysis.canvas import ARM_COLORS, Figure, canvas, log_axis, spread_out
from analysis.cells import of_one_cell
from analysis.figure_words import describe_shift, tell_level, tell_number
from analysis.marks import Sheet
from analysis.pairing import CONTROL, EXTRACTOR_SCALE, FULL
from analysis.result import Analysis
from analysis.wording import format_short, quantity_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MIN_LRS = 3
"""Learning rates of the control from which on a curve is worth drawing."""

MAX_PANELS = 3
_MOVED = ("lr", "rlp_lambda")


def draw_shift(analysis: Analysis) -> Figure | None:
    """Return control and full over lr, full also at κη; None without κ, or with too few lr."""
    data = shift_data(analysis)
    if data.is_empty():
        return None
    quantity = quantity_of(analysis.outcome)
    lambdas = data["rlp_lambda"].drop_nulls().unique().sort().to_list()
    with canvas(width=7.8, height=3.0, name="shift") as (drawing, sheet):
        grid = drawing.subplots(1, len(lambdas), squeeze=False, sharex=True, sharey=True)
        for axes, rlp_lambda in zip(grid[0], lambdas, strict=True):
            full = data.filter(pl.col("rlp_lambda") == rlp_lambda)
            control = data.filter(pl.col("arm") == CONTROL)
            _draw_panel(axes, control, full)
            for row in (*control.to_dicts(), *full.to_dicts()):
                _mark(sheet, axes, row, quantity.noun)
            axes.set_title(f"λ = {format_short(rlp_lambda)}")
            axes.set_xlabel("lr")
        grid[0][0].set_ylabel(quantity.noun)
        handles, labels = grid[0][0].get_legend_handles_labels()
        drawing.legend(handles, labels, loc="outside upper left", ncols=3)
    return Figure(
        name="shift",
        title="Before and after the shift",
        caption="Means over seeds and whatever else varies. If the regularizer acted as another "
        "learning rate and nothing else, full at its equivalent learning rate κη would lie on the "
        "control's curve; what is above or below it is not a learning rate's.",
        alt=describe_shift(data, quantity.noun),
        svg=sheet.svg,
        data=data,
    )


def _draw_panel(axes: "Axes", control: pl.DataFrame, full: pl.DataFrame) -> None:
    gray, blue = ARM_COLORS[CONTROL], ARM_COLORS[FULL]
    axes.plot(control["lr"], control["value"], color=gray, marker="o", ms=4, label=CONTROL)
    axes.plot(
        full["lr"],
        full["value"],
        color=blue,
        marker="s",
        ms=4,
        mfc="none",
        linestyle=":",
        label="full at its lr",
    )
    shifted = full.drop_nulls("equivalent_lr").filter(pl.col("equivalent_lr") > 0)
    axes.plot(
        shifted["equivalent_lr"],
        shifted["value"],
        color=blue,
        marker="s",
        ms=4,
        linestyle="",
        label="full at κ · lr",
    )
    log_axis(axes)


def _mark(sheet: Sheet, axes: "Axes", row: dict[str, Any], noun: str) -> None:
    """Say a point's value where it was trained, and where it would lie as a learning rate."""
    value = f"{noun} {tell_level(row['value'], row['ci_low'], row['ci_high'])}"
    told = (value, tell_number(row))
    name = f"{row['arm']} · lr {format_short(row['lr'])}"
    sheet.mark(axes, [row["lr"]], [row["value"]], name, *told)
    if row["arm"] == FULL and (row["equivalent_lr"] or 0.0) > 0:
        moved = f"{name} · κ · lr = {format_short(row['equivalent_lr'])}"
        sheet.mark(axes, [row["equivalent_lr"]], [row["value"]], moved, *told)


def shift_data(analysis: Analysis) -> pl.DataFrame:
    """Return one row an arm, λ and lr: `value`, and the `equivalent_lr` of full.

    Of a single cell also its interval, `ci_low` and `ci_high`; `num_cells`, `num_trials`.
    """
    cells = analysis.cells.filter(pl.col("arm").is_in([CONTROL, FULL])).drop_nulls(analysis.outcome)
    full = cells.filter((pl.col("arm") == FULL) & (pl.col("rlp_lambda") > 0))
    control = cells.filter(pl.col("arm") == CONTROL)
    if control["lr"].n_unique() < MIN_LRS or not full["equivalent_lr"].count():
        return pl.DataFrame()
    further = [n for n in cells.columns[: cells.columns.index("arm")] if n not in _MOVED]
    if further:  # controls at other settings than full's are no part of its curve
        settings = full.select(further).unique()
        control = control.join(settings, on=further, how="semi", nulls_equal=True)
    if EXTRACTOR_SCALE in further:  # κ measures that scale as well
        scale = pl.col(EXTRACTOR_SCALE).fill_null(1.0)
        full = full.with_columns(pl.col("equivalent_lr") / scale)
    lambdas = spread_out(full["rlp_lambda"].unique().sort().to_list(), MAX_PANELS)
    drawn = pl.concat([control, full.filter(pl.col("rlp_lambda").is_in(lambdas))])
    return (
        drawn.with_columns(rlp_lambda=pl.when(pl.col("arm") == FULL).then("rlp_lambda"))
        .group_by("arm", "rlp_lambda", "lr")
        .agg(
            value=pl.col(analysis.outcome).mean(),
            equivalent_lr=pl.col("equivalent_lr").mean(),
            **of_one_cell(analysis.outcome),
        )
        .sort("arm", "rlp_lambda", "lr")
    )

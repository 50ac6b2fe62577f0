"""Learning curves: how the arms come apart over training."""

from typing import TYPE_CHECKING, Any

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
from analysis.figure_words import describe_curves, pick_metric, tell_number
from analysis.marks import Sheet
from analysis.pairing import CONTROL, REGULARIZED_ARMS
from analysis.result import Analysis
from analysis.wording import format_short, quantity_of

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

CURVES = ("val_accuracy", "test_accuracy", "random_label_accuracy")
MAX_PANELS = 4
MAX_MARKS = 20
"""Evaluations of a curve that tell their values, evenly chosen where there are more."""


def draw_curves(analysis: Analysis) -> Figure | None:
    """Return curves of validation, test and random-label accuracy by arm; None without epochs.

    Panels are values of lr; the regularized arms are those at the largest λ.
    """
    data = curve_data(analysis)
    if data.is_empty():
        return None
    metrics = [name for name in CURVES if name in data["metric"]]
    lrs = data["lr"].unique().sort().to_list()
    height = 0.7 + 1.75 * len(metrics)
    with canvas(width=7.8, height=height, name="curves") as (drawing, sheet):
        grid = drawing.subplots(len(metrics), len(lrs), squeeze=False, sharex=True, sharey="row")
        for row, metric in zip(grid, metrics, strict=True):
            for axes, lr in zip(row, lrs, strict=True):
                panel = data.filter((pl.col("metric") == metric) & (pl.col("lr") == lr))
                _draw_panel(axes, panel)
                _mark_points(sheet, axes, panel)
            row[0].set_ylabel(quantity_of(metric).noun)
        for axes, lr in zip(grid[0], lrs, strict=True):
            axes.set_title(f"lr = {format_short(lr)}")
        for axes in grid[-1]:
            axes.set_xlabel("epoch")
        handles: dict[str, Artist] = {}
        for axes in grid.flat:
            handles |= dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
        draw_legend(drawing, handles)
    largest = format_short(data["rlp_lambda"].max())
    return Figure(
        name="learning_curves",
        title="Learning curves",
        caption=f"Regularized arms at λ = {largest}. Lines are means over the trials still in "
        "training at that epoch (seeds, and whatever else varies), bands their range. Random-label "
        "accuracy is the observer head's.",
        alt=describe_curves(data, pick_metric(data, (analysis.outcome, *CURVES))),
        svg=sheet.svg,
        data=data,
    )


def _draw_panel(axes: "Axes", data: pl.DataFrame) -> None:
    for arm in ARM_ORDER:
        curve = data.filter(pl.col("arm") == arm)
        if len(curve):
            color = ARM_COLORS[arm]
            axes.fill_between(
                curve["epoch"], curve["low"], curve["high"], color=color, alpha=0.14, linewidth=0
            )
            marker = ARM_MARKERS[arm] if len(curve) == 1 else ""  # one point is no line
            style: dict[str, Any] = {"color": color, "marker": marker, "markersize": 4}
            axes.plot(curve["epoch"], curve["mean"], linewidth=1.6, label=arm, **style)
    share_axis(axes)


def _mark_points(sheet: Sheet, axes: "Axes", data: pl.DataFrame) -> None:
    """Say the values of every curve, at so many evaluations at most."""
    for arm in ARM_ORDER:
        curve = data.filter(pl.col("arm") == arm)
        epochs = spread_out(curve["epoch"].to_list(), MAX_MARKS)
        for row in curve.filter(pl.col("epoch").is_in(epochs)).to_dicts():
            noun = quantity_of(row["metric"]).noun
            value = f"{noun} {row['mean']:.4g}, range [{row['low']:.4g}, {row['high']:.4g}]"
            name = f"{arm} · lr {format_short(row['lr'])} · epoch {row['epoch']}"
            sheet.mark(axes, [row["epoch"]], [row["mean"]], name, value, tell_number(row))


def drawn_trials(trials: pl.DataFrame) -> pl.DataFrame:
    """Return the trials that curves are of: `trial_id`, `lr`, `rlp_lambda`, `arm`."""
    is_drawn = (pl.col("arm") == CONTROL) | (
        pl.col("arm").is_in(REGULARIZED_ARMS) & (pl.col("rlp_lambda") == trials["rlp_lambda"].max())
    )
    lrs = spread_out(trials["lr"].unique().sort().to_list(), MAX_PANELS)
    return trials.select("trial_id", "lr", "rlp_lambda", "arm").filter(
        is_drawn & pl.col("lr").is_in(lrs)
    )


def curve_data(analysis: Analysis) -> pl.DataFrame:
    """Return one row an lr, arm, metric and epoch: `mean`, `low`, `high`, `num_trials`."""
    metrics = [name for name in CURVES if name in analysis.epochs.columns]
    value = pl.col("value")
    return (
        analysis.epochs.select("trial_id", "epoch", *metrics)
        .join(drawn_trials(analysis.trials), on="trial_id", validate="m:1")
        .unpivot(
            on=metrics,
            index=["lr", "rlp_lambda", "arm", "epoch"],
            variable_name="metric",
            value_name="value",
        )
        .filter(value.is_finite())
        .group_by("lr", "rlp_lambda", "arm", "metric", "epoch")
        .agg(
            mean=value.mean(), low=value.min(), high=value.max(), num_trials=pl.len().cast(pl.Int64)
        )
        .sort("metric", "lr", "arm", "epoch")
    )

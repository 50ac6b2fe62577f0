"""Depth profiles: what probes find layer by layer, beside networks that were never trained."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import polars as pl

from analysis.canvas import (
    ARM_COLORS,
    ARM_MARKERS,
    INK,
    MUTED,
    Figure,
    canvas,
    draw_legend,
    share_axis,
    spread_out,
)
from analysis.cells import ARM_ORDER
from analysis.figure_words import describe_depth, tell_level, tell_number
from analysis.marks import Sheet
from analysis.pairing import CONTROL
from analysis.probes import PROBES, over_seeds
from analysis.result import Analysis
from analysis.wording import format_short

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

MAX_PANELS = 4
"""Values of λ drawn, one column each."""

_MAX_NAMED_LAYERS = 8

_TITLES = {
    "rlp_online": "RLP head as trained",
    "rlp_offline": "RLP head at its optimum",
    "knn": "20 neighbours",
    "masc": "MASC",
    "class_mean": "class mean",
    "lda": "LDA",
    "linear": "linear probe",
}
_REFERENCES: dict[str, dict[str, Any]] = {
    "random_init": {"color": INK, "linestyle": "--", "marker": "", "label": "before training"},
    "gaussian": {"color": MUTED, "linestyle": ":", "marker": "", "label": "Gaussian features"},
    "pixels": {"color": INK, "linestyle": "", "marker": "x", "label": "pixels"},
}


def draw_depth(analysis: Analysis) -> Figure | None:
    """Return profiles over layers, a row a probe and a column a λ; None without probes."""
    data = depth_data(analysis)
    if data.is_empty():
        return None
    rows = data.select("probe", "label_set").unique(maintain_order=True).rows()
    lambdas = data["rlp_lambda"].unique(maintain_order=True).to_list()
    with canvas(width=7.8, height=0.9 + 1.35 * len(rows), name="probe_depth") as (drawing, sheet):
        grid = drawing.subplots(len(rows), len(lambdas), squeeze=False, sharex=True, sharey="row")
        for line, (probe, label_set) in zip(grid, rows, strict=True):
            of_probe = data.filter(probe=probe, label_set=label_set)
            for axes, rlp_lambda in zip(line, lambdas, strict=True):
                there = pl.col("rlp_lambda").eq_missing(pl.lit(rlp_lambda, pl.Float64))
                _draw_panel(axes, of_probe.filter(there))
                _mark_points(sheet, axes, of_probe.filter(there))
            line[0].set_ylabel(_label(probe, label_set, of_probe["metric"][0]), fontsize=8)
        for axes, rlp_lambda in zip(grid[0], lambdas, strict=True):
            axes.set_title("λ = 0" if rlp_lambda is None else f"λ = {format_short(rlp_lambda)}")
        for axes in grid[-1]:
            _name_layers(axes, data)
        handles: dict[str, Artist] = {}
        for axes in grid.flat:
            handles |= dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
        draw_legend(drawing, handles)
    return Figure(
        name="probe_depth",
        title="What the layers hold",
        caption=_caption(analysis),
        alt=describe_depth(data, _TITLES),
        svg=sheet.svg,
        data=data,
    )


def _caption(analysis: Analysis) -> str:
    assert analysis.probed is not None, "there are rows"
    poolings = analysis.probed.rows["pooling"].unique().to_list()
    others = f" Features pooled by {_pooling(poolings)}." * (len(poolings) > 1)
    return (
        "Memorization of the RLP probes on training samples (0 chance, 1 perfect recall), test "
        "accuracy of the others, at every attach point: means over cells within seed, then over "
        "seeds; bars are 95 % t intervals over seeds. Dashed: the same network before training; "
        "dotted: what an RLP head recalls of Gaussian features of the same number; crosses: the "
        "images themselves (layer 0). Class probes are fitted to true labels, and shown for those "
        f"trained on as well where these differ.{others} By cell: probe_profile.parquet."
    )


def _label(probe: str, label_set: str, metric: str) -> str:
    fitted = "\n(labels trained on)" * (label_set == "trained")
    value = "memorization" if metric == "memorization" else "test accuracy"
    return f"{_TITLES.get(probe, probe)}{fitted}\n{value}"


def _draw_panel(axes: "Axes", data: pl.DataFrame) -> None:
    for source, style in _REFERENCES.items():
        rows = data.filter(source=source)
        if len(rows):
            _draw_line(axes, rows, linewidth=1.1, markersize=5, zorder=4, **style)
    for arm in ARM_ORDER:
        rows = data.filter(source="trained", arm=arm)
        if len(rows):
            style = {"color": ARM_COLORS[arm], "marker": ARM_MARKERS[arm], "label": arm}
            _draw_line(axes, rows, linewidth=1.5, markersize=3.5, zorder=3, **style)
    share_axis(axes)


def _mark_points(sheet: Sheet, axes: "Axes", data: pl.DataFrame) -> None:
    """Say what every probe found at every layer."""
    for row in data.iter_rows(named=True):
        whose = row["arm"] or _REFERENCES.get(row["source"], {}).get("label", row["source"])
        ends = [row[name] for name in ("estimate", "ci_low", "ci_high") if row[name] is not None]
        metric = row["metric"].replace("_", " ")
        value = f"{metric} {tell_level(row['estimate'], row['ci_low'], row['ci_high'])}"
        probe = f"{_TITLES.get(row['probe'], row['probe'])} at layer {row['layer']}"
        where = f" ({row['attach_point']})" * (row["attach_point"] is not None)
        told = (f"{whose} · {probe}{where}", value, tell_number(row))
        sheet.mark(axes, [row["layer"]], ends, *told)


def _draw_line(axes: "Axes", rows: pl.DataFrame, **style: Any) -> None:
    axes.plot(rows["layer"], rows["estimate"], **style)
    bars = rows.filter(pl.col("ci_low").is_not_null())
    axes.vlines(bars["layer"], bars["ci_low"], bars["ci_high"], color=style["color"], linewidth=1.0)


def _name_layers(axes: "Axes", data: pl.DataFrame) -> None:
    """Write attach points under the axis, or numbers where they are many or differ."""
    names = data.select("layer", "attach_point").unique().sort("layer")
    numbers = names["layer"].to_list()
    if len(numbers) > _MAX_NAMED_LAYERS or len(set(numbers)) < len(numbers):
        axes.set_xlabel("layer")
        return
    axes.set_xticks(numbers, names["attach_point"].to_list(), rotation=40, ha="right", fontsize=7)


def depth_data(analysis: Analysis) -> pl.DataFrame:
    """Return what is drawn: one row a λ, arm, source, probe, label set and layer.

    Columns beside these: `attach_point`, `metric`, `estimate`, `ci_low`, `ci_high`, `num_seeds`,
    `num_cells`, the cells averaged within a seed at most. Control and references (`arm` null) stand
    under every λ. Empty where nothing was probed.
    """
    if analysis.probed is None:
        return pl.DataFrame()
    rows = analysis.probed.rows
    rows = _telling(rows.filter(pooling=_pooling(rows["pooling"].unique().to_list())))
    is_control = (pl.col("arm") == CONTROL) | (pl.col("source") != "trained")
    values = rows.filter(~is_control)["rlp_lambda"].unique().sort().to_list()
    lambdas: Sequence[float | None] = spread_out(values, MAX_PANELS) or [None]
    shared = rows.filter(is_control).with_columns(
        arm=pl.when(pl.col("source") == "trained").then("arm")
    )
    of_lambda = (
        pl.concat(
            [shared, rows.filter(~is_control, pl.col("rlp_lambda").eq_missing(rlp_lambda))]
        ).with_columns(rlp_lambda=pl.lit(rlp_lambda, pl.Float64))
        for rlp_lambda in lambdas
    )
    keys = ["rlp_lambda", "probe", "label_set", "source", "arm", "layer", "attach_point"]
    per_seed = (
        pl.concat(of_lambda)
        .group_by(*keys, "metric", "seed", maintain_order=True)
        .agg(pl.col("value").mean(), num_cells=pl.len())
    )
    cells = per_seed.group_by(keys).agg(pl.col("num_cells").max())
    found = over_seeds(per_seed, keys).join(
        cells, on=keys, nulls_equal=True, validate="1:1", maintain_order="left"
    )
    order = pl.col("probe").replace_strict(
        {name: number for number, name in enumerate(PROBES)}, default=len(PROBES)
    )
    return found.sort(order, "label_set", descending=[False, True], maintain_order=True)


def _pooling(poolings: Sequence[str]) -> str:
    """Return the pooling that is drawn: average, where there are several."""
    return "average" if "average" in poolings else min(poolings)


def _telling(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the rows without probes of the labels trained on that say what the true ones say."""
    keys = ["trial_id", "source", "attach_point", "probe"]
    true = rows.filter(label_set="true").select(*keys, true_value="value")
    both = rows.filter(label_set="trained").join(true, on=keys, how="left", validate="1:1")
    differ = both.filter(pl.col("value").ne_missing(pl.col("true_value")))["probe"].unique()
    is_shown = (pl.col("label_set") != "trained") | pl.col("probe").is_in(differ.implode())
    return rows.filter(is_shown)

"""The attribution: each cell's total effect beside the two parts that sum to it."""

from typing import TYPE_CHECKING

import polars as pl

from analysis.canvas import (
    ARM_COLORS,
    GRID,
    INK,
    MUTED,
    PAPER,
    Figure,
    canvas,
)
from analysis.effects import cell_names
from analysis.figure_words import describe_attribution, tell_effect, tell_number
from analysis.marks import Sheet
from analysis.pairing import CELL
from analysis.result import Analysis
from analysis.wording import Quantity, format_short, quantity_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_CELLS = 24
"""Cells drawn; the rest stand in the table."""

MAX_POOLED = 6
"""Values of λ up to which each has its pooled line; beyond, one line pools all."""

_MAX_STRETCH = 2.5

PARTS = {
    "effect_lr": ("class term", ARM_COLORS["class_term"], "^"),
    "effect_memorization": ("uniform term", ARM_COLORS["uniform_term"], "v"),
    "effect_total": ("total (full − control)", ARM_COLORS["full"], "s"),
}
"""Label, colour and marker of each effect, in the order they are drawn."""


def draw_attribution(analysis: Analysis) -> Figure | None:
    """Return each total beside its two parts: pooled first, then cell by cell; None without any."""
    data = attribution_data(analysis)
    if data.is_empty():
        return None
    quantity = quantity_of(analysis.outcome)
    labels = data.unique("line").sort("line")["label"].to_list()
    with canvas(width=7.6, height=1.0 + 0.52 * len(labels), name="attribution") as (drawing, sheet):
        axes = drawing.add_subplot()
        for number, (effect, (_, color, marker)) in enumerate(PARTS.items()):
            rows = data.filter(pl.col("effect") == effect)
            places = rows["line"] + 0.24 * (number - 1)
            _draw_part(
                axes, rows, places.to_list(), color=color, marker=marker, factor=quantity.factor
            )
            mark_effects(sheet, axes, rows, places.to_list(), quantity=quantity)
        num_beyond = _limit_axis(axes, data, quantity)
        axes.axvline(0, color=MUTED, linewidth=1)
        axes.set_yticks(range(len(labels)), labels, color=INK)
        axes.set_ylim(len(labels) - 0.5, -0.5)
        axes.grid(visible=False, axis="y")
        num_pooled = data.filter("is_pooled")["line"].n_unique()
        if num_pooled < len(labels):
            axes.axhline(num_pooled - 0.5, color=GRID, linewidth=1)
        axes.set_xlabel(f"effect on {quantity.noun}" + f", {quantity.unit}" * bool(quantity.unit))
        drawing.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=3)
    return Figure(
        name="attribution",
        title="Where each total comes from",
        caption=_attribution_caption(analysis, data, num_beyond=num_beyond),
        alt=describe_attribution(data, quantity, {name: part[0] for name, part in PARTS.items()}),
        svg=sheet.svg,
        data=data,
    )


def _draw_part(
    axes: "Axes",
    rows: pl.DataFrame,
    places: list[float],
    *,
    color: str,
    marker: str,
    factor: float,
) -> None:
    label = PARTS[rows["effect"][0]][0] if len(rows) else ""
    estimate = (rows["estimate"] * factor).to_numpy()
    low = (rows["ci_low"].fill_null(rows["estimate"]) * factor).to_numpy()
    high = (rows["ci_high"].fill_null(rows["estimate"]) * factor).to_numpy()
    axes.barh(places, estimate, height=0.2, color=color, alpha=0.28, linewidth=0)
    axes.hlines(places, low, high, color=color, linewidth=1.6)
    axes.scatter(estimate, places, color=color, marker=marker, s=20, zorder=3, label=label)


def mark_effects(
    sheet: Sheet, axes: "Axes", rows: pl.DataFrame, places: list[float], *, quantity: Quantity
) -> None:
    """Say at every effect which it is, its interval and what it stands on.

    Args:
        sheet: Takes the marks.
        axes: Where.
        rows: With `label`, `effect`, estimate and interval, in the outcome's own unit.
        places: Of the rows, from the top.
        quantity: The outcome.
    """
    for row, place in zip(rows.to_dicts(), places, strict=True):
        ends = [row[name] for name in ("estimate", "ci_low", "ci_high") if row[name] is not None]
        title = f"{row['label']} · {PARTS[row['effect']][0]}"
        told = (title, tell_effect(row, quantity), tell_number(row))
        sheet.mark(axes, [end * quantity.factor for end in ends], [place], *told)


def _limit_axis(axes: "Axes", data: pl.DataFrame, quantity: Quantity) -> int:
    """Cut the axis where few rows would squeeze all others; return how many estimates lie beyond.

    Those are written at the edge in numbers.
    """
    reach = pl.max_horizontal(pl.col("estimate", "ci_low", "ci_high").abs()) * quantity.factor
    extents = data.select(reach=reach)["reach"]
    limit = _MAX_STRETCH * float(extents.quantile(0.7) or 0.0)
    if limit == 0 or float(extents.to_numpy().max()) <= limit:
        return 0
    axes.set_xlim(-limit, limit)
    order = list(PARTS)
    beyond = data.filter((pl.col("estimate") * quantity.factor).abs() > limit)
    for row in beyond.iter_rows(named=True):
        is_low = row["estimate"] < 0
        axes.text(
            -limit if is_low else limit,
            row["line"] + 0.24 * (order.index(row["effect"]) - 1),
            f" ◂ {quantity.number(row['estimate'])}"
            if is_low
            else f"{quantity.number(row['estimate'])} ▸ ",
            ha="left" if is_low else "right",
            va="center",
            color=INK,
            fontsize=8,
            fontweight="bold",
            bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 1.0},
        )
    return len(beyond)


def attribution_data(analysis: Analysis) -> pl.DataFrame:
    """Return what the attribution draws: one row a line of the figure and effect.

    Columns: `line` (from the top, 0), `label`, `is_pooled`, `effect`, estimate and interval.
    """
    wanted = (
        (pl.col("outcome") == analysis.outcome)
        & (pl.col("estimator") == "arms")
        & pl.col("effect").is_in(list(PARTS))
    )
    values = ["effect", "estimate", "ci_low", "ci_high", "num_seeds", "num_diverged"]
    pooled = analysis.effects_pooled.filter(wanted)
    lambdas = pooled["rlp_lambda"].drop_nulls().n_unique()
    is_single = 0 < lambdas <= MAX_POOLED
    pooled = pooled.filter(pl.col("rlp_lambda").is_not_null() == is_single)
    pooled = _numbered(pooled, ["rlp_lambda"]).select(
        "line", _pooled_label().alias("label"), pl.lit(value=True).alias("is_pooled"), *values
    )
    cells = analysis.effects.filter(wanted)
    names = cell_names(cells)
    sizes = cells.group_by(names).agg(size=pl.col("estimate").abs().max())
    kept = sizes.top_k(MAX_CELLS, by="size").drop("size")
    cells = _numbered(cells.join(kept, on=names, how="semi", nulls_equal=True), names)
    cells = cells.select(
        pl.col("line") + pooled["line"].n_unique(),
        cell_label(cells, names).alias("label"),
        pl.lit(value=False).alias("is_pooled"),
        *values,
    )
    return pl.concat([pooled, cells])


def _numbered(rows: pl.DataFrame, names: list[str]) -> pl.DataFrame:
    lines = rows.select(names).unique().sort(names, nulls_last=True).with_row_index("line")
    lines = lines.with_columns(pl.col("line").cast(pl.Int64))
    return rows.join(lines, on=names, how="left", validate="m:1", nulls_equal=True)


def _pooled_label() -> pl.Expr:
    short = pl.col("rlp_lambda").map_elements(format_short, pl.String)
    return "pooled, " + pl.coalesce("λ " + short, pl.lit("all λ"))


def cell_label(cells: pl.DataFrame, names: list[str]) -> pl.Expr:
    """Return a short name of each cell: λ, lr and whatever else varies; floats in 3 digits."""
    symbols = {"rlp_lambda": "λ", "label_smoothing": "ε"}
    shown = [n for n in names if n in CELL[:2] or cells[n].n_unique() > 1]
    shown.sort(key=lambda name: name != "rlp_lambda")
    return pl.concat_str(
        [
            symbols.get(name, name.removeprefix("config_").replace("_", " "))
            + pl.lit(" ")
            + pl.col(name).map_elements(format_short, pl.String, skip_nulls=False)
            for name in shown
        ],
        separator=" · ",
    )


def _attribution_caption(analysis: Analysis, data: pl.DataFrame, *, num_beyond: int) -> str:
    num_drawn = data.filter(~pl.col("is_pooled"))["line"].n_unique()
    wanted = analysis.effects.filter(pl.col("outcome") == analysis.outcome)
    num_cells = wanted.select(cell_names(wanted)).unique().height
    shown = f" The {num_drawn} of {num_cells} cells with the largest effects." * (
        num_drawn < num_cells
    )
    lie = "estimate lies" if num_beyond == 1 else "estimates lie"
    beyond = f" {num_beyond} {lie} beyond the axis, in numbers at its edge." * (num_beyond > 0)
    uneven = data.group_by("line").agg(pl.col("num_seeds").n_unique() > 1)["num_seeds"].sum()
    exception = f", but for {uneven} lines whose total stands on more seeds" * (uneven > 0)
    return (
        "Parts are means over both orders of adding the terms; class term + uniform term = total"
        f"{exception}. "
        "Lines are 95 % t intervals over seeds; a mark without a line has one seed or no "
        f"spread over seeds. Pooled rows average over cells within each seed.{shown}{beyond}"
    )

"""Agreement of the estimators: total, `effect_lr` and the rest, side by side."""

from typing import TYPE_CHECKING

import polars as pl

from analysis.canvas import INK, MUTED, Figure, canvas
from analysis.estimators import ESTIMATORS
from analysis.figure_attribution import MAX_POOLED, PARTS, mark_effects
from analysis.figure_words import describe_estimators
from analysis.marks import Sheet
from analysis.result import Analysis
from analysis.wording import Quantity, format_scope, quantity_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LABELS = {"effect_lr": "effect_lr", "effect_memorization": "the rest", "effect_total": "total"}


def draw_estimators(analysis: Analysis) -> Figure | None:
    """Return pooled effects by estimator, one panel a λ; None where fewer than two have any."""
    data = estimators_data(analysis)
    names = [name for name in ESTIMATORS if name in data["estimator"]]
    if len(names) < 2:
        return None
    quantity = quantity_of(analysis.outcome)
    scopes = data["rlp_lambda"].unique(maintain_order=True).to_list()
    with canvas(width=7.6, height=1.2 + 0.55 * len(names), name="estimators") as (drawing, sheet):
        grid = drawing.subplots(1, len(scopes), squeeze=False, sharex=True, sharey=True)
        for axes, scope in zip(grid[0], scopes, strict=True):
            there = pl.col("rlp_lambda").eq_missing(pl.lit(scope, pl.Float64))
            _draw_panel(axes, data.filter(there), names, sheet=sheet, quantity=quantity)
            axes.set_title(format_scope(scope))
            axes.set_xlabel(f"effect, {quantity.unit}" if quantity.unit else "effect")
        handles, labels = grid[0][0].get_legend_handles_labels()
        drawing.legend(handles, labels, loc="outside upper left", ncols=3)
    return Figure(
        name="estimators",
        title="Do the estimators agree?",
        caption=f"Effects on {quantity.noun} pooled over cells within seed, with 95 % t intervals "
        "over seeds. Estimators pool the cells that they have a value in, which may differ, and do "
        "not all estimate the same thing: arms and block_mean split by term, matched, curve and "
        "alignment by mechanism, sham by what there is to unlearn.",
        alt=describe_estimators(data, quantity),
        svg=sheet.svg,
        data=data,
    )


def _draw_panel(
    axes: "Axes", data: pl.DataFrame, names: list[str], *, sheet: Sheet, quantity: Quantity
) -> None:
    factor = quantity.factor
    for number, (effect, (_, color, marker)) in enumerate(PARTS.items()):
        rows = data.filter(pl.col("effect") == effect)
        places = [names.index(name) + 0.2 * (number - 1) for name in rows["estimator"]]
        estimate = (rows["estimate"] * factor).to_numpy()
        low = (rows["ci_low"].fill_null(rows["estimate"]) * factor).to_numpy()
        high = (rows["ci_high"].fill_null(rows["estimate"]) * factor).to_numpy()
        axes.hlines(places, low, high, color=color, linewidth=1.6)
        axes.scatter(
            estimate, places, color=color, marker=marker, s=20, zorder=3, label=_LABELS[effect]
        )
        told = rows.with_columns(label="estimator")
        mark_effects(sheet, axes, told, places, quantity=quantity)
    axes.axvline(0, color=MUTED, linewidth=1)
    axes.set_yticks(range(len(names)), names, color=INK)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")


def estimators_data(analysis: Analysis) -> pl.DataFrame:
    """Return the pooled rows that are drawn: λ, estimator, effect, estimate, interval, basis."""
    rows = analysis.effects_pooled.filter(
        (pl.col("outcome") == analysis.outcome) & pl.col("effect").is_in(list(PARTS))
    )
    num_lambdas = rows["rlp_lambda"].drop_nulls().n_unique()
    is_single = 0 < num_lambdas <= min(MAX_POOLED, 3)
    shown = rows.filter(pl.col("rlp_lambda").is_not_null() == is_single)
    return shown.select(
        "rlp_lambda",
        "estimator",
        "effect",
        "estimate",
        "ci_low",
        "ci_high",
        "num_seeds",
        "num_cells",
        "num_diverged",
    ).sort("rlp_lambda", maintain_order=True)

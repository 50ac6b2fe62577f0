"""What a response surface says, as a paragraph and as tables of texts."""

from collections.abc import Iterator
from typing import Any

import polars as pl

from analysis.report_tables import EFFECT_LABELS, MAX_ROWS, Table, format_interval
from analysis.surface import Surface
from analysis.wording import Paragraph, Quantity, format_short, no_interval, quantity_of

LEAD = "Response surface (model-based)"


def tell_surface(surface: Surface) -> Iterator[Paragraph]:
    """Yield one paragraph on the effects at each λ of the reference grid; none without a surface.

    It says that they are model-based, and how far the sampled points reach.
    """
    if surface.pooled.is_empty():
        return
    rows = surface.pooled.filter(pl.col("effect") != "interaction")
    quantity = quantity_of(rows["outcome"][0])
    scopes = [
        _scope(part.to_dicts(), quantity)
        for part in rows.partition_by("rlp_lambda", maintain_order=True)
    ]
    points = surface.checks.filter(pl.col("arm") == "full")["num_points"].item()
    num_seeds, totals = rows["num_seeds"][0], rows.filter(pl.col("effect") == "effect_total")
    inside, outside = (int(totals[n].sum()) for n in ("num_cells", "num_cells_outside"))
    outside_text = (
        f" ({outside} lie outside the sampled points, so that λ are averaged over different cells)"
        if outside
        else ""
    )
    yield Paragraph(
        LEAD,
        f"the sampled cells are no grid, so these effects on {quantity.noun} are model-based: read "
        f"off one smooth surface per arm over {', '.join(surface.axes)}, through {points} points "
        f"with n = {num_seeds} seed{'s' * (num_seeds != 1)}, at {inside} of {inside + outside} "
        f"reference cells{outside_text}. {' '.join(scopes)}",
    )


def _scope(rows: list[dict[str, Any]], quantity: Quantity) -> str:
    def told(row: dict[str, Any]) -> str:
        return quantity.with_interval(row["estimate"], row["ci_low"], row["ci_high"])

    total, *parts = rows
    text = f"At λ = {format_short(total['rlp_lambda'])} full changed it by {told(total)}"
    if parts:
        terms = (f"the {EFFECT_LABELS[row['effect']]} by {told(row)}" for row in parts)
        text += f", of this {' and '.join(terms)}"
    if total["ci_low"] is None:
        text += f", without an interval ({no_interval(total['num_seeds'])})"
    elif total["ci_low"] <= 0 <= total["ci_high"]:
        text += "; the total is not told from 0"
    return f"{text}."


def surface_table(surface: Surface) -> Table:
    """Return the effects averaged over the reference cells of each λ."""
    rows = surface.pooled
    quantity = quantity_of(rows["outcome"][0])
    unit = f", in {quantity.unit}" * bool(quantity.unit)
    return Table(
        caption=f"Model-based effects on {quantity.noun}{unit}, averaged over the reference cells "
        "of each λ within seed; no part of the confirmatory family. Cell by cell in "
        "effects_surface.parquet.",
        header=(
            *(
                "λ",
                "estimator",
                "effect",
                "estimate",
                "95 % interval",
                "interpolation's share of SE²",
            ),
            *("seeds", "cells", "cells outside", "diverged"),
        ),
        rows=tuple(
            (
                format_short(row["rlp_lambda"]),
                row["estimator"],
                EFFECT_LABELS[row["effect"]],
                quantity.number(row["estimate"]),
                format_interval(row, quantity) or "–",
                _number(row["interpolation_share"]),
                *(f"{row[n]}" for n in ("num_seeds", "num_cells", "num_cells_outside")),
                f"{row['num_diverged']}",
            )
            for row in rows.head(MAX_ROWS).iter_rows(named=True)
        ),
    )


def checks_table(surface: Surface) -> Table:
    """Return how well each arm's surface tells points that it has not seen."""
    return Table(
        caption="Check of the model, by arm: each point predicted from the others. Residuals have "
        "a root mean square of about 1 where the model is right; R² is below 0 where the surface "
        "explains nothing.",
        header=("arm", "points", "seeds", "residuals' RMS", "R²"),
        rows=tuple(
            (
                row["arm"],
                f"{row['num_points']}",
                f"{row['num_seeds']}",
                _number(row["loo_rms"]),
                _number(row["loo_r2"]),
            )
            for row in surface.checks.iter_rows(named=True)
        ),
    )


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}".replace("-", "−")

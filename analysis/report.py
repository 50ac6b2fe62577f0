"""The report: one HTML file that needs nothing else and fetches nothing.

Every text that comes from the data is escaped by the template engine; only the drawings, which this
package makes, are put in as they are.
"""

import base64
from collections.abc import Sequence
from functools import cache
from typing import Any

import polars as pl
from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup, escape

from analysis.canvas import Figure, inline_svg
from analysis.memorization_table import comparison_table
from analysis.methods import write_methods
from analysis.reading import write_reading
from analysis.report_script import SCRIPT, hash_of
from analysis.report_tables import (
    EFFECT_LABELS,
    Table,
    cells_table,
    claims_table,
    counts_table,
    effects_table,
    format_interval,
    pooled_table,
    probes_table,
)
from analysis.result import Analysis
from analysis.surface_words import checks_table, surface_table
from analysis.verdict import is_resolved
from analysis.wording import Quantity, format_value, no_interval, quantity_of

MAX_TILES = 6
MAX_LINK_BYTES = 200_000
"""Data of a figure that the page carries along; larger ones lie in their file alone."""

MAX_FAILED = 50

_TILE_EFFECTS = ("effect_total", "effect_lr", "effect_memorization")


def render_report(analysis: Analysis, figures: Sequence[Figure]) -> str:
    """Return the report of an analysis as one HTML page."""
    outcomes = analysis.effects_pooled["outcome"].unique(maintain_order=True).to_list()
    outcomes.sort(key=lambda outcome: outcome != analysis.outcome)
    return _template().render(
        analysis=analysis,
        quantity=quantity_of(analysis.outcome),
        tiles=_tiles(analysis),
        claims=None if analysis.claims is None else claims_table(analysis.claims),
        counts=counts_table(analysis),
        num_trials=analysis.num_trials,
        failed=_failed(analysis.trials),
        num_failed_hidden=max(0, analysis.num_trials["failed"] - MAX_FAILED),
        figures=[(f, Markup(inline_svg(f)), _as_link(f.data)) for f in figures],
        pooled=[pooled_table(analysis, outcome) for outcome in outcomes],
        cell_effects=effects_table(analysis),
        cells=cells_table(analysis),
        surface=_surface(analysis),
        probed=probes_table(analysis) if analysis.probed is not None else None,
        memorization=_memorization(analysis),
        methods=write_methods(analysis),
        reading=write_reading(analysis),
        script=Markup(SCRIPT),
        script_hash=hash_of(SCRIPT),
    )


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("analysis"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters["code"] = _as_code
    return environment.get_template("report.html.j2")


def _as_code(text: str) -> Markup:
    """Return a text whose words in backticks are set as code; other backticks stay."""
    parts = [escape(part) for part in text.split("`")]
    if len(parts) % 2 == 0:
        return escape(text)
    coded = [Markup("<code>{}</code>").format(p) if n % 2 else p for n, p in enumerate(parts)]
    return Markup("").join(coded)


def _tiles(analysis: Analysis) -> list[dict[str, Any]]:
    """Return one tile a λ: its total and parts; where λ are many, one tile over all of them."""
    rows = analysis.effects_pooled.filter(
        (pl.col("outcome") == analysis.outcome) & (pl.col("estimator") == "arms")
    )
    lambdas = rows["rlp_lambda"].drop_nulls().unique().sort().to_list()
    is_single = 0 < len(lambdas) <= MAX_TILES
    shown = rows.filter(pl.col("rlp_lambda").is_not_null() == is_single)
    quantity = quantity_of(analysis.outcome)
    tiles: dict[object, dict[str, Any]] = {}
    for row in shown.filter(pl.col("effect").is_in(_TILE_EFFECTS)).iter_rows(named=True):
        scope = row["rlp_lambda"]
        title = "all λ" if scope is None else f"λ = {format_value(scope)}"
        tile = tiles.setdefault(scope, {"title": title, "row": row, "lines": []})
        tile["lines"].append(_tile_line(row, quantity))
    return list(tiles.values())


def _tile_line(row: dict[str, Any], quantity: Quantity) -> dict[str, Any]:
    return {
        "effect": row["effect"],
        "label": EFFECT_LABELS[row["effect"]],
        "estimate": quantity.number(row["estimate"]),
        "interval": format_interval(row, quantity)
        or f"no interval: {no_interval(row['num_seeds'])}",
        "is_resolved": is_resolved(row),
    }


def _as_link(data: pl.DataFrame) -> str | None:
    """Return a figure's data as the address of a CSV file; None where they are too many."""
    text = data.write_csv().encode()
    if len(text) > MAX_LINK_BYTES:
        return None
    return f"data:text/csv;charset=utf-8;base64,{base64.b64encode(text).decode()}"


def _surface(analysis: Analysis) -> list[Table]:
    """Return the tables of the response surface; empty where there is none."""
    if analysis.secondary is None or analysis.secondary.surface.pooled.is_empty():
        return []
    surface = analysis.secondary.surface
    return [surface_table(surface), checks_table(surface)]


def _memorization(analysis: Analysis) -> Table | None:
    return None if analysis.memorization is None else comparison_table(analysis.memorization)


def _failed(trials: pl.DataFrame) -> list[dict[str, str]]:
    failed = trials.filter(pl.col("status") == "failed").head(MAX_FAILED)
    return [
        {
            "trial_id": row["trial_id"],
            "place": f"{row['arm']}, lr {format_value(row['lr'])}, "
            f"λ {format_value(row['rlp_lambda'])}, seed {row['seed']}",
            "error": _last_line(row["error"]),
        }
        for row in failed.iter_rows(named=True)
    ]


def _last_line(error: str | None) -> str:
    lines = [line.strip() for line in (error or "").splitlines() if line.strip()]
    return lines[-1] if lines else "no error was recorded"

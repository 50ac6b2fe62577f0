"""The report's tables, as texts."""

from dataclasses import dataclass
from typing import Any

import polars as pl

from analysis.claims import format_claim, format_expectation
from analysis.effects import cell_names
from analysis.result import Analysis
from analysis.wording import Quantity, format_p, format_value, quantity_of
from rlp_sweeps.schema import STATUSES

MAX_ROWS = 400
"""Rows of a table in the report; the Parquet files hold all."""

EFFECT_LABELS = {
    "effect_total": "total",
    "effect_lr": "class term",
    "effect_memorization": "uniform term",
    "interaction": "interaction",
    "effect_lr_first": "class term, added first",
    "effect_lr_last": "class term, added last",
    "effect_memorization_first": "uniform term, added first",
    "effect_memorization_last": "uniform term, added last",
}
_MECHANISM_LABELS = {
    "effect_total": "total",
    "effect_lr": "learning rate",
    "effect_memorization": "beyond learning rate",
}
_MATCHED_LABELS = {
    **_MECHANISM_LABELS,
    "learning_rate_of_class_term": "learning rate of the class term",
    "class_term_beyond_lr": "class term beyond learning rate",
    "uniform_term_last": "uniform term, added last",
    "uniform_term_beyond_lr": "uniform term beyond learning rate",
}
_LABELS = {
    "sham": {
        "effect_total": "total",
        "effect_lr": "sham − control",
        "effect_memorization": "full − sham",
        "specificity": "full − sham_norm",
    },
    "matched": _MATCHED_LABELS,
    "replayed": _MATCHED_LABELS,
    "projection": {
        "effect_total": "total",
        "effect_lr": "full − orthogonal",
        "effect_memorization": "orthogonal − control",
        "direction": "grafted − control",
        "step_size": "full − grafted",
    },
    "curve": {
        **_MECHANISM_LABELS,
        "effect_lr_class_term_first": "learning rate of the class term, added first",
    },
    "alignment": _MECHANISM_LABELS,
}
"""What effects are called, by estimator, where not as in `EFFECT_LABELS`."""
_CELL_COLUMNS = (
    "test_loss",
    "random_label_accuracy",
    "memorization",
    "lr_multiplier",
    "equivalent_lr",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """A table of texts.

    Attributes:
        caption: What one row is, and where the rest stands.
        header: Column titles.
        rows: Texts by row; the first cell is the row's heading.
    """

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def format_interval(row: dict[str, Any], quantity: Quantity) -> str:
    """Return "[low, high]" as prose writes it; empty where there is no interval."""
    if row["ci_low"] is None:
        return ""
    return f"[{quantity.number(row['ci_low'])}, {quantity.number(row['ci_high'])}]"


def claims_table(claims: pl.DataFrame) -> Table:
    """Return what the recipe's claims came to."""
    return Table(
        caption="What the study expected, and what came out: the mean over seeds with its 95 % t "
        "interval, not adjusted for the number of claims. Agrees or disagrees: the whole interval "
        "lies on that side of the bound.",
        header=("claim", "source", "measured", "expected", "came out", "result"),
        rows=tuple(
            (
                row["text"],
                row["source"],
                row["quantity"],
                format_expectation(row),
                format_claim(row) + (f" ({row['reason']})" if row["reason"] else ""),
                row["result"],
            )
            for row in claims.to_dicts()
        ),
    )


def counts_table(analysis: Analysis) -> Table:
    """Return trials by arm and status, with a row for all."""
    rows = [
        (row["arm"], *(f"{row[name]:,}" for name in (*STATUSES, "total")))
        for row in analysis.counts.to_dicts()
    ]
    total = analysis.num_trials
    rows.append(("all", *(f"{total[name]:,}" for name in (*STATUSES, "total"))))
    return Table(
        caption="Trials by arm and how they ended.",
        header=("arm", *STATUSES, "total"),
        rows=tuple(rows),
    )


_EFFECT_HEADER = (
    "effect",
    "estimate",
    "95 % interval",
    "p",
    "p Holm",
    "p sign flip (min)",
    "seeds",
    "diverged",
)


def _effect_cells(row: dict[str, Any], quantity: Quantity) -> tuple[str, ...]:
    labels = _LABELS.get(row["estimator"], EFFECT_LABELS)
    return (
        f"{labels[row['effect']]}",
        quantity.number(row["estimate"]),
        format_interval(row, quantity) or "–",
        _p(row["p_value"]),
        _p(row["p_holm"]),
        f"{_p(row['p_sign_flip'])} ({_p(row['p_sign_flip_min'])})",
        f"{row['num_seeds']}",
        f"{row['num_diverged']}",
    )


def _p(value: float | None) -> str:
    return "–" if value is None else format_p(value).removeprefix("p ").removeprefix("= ")


def _unit(quantity: Quantity) -> str:
    return f", in {quantity.unit}" * bool(quantity.unit)


def pooled_table(analysis: Analysis, outcome: str) -> Table:
    """Return the pooled effects on one outcome."""
    quantity = quantity_of(outcome)
    rows = analysis.effects_pooled.filter(pl.col("outcome") == outcome)
    return Table(
        caption=f"Effects on {quantity.noun}{_unit(quantity)}, pooled over cells within seed."
        f"{_cut(rows, 'effects_pooled.parquet')}",
        header=("λ", "estimator", *_EFFECT_HEADER, "cells"),
        rows=tuple(
            (
                "all" if row["rlp_lambda"] is None else format_value(row["rlp_lambda"]),
                row["estimator"],
                *_effect_cells(row, quantity),
                f"{row['num_cells']}",
            )
            for row in rows.head(MAX_ROWS).iter_rows(named=True)
        ),
    )


def effects_table(analysis: Analysis) -> Table:
    """Return the effects on the primary outcome, cell by cell."""
    quantity = quantity_of(analysis.outcome)
    names = cell_names(analysis.effects)
    rows = analysis.effects.filter(pl.col("outcome") == analysis.outcome)
    return Table(
        caption=f"Effects on {quantity.noun}{_unit(quantity)}, cell by cell; descriptive, no part "
        f"of the confirmatory family.{_cut(rows, 'effects.parquet')}",
        header=(*names, "estimator", *_EFFECT_HEADER),
        rows=tuple(
            (
                *(format_value(row[name]) for name in names),
                row["estimator"],
                *_effect_cells(row, quantity),
            )
            for row in rows.head(MAX_ROWS).iter_rows(named=True)
        ),
    )


def cells_table(analysis: Analysis) -> Table:
    """Return the means of every cell and arm."""
    cells = analysis.cells
    names = cells.columns[: cells.columns.index("arm") + 1]
    metrics = tuple(dict.fromkeys((analysis.outcome, *_CELL_COLUMNS)))
    return Table(
        caption="Means over seeds with 95 % t intervals, one row a cell and arm; shares, losses in "
        f"nats. Control rows serve every λ.{_cut(cells, 'cells.parquet')}",
        header=(*names, "trials", "diverged", "failed", *metrics),
        rows=tuple(
            (
                *(format_value(row[name]) for name in names),
                f"{row['num_trials']}",
                f"{row['num_diverged']}",
                f"{row['num_failed']}",
                *(_mean(row, name) for name in metrics),
            )
            for row in cells.head(MAX_ROWS).iter_rows(named=True)
        ),
    )


def probes_table(analysis: Analysis) -> Table:
    """Return every class probe at the layer that validates best."""
    assert analysis.probed is not None, "there must be probes"
    layers = analysis.probed.layers
    names = layers.columns[: layers.columns.index("arm") + 1]
    said = ("probe", "label_set", "source", "pooling")
    return Table(
        caption="Class probes at the layer whose validation accuracy, mean over seeds, is best; "
        "test accuracy there with its 95 % t interval over seeds. Random labels have no validation "
        f"samples: see probe_profile.parquet.{_cut(layers, 'probe_layers.parquet')}",
        header=(
            *(*names, "probe", "fitted to", "features", "pooling"),
            *("layer", "val_accuracy", "test_accuracy", "interval", "seeds"),
        ),
        rows=tuple(
            (
                *(format_value(row[name]) for name in (*names, *said)),
                f"{row['layer']} ({row['attach_point']})",
                f"{row['val_accuracy']:.4g}",
                f"{row['estimate']:.4g}",
                "–" if row["ci_low"] is None else f"[{row['ci_low']:.4g}, {row['ci_high']:.4g}]",
                f"{row['num_seeds']}",
            )
            for row in layers.head(MAX_ROWS).iter_rows(named=True)
        ),
    )


def _mean(row: dict[str, Any], name: str) -> str:
    if row[name] is None:
        return "–"
    text = f"{row[name]:.4g}"
    if row[f"{name}_ci_low"] is None:
        return text
    return f"{text} [{row[f'{name}_ci_low']:.4g}, {row[f'{name}_ci_high']:.4g}]"


def _cut(rows: pl.DataFrame, file: str) -> str:
    return f" The first {MAX_ROWS} of {len(rows):,} rows; all are in {file}." * (
        len(rows) > MAX_ROWS
    )

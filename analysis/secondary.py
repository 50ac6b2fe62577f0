"""What a referee asks besides: against the tuned control, per dose, between sampled points.

These analyses stand beside the effects and are no part of the confirmatory family.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from analysis.dose_response import estimate_dose_response
from analysis.equivalence import DEFAULT_MARGIN
from analysis.optimizers import normalizing_optimizers
from analysis.result import Analysis
from analysis.substitution import estimate_substitution
from analysis.substitution_answer import answer_substitution
from analysis.surface import Surface, estimate_surface
from analysis.surface_words import tell_surface
from analysis.tuning import Tuned, estimate_tuned
from analysis.tuning_tables import TUNED
from analysis.verdict_mechanism import tell_mechanism
from analysis.verdict_trials import MAX_LAMBDAS
from analysis.wording import Paragraph, Quantity, format_scope, format_value, quantity_of
from rlp_sweeps.errors import ArgumentError

_TUNED_COLUMNS = {column.name for column in TUNED}


@dataclass(frozen=True, kw_only=True, slots=True)
class Secondary:
    """Secondary analyses of the primary outcome.

    Attributes:
        tuned: Each arm at its tuned configuration against the tuned control.
        substitution: The effect of λ at each ε and at the tuned one.
        answers: What becomes of λ's effect once ε is tuned.
        dose_response: Change of the outcome per unit of memorization removed, at matched κ.
        surface: Model-based effects at reference cells, where the design is no grid.
        margin: Largest effect that counts as none, in units of the outcome; None: not tested.
    """

    tuned: Tuned
    substitution: pl.DataFrame
    answers: pl.DataFrame
    dose_response: pl.DataFrame
    surface: Surface
    margin: float | None

    def tables(self) -> dict[str, pl.DataFrame]:
        """Return the tables that are written, by file name without its end."""
        return {
            "tuned": self.tuned.effects,
            "tuned_choices": self.tuned.choices,
            "tuned_curve": self.tuned.curve,
            "substitution": self.substitution,
            "dose_response": self.dose_response,
            "effects_surface": self.surface.effects,
            "effects_surface_pooled": self.surface.pooled,
            "surface_checks": self.surface.checks,
        }


def default_margin(outcome: str) -> float | None:
    """Return half a point for accuracies; other outcomes have no margin by convention."""
    return DEFAULT_MARGIN if outcome.endswith("_accuracy") else None


def with_secondary(analysis: Analysis, *, margin: float | None = None) -> Analysis:
    """Return the analysis with its secondary ones, and what they say in words.

    Args:
        analysis: As `build_analysis` returns it.
        margin: Largest effect that counts as none, in units of the outcome. Default:
            `default_margin`.

    Raises:
        ArgumentError: The margin is not above 0.
        SchemaError: Two rescaled trials share cell and seed.
    """
    outcome, diverged, trials = analysis.outcome, analysis.diverged, analysis.trials
    if margin is None:
        margin = default_margin(outcome)
    elif not margin > 0:
        msg = f"`margin > 0` must hold, but got margin={margin!r}."
        raise ArgumentError(msg)
    with ThreadPoolExecutor() as beside:  # NumPy and Polars compute outside the interpreter's lock
        tuned = beside.submit(estimate_tuned, trials, outcome, diverged=diverged)
        substitution = beside.submit(
            estimate_substitution, trials, outcome, diverged=diverged, margin=margin
        )
        dose_response = beside.submit(estimate_dose_response, trials, outcome, diverged=diverged)
        surface = beside.submit(estimate_surface, trials, outcome, diverged=diverged)
        table = substitution.result()
        secondary = Secondary(
            tuned=tuned.result(),
            substitution=table,
            answers=answer_substitution(table, margin=margin),
            dose_response=dose_response.result(),
            surface=surface.result(),
            margin=margin,
        )
    effects = (analysis.effects, analysis.effects_pooled)
    normalizing = normalizing_optimizers(trials)
    by_mechanism = tell_mechanism(effects, outcome, margin=margin, normalizing=normalizing)
    said = (*by_mechanism, *_tell(secondary), *tell_surface(secondary.surface))
    notes = (*analysis.notes, *secondary.surface.notes)
    return replace(analysis, secondary=secondary, further_paragraphs=said, notes=notes)


def _tell(secondary: Secondary) -> Iterator[Paragraph]:
    for table, tell in (
        (secondary.tuned.effects.filter(pl.col("arm") == "full"), _tuned),
        (secondary.answers, lambda row: row["statement"]),
        (secondary.dose_response, _dose),
    ):
        rows = table.filter(pl.col("rlp_lambda").is_not_null()).to_dicts()
        if len({row["rlp_lambda"] for row in rows}) > MAX_LAMBDAS:
            rows = table.filter(pl.col("rlp_lambda").is_null()).to_dicts()
        lead = {_tuned: "Tuned against tuned", _dose: "Dose and response"}.get(tell)
        for row in rows:
            if text := tell(row):
                yield Paragraph(lead or "Label smoothing", text)


def _tuned(row: dict[str, Any]) -> str:
    quantity = quantity_of(row["outcome"])
    scope = format_scope(row["rlp_lambda"]) if row["rlp_lambda"] is not None else "With λ tuned"
    strata = (f", {name} {format_value(row[name])}" for name in row if name not in _TUNED_COLUMNS)
    text = (
        f"{scope}{''.join(strata)}, full at the configuration that validates best on the other "
        f"seeds ({row['chosen_arm']} in {row['num_chosen_arm']} of {row['num_seeds']}) against "
        f"the control at its own ({row['chosen_control']} in {row['num_chosen_control']}), "
        f"{row['budget_arm']} configurations against {row['budget_control']}: "
        f"{_interval(row, quantity)}"
    )
    if row["budget_arm"] != row["budget_control"]:
        equal = {name: row[f"equal_budget_{name}"] for name in ("estimate", "ci_low", "ci_high")}
        text += (
            f"; at equal budgets, the expected best of {row['budget_control']} of full's, "
            f"{_interval(equal, quantity)}"
        )
        row = equal | {"is_at_edge": row["is_at_edge"]}
    edge = " The best lr is the smallest or the largest there is: a wider sweep may move this."
    return f"{text}{_meaning(row)}.{edge * bool(row['is_at_edge'])}"


def _meaning(row: dict[str, Any]) -> str:
    low, high = row["ci_low"], row["ci_high"]
    if low is None:
        return ", without an interval"
    if low > 0 or high < 0:
        return ""
    return ", not told from 0"


def _dose(row: dict[str, Any]) -> str:
    quantity = quantity_of(row["outcome"])
    removed = f"{row['memorization_removed']:.3g}".replace("-", "−")
    basis = (
        f"n = {row['num_seeds']} seed{'s' * (row['num_seeds'] != 1)}, {row['num_cells']} "
        f"cell{'s' * (row['num_cells'] != 1)}"
    )
    if row["estimate"] is None:
        return (
            f"{format_scope(row['rlp_lambda'])} no change per unit of memorization removed: "
            f"{row['reason']} (removed {removed} at the matched κ, {basis})."
        )
    tenth = {
        name: None if row[name] is None else row[name] / 10
        for name in ("estimate", "ci_low", "ci_high")
    }
    how = row["reason"] if row["ci_low"] is None else "Fieller's interval"
    return (
        f"{format_scope(row['rlp_lambda'])} {quantity.noun} changed by "
        f"{_interval(tenth, quantity)} per tenth of memorization removed at the matched κ (removed "
        f"{removed} in all, {basis}; {how})."
    )


def _interval(row: dict[str, Any], quantity: Quantity) -> str:
    return quantity.with_interval(row["estimate"], row["ci_low"], row["ci_high"])

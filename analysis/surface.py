"""Response surface: effects of a search's points, read off a model at cells that all arms share.

Sampled points share no λ, so that each is a row of its own among the pooled effects. Here each arm
has a surface over the axes that vary, and the effects of arms are contrasts of their surfaces at
the cells of a reference grid, within seed. What the surfaces miss between their points is no spread
over seeds: it has its own part in every interval. All of it is model-based and no part of the
confirmatory family.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from analysis.estimators import ALL_FOUR, CONTROL_AND_FULL
from analysis.intervals import Floats
from analysis.pairing import CELL, Diverged, check_outcomes, pair_arms
from analysis.surface_design import (
    MIN_POINTS,
    Bools,
    Design,
    Sample,
    cell_values,
    find_design,
    find_samples,
    is_inside,
    reference_grid,
)
from analysis.surface_effects import effect_rows
from analysis.surface_process import Process, fit_process
from analysis.typed import Row, to_frame
from rlp_sweeps.effect_columns import EFFECTS_SURFACE, EFFECTS_SURFACE_POOLED, SURFACE_CHECKS


@dataclass(frozen=True, kw_only=True, slots=True)
class Surface:
    """What surfaces through the sampled points give; every table is empty where there is none.

    Attributes:
        effects: One row a reference cell and effect (`schema.EFFECTS_SURFACE`).
        pooled: The same averaged over the cells of each λ (`schema.EFFECTS_SURFACE_POOLED`).
        checks: One row an arm (`schema.SURFACE_CHECKS`).
        axes: The axes that the surfaces are over.
        notes: Why a surface is missing although the design asks for one, and what its check says.
    """

    effects: pl.DataFrame
    pooled: pl.DataFrame
    checks: pl.DataFrame
    axes: tuple[str, ...]
    notes: tuple[str, ...]


def estimate_surface(
    trials: pl.DataFrame, outcome: str = "test_accuracy", *, diverged: Diverged = "chance"
) -> Surface:
    """Return model-based effects at the cells of a reference grid, where the design is no grid.

    Reads the arms control and full, and class_term and uniform_term where both are there. Nothing
    is computed for a grid, or with less than eight cells that have control and full. A reference
    cell outside the convex hull of the sampled points of some arm is missing: nothing is
    extrapolated.

    Args:
        trials: As `load_trials` returns them.
        outcome: A metric column of trials.
        diverged: What a diverged trial scores.

    Raises:
        ArgumentError: The outcome or the treatment of divergence is unknown.
        SchemaError: Two trials share cell, arm and seed.
    """
    check_outcomes(trials, [outcome], diverged=diverged)
    known = trials.filter(pl.col("arm").is_in(ALL_FOUR))
    if not set(CONTROL_AND_FULL) <= set(known["arm"].unique()):
        return _assemble(outcome)
    design = find_design(pair_arms(known, outcome, diverged=diverged))
    if design is None:
        return _assemble(outcome)
    if why := design.lacks():
        return _assemble(outcome, notes=(_missing(why),))
    samples, note = _choose_samples(design)
    notes = (note,) if note else ()
    return (
        _estimate(design, samples, outcome, notes) if samples else _assemble(outcome, notes=notes)
    )


def _missing(why: str) -> str:
    return f"No response surface, although the sampled cells are no grid: {why}."


def _choose_samples(design: Design) -> tuple[dict[str, Sample], str | None]:
    """Return the samples of the arms that surfaces are fitted to, and a note on those left out."""
    terms = [arm for arm in ALL_FOUR[2:] if design.places[f"y_{arm}"].count()]
    few = ""
    for arms in [ALL_FOUR, CONTROL_AND_FULL] if len(terms) == 2 else [CONTROL_AND_FULL]:
        samples = find_samples(design, arms)
        lacking = [arm for arm in arms if len(samples[arm].points) < MIN_POINTS]
        if not lacking:
            note = f"The response surface has no parts of the total: {few}." if few else None
            return samples, note
        num = len(samples[lacking[0]].points)
        few = (
            f"{lacking[0]} has {num} distinct point{'s' * (num != 1)} with the same seeds as the "
            f"other arms, {MIN_POINTS} are needed"
        )
    return {}, _missing(few)


def _estimate(
    design: Design, samples: Mapping[str, Sample], outcome: str, notes: tuple[str, ...]
) -> Surface:
    grid = reference_grid(design)
    places = {arm: design.standardized(grid)[:, design.axes_of(arm)] for arm in samples}
    inside = np.all([is_inside(s.points, places[arm]) for arm, s in samples.items()], axis=0)
    if not inside.any():
        why = "none of its reference cells lies inside the sampled points of every arm"
        return _assemble(outcome, notes=(_missing(why), *notes))
    values = cell_values(design, grid)
    cells = [{name: value[n] for name, value in values.items()} for n in np.flatnonzero(inside)]
    averages, pools = _average_by_lambda(np.array(values["rlp_lambda"]), inside)
    processes = {arm: fit_process(s.points, s.outcomes) for arm, s in samples.items()}
    num_diverged = {arm: sample.num_diverged for arm, sample in samples.items()}
    of_cells, pooled = (
        effect_rows(
            {arm: process.read(places[arm][inside], at) for arm, process in processes.items()},
            labels,
            num_diverged,
        )
        for at, labels in ((np.eye(len(cells)), cells), (averages, pools))
    )
    checks = [{"arm": arm, **_check(process)} for arm, process in processes.items()]
    notes = (*notes, *_check_notes(checks))
    return _assemble(outcome, axes=design.axes, rows=(of_cells, pooled, checks), notes=notes)


def _average_by_lambda(lambdas: Floats, inside: Bools) -> tuple[Floats, list[Row]]:
    """Return the weights of the cells inside in each λ's average, ``[L, cells]``, and its labels.

    A λ without a cell inside has none.
    """
    weights, labels = [], []
    for value in np.unique(lambdas):
        is_there = lambdas == value
        num = int((is_there & inside).sum())
        if num:
            weights.append(is_there[inside] / num)
            outside = int(is_there.sum()) - num
            labels.append({"rlp_lambda": value, "num_cells": num, "num_cells_outside": outside})
    return np.array(weights), labels


def _check(process: Process) -> Row:
    num_points, num_seeds = process.outcomes.shape
    return {
        "num_points": num_points,
        "num_seeds": num_seeds,
        "noise_sd": float(np.sqrt(process.noise)) * process.scale,
        **process.check(),
    }


def _check_notes(checks: list[Row]) -> Iterator[str]:
    flat = [row["arm"] for row in checks if row["loo_r2"] < 0]
    if flat:
        yield (
            f"The response surface of {', '.join(flat)} explains nothing: left out, its points are "
            "told no better than by the mean of all (R² below 0). Read it as the mean."
        )


def _assemble(
    outcome: str,
    *,
    axes: tuple[str, ...] = (),
    rows: tuple[list[Row], list[Row], list[Row]] = ([], [], []),
    notes: tuple[str, ...] = (),
) -> Surface:
    of_cells, pooled, checks = ([{"outcome": outcome, **row} for row in part] for part in rows)
    further = {name: pl.Float64() for name in axes if name not in CELL}
    return Surface(
        effects=to_frame(of_cells, EFFECTS_SURFACE, further=further, after="label_smoothing"),
        pooled=to_frame(pooled, EFFECTS_SURFACE_POOLED),
        checks=to_frame(checks, SURFACE_CHECKS),
        axes=axes,
        notes=notes,
    )

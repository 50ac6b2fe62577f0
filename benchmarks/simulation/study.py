"""The Monte Carlo over sweeps: how far estimates lie from the truth, and how often intervals miss.

Sweeps are the independent draws. What is counted over the cells of a sweep is averaged within it
first, so that every Monte-Carlo error is a standard error over sweeps.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import numpy as np
import polars as pl

from analysis.effects import estimate_effects, is_family
from analysis.estimators import ESTIMATORS
from analysis.intervals import holm
from benchmarks.simulation.estimands import true_effects
from benchmarks.simulation.scenarios import Scenario
from benchmarks.simulation.sweeps import EXPECTED, OUTCOME, batches, simulate, tag_lambda

Level = Literal["cell", "pooled"]

ALPHA = 0.05
BATCH_SWEEPS = 250
FAMILY = "any of the family"
"""In the table of tests: a rejection of any effect of the confirmatory family."""

PRESENT = 0.5
"""A pooled truth averages the cells where at least this share of sweeps has an estimate, and only
such a cell is named as the one covered least."""

WHAT = ["estimator", "effect"]
POOL = ["rlp_lambda", *WHAT]
CELL = ["label_smoothing", "lr", *POOL]
KEYS = ["level", *POOL]
NUMBERS = ["estimate", "ci_low", "ci_high", "p_value", "p_holm", "p_sign_flip", "num_cells"]


def arms_read() -> list[str]:
    """Return the arms that any estimator reads, and the control."""
    read = {arm for each in ESTIMATORS.values() for arms in each.arms.values() for arm in arms}
    return sorted(read | {"control"})


def estimate_sweeps(
    scenario: Scenario, num_sweeps: int, num_seeds: int
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the estimates of simulated sweeps: of every cell, and pooled for each λ.

    One row a sweep and place (`CELL`, or `POOL`) with an estimate; columns `sweep`, `NUMBERS` and,
    where trials can be missing, `own_truth`: the truth over the cells that the estimate averages.
    `estimate_effects` sees many sweeps at once, told apart as `sweeps` says; only Holm's family is
    put together again for each sweep.
    """
    cells, pooled = [], []
    outcomes = (OUTCOME, EXPECTED) if scenario.share_missing else (OUTCOME,)
    for sweeps in batches(num_sweeps, BATCH_SWEEPS):
        trials = simulate(scenario, sweeps, num_seeds, arms=arms_read())
        of_cells, of_lambdas = estimate_effects(trials, outcomes, primary=OUTCOME)
        tags = _tags(scenario.grid.lambdas, sweeps)
        of_cells = of_cells.with_columns(num_cells=pl.lit(1, pl.Int64))
        cells.append(_by_sweep(of_cells, tags, CELL))
        pooled.append(_holm_by_sweep(_by_sweep(of_lambdas, tags, POOL)))
    return pl.concat(cells), pl.concat(pooled)


def _tags(lambdas: Sequence[float], sweeps: range) -> pl.DataFrame:
    """Return one row a sweep and λ: `rlp_lambda` as in the table, `sweep`, `untagged`."""
    return pl.concat(
        pl.DataFrame({"rlp_lambda": tag_lambda(each, sweeps), "sweep": sweeps}).with_columns(
            untagged=pl.lit(each)
        )
        for each in lambdas
    )


def _by_sweep(effects: pl.DataFrame, tags: pl.DataFrame, place: list[str]) -> pl.DataFrame:
    """Return effects with their sweep and its λ; rows over all λ (of all sweeps) fall away."""
    found = effects.join(tags, on="rlp_lambda", validate="m:1", maintain_order="left")
    found = found.with_columns(rlp_lambda="untagged")
    is_truth, keys = pl.col("outcome") == EXPECTED, ["sweep", *place]
    truths = found.filter(is_truth).select(*keys, own_truth="estimate")
    estimates = found.filter(~is_truth).select(*keys, *NUMBERS)
    return estimates.join(truths, on=keys, how="left", validate="1:1", maintain_order="left")


def _holm_by_sweep(pooled: pl.DataFrame) -> pl.DataFrame:
    """Return pooled effects with `p_holm` of the confirmatory family of each sweep alone."""
    outcome = pl.lit(OUTCOME).alias("outcome")
    family = pooled.with_columns(outcome).filter(is_family(OUTCOME)).sort("sweep")
    adjusted = [
        pl.Series(holm(part["p_value"].fill_null(np.nan).to_numpy()))
        for part in family.partition_by("sweep", maintain_order=True)
    ]
    p_holm = pl.concat(adjusted) if adjusted else pl.Series(dtype=pl.Float64)
    found = family.select("sweep", *POOL, p_holm=p_holm.fill_nan(None))
    keys = ["sweep", *POOL]
    return pooled.drop("p_holm").join(found, on=keys, how="left", validate="1:1")


def measure(
    scenario: Scenario, num_sweeps: int, num_seeds: int
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the study of one scenario and number of seeds.

    Returns:
        The effects, see `summarize`, and the tests, see `rejections`.
    """
    cells, pooled = estimate_sweeps(scenario, num_sweeps, num_seeds)
    truths = true_effects(scenario.model, scenario.grid).with_columns(cells_true=pl.lit(1))
    of_cells = _with_truth(cells, truths, num_sweeps, CELL)
    of_lambdas = _with_truth(pooled, _pooled_truths(of_cells), num_sweeps, POOL)
    effects = pl.concat([summarize(of_cells, "cell"), summarize(of_lambdas, "pooled")])
    tests = rejections(of_lambdas)
    number = pl.lit(num_seeds).alias("num_seeds")
    return effects.with_columns(number), tests.with_columns(number)


def _with_truth(
    estimates: pl.DataFrame, truths: pl.DataFrame, num_sweeps: int, place: list[str]
) -> pl.DataFrame:
    """Return one row a sweep and place of every effect of `ESTIMATORS`, null where it is missing.

    Places whose estimand is not stated have a truth of null. Adds `covered` and `covered_own`.
    """
    names = [(each.name, effect) for each in ESTIMATORS.values() for effect in each.effects]
    effects = pl.DataFrame(names, schema=WHAT, orient="row")
    places = pl.concat([truths.select(place), estimates.select(place)]).unique()
    places = places.join(effects, on=WHAT, how="semi")
    sweeps = pl.DataFrame({"sweep": range(num_sweeps)})
    everywhere = places.join(truths, on=place, how="left", validate="1:1").join(sweeps, how="cross")
    found = everywhere.join(estimates, on=["sweep", *place], how="left", validate="1:1")
    return found.with_columns(covered=_covers("truth"), covered_own=_covers("own_truth"))


def _covers(truth: str) -> pl.Expr:
    return (pl.col("ci_low") <= pl.col(truth)) & (pl.col(truth) <= pl.col("ci_high"))


def _pooled_truths(cells: pl.DataFrame) -> pl.DataFrame:
    """Return the truth of each pooled effect: the mean over the cells where it is estimated.

    Columns: `truth`, null where no cell is (see `PRESENT`), and `cells_true`, their number.
    """
    is_there = pl.col("estimate").is_not_null().mean() >= PRESENT
    by_cell = cells.group_by(CELL).agg(pl.col("truth").first(), is_there=is_there)
    return by_cell.group_by(POOL).agg(
        pl.col("truth").filter("is_there").mean(), cells_true=pl.col("is_there").sum()
    )


def summarize(estimates: pl.DataFrame, level: Level) -> pl.DataFrame:
    """Return one row an estimator, effect and λ: how the estimates compare with the truth.

    Columns: `truth` (mean over cells), `bias`, `rmse`, `coverage` (share of intervals that hold the
    truth) and `width` (mean over intervals), with Monte-Carlo standard errors ``_se``;
    `coverage_worst`, `lr_worst`: the cell that is covered least; `missing`: share of estimates that
    are not there; `no_interval`: share of those there that have none; `all_cells`: share of pooled
    estimates that average every cell the truth does; `coverage_own`: share of intervals that hold
    the truth over the cells their estimate averages (null where no trial can be missing).
    """
    estimate, interval = pl.col("estimate"), pl.col("ci_low")
    error, is_whole = estimate - pl.col("truth"), pl.col("num_cells") >= pl.col("cells_true")
    by_sweep = estimates.group_by(*POOL, "sweep").agg(
        pl.col("truth").mean(),
        bias=error.mean(),
        mse=(error**2).mean(),
        coverage=pl.col("covered").mean(),
        width=(pl.col("ci_high") - interval).mean(),
        missing=estimate.is_null().mean(),
        no_interval=interval.filter(estimate.is_not_null()).is_null().mean(),
        all_cells=is_whole.mean(),
        coverage_own=pl.col("covered_own").mean(),
    )
    with_error = ("bias", "coverage", "width")
    means = by_sweep.group_by(POOL).agg(
        pl.exclude("sweep", "mse").mean(),
        *((pl.col(n).std() / pl.col(n).count().sqrt()).alias(f"{n}_se") for n in with_error),
        rmse=pl.col("mse").mean().sqrt(),
    )
    place = CELL if level == "cell" else POOL
    worst = _worst_cells(estimates, place)
    found = means.join(worst, on=POOL, how="left", validate="1:1").sort(POOL)
    return found.with_columns(level=pl.lit(level))


def _worst_cells(estimates: pl.DataFrame, place: list[str]) -> pl.DataFrame:
    """Return the smallest coverage of any cell, and that cell's lr (null for pooled effects)."""
    lr = pl.col("lr").first() if "lr" in place else pl.lit(None, pl.Float64)
    is_there = pl.col("estimate").is_not_null().mean() >= PRESENT
    by_place = estimates.group_by(place).agg(
        coverage_worst=pl.when(is_there).then(pl.col("covered").mean())
    )
    ordered = by_place.sort("coverage_worst", *place, nulls_last=True)
    return ordered.group_by(POOL, maintain_order=True).agg(
        pl.col("coverage_worst").first(), lr_worst=lr
    )


def rejections(pooled: pl.DataFrame) -> pl.DataFrame:
    """Return one row an estimator and effect: how often pooled effects are told from 0, at 5 %.

    Columns: `reject_t`, `reject_sign_flip` (shares of the tests made, over λ and sweeps) and
    `agreement` (share where both say the same). The row of `FAMILY` has the share of sweeps with at
    least one rejection in the confirmatory family: by the t test, and after Holm (`reject_holm`).
    """
    by_t, by_flip = pl.col("p_value") <= ALPHA, pl.col("p_sign_flip") <= ALPHA
    single = pooled.group_by(WHAT).agg(
        reject_t=by_t.mean(), reject_sign_flip=by_flip.mean(), agreement=(by_t == by_flip).mean()
    )
    family = pooled.filter(pl.col("p_holm").is_not_null()).group_by("estimator", "sweep")
    by_sweep = family.agg(reject_t=by_t.any(), reject_holm=(pl.col("p_holm") <= ALPHA).any())
    joint = by_sweep.group_by("estimator").agg(
        pl.lit(FAMILY).alias("effect"), pl.col("reject_t", "reject_holm").mean()
    )
    return pl.concat([single, joint], how="diagonal").sort(WHAT)


def study(
    scenarios: Mapping[str, Scenario], num_sweeps: int, seeds: Sequence[int]
) -> Iterator[tuple[str, pl.DataFrame, pl.DataFrame]]:
    """Yield for each scenario its name, its effects and its tests over every number of seeds."""
    for name, scenario in scenarios.items():
        parts = [measure(scenario, num_sweeps, num_seeds) for num_seeds in seeds]
        effects, tests = (pl.concat(frames) for frames in zip(*parts, strict=True))
        yield name, effects, tests

"""Simulate searches and print how well the intervals of the response surface cover.

    python -m benchmarks.simulation.surface [--sweeps 400] [--points 30] [--seeds 5]
                                            [--scenario NAME ...] [--smoothing]

A search's points are drawn log-uniform in lr and λ (and uniform in ε with `--smoothing`); its
trials come from the model of `benchmarks.simulation.model`. Truths are contrasts of the arms'
expected outcomes at the very reference cells that `analysis.surface` reads. Draws are fixed: the
same command gives the same numbers.
"""

import argparse
import math
import sys
import time
from collections.abc import Iterator

import numpy as np
import polars as pl
from scipy import special, stats

from analysis.surface import estimate_surface
from analysis.surface_effects import CONTRASTS
from benchmarks.simulation.model import (
    CHANCE,
    NUM_CLASSES,
    Floats,
    Grid,
    Model,
    RandomEffects,
    noise_free,
)
from benchmarks.simulation.scenarios import SCENARIOS, Scenario

ARMS = ("control", "full", "class_term", "uniform_term")
LR = (0.01, 0.64)
RLP_LAMBDA = (0.1, 30.0)
SMOOTHING = (0.0, 0.2)
SCENARIO_NAMES = ("base", "varying_effects", "heavy_tails", "interaction", "cliff", "null")

_SEED = 20_241_119
_LOG2_REPLICATES = 12


def simulate_search(
    scenario: Scenario,
    generator: np.random.Generator,
    *,
    num_points: int = 30,
    num_seeds: int = 5,
    samples_smoothing: bool = False,
) -> pl.DataFrame:
    """Return one row a trial of a search: every arm and seed at every point."""
    grid = _draw_points(generator, num_points, samples_smoothing=samples_smoothing)
    effects = RandomEffects.draw(generator, num_seeds)
    trials = [
        _trials_of(scenario.model, grid, arm, effects, generator).with_columns(arm=pl.lit(arm))
        for arm in ARMS
    ]
    return pl.concat(trials).with_columns(
        trial_id=pl.int_range(pl.len()).cast(pl.String),
        num_classes=pl.lit(NUM_CLASSES),
        rlp_lambda=pl.when(pl.col("arm") == "control").then(0.0).otherwise("rlp_lambda"),
    )


def _draw_points(generator: np.random.Generator, num: int, *, samples_smoothing: bool) -> Grid:
    """Return the points as a grid whose diagonal they are."""
    lr, rlp_lambda = (
        np.exp(generator.uniform(math.log(low), math.log(high), num))
        for low, high in (LR, RLP_LAMBDA)
    )
    smoothing = generator.uniform(*SMOOTHING, num) if samples_smoothing else np.full(num, 0.1)
    return Grid(lrs=tuple(lr), lambdas=tuple(rlp_lambda), smoothings=tuple(smoothing))


def _trials_of(
    model: Model, grid: Grid, arm: str, effects: RandomEffects, generator: np.random.Generator
) -> pl.DataFrame:
    """Return the trials of one arm at the diagonal of the grid, one row a seed and point."""
    found = noise_free(model, grid, arm, effects)
    points = np.arange(len(grid.lrs))
    diagonal = (slice(None), points, points, 0 if arm == "control" else points)
    y, has_diverged = found.y[diagonal], found.has_diverged[diagonal]
    if model.noise_df is None:
        noise = generator.normal(0.0, model.noise_sd, y.shape)
    else:
        spread = math.sqrt(model.noise_df / (model.noise_df - 2))
        noise = generator.standard_t(model.noise_df, y.shape) * (model.noise_sd / spread)
    num_seeds = len(y)
    return pl.DataFrame(
        {
            "seed": np.repeat(np.arange(num_seeds), len(points)),
            "lr": np.tile(grid.lrs, num_seeds),
            "rlp_lambda": np.tile(grid.lambdas, num_seeds),
            "label_smoothing": np.tile(grid.smoothings, num_seeds),
            "test_accuracy": np.where(has_diverged, CHANCE, y + noise).ravel(),
            "status": np.where(has_diverged, "diverged", "completed").ravel(),
        }
    )


def true_effects(model: Model, cells: pl.DataFrame) -> pl.Series:
    """Return the true effect of every row, one a reference cell and effect."""
    axes = {name: cells[name].unique().sort() for name in ("lr", "rlp_lambda", "label_smoothing")}
    grid = Grid(
        lrs=tuple(axes["lr"]),
        lambdas=tuple(axes["rlp_lambda"]),
        smoothings=tuple(axes["label_smoothing"]),
    )
    effects = _replicates()
    expected = {arm: noise_free(model, grid, arm, effects).scored.mean(axis=0) for arm in ARMS}
    where = tuple(
        axes[name].search_sorted(cells[name]).to_numpy()
        for name in ("label_smoothing", "lr", "rlp_lambda")
    )
    by_effect: dict[str, Floats] = {
        effect: np.asarray(sum(weight * expected[arm] for arm, weight in weights.items()))[where]
        for effect, weights in CONTRASTS.items()
    }
    chosen = [by_effect[effect][row] for row, effect in enumerate(cells["effect"])]
    return pl.Series("truth", chosen, dtype=pl.Float64)


def _replicates() -> RandomEffects:
    sobol = stats.qmc.Sobol(6, rng=_SEED)
    return RandomEffects(*special.ndtri(sobol.random_base2(_LOG2_REPLICATES)).T)


def measure_search(model: Model, trials: pl.DataFrame) -> pl.DataFrame:
    """Return one row an effect and reference cell, and a λ's pool of them, beside its truth.

    Columns `level` (cell, pooled), `effect`, `estimate`, `ci_low`, `ci_high`,
    `interpolation_share`, `truth`.
    """
    found = estimate_surface(trials)
    cells = found.effects.with_columns(true_effects(model, found.effects))
    truths = cells.group_by("rlp_lambda", "effect").agg(pl.col("truth").mean())
    pooled = found.pooled.join(truths, on=["rlp_lambda", "effect"], validate="1:1")
    names = ["effect", "estimate", "ci_low", "ci_high", "interpolation_share", "truth"]
    return pl.concat(
        table.select(pl.lit(level).alias("level"), *names)
        for level, table in (("cell", cells), ("pooled", pooled))
    )


def measure(scenario: Scenario, num_sweeps: int, **design: int) -> pl.DataFrame:
    """Return the rows of `measure_search` of many searches, with `sweep`, their number."""
    return pl.concat(
        measure_search(
            scenario.model,
            simulate_search(scenario, np.random.default_rng([_SEED, number]), **design),
        ).with_columns(sweep=pl.lit(number))
        for number in range(num_sweeps)
    )


def summarize(rows: pl.DataFrame) -> pl.DataFrame:
    """Return coverage, bias, RMSE, mean width and share of interpolation by level and effect.

    `coverage_se`: Monte-Carlo error of the coverage, searches as its units.
    """
    error = pl.col("estimate") - pl.col("truth")
    covers = pl.col("truth").is_between(pl.col("ci_low"), pl.col("ci_high"))
    by_sweep = rows.group_by("level", "effect", "sweep").agg(
        coverage=covers.mean(),
        bias=error.mean(),
        squared=(error**2).mean(),
        width=(pl.col("ci_high") - pl.col("ci_low")).mean(),
        share=pl.col("interpolation_share").mean(),
    )
    return (
        by_sweep.group_by("level", "effect")
        .agg(
            pl.col("coverage").mean(),
            (pl.col("coverage").std() / pl.len().sqrt()).alias("coverage_se"),
            pl.col("bias").mean(),
            pl.col("squared").mean().sqrt().alias("rmse"),
            pl.col("width").mean(),
            pl.col("share").mean(),
            pl.len().alias("sweeps"),
        )
        .sort("level", "effect", descending=[True, False])
    )


def to_markdown(name: str, found: pl.DataFrame) -> Iterator[str]:
    """Yield one line of a table a level and effect; points and percent."""
    for row in found.iter_rows(named=True):
        yield (
            f"| {name} | {row['level']} | {row['effect']} | {100 * row['bias']:.2f} "
            f"| {100 * row['rmse']:.2f} | {100 * row['width']:.2f} "
            f"| {100 * row['coverage']:.1f} ± {100 * row['coverage_se']:.1f} "
            f"| {100 * row['share']:.0f} | {row['sweeps']} |"
        )


def main(arguments: list[str] | None = None) -> None:
    """Run the searches that are asked for and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.simulation.surface")
    parser.add_argument("--sweeps", type=int, default=400, help="simulated searches a scenario")
    parser.add_argument("--points", type=int, default=30, help="points of a search")
    parser.add_argument("--seeds", type=int, default=5, help="replicates of a search")
    parser.add_argument("--smoothing", action="store_true", help="sample ε as well")
    parser.add_argument("--scenario", nargs="+", choices=list(SCENARIOS), default=SCENARIO_NAMES)
    options = parser.parse_args(arguments)
    design = {
        "num_points": options.points,
        "num_seeds": options.seeds,
        "samples_smoothing": options.smoothing,
    }
    print("| scenario | level | effect | bias | RMSE | width | coverage | interpolation | sweeps |")
    print("|---|---|---|---|---|---|---|---|---|")
    started = time.perf_counter()
    for name in options.scenario:
        for line in to_markdown(
            name, summarize(measure(SCENARIOS[name], options.sweeps, **design))
        ):
            print(line)
        print(f"{name}: {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()

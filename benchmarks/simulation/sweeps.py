"""Tables of simulated sweeps, many in one, as the analysis reads them.

Sweeps of one table are told apart twice: by the foreign column `config_sweep`, so that no cell
holds trials of two sweeps, and by λ, to which each sweep's number is added as a relative 2^-40.
So the effects pooled for each λ are pooled for each λ *of one sweep*, by the very code that pools
those of a real one.

The column `EXPECTED` holds what a trial's arm is expected to score. Effects on it are truths: those
of a table with holes, averaged over the very cells that the estimate averages.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl

from benchmarks.simulation.model import (
    ARMS,
    CHANCE,
    NUM_CLASSES,
    Floats,
    NoiseFree,
    RandomEffects,
    expected_outcomes,
    log_kappa,
    noise_free,
)
from benchmarks.simulation.scenarios import Scenario

OUTCOME = "test_accuracy"
EXPECTED = "val_accuracy"
"""An outcome of the schema lent to the arm's expected score; nothing else reads it here."""

NUM_RANDOM_LABELS = 10
_TAG = 2.0**-40
_STREAMS = {"effects": 0, "noise": 1, "multiplier": 2, "missing": 3}
_SEED = 20_241_119


def tag_lambda(rlp_lambda: float, sweeps: Sequence[int]) -> Floats:
    """Return λ as it stands in the rows of these sweeps; sweep 0 has it unchanged."""
    tagged: Floats = rlp_lambda * (1 + np.array(sweeps) * _TAG)
    return tagged


def simulate(
    scenario: Scenario, sweeps: range, num_seeds: int, *, arms: Sequence[str] | None = None
) -> pl.DataFrame:
    """Return one row a trial of these sweeps, with the columns that the effects are read from.

    Args:
        scenario: Design and truth.
        sweeps: Numbers of the sweeps. A sweep's draws depend on the first number and the length.
        num_seeds: Replicates of each sweep.
        arms: Arms to draw. Default: all of the scenario's. Leaving some out changes no other's
            draws.
    """
    key = (_SEED, num_seeds, sweeps.start, len(sweeps))
    effects = RandomEffects.draw(_stream(key, "effects", "control"), len(sweeps) * num_seeds)
    drawn = scenario.arms if arms is None else [arm for arm in scenario.arms if arm in arms]
    expected = expected_outcomes(scenario.model, scenario.grid)
    trials = []
    for arm in drawn:
        of_arm = _trials_of(scenario, arm, effects, key).with_columns(
            **_places(scenario, arm, sweeps, num_seeds),
            **{EXPECTED: _repeat(expected[arm], len(effects.level))},
        )
        luck = _stream(key, "missing", arm).random(len(of_arm))
        trials.append(of_arm.filter(luck >= scenario.share_missing))
    return pl.concat(trials).with_columns(
        trial_id=pl.int_range(pl.len()).cast(pl.String),
        num_classes=pl.lit(NUM_CLASSES),
        num_random_labels=pl.lit(NUM_RANDOM_LABELS),
    )


def _stream(key: tuple[int, ...], use: str, arm: str) -> np.random.Generator:
    return np.random.default_rng([*key, _STREAMS[use], list(ARMS).index(arm)])


def _trials_of(
    scenario: Scenario, arm: str, effects: RandomEffects, key: tuple[int, ...]
) -> pl.DataFrame:
    """Return how the trials of one arm end, ordered as `_places`."""
    model, grid, parts = scenario.model, scenario.grid, ARMS[arm]
    trained = log_kappa(model, grid, arm, effects)
    if parts.matched:
        true = log_kappa(model, grid, parts.matched, effects)
        trained = _measured(scenario, parts.matched, true, key)
    found = noise_free(model, grid, arm, effects, trained)
    y = found.y + _noise(scenario, found.y.shape, _stream(key, "noise", arm))
    nothing = np.full(y.shape, np.nan)
    measured = nothing if arm == "control" else _measured(scenario, arm, trained, key)
    matched = trained if parts.matched else nothing
    columns = {
        OUTCOME: np.where(found.has_diverged, CHANCE, y),
        "memorization": found.memorization,
        "random_label_accuracy": _random_label_accuracy(found),
        "lr_multiplier": np.exp(np.broadcast_to(measured, y.shape)),
        "matched_multiplier": np.exp(np.broadcast_to(matched, y.shape)),
        "has_diverged": found.has_diverged,
    }
    return (
        pl.DataFrame({name: column.ravel() for name, column in columns.items()})
        .with_columns(
            pl.col("lr_multiplier", "matched_multiplier").fill_nan(None),
            arm=pl.lit(arm),
            status=pl.when("has_diverged").then(pl.lit("diverged")).otherwise(pl.lit("completed")),
        )
        .drop("has_diverged")
    )


def _places(scenario: Scenario, arm: str, sweeps: range, num_seeds: int) -> dict[str, pl.Series]:
    """Return where the trials of an arm stand, ordered by sweep, seed, ε, lr and λ."""
    grid = scenario.grid
    number = np.repeat(np.array(sweeps), num_seeds)
    lambdas = [0.0] if arm == "control" else grid.lambdas
    tagged = np.stack([tag_lambda(each, number.tolist()) for each in lambdas], axis=-1)
    axes = {
        "config_sweep": number[:, None, None, None],
        "seed": np.tile(np.arange(num_seeds), len(sweeps))[:, None, None, None],
        "label_smoothing": np.array(grid.smoothings)[:, None, None],
        "lr": np.array(grid.lrs)[:, None],
        "rlp_lambda": tagged[:, None, None, :],
    }
    full = np.broadcast_arrays(*axes.values())
    return {name: pl.Series(axis.ravel()) for name, axis in zip(axes, full, strict=True)}


def _repeat(of_cells: Floats, num_replicates: int) -> pl.Series:
    """Return values of cells ``[E, L, A]`` once for each replicate."""
    return pl.Series(np.tile(of_cells.ravel(), num_replicates))


def _measured(scenario: Scenario, arm: str, true: Floats, key: tuple[int, ...]) -> Floats:
    """Return the arm's log multiplier as its trials measure it, ``[N, E, L, A]``.

    Args:
        scenario: Design and truth.
        arm: Name.
        true: Log multiplier that it is trained at, ``[N, E, L, A]`` or what broadcasts to it.
        key: Of the sweeps' draws.
    """
    grid, sd = scenario.grid, scenario.model.multiplier_sd
    shape = (len(true), len(grid.smoothings), len(grid.lrs), true.shape[-1])
    error = _stream(key, "multiplier", arm).standard_normal(shape)
    measured: Floats = true + sd * error - sd**2 / 2
    return measured


def _noise(scenario: Scenario, shape: tuple[int, ...], generator: np.random.Generator) -> Floats:
    sd, df = scenario.model.noise_sd, scenario.model.noise_df
    if df is None:
        return generator.normal(0.0, sd, shape)
    noise: Floats = generator.standard_t(df, shape) * (sd / np.sqrt(df / (df - 2)))
    return noise


def _random_label_accuracy(found: NoiseFree) -> Floats:
    chance = 1 / NUM_RANDOM_LABELS
    return chance + (1 - chance) * found.memorization


def batches(num_sweeps: int, size: int) -> Iterator[range]:
    """Yield ranges of sweeps that make up `num_sweeps`."""
    for start in range(0, num_sweeps, size):
        yield range(start, min(start + size, num_sweeps))

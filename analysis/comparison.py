"""Sweeps side by side: the pooled effects of each, and how far the others are from the first.

Sweeps are taken to be independent: other data, another network, other seeds. Where two of them
share trials, analyze them together instead.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
from scipy import stats

from analysis.estimators import IS_LEG
from analysis.intervals import CONFIDENCE
from analysis.load import load_epochs, load_sweep
from analysis.mirror import local_directories
from analysis.pairing import check_outcomes
from analysis.result import EPOCH_COLUMNS, Analysis, build_analysis
from analysis.wording import format_value
from rlp_sweeps.errors import ArgumentError
from rlp_sweeps.schema import CONFIG_COLUMNS

MAX_VALUES = 8
"""Values of a setting that are listed; of more, their number and range."""

_KEY = ("rlp_lambda", "estimator", "effect")
_SYMMETRY = 1e-6  # of the interval's width


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """Several sweeps side by side.

    Attributes:
        names: One a sweep: the shortest ends of the paths that tell them apart.
        outcome: What effects are on.
        settings: Settings that are not the same in all sweeps: values of each sweep, by name.
        effects: One row a λ (null: pooled over all), estimator, effect and sweep: `sweep` (its
            name), `estimate`, `ci_low`, `ci_high`, `num_seeds`; `difference` from the first sweep
            with `difference_low`, `difference_high` (Welch's 95 % interval).
        num_trials: Trials of each sweep.
    """

    names: tuple[str, ...]
    outcome: str
    settings: dict[str, tuple[str, ...]]
    effects: pl.DataFrame
    num_trials: tuple[int, ...]

    def to_json(self) -> dict[str, Any]:
        """Return everything, JSON-ready."""
        return {
            "sweeps": list(self.names),
            "outcome": self.outcome,
            "num_trials": list(self.num_trials),
            "settings": {name: list(values) for name, values in self.settings.items()},
            "effects": self.effects.to_dicts(),
        }


def compare_sweeps(directories: Sequence[Path], *, outcome: str = "test_accuracy") -> Comparison:
    """Return the pooled effects of sweeps side by side; nothing is written.

    Args:
        directories: Run directories, at least two.
        outcome: A metric column of trials.

    Raises:
        ArgumentError: Fewer than two directories, one of them twice, or the outcome is unknown.
        RunDirectoryError: A directory is absent, empty or of a newer version.
        SchemaError: A table breaks the schema.
    """
    _check(directories)
    analyses = [_analyze(directory, outcome) for directory in directories]
    names = short_names(directories)
    rows = pl.concat(
        [
            a.effects_pooled.filter((pl.col("outcome") == outcome) & ~IS_LEG).select(
                *_KEY, pl.lit(name).alias("sweep"), "estimate", "ci_low", "ci_high", "num_seeds"
            )
            for name, a in zip(names, analyses, strict=True)
        ]
    )
    return Comparison(
        names=names,
        outcome=outcome,
        settings=_differing_settings(analyses),
        effects=_with_differences(rows, names[0]),
        num_trials=tuple(a.num_trials["total"] for a in analyses),
    )


def _check(directories: Sequence[Path]) -> None:
    resolved = [directory.resolve() for directory in directories]
    if len(resolved) < 2:
        given = [str(directory) for directory in directories]
        msg = f"at least two sweeps must be given to compare, but got {given}."
        raise ArgumentError(msg)
    twice = [str(path) for path in dict.fromkeys(resolved) if resolved.count(path) > 1]
    if twice:
        msg = f"each sweep must be given once to compare, but {twice} come more often."
        raise ArgumentError(msg)


def _analyze(directory: Path, outcome: str) -> Analysis:
    with local_directories([directory], tables=["trials", "epochs"]) as (copy,):
        return _read(copy, outcome)


def _read(directory: Path, outcome: str) -> Analysis:
    trials, origin = load_sweep([directory])
    check_outcomes(trials, [outcome], diverged="chance")
    columns = list(dict.fromkeys([*EPOCH_COLUMNS, outcome]))
    epochs = load_epochs([directory], columns=columns, trial_ids=trials["trial_id"].head(0))
    return build_analysis(trials, epochs, outcome=outcome, origin=origin)


def short_names(directories: Sequence[Path]) -> tuple[str, ...]:
    """Return the shortest ends of the paths that tell them apart."""
    parts = [directory.resolve().parts for directory in directories]
    for length in range(1, max(map(len, parts)) + 1):
        names = tuple("/".join(part[-length:]) for part in parts)
        if len(set(names)) == len(names):
            return names
    return tuple(str(directory) for directory in directories)


def _differing_settings(analyses: Sequence[Analysis]) -> dict[str, tuple[str, ...]]:
    settings = {}
    for name in (column.name for column in CONFIG_COLUMNS):
        values = tuple(_values(analysis.trials, name) for analysis in analyses)
        if len(set(values)) > 1:
            settings[name] = values
    return settings


def _values(trials: pl.DataFrame, name: str) -> str:
    if name not in trials.columns:
        return "–"
    values = trials[name].unique().sort().to_list()
    if len(values) > MAX_VALUES:
        low, high = (format_value(v) for v in (trials[name].min(), trials[name].max()))
        return f"{len(values)} values, {low} … {high}"
    return ", ".join(format_value(value) for value in values)


def _with_differences(rows: pl.DataFrame, first: str) -> pl.DataFrame:
    """Return the rows with the difference of each from that of the first sweep."""
    reference = {_key(row): row for row in rows.to_dicts() if row["sweep"] == first}
    found = [
        {**row, **_difference(row, None if row["sweep"] == first else reference.get(_key(row)))}
        for row in rows.to_dicts()
    ]
    added = ("difference", "difference_low", "difference_high")
    schema = {**rows.schema, **dict.fromkeys(added, pl.Float64())}
    order = [pl.col("rlp_lambda").is_not_null(), "rlp_lambda", "estimator"]
    return pl.DataFrame(found, schema=schema).sort(order, maintain_order=True)


def _key(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in _KEY)


def _difference(row: dict[str, Any], first: dict[str, Any] | None) -> dict[str, float | None]:
    if first is None or row["estimate"] is None or first["estimate"] is None:
        return {"difference": None, "difference_low": None, "difference_high": None}
    difference = row["estimate"] - first["estimate"]
    half = welch_half_width(row, first)
    ends = (None, None) if half is None else (difference - half, difference + half)
    return {"difference": difference, "difference_low": ends[0], "difference_high": ends[1]}


def welch_half_width(a: dict[str, Any], b: dict[str, Any]) -> float | None:
    """Return half the width of the 95 % interval of the difference of two independent means.

    The standard error of each is read from its own t interval.

    Args:
        a: `estimate`, `ci_low`, `ci_high`, `num_seeds` of one mean.
        b: The same of the other.

    Returns:
        None where one of them has no t interval, or neither has any spread.

    Source:
        Welch 1947, "The generalization of 'Student's' problem when several different population
        variances are involved", Biometrika 34; degrees of freedom by Satterthwaite 1946.
    """
    variances = []
    for row in (a, b):
        low, high, mean, n = row["ci_low"], row["ci_high"], row["estimate"], row["num_seeds"]
        if low is None or high is None or n < 2:
            return None
        if abs((high - mean) - (mean - low)) > _SYMMETRY * max(high - low, 1e-300):
            return None
        error = (high - low) / 2 / stats.t.ppf(0.5 + CONFIDENCE / 2, n - 1)
        variances.append((error**2, n - 1))
    total = sum(variance for variance, _ in variances)
    if total == 0:
        return None
    freedom = total**2 / sum(variance**2 / df for variance, df in variances)
    return float(stats.t.ppf(0.5 + CONFIDENCE / 2, freedom) * math.sqrt(total))

"""What a planned number of seeds can see, in one sentence, from the seed spread of a pilot.

A seed spread belongs to the cells it was pooled over: a plan with other learning rates, another
data set or fewer cells has another one. And a spread from few seeds is itself uncertain: from five,
by a factor of 0.6 to 2.9 (95 %).
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from scipy import stats

from analysis.effects import is_family
from analysis.intervals import CONFIDENCE
from analysis.mirror import local_directories
from analysis.power import ALPHA, POWER, smallest_effect
from analysis.wording import format_value
from rlp_sweeps.errors import ArgumentError, RunDirectoryError

OUTCOME = "test_accuracy"
"""The outcome that a plan is sized for."""

_NEEDED = ("outcome", "estimator", "effect", "rlp_lambda", "num_seeds", "ci_low", "ci_high")


@dataclass(frozen=True, kw_only=True, slots=True)
class SeedSpread:
    """A standard deviation over seeds of a pooled effect, and where it is known from.

    Attributes:
        value: In units of the outcome.
        pilot: The analyzed run it was read from; None where it was stated.
        effect: The effect it belongs to; None where it was stated.
        rlp_lambda: λ of that effect; None where it was stated.
        num_seeds: Seeds it was estimated from; None where it was stated.
    """

    value: float
    pilot: str | None = None
    effect: str | None = None
    rlp_lambda: float | None = None
    num_seeds: int | None = None

    def __str__(self) -> str:
        """Return the value, and in brackets its source."""
        if self.pilot is None:
            return _two_digits(self.value)
        where = f"{self.effect} at λ = {format_value(self.rlp_lambda)}, n = {self.num_seeds}"
        return f"{_two_digits(self.value)} (pilot {self.pilot}, {where})"


@dataclass(frozen=True, kw_only=True, slots=True)
class Sensitivity:
    """The smallest effect that a number of seeds sees, by a two-sided 5 % t test without Holm.

    Attributes:
        num_seeds: Seeds planned.
        spread: Seed spread of the pooled effect; None where it is not known.
        smallest_effect: In units of the outcome, or of the seed spread where that is not known;
            infinite for one seed.
    """

    num_seeds: int
    spread: SeedSpread | None
    smallest_effect: float

    def __str__(self) -> str:
        """Return the statement as a sentence without its point."""
        if math.isinf(self.smallest_effect):
            return "with one seed there is no interval, and no effect is told from 0"
        test = f"two-sided {ALPHA:.0%} t test, no Holm".replace("%", " %")
        seen = f"seen with {POWER:.0%} power ({test})".replace("0%", "0 %")
        effect = _two_digits(self.smallest_effect)
        if self.spread is None:
            return f"with {self.num_seeds} seeds, effects of {effect} seed SDs are {seen}"
        return (
            f"with {self.num_seeds} seeds and a seed spread of {self.spread}, effects of {effect} "
            f"on {OUTCOME} are {seen}"
        )

    def to_json(self) -> dict[str, Any]:
        """Return the statement and its numbers; an infinite effect is None."""
        spread = self.spread
        return {
            "statement": str(self),
            "num_seeds": self.num_seeds,
            "smallest_effect": None if math.isinf(self.smallest_effect) else self.smallest_effect,
            "unit": "seed_spread" if spread is None else OUTCOME,
            "power": POWER,
            "level": ALPHA,
            "seed_spread": None if spread is None else spread.value,
            "pilot": None if spread is None else spread.pilot,
            "pilot_effect": None if spread is None else spread.effect,
            "pilot_rlp_lambda": None if spread is None else spread.rlp_lambda,
            "pilot_num_seeds": None if spread is None else spread.num_seeds,
        }


def judge_sensitivity(
    num_seeds: int, *, seed_spread: float | None = None, pilot: Path | None = None
) -> Sensitivity:
    """Return the smallest effect that so many seeds see with 80 % power.

    Args:
        num_seeds: Seeds planned, ≥ 1.
        seed_spread: Standard deviation over seeds of the pooled effect, in units of the outcome.
        pilot: An analyzed run whose largest spread is taken instead.

    Raises:
        ArgumentError: The spread is not above 0, or both it and a pilot are given.
        RunDirectoryError: The pilot is not analyzed, or none of its effects has an interval.
    """
    if seed_spread is not None and pilot is not None:
        msg = (
            "a seed spread is stated or read from a pilot, not both, but got "
            f"`--seed-spread {seed_spread:g}` and `--pilot {pilot}`."
        )
        raise ArgumentError(msg)
    if seed_spread is not None and not 0 < seed_spread < math.inf:
        msg = f"`0 < --seed-spread < inf` must hold, but got {seed_spread!r}."
        raise ArgumentError(msg)
    spread = SeedSpread(value=seed_spread) if seed_spread is not None else None
    if pilot is not None:
        spread = largest_spread(pilot)
    unit = 1.0 if spread is None else spread.value
    smallest = smallest_effect(unit, num_seeds)
    return Sensitivity(num_seeds=num_seeds, spread=spread, smallest_effect=smallest)


def largest_spread(directory: Path) -> SeedSpread:
    """Return the largest seed spread over the confirmatory family of an analyzed run.

    Raises:
        RunDirectoryError: As `read_spreads`.
    """
    widest = read_spreads(directory).sort("spread", descending=True).row(0, named=True)
    return SeedSpread(
        value=widest["spread"],
        pilot=str(directory),
        effect=widest["effect"],
        rlp_lambda=widest["rlp_lambda"],
        num_seeds=widest["num_seeds"],
    )


def read_spreads(directory: Path) -> pl.DataFrame:
    """Return one row a λ and effect of the confirmatory family: the seed spread of an analyzed run.

    `rlp_lambda`, `effect`, `spread` (in units of test accuracy, read back from the t interval) and
    `num_seeds`, sorted; effects without an interval are left out.

    Raises:
        RunDirectoryError: The run is not analyzed, or no effect of the family has an interval.
    """
    with local_directories([directory], tables=(), results=["effects_pooled"]) as (copy,):
        return _read_spreads(copy, directory)


def _read_spreads(copy: Path, directory: Path) -> pl.DataFrame:
    """Return what `read_spreads` does of a folder on this machine, given under another name."""
    path = copy / "analysis" / "effects_pooled.parquet"
    wish = f"a pilot must be an analyzed run, but {str(directory)!r}"
    if not path.is_file():
        msg = f"{wish} has no {path}; run `rlp-sweeps analyze {directory}` first."
        raise RunDirectoryError(msg)
    pooled = pl.read_parquet(path)
    if absent := [name for name in _NEEDED if name not in pooled.columns]:
        msg = f"{wish} lacks {absent} in {path}; run `rlp-sweeps analyze {directory}` again."
        raise RunDirectoryError(msg)
    rows = pooled.filter(is_family(OUTCOME), pl.col("ci_high") > pl.col("ci_low"))
    if rows.is_empty():
        msg = f"{wish} has no effect on {OUTCOME} with an interval; a spread takes two seeds."
        raise RunDirectoryError(msg)
    num_seeds = rows["num_seeds"].to_numpy()
    half_width = (rows["ci_high"] - rows["ci_low"]).to_numpy() / 2
    spread = half_width / stats.t.ppf(0.5 + CONFIDENCE / 2, num_seeds - 1) * np.sqrt(num_seeds)
    return rows.select(
        "rlp_lambda", "effect", pl.Series("spread", spread, dtype=pl.Float64), "num_seeds"
    ).sort("rlp_lambda", "effect")


def _two_digits(value: float) -> str:
    """Return a positive number with two significant digits, or as an integer from 10 on."""
    return f"{value:.0f}" if value >= 10 else f"{value:#.2g}"

"""Smallest pooled effect that a number of seeds can see, from the seed spread of a pilot run.

    python -m benchmarks.power DIR [--power 0.8]

DIR is an analyzed run on seeds that the study will not use. The spread of each pooled effect over
its seeds is read back from its t interval. An effect counts as seen where a two-sided 5 % t test
over n seeds rejects with the given power (non-central t approximated by two t quantiles).
"""

import argparse
from pathlib import Path

import numpy as np
import polars as pl
from scipy import stats

SEEDS = (3, 4, 5, 6, 8, 10, 15, 20)
EFFECTS = ("effect_total", "effect_lr", "effect_memorization")


def seed_spread(row: dict[str, float]) -> float:
    """Return the standard deviation over seeds behind a 95 % t interval."""
    n = int(row["num_seeds"])
    half_width = (row["ci_high"] - row["ci_low"]) / 2
    return float(half_width / stats.t.ppf(0.975, n - 1) * np.sqrt(n))


def detectable(spread: float, num_seeds: int, power: float) -> float:
    """Return the smallest mean that `num_seeds` seeds reject 0 for with this power."""
    df = num_seeds - 1
    quantiles = stats.t.ppf(0.975, df) + stats.t.ppf(power, df)
    return float(spread / np.sqrt(num_seeds) * quantiles)


def main() -> None:
    """Print one line a pooled effect: spread over seeds, then the detectable effect by n."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=Path)
    parser.add_argument("--power", type=float, default=0.8)
    arguments = parser.parse_args()
    pooled = pl.read_parquet(arguments.directory / "analysis" / "effects_pooled.parquet").filter(
        pl.col("outcome") == "test_accuracy",
        pl.col("estimator") == "arms",
        pl.col("effect").is_in(EFFECTS),
        pl.col("rlp_lambda").is_not_null(),
        pl.col("ci_low").is_not_null(),
    )
    print(f"{'λ':>6} {'effect':20s} {'SD':>7}  " + " ".join(f"n={n:<6d}" for n in SEEDS))
    for row in pooled.sort("rlp_lambda", "effect").iter_rows(named=True):
        spread = seed_spread(row)
        sizes = " ".join(f"{detectable(spread, n, arguments.power):<8.4f}" for n in SEEDS)
        print(f"{row['rlp_lambda']:6g} {row['effect']:20s} {spread:7.4f}  {sizes}")


if __name__ == "__main__":
    main()

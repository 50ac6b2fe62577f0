"""Smallest pooled effect that a number of seeds can see, from the seed spread of a pilot run.

    python -m benchmarks.power DIR [--power 0.8] [--holm]

DIR is an analyzed run on seeds that the study will not use. The spread of each pooled effect over
its seeds is read back from its t interval. An effect counts as seen where a two-sided 5 % t test
over n seeds rejects with the given power (exact, by the non-central t distribution). For a plan,
`rlp-sweeps plan SPACE --pilot DIR` states the same.
"""

import argparse
from pathlib import Path

from analysis.power import POWER, smallest_effect
from analysis.sensitivity import read_spreads

SEEDS = (3, 4, 5, 6, 8, 10, 15, 20)


def main() -> None:
    """Print one line a pooled effect: spread over seeds, then the smallest effect seen by n."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=Path)
    parser.add_argument("--power", type=float, default=POWER)
    parser.add_argument(
        "--holm", action="store_true", help="divide the level by the number of effects listed"
    )
    arguments = parser.parse_args()
    spreads = read_spreads(arguments.directory)
    family_size = len(spreads) if arguments.holm else 1
    print(f"{'λ':>6} {'effect':20s} {'SD':>7}  " + " ".join(f"n={n:<6d}" for n in SEEDS))
    for row in spreads.iter_rows(named=True):
        effects = (
            smallest_effect(row["spread"], n, power=arguments.power, family_size=family_size)
            for n in SEEDS
        )
        sizes = " ".join(f"{effect:<8.4f}" for effect in effects)
        print(f"{row['rlp_lambda']:6g} {row['effect']:20s} {row['spread']:7.4f}  {sizes}")


if __name__ == "__main__":
    main()

"""Simulate sweeps from a stated model and print how well the estimators' intervals cover.

    python -m benchmarks.simulation [--sweeps 2000] [--seeds 3,5,10] [--scenario NAME ...]
                                    [--output FILE.json] [--quick]

Every estimator of `analysis.estimators` takes part. Draws are fixed: the same command gives the
same numbers. `--quick` simulates 40 sweeps of 3 and 5 seeds, to see that everything runs.
"""

import argparse
import json
import shlex
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.machine import describe_machine
from benchmarks.simulation.report import to_markdown
from benchmarks.simulation.scenarios import SCENARIOS
from benchmarks.simulation.study import study

QUICK_SWEEPS = 40
QUICK_SEEDS = (3, 5)


def parse_seeds(text: str) -> tuple[int, ...]:
    """Return the numbers of seeds of ``3,5,10``, ascending.

    Raises:
        ValueError: A number is below 2: no interval.
    """
    seeds = tuple(sorted({int(number) for number in text.split(",")}))
    if seeds[0] < 2:
        msg = f"`seeds >= 2` must hold, but got {seeds[0]}."
        raise ValueError(msg)
    return seeds


def parse(given: list[str]) -> argparse.Namespace:
    """Return the options of a command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.simulation", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--sweeps", type=int, default=2000, help="simulated sweeps a scenario")
    parser.add_argument("--seeds", type=parse_seeds, default=(3, 5, 10), help="for example 3,5,10")
    parser.add_argument("--scenario", nargs="+", choices=list(SCENARIOS), default=list(SCENARIOS))
    parser.add_argument("--output", type=Path, help="JSON file; written after every scenario")
    parser.add_argument("--quick", action="store_true", help="few sweeps: a dry run")
    options = parser.parse_args(given)
    if options.quick:
        options.sweeps, options.seeds = QUICK_SWEEPS, QUICK_SEEDS
    return options


def main(arguments: list[str] | None = None) -> None:
    """Run the study that is asked for, print it, write it as JSON."""
    given = sys.argv[1:] if arguments is None else arguments
    options = parse(given)
    command = shlex.join(["python", "-m", "benchmarks.simulation", *given])
    found: dict[str, Any] = {}
    content = {
        "machine": describe_machine(device="cpu", command=command),
        "num_sweeps": options.sweeps,
        "seeds": options.seeds,
        "scenarios": found,
    }
    started = time.perf_counter()
    chosen = {name: SCENARIOS[name] for name in options.scenario}
    for name, effects, tests in study(chosen, options.sweeps, options.seeds):
        says = SCENARIOS[name].says
        found[name] = {"says": says, "effects": effects.to_dicts(), "tests": tests.to_dicts()}
        print(f"{name}: {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
        if options.output is not None:
            text = json.dumps(content, ensure_ascii=False, indent=1) + "\n"
            options.output.write_text(text, encoding="utf-8")
    print(to_markdown(content), end="")


if __name__ == "__main__":
    main()

"""Time the same small study in this tool and in others, taking turns, and print the table.

    python -m benchmarks.other_tools --python OTHER/bin/python [--tools optuna,hydra]
        [--budget-s 300]

OTHER is a virtual environment with `benchmarks/other_tools/requirements.txt`; what it lacks is
left out by `--tools`. Seconds are wall time, start-up and imports included, medians over rounds;
no round starts that would not end within the budget, judged by the longest so far. Run it on a
machine that does nothing else.
"""

import argparse
import shlex
import statistics
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.machine import describe_machine
from benchmarks.other_tools.processes import Ended, run_tool
from benchmarks.other_tools.tools import TOOLS

MAX_ROUNDS = 9


def parse_tools(text: str) -> list[str]:
    """Return the names of ``optuna,hydra``.

    Raises:
        ValueError: There is no such tool.
    """
    unknown = [name for name in text.split(",") if name not in TOOLS]
    if unknown:
        msg = f"`--tools` must name tools out of {list(TOOLS)}, but got {unknown}."
        raise ValueError(msg)
    return text.split(",")


def measure(names: list[str], *, python: str, budget_s: float) -> dict[str, list[Ended]]:
    """Run every tool once a round, every second round in reverse order.

    Raises:
        RuntimeError: A tool did not end well.
    """
    measured: dict[str, list[Ended]] = {name: [] for name in names}
    started, longest_s = time.perf_counter(), 0.0
    for number in range(MAX_ROUNDS):
        round_started = time.perf_counter()
        if number and round_started - started + longest_s > budget_s:
            break
        for name in names if number % 2 == 0 else reversed(names):
            with tempfile.TemporaryDirectory() as folder:
                ended = run_tool(TOOLS[name], Path(folder) / "study", python=python)
            if ended.exit_status:
                msg = f"{name} must end well, but ended with {ended.exit_status}:\n{ended.output}"
                raise RuntimeError(msg)
            print(f"round {number + 1}: {name} {ended.wall_s:.1f} s", file=sys.stderr, flush=True)
            measured[name].append(ended)
        longest_s = max(longest_s, time.perf_counter() - round_started)
    return measured


def table(measured: dict[str, list[Ended]]) -> str:
    """Return the rows in Markdown: lines that the user writes, first result, whole study."""
    lines = [
        "| tool | lines written | commands | first result, s | whole study, s | n |",
        "|---|---|---|---|---|---|",
    ]
    for name, runs in measured.items():
        tool = TOOLS[name]
        firsts = [run.first_s for run in runs if run.first_s is not None]
        first = f"{statistics.median(firsts):.1f}" if firsts else "–"
        total = statistics.median(run.wall_s for run in runs)
        num_commands = len(tool.commands(Path("DIR"), (0.0,)))
        cells = (tool.name, tool.num_lines(), num_commands, first, f"{total:.1f}", len(runs))
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.other_tools", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--python", default=sys.executable, help="interpreter of the other tools")
    parser.add_argument("--tools", type=parse_tools, default=list(TOOLS), help="default: all")
    parser.add_argument("--budget-s", type=float, default=300.0)
    arguments = parser.parse_args()
    command = shlex.join(["python", "-m", "benchmarks.other_tools", *sys.argv[1:]])
    for fact, value in describe_machine(device="cpu", command=command).items():
        print(f"- {fact}: {value}")
    measured = measure(arguments.tools, python=arguments.python, budget_s=arguments.budget_s)
    print(f"\n{table(measured)}")


if __name__ == "__main__":
    main()

"""Try what a tool does when a trial or the tool itself does not end well; print what was seen.

    python -m benchmarks.other_tools.tries DIR --python OTHER/bin/python [--tools …] [--tries …]

`kill`: the driver gets SIGKILL once four trials ended, and the same command is given again;
`interrupt`: Ctrl-C, likewise; `raise`: one learning rate is negative, which torch refuses in the
trial; `diverge`: one is 10²⁰. What each wrote stays in DIR.
"""

import argparse
import signal
import sys
import time
from pathlib import Path

import polars as pl

from benchmarks.other_tools.__main__ import parse_tools
from benchmarks.other_tools.processes import Ended, run_tool
from benchmarks.other_tools.study import grid
from benchmarks.other_tools.tools import TOOLS, Tool

KILL_AFTER = 4
SIGNALS = {"kill": signal.SIGKILL, "interrupt": signal.SIGINT}
BAD_LRS = {"raise": (-1.0, 0.05), "diverge": (1e20, 0.05)}
SETTLE_S = 10.0
"""After a signal: what was left behind goes on or ends meanwhile."""


def final_rows(tool: Tool, directory: Path) -> pl.DataFrame | None:
    """Return lr, arm, seed and accuracies of every trial in the tool's table, sorted."""
    pattern = "trials.parquet" if tool.uses_study else "trials/*.parquet"
    if not any(directory.glob(pattern)):
        return None
    names = ["lr", "arm", "seed", "test_accuracy", "random_label_accuracy"]
    frame = pl.read_parquet(directory / pattern, columns=names)
    return frame.sort("lr", "arm", "seed")


def num_trained(directory: Path) -> int:
    """Return how often a training was started, by the ledger; 0 for our own, which has none."""
    ledger = directory.with_suffix(".ledger")
    return len(ledger.read_text().splitlines()) if ledger.exists() else 0


def describe(tool: Tool, directory: Path, ended: Ended) -> str:
    """Return one line of facts."""
    rows = final_rows(tool, directory)
    table = "no table" if rows is None else f"{rows.height} rows, {rows.n_unique()} distinct"
    return (
        f"exit {ended.exit_status}, {tool.num_ended(directory)} of {len(grid())} ended, "
        f"{num_trained(directory)} trainings started, table: {table}, {ended.wall_s:.0f} s"
    )


def try_tool(tool: Tool, what: str, folder: Path, *, python: str) -> None:
    """Run one try and print a line a run."""
    directory = folder / f"{what}_{tool.name.lower().replace(' ', '_')}"
    head = f"{tool.name}, {what}"
    if what in BAD_LRS:
        ended = run_tool(tool, directory, python=python, lrs=BAD_LRS[what])
        print(f"{head}: {describe(tool, directory, ended)}", flush=True)
        return
    ended = run_tool(tool, directory, python=python, end=(KILL_AFTER, SIGNALS[what]))
    time.sleep(SETTLE_S)
    print(f"{head} at {ended.at_signal}: {describe(tool, directory, ended)}", flush=True)
    ended = run_tool(tool, directory, python=python)
    print(f"{head}, again: {describe(tool, directory, ended)}", flush=True)
    rows, whole = final_rows(tool, directory), final_rows(tool, folder / f"whole_{tool.name}")
    if rows is not None and whole is not None:
        is_same = rows.unique().sort("lr", "arm", "seed").equals(whole)
        print(f"{head}: the same numbers as undisturbed: {is_same}", flush=True)


def main() -> None:
    """Try."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=Path)
    parser.add_argument("--python", default=sys.executable, help="interpreter of the other tools")
    parser.add_argument("--tools", type=parse_tools, default=list(TOOLS), help="default: all")
    parser.add_argument("--tries", type=lambda text: text.split(","), default=[*SIGNALS, *BAD_LRS])
    arguments = parser.parse_args()
    folder = arguments.directory.resolve()
    for name in arguments.tools:
        tool = TOOLS[name]
        if set(arguments.tries) & set(SIGNALS):
            whole = folder / f"whole_{tool.name}"
            ended = run_tool(tool, whole, python=arguments.python)
            print(f"{tool.name}, undisturbed: {describe(tool, whole, ended)}", flush=True)
        for what in arguments.tries:
            try_tool(tool, what, folder, python=arguments.python)


if __name__ == "__main__":
    main()

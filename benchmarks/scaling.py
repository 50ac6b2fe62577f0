"""Row e: what a trial costs as trials become many; how long a large plan takes.

The sweep of row d with more seeds: 64, 256 and 1,024 trials, each in a fresh process from its start
to its end, and the largest resident memory of the driver. A plan of 10,000 trials is timed in a
fresh process: alone, after another recipe was planned so that everything is imported, and with the
whole process. Scaling in the size of groups stands in row c. Sweeps that last: `long_sweeps`.
"""

import dataclasses
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.baselines.task import FULL, QUICK, Task
from benchmarks.long_sweeps import measure_memory, measure_share
from benchmarks.options import Options, run_process
from benchmarks.sweeps import SweepTime, time_this_tool
from benchmarks.table import Goal, Row
from benchmarks.timing import Ratio, median_of

MIB = 2**20

_PLAN = """
import json, time
from rlp_sweeps.orchestration.planner import plan_sweep
from rlp_sweeps.recipes import load_space

warm_up = load_space("quickstart")
plan_sweep(warm_up.space, name=warm_up.name, device="cpu")
start = time.perf_counter()
named = load_space("space.py")
plan = plan_sweep(named.space, name=named.name, device="cpu")
print(json.dumps({"time_s": time.perf_counter() - start, "num_trials": plan.num_trials}))
"""


def measure(options: Options) -> Iterator[Row]:
    """Yield one row a number of trials, one on the plan, two on sweeps that last."""
    tasks = _tasks(QUICK, factors=(1, 2)) if options.is_quick else _tasks(FULL, factors=(1, 4, 16))
    sweeps = {len(task.points): time_this_tool(task) for task in tasks}
    yield from _sweep_rows(sweeps)
    yield from _plan_rows(options)
    yield from measure_share(options)
    yield from measure_memory(options)


def _tasks(task: Task, *, factors: tuple[int, ...]) -> list[Task]:
    return [dataclasses.replace(task, num_seeds=task.num_seeds * factor) for factor in factors]


def _sweep_rows(sweeps: dict[int, SweepTime]) -> Iterator[Row]:
    fewest = min(sweeps)
    for number, sweep in sweeps.items():
        if number == fewest:
            continue
        each_s, least_s = sweep.wall_s / number, sweeps[fewest].wall_s / fewest
        memory = sweep.peak_bytes / sweeps[fewest].peak_bytes
        sizes = f"driver {sweep.peak_bytes / MIB:.0f} MiB, {memory:.2f} times that of {fewest}"
        how = f"{sweep.wall_s:.1f} s in all, {each_s * 1e3:.0f} ms a trial; {sizes}"
        yield Row(
            letter="e",
            what=f"wall time a trial, {number:,} trials",
            against=f"wall time a trial, {fewest} trials",
            value=Ratio(each_s / least_s, None, None, 1),
            measure="times the time",
            goal=Goal(rule="<=", bound=1.0),
            how=f"{how}; {fewest} trials: {sweeps[fewest].wall_s:.1f} s",
        )


def _plan_rows(options: Options) -> Iterator[Row]:
    num_seeds = 4 if options.is_quick else 625
    task = dataclasses.replace(FULL, num_seeds=num_seeds)
    with tempfile.TemporaryDirectory(prefix="rlp-bench-") as folder:
        directory = Path(folder)
        (directory / "space.py").write_text(task.as_space(), encoding="utf-8")
        (directory / "plan.py").write_text(_PLAN, encoding="utf-8")
        rounds = 2 if options.is_quick else 7
        processes = [run_process(["plan.py"], cwd=directory) for _ in range(rounds)]
    printed = [json.loads(process.stdout) for process in processes]
    if {found["num_trials"] for found in printed} != {len(task.points)}:
        msg = f"a plan of {len(task.points)} trials must have them all, but got {printed[0]}."
        raise RuntimeError(msg)
    whole = median_of([process.wall_s for process in processes])
    peak = median_of([process.peak_bytes / MIB for process in processes])
    yield Row(
        letter="e",
        what=f"plan of {len(task.points):,} trials",
        against="",
        value=median_of([found["time_s"] for found in printed]),
        measure="s",
        goal=Goal(rule="<=", bound=2.0),
        how=f"with imports and start of the process {whole} s, peak {peak} MiB",
    )

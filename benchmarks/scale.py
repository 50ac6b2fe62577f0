"""What a sweep's driver needs as its trials become many, simulated and real.

    python -m benchmarks.scale [--simulated 64,1000,10000] [--parts 10000] [--real 2000]

*Simulated*: groups of one trial on 10 machines of 4 slots, 3 evaluations a trial, rows by formula
(`rlp_sweeps.orchestration.simulation`): plan, attempt, part files and compaction are those of any
sweep, Ray and MLflow are left out. *Real*: the same with Ray, MLflow and training: a tiny MLP on 64
samples, one epoch, groups of one, two at once. Then, in fresh processes on what that left:
`status`, what `resume` does before it starts Ray, and `analyze`. *Parts*: a directory whose sweep
has not compacted yet, one file a trial and table. Times are wall seconds of one run each.
"""

import argparse
import json
import shlex
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.machine import describe_machine
from benchmarks.options import ProcessResult, run_process

MIB = 2**20
NUM_LRS = 50

_SPACE = """
from rlp_sweeps.spaces import LogAxis, SearchSpace

SPACE = SearchSpace(
    axes={{'lr': LogAxis(low=0.01, high=1.0, num_points={num_lrs}),
          'rlp_lambda': LogAxis(low=1.0, high=1.0, num_points=1, control=0.0)}},
    arms=('control', 'full'),
    num_seeds={num_seeds},
    fixed={{'dataset': 'synthetic:1,4,4,2,64', 'backbone': 'mlp', 'num_epochs': {num_epochs},
           'batch_size': 16}},
)
"""

_PROBE = """
import json, sys, time
from pathlib import Path
from rlp_sweeps.orchestration.planner import plan_from_manifest, remaining_groups
from rlp_sweeps.orchestration.status import sweep_status
from rlp_sweeps.tracking.run_directory import RunDirectory

path = Path(sys.argv[1])
start = time.perf_counter()
sweep_status(path)
status_s = time.perf_counter() - start
start = time.perf_counter()
directory = RunDirectory.open(path)
plan = plan_from_manifest(directory.manifest)
left = remaining_groups(plan, directory.finished_trials())
resume_s = time.perf_counter() - start
print(json.dumps({"status_s": status_s, "resume_s": resume_s, "num_left": len(left)}))
"""

_PARTS = """
import json, sys, time
from pathlib import Path
from rlp_sweeps.orchestration.status import sweep_status
from rlp_sweeps.tracking import parquet
from rlp_sweeps.tracking.run_directory import RunDirectory

path = Path(sys.argv[1])
directory = RunDirectory.open(path)
for table in ("epochs", "trials"):
    rows = parquet.read_files(table, [path / table / parquet.COMPACTED_NAME])
    spans = {}
    for row, trial_id in enumerate(rows["trial_id"].to_pylist()):
        first, number = spans.get(trial_id, (row, 0))
        spans[trial_id] = (first, number + 1)
    for trial_id, (first, number) in spans.items():
        parquet._write(
            rows.slice(first, number), path / table / f"{trial_id}.parquet", compression="snappy",
            use_dictionary=False, write_statistics=False, store_schema=False,
        )
    (path / table / parquet.COMPACTED_NAME).unlink()
found = {}
for name, call in {
    "list_s": lambda: sorted((path / "trials").glob("[!.]*.parquet")),
    "finished_s": directory.finished_trials,
    "status_s": lambda: sweep_status(path),
    "compact_s": directory.compact,
}.items():
    start = time.perf_counter()
    call()
    found[name] = time.perf_counter() - start
print(json.dumps(found))
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """What one sweep needed.

    Attributes:
        what: ``simulated`` or ``real``.
        num_trials: Its trials.
        wall_s: Seconds of the process that ran it, from its start to its end.
        peak_bytes: Largest resident memory of that process.
        status_s: Seconds of `status`, without the start of a process.
        resume_s: Seconds from a manifest to the groups that are left.
        analyze_s: Seconds of the process that analyzed it.
        analyze_bytes: Its largest resident memory.
        manifest_bytes: Size of the manifest.
        num_files: Files in the run directory, its analysis left out.
    """

    what: str
    num_trials: int
    wall_s: float
    peak_bytes: int
    status_s: float
    resume_s: float
    analyze_s: float
    analyze_bytes: int
    manifest_bytes: int
    num_files: int

    def cells(self) -> list[str]:
        """Return the cells of its line in the table."""
        return [
            self.what,
            f"{self.num_trials:,}",
            f"{self.wall_s:.1f}",
            f"{self.wall_s / self.num_trials * 1e3:.1f}",
            f"{self.peak_bytes / MIB:.0f}",
            f"{self.status_s:.2f}",
            f"{self.resume_s:.2f}",
            f"{self.analyze_s:.1f}",
            f"{self.analyze_bytes / MIB:.0f}",
            f"{self.manifest_bytes / MIB:.1f}",
            str(self.num_files),
        ]


COST_HEADER = [
    "sweep",
    "trials",
    "in all, s",
    "ms a trial",
    "driver's peak, MiB",
    "`status`, s",
    "`resume` plans, s",
    "`analyze`, s",
    "its peak, MiB",
    "manifest, MiB",
    "files",
]
PARTS_HEADER = ["trials", "list one folder, s", "read who is done, s", "`status`, s", "compact, s"]


def write_space(folder: Path, num_trials: int, *, num_epochs: int) -> None:
    """Write ``space.py``: learning rates by seeds under two arms."""
    num_lrs = min(NUM_LRS, num_trials // 2)
    num_seeds = max(1, num_trials // (2 * num_lrs))
    text = _SPACE.format(num_lrs=num_lrs, num_seeds=num_seeds, num_epochs=num_epochs)
    (folder / "space.py").write_text(text, encoding="utf-8")


def simulate(folder: Path, num_trials: int) -> ProcessResult:
    """Simulate a sweep into ``run`` below a folder."""
    write_space(folder, num_trials, num_epochs=3)
    cluster = ["--nodes", "10", "--slots", "4", "--group-size", "1", "--engine", "sequential"]
    command = ["-m", "rlp_sweeps", "simulate", "space.py", "--epoch-seconds", "60", *cluster]
    return run_process([*command, "--output", "run"], cwd=folder)


def train(folder: Path, num_trials: int) -> ProcessResult:
    """Train a sweep into ``run`` below a folder."""
    write_space(folder, num_trials, num_epochs=1)
    place = ["--device", "cpu", "--max-concurrent", "2", "--group-size", "1"]
    command = ["-m", "rlp_sweeps", "run", "space.py", "--output", "run", "--engine", "sequential"]
    return run_process([*command, *place, "--no-analyze"], cwd=folder)


def cost_of(what: str, process: ProcessResult, folder: Path) -> Cost:
    """Return what a sweep in ``run`` below a folder needed, with what is asked of it afterwards."""
    run = folder / "run"
    num_files = sum(path.is_file() for path in run.rglob("*"))
    (folder / "probe.py").write_text(_PROBE, encoding="utf-8")
    probe = json.loads(run_process(["probe.py", "run"], cwd=folder).stdout)
    analysis = run_process(["-m", "rlp_sweeps", "analyze", "run"], cwd=folder)
    manifest = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
    return Cost(
        what=what,
        num_trials=len(manifest["trials"]),
        wall_s=process.wall_s,
        peak_bytes=process.peak_bytes,
        status_s=probe["status_s"],
        resume_s=probe["resume_s"],
        analyze_s=analysis.wall_s,
        analyze_bytes=analysis.peak_bytes,
        manifest_bytes=(run / "manifest.json").stat().st_size,
        num_files=num_files,
    )


def measure_costs(simulated: list[int], real: list[int]) -> Iterator[Cost]:
    """Yield one cost a sweep."""
    for what, run, numbers in (("simulated", simulate, simulated), ("real", train, real)):
        for number in numbers:
            with tempfile.TemporaryDirectory(prefix="rlp-scale-") as name:
                folder = Path(name)
                yield cost_of(what, run(folder, number), folder)


def measure_parts(numbers: list[int]) -> Iterator[tuple[int, dict[str, float]]]:
    """Yield the seconds that a directory full of part files costs, by number of trials."""
    for number in numbers:
        with tempfile.TemporaryDirectory(prefix="rlp-scale-") as name:
            folder = Path(name)
            simulate(folder, number)
            (folder / "parts.py").write_text(_PARTS, encoding="utf-8")
            yield number, json.loads(run_process(["parts.py", "run"], cwd=folder).stdout)


def line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def print_table(header: list[str], lines: Iterator[list[str]]) -> None:
    """Print a table, each line as soon as it is measured."""
    print(f"\n{line(header)}\n{line(['---'] * len(header))}", flush=True)
    for cells in lines:
        print(line(cells), flush=True)


def part_cells(number: int, found: Mapping[str, float]) -> list[str]:
    seconds = [f"{found[key]:.2f}" for key in ("list_s", "finished_s", "status_s", "compact_s")]
    return [f"{number:,}", *seconds]


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",") if number]


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--simulated", type=_numbers, default=[64, 1000, 10000])
    parser.add_argument("--parts", type=_numbers, default=[10000])
    parser.add_argument("--real", type=_numbers, default=[2000])
    given = parser.parse_args()
    command = shlex.join(["python", "-m", "benchmarks.scale", *sys.argv[1:]])
    for name, fact in describe_machine(device="cpu", command=command).items():
        print(f"- {name}: {fact}")
    costs = measure_costs(given.simulated, given.real)
    print_table(COST_HEADER, (cost.cells() for cost in costs))
    print_table(PARTS_HEADER, (part_cells(*found) for found in measure_parts(given.parts)))


if __name__ == "__main__":
    main()

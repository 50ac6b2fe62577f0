"""Rows on sweeps that last: the share that is not training, and the driver's memory.

Both read what the sweep itself has written. A group trains from the start of its first trial to the
end of its last one, as the workers have recorded it; what is left of the cores' time until the
process ends is orchestration: imports, Ray, MLflow, waiting for a worker, the end.
"""

import dataclasses
import tempfile
from collections.abc import Iterator
from pathlib import Path

import polars as pl

from benchmarks.baselines.task import FULL, QUICK
from benchmarks.options import Options, ProcessResult, run_process
from benchmarks.table import Goal, Row
from benchmarks.timing import Ratio

MIB, GIB = 2**20, 2**30
SLOTS = 2
"""Groups at once."""

LONG = dataclasses.replace(FULL, num_epochs=150)
"""Groups of a minute or more."""

_MANY_TRIALS = """
from rlp_sweeps.spaces import LogAxis, SearchSpace

SPACE = SearchSpace(
    axes={{'lr': LogAxis(low=0.01, high=1.0, num_points=100)}},
    arms=('control',),
    num_seeds={num_seeds},
    fixed={{'dataset': 'synthetic:1,4,4,2,64', 'backbone': 'mlp', 'num_epochs': 1,
           'batch_size': 16}},
)
"""


def measure_share(options: Options) -> Iterator[Row]:
    """Yield the share of the cores' time that is not training, with long groups."""
    task = QUICK if options.is_quick else LONG
    with tempfile.TemporaryDirectory(prefix="rlp-bench-") as folder:
        directory = Path(folder)
        process = run_sweep(task.as_space(), directory)
        groups = group_times(directory / "run")
    busy_s = groups["time_s"].sum() / SLOTS
    span_s = (groups["end_ms"].max() - groups["start_ms"].min()) / 1e3
    shortest, median = groups["time_s"].min(), groups["time_s"].median()
    yield Row(
        letter="e",
        what=f"share of orchestration, {len(groups)} groups on {SLOTS} cores",
        against="",
        value=Ratio(1 - busy_s / process.wall_s, None, None, 1),
        measure="share",
        goal=Goal(rule="<=", bound=0.05),
        how=f"{process.wall_s:.0f} s in all, a core trains for {busy_s:.0f} s of them; groups of "
        f"{median:.0f} s, the shortest {shortest:.0f} s; from the first start to the last end "
        f"{1 - busy_s / span_s:.3f}",
    )


def measure_memory(options: Options) -> Iterator[Row]:
    """Yield the driver's memory with trials of a tiny network on 64 samples, one epoch each."""
    num_seeds = 1 if options.is_quick else 100
    with tempfile.TemporaryDirectory(prefix="rlp-bench-") as folder:
        directory = Path(folder)
        process = run_sweep(_MANY_TRIALS.format(num_seeds=num_seeds), directory)
        groups = group_times(directory / "run")
    num_trials = groups["num_trials"].sum()
    yield Row(
        letter="e",
        what=f"driver's peak memory, {num_trials:,} trials",
        against="",
        value=Ratio(process.peak_bytes / GIB, None, None, 1),
        measure="GiB",
        how=f"{len(groups)} groups, {process.wall_s:.0f} s, "
        f"{process.wall_s / num_trials * 1e3:.0f} ms a trial",
    )


def run_sweep(space: str, directory: Path) -> ProcessResult:
    """Run a sweep with ``rlp-sweeps run`` into ``run`` below a folder."""
    (directory / "space.py").write_text(space, encoding="utf-8")
    command = ["-m", "rlp_sweeps", "run", "space.py", "--output", "run", "--device", "cpu"]
    return run_process([*command, "--max-concurrent", str(SLOTS), "--no-analyze"], cwd=directory)


def group_times(directory: Path) -> pl.DataFrame:
    """Return one row a group of a sweep.

    Reads ``group_id``, ``started_at_ms`` and ``finished_at_ms`` of ``trials``; returns `group_id`,
    `start_ms`, `end_ms`, `time_s` and `num_trials`.
    """
    return (
        pl.scan_parquet(directory / "trials" / "*.parquet")
        .group_by("group_id")
        .agg(
            start_ms=pl.col("started_at_ms").min(),
            end_ms=pl.col("finished_at_ms").max(),
            num_trials=pl.len(),
        )
        .with_columns(time_s=(pl.col("end_ms") - pl.col("start_ms")) / 1e3)
        .collect()
    )

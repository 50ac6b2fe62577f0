"""Row d: one 64-trial sweep on the digits, end to end, with this tool and with its alternatives.

Every tool runs in a fresh process; wall time counts from its start to its end, imports and Ray's
start-up included. All train the same grid, network, batches and epochs on all cores, measure the
same five metrics after every epoch and log them to MLflow (SQLite); what each does otherwise stands
in its module in ``benchmarks/baselines``. This tool measures and logs three times as many metrics,
also writes Parquet and can be resumed; it runs without its analysis, which none of the others has.
After each run the MLflow store is counted: a tool that logged less is no comparison.

In each of three rounds the alternatives run one after the other, this tool before and after them;
a ratio is that of an alternative to the mean of these two runs. The one that starts a process a
trial takes minutes and runs in the first round only.
"""

import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median

from benchmarks.baselines.task import FULL, METRICS, QUICK, Task
from benchmarks.options import Options, run_process
from benchmarks.table import Goal, Row
from benchmarks.timing import Ratio

NUM_ROUNDS = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Alternative:
    """Another way to run the sweep.

    Attributes:
        name: What a reader calls it.
        module: Module of ``benchmarks/baselines``.
        flags: Its options.
        goal: How many times this tool should be faster.
        runs_once: Whether it takes part in the first round only.
    """

    name: str
    module: str
    flags: tuple[str, ...] = ()
    goal: float = 1.0
    runs_once: bool = False


ALTERNATIVES = (
    Alternative(
        name="Ray Tune: one process a trial, DataLoader, MLflowLoggerCallback",
        module="ray_tune",
        goal=10.0,
        runs_once=True,
    ),
    Alternative(
        name="Ray Tune: reuse_actors, DataLoader, MLflowLoggerCallback",
        module="ray_tune",
        flags=("--reuse",),
        goal=3.0,
    ),
    Alternative(
        name="Ray Tune: reuse_actors, data preloaded, one thread, MLflowLoggerCallback",
        module="ray_tune",
        flags=("--reuse", "--preloaded"),
    ),
    Alternative(
        name="Ray Tune: reuse_actors, data preloaded, one thread, one log_batch a trial",
        module="ray_tune",
        flags=("--reuse", "--preloaded", "--batched"),
    ),
    Alternative(name="Optuna: n_jobs = cores", module="optuna_study"),
    Alternative(name="joblib: n_jobs = cores", module="joblib_pool"),
)
QUICK_ALTERNATIVES = (ALTERNATIVES[3], ALTERNATIVES[4], ALTERNATIVES[5])


@dataclass(frozen=True, kw_only=True, slots=True)
class SweepTime:
    """How long one sweep took.

    Attributes:
        wall_s: From the start of the process to its end.
        training_s: From the start of the first trial's MLflow run to the end of the last one.
        peak_bytes: Largest resident memory of the driver.
    """

    wall_s: float
    training_s: float
    peak_bytes: int


def measure(options: Options) -> Iterator[Row]:
    """Yield one row an alternative."""
    task = QUICK if options.is_quick else FULL
    alternatives = QUICK_ALTERNATIVES if options.is_quick else ALTERNATIVES
    own = [time_this_tool(task)]
    found: dict[Alternative, list[SweepTime]] = {alternative: [] for alternative in alternatives}
    for number in range(1 if options.is_quick else NUM_ROUNDS):
        for alternative in alternatives:
            if number == 0 or not alternative.runs_once:
                found[alternative].append(_time_alternative(task, alternative))
        own.append(time_this_tool(task))
    for alternative, others in found.items():
        yield Row(
            letter="d",
            what=f"{len(task.points)}-trial digits sweep, end to end",
            against=alternative.name,
            value=Ratio(median(_ratios(own, others)), None, None, len(others)),
            measure="times faster",
            goal=Goal(rule=">=", bound=alternative.goal),
            how=_how(task, own, others),
        )


def _ratios(own: Sequence[SweepTime], others: Sequence[SweepTime]) -> list[float]:
    """Return an alternative's time over this tool's around it, one ratio a round."""
    around = [(before.wall_s + after.wall_s) / 2 for before, after in pairwise(own)]
    rounds = zip(others, around, strict=False)  # some run once
    return [other.wall_s / wall_s for other, wall_s in rounds]


def _how(task: Task, own: Sequence[SweepTime], others: Sequence[SweepTime]) -> str:
    wall_s = median(other.wall_s for other in others)
    own_training_s, training_s = (
        median(sweep.training_s for sweep in sweeps) for sweeps in (own, others)
    )
    return (
        f"this tool {_spread(own)}, the other {_spread(others)} "
        f"({len(task.points) * 60 / wall_s:.0f} trials/min); from the first trial to the last "
        f"{own_training_s:.1f} and {training_s:.1f} s: {training_s / own_training_s:.2g} times"
    )


def _spread(sweeps: Sequence[SweepTime]) -> str:
    """Return the median of wall times, and the smallest and the largest."""
    walls = [sweep.wall_s for sweep in sweeps]
    if len(walls) == 1:
        return f"{walls[0]:.1f} s"
    return f"{median(walls):.1f} s ({min(walls):.1f} to {max(walls):.1f})"


def time_this_tool(task: Task) -> SweepTime:
    """Return what the sweep costs with ``rlp-sweeps run``, as everyone starts it."""
    with tempfile.TemporaryDirectory(prefix="rlp-bench-") as folder:
        directory = Path(folder)
        (directory / "space.py").write_text(task.as_space(), encoding="utf-8")
        command = ["-m", "rlp_sweeps", "run", "space.py", "--output", "run", "--device", "cpu"]
        return _timed(task, [*command, "--no-analyze"], directory)


def _time_alternative(task: Task, alternative: Alternative) -> SweepTime:
    with tempfile.TemporaryDirectory(prefix="rlp-bench-") as folder:
        directory = Path(folder)
        task.save(directory / "task.json")
        command = ["-m", f"benchmarks.baselines.{alternative.module}", str(directory)]
        return _timed(task, [*command, *alternative.flags], directory)


def _timed(task: Task, command: list[str], directory: Path) -> SweepTime:
    process = run_process(command, cwd=directory)
    return SweepTime(
        wall_s=process.wall_s,
        training_s=count_logged(directory / "mlflow.db", task),
        peak_bytes=process.peak_bytes,
    )


def count_logged(store: Path, task: Task) -> float:
    """Check that MLflow holds every metric of every epoch of every trial; return the runs' span.

    Returns:
        Seconds from the start of the first run with metrics to the end of the last one.

    Raises:
        RuntimeError: Something is missing.
    """
    wanted = len(task.points) * task.num_epochs
    with sqlite3.connect(store) as connection:
        for metric in METRICS:
            counted = (
                "select count(*) from (select distinct run_uuid, step from metrics where key=?)"
            )
            (found,) = connection.execute(counted, (metric,)).fetchone()
            if found != wanted:
                msg = f"{store} must hold {wanted} values of {metric!r}, but holds {found}."
                raise RuntimeError(msg)
        start_ms, end_ms = connection.execute(
            "select min(start_time), max(end_time) from runs "
            "where run_uuid in (select run_uuid from metrics where key=?)",
            (METRICS[0],),
        ).fetchone()
    connection.close()
    return float(end_ms - start_ms) / 1e3

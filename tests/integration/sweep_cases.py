"""Tiny sweeps on digits, run here or in a driver of their own that can be killed.

``python sweep_cases.py NAME OUTPUT`` runs one of `CASES` into a directory and prints its outcome;
``python sweep_cases.py resume OUTPUT`` goes on with one.
"""

import contextlib
import itertools
import os
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import polars as pl

from rlp_sweeps.orchestration.planner import plan_from_manifest, plan_sweep
from rlp_sweeps.orchestration.points import PointLog
from rlp_sweeps.orchestration.progress import RunOptions
from rlp_sweeps.orchestration.sweep import resume_sweep, run_sweep
from rlp_sweeps.spaces import ChoiceAxis, LogAxis, Search, SearchSpace
from rlp_sweeps.stores import as_path
from rlp_sweeps.tracking.run_directory import RunDirectory

_FIXED = {"dataset": "digits", "train_samples": 128, "backbone": "mlp", "batch_size": 64}
_LR = LogAxis(low=0.01, high=0.3, num_points=2)
_LAMBDA = LogAxis(low=1.0, high=10.0, num_points=1, control=0.0)

CASES = {
    "two_groups": SearchSpace(
        axes={"lr": _LR}, arms=("control",), num_seeds=1, fixed={**_FIXED, "num_epochs": 3}
    ),
    "grid": SearchSpace(
        axes={"lr": _LR, "rlp_lambda": _LAMBDA},
        arms=("control", "full"),
        num_seeds=2,
        fixed={**_FIXED, "num_epochs": 40, "eval_every": 4},
    ),
    "search": SearchSpace(
        axes={"lr": LogAxis(low=0.01, high=1.0, num_points=2), "rlp_lambda": _LAMBDA},
        arms=("control", "full"),
        num_seeds=2,
        fixed={**_FIXED, "num_epochs": 12, "eval_every": 4},
        search=Search(num_points=6),
    ),
    "long_search": SearchSpace(  # its sampler draws ten points before it heeds what it was told
        axes={"lr": LogAxis(low=0.01, high=1.0, num_points=2), "rlp_lambda": _LAMBDA},
        arms=("control", "full"),
        num_seeds=1,
        fixed={**_FIXED, "num_epochs": 6, "eval_every": 3},
        search=Search(num_points=13),
    ),
    "early_stopping": SearchSpace(
        axes={"lr": LogAxis(low=1e-4, high=1.0, num_points=2), "rlp_lambda": _LAMBDA},
        arms=("full",),
        num_seeds=1,
        fixed={**_FIXED, "num_epochs": 9},
        search=Search(num_points=8, early_stopping=True),
    ),
    "halved_groups": SearchSpace(
        axes={"lr": LogAxis(low=1e-4, high=1.0, num_points=2), "rlp_lambda": _LAMBDA},
        arms=("control", "full"),
        num_seeds=1,
        fixed={**_FIXED, "num_epochs": 9},
        search=Search(num_points=12, early_stopping=True, reduction_factor=2),
    ),
    "failing": SearchSpace(
        axes={"backbone": ChoiceAxis(choices=("mlp", "sweep_cases.broken_backbone"))},
        arms=("control",),
        num_seeds=1,
        fixed={**{k: v for k, v in _FIXED.items() if k != "backbone"}, "num_epochs": 2, "lr": 0.1},
    ),
    "dying": SearchSpace(
        axes={"lr": _LR},
        arms=("control",),
        num_seeds=1,
        fixed={**_FIXED, "backbone": "sweep_cases.dying_backbone", "num_epochs": 2},
    ),
}

GROUP_SIZES = {"halved_groups": 8}
"""Most trials in a group, where it is not the engine's own choice: four points of two trials."""

OPTIONS = RunOptions(device="cpu", num_cpus=1, checkpoint_interval_s=0.0)
"""One group at a time: a second process would only import what the first does."""

VOLATILE = (
    "wall_time_s",
    "started_at_ms",
    "finished_at_ms",
    "logged_at_ms",
    "epoch_time_s",
    "hostname",
    "code_version",
)
"""Columns that say when and where, not what."""


def broken_backbone(**settings):
    """Build a backbone in the driver's check, and raise in a worker."""
    from rlp_sweeps.training.backbones import get_builder

    if "ray" in sys.modules and "default_worker" in sys.argv[0]:
        raise ArithmeticError("this backbone is broken")
    return get_builder("mlp")(**settings)


def dying_backbone(**settings):
    """Kill the worker as often as the file of that name has lines, one line a time."""
    from rlp_sweeps.training.backbones import get_builder

    deaths = Path(os.environ["SWEEP_CASES_DEATHS"])
    if "default_worker" in sys.argv[0] and deaths.read_text():
        deaths.write_text(deaths.read_text().partition("\n")[2])
        os.kill(os.getpid(), signal.SIGKILL)
    return get_builder("mlp")(**settings)


def plan_case(name):
    return plan_sweep(
        CASES[name],
        name=name,
        device="cpu",
        engine="sequential",
        group_size=GROUP_SIZES.get(name),
    )


def run_case(name, output, **options):
    return run_sweep(plan_case(name), output=output, options=replace(OPTIONS, **options))


def read_table(output, table):
    """Return the columns of a table that must not depend on when and where it was written."""
    frame = pl.read_parquet(output / table / "*.parquet").drop(VOLATILE, strict=False)
    keys = ["trial_id", "epoch"] if table == "epochs" else ["trial_id"]
    return frame.sort(keys)


def rebuild_study(output):
    """Return the study of a whole search as the next driver would find it."""
    from rlp_sweeps.orchestration.search import SweepOptunaSearch

    opened = RunDirectory.open(output)
    rows = {row["trial_id"]: row for row in opened.read_trials().to_pylist()}
    search = SweepOptunaSearch(
        plan_from_manifest(opened.manifest).space,
        log=PointLog.of(opened.path),
        read_rows=lambda trial_ids: {i: rows[i] for i in trial_ids if i in rows},
        size_of=lambda trial: 1,
    )
    assert search.num_left == 0
    return search.study


def count_mlflow_runs(output):
    """Return how many runs MLflow's default store holds of a sweep, by their state."""
    with contextlib.closing(sqlite3.connect(output.parent / "mlflow.db")) as store:
        return dict(
            store.execute(
                "SELECT status, count(*) FROM runs JOIN experiments USING (experiment_id) "
                "WHERE experiments.name = ? AND runs.lifecycle_stage = 'active' GROUP BY status",
                [output.name],
            )
        )


def most_at_once(trials):
    """Return the largest number of trials that were being trained at one time."""
    starts = [(time_ms, 1) for time_ms in trials["started_at_ms"]]
    ends = [(time_ms, -1) for time_ms in trials["finished_at_ms"]]
    return max(itertools.accumulate(step for _, step in sorted(starts + ends)))


def start_driver(name, output):
    """Run a case, or ``resume``, in a process of its own, which leads a session of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, __file__, name, str(output)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    )


def kill_driver_after(driver, output, *, num_rows, sent=signal.SIGKILL, timeout_s=90):
    """Send a signal to the driver once some trials have rows; return what it printed."""
    deadline = time.monotonic() + timeout_s
    while len(list((output / "trials").glob("[!.]*.parquet"))) < num_rows:
        assert driver.poll() is None, driver.communicate()[1][-2000:]
        assert time.monotonic() < deadline, "no trial finished in time"
        time.sleep(0.05)
    driver.send_signal(sent)
    output_text, _ = driver.communicate(timeout=60)
    wait_for_workers_to_go(driver.pid, timeout_s=timeout_s / 3)
    return output_text


def wait_for_workers_to_go(driver_pid, *, timeout_s=30):
    """Wait until the cluster of a driver is gone."""
    deadline = time.monotonic() + timeout_s
    marker = f"rlp-ray-{driver_pid}-".encode()
    while any(marker in _command(p) for p in Path("/proc").glob("[0-9]*")):
        assert time.monotonic() < deadline, "workers outlive their driver"
        time.sleep(0.2)


def _command(process):
    try:
        return (process / "cmdline").read_bytes()
    except OSError:
        return b""


if __name__ == "__main__":
    where = as_path(sys.argv[2])
    goes_on = sys.argv[1] == "resume"
    outcome = resume_sweep(where, options=OPTIONS) if goes_on else run_case(sys.argv[1], where)
    print(outcome.exit_status, sum(outcome.counts.values()), outcome.interrupted)

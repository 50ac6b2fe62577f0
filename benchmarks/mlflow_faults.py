"""Seconds of one tiny sweep with a healthy MLflow server, and with each fault of one.

``python -m benchmarks.mlflow_faults [--repeat N] [--only NAME ...]``: every fault in turn, N times.
``training`` is from the first trial's start to the last one's end, ``in all`` from the call to its
return, ``end`` from the last trial's end on.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

from benchmarks.faulty_mlflow import FaultyServer
from rlp_sweeps.orchestration.planner import SweepPlan, plan_sweep
from rlp_sweeps.orchestration.progress import RunOptions, SilentProgress
from rlp_sweeps.orchestration.sweep import run_sweep
from rlp_sweeps.spaces import LogAxis, SearchSpace
from rlp_sweeps.tracking.mlflow_sync import sync
from rlp_sweeps.tracking.run_directory import RunDirectory

SPACE = SearchSpace(
    axes={"lr": LogAxis(low=0.01, high=0.3, num_points=4)},
    arms=("control",),
    num_seeds=3,
    fixed={
        "dataset": "digits",
        "train_samples": 512,
        "backbone": "mlp",
        "batch_size": 32,
        "num_epochs": 40,
    },
)
"""12 trials, one a group."""

FAULTS = {
    "none": "none",
    "away at the start": "away",
    "dies after 3 groups": "dies",
    "3 s a call": "slow 3",
    "HTTP 500": "status 500",
    "HTTP 403": "status 403",
    "never answers": "hang",
}


class Saboteur(SilentProgress):
    """Lets a server misbehave once a sweep has begun, or ends it after some groups."""

    def __init__(self, server: FaultyServer, fault: str) -> None:
        self._server = server
        self._fault = fault
        self._num_ended = 0

    def on_start(self, plan: SweepPlan, num_groups: int, finished: object) -> None:
        """Begin to misbehave."""
        if self._fault not in {"away", "dies"}:
            self._server.fault(self._fault)

    def on_group_finished(self, group_id: str, counts: object) -> None:
        """Count, and end the server."""
        self._num_ended += 1
        if self._fault == "dies" and self._num_ended == 3:
            self._server.stop()


def measure(fault: str, folder: Path) -> dict[str, float]:
    """Run the sweep once, repair MLflow, and return seconds."""
    plan = plan_sweep(SPACE, name="faults", device="cpu", engine="sequential")
    with FaultyServer(folder) as server:
        if fault == "away":
            server.stop()
        options = RunOptions(
            device="cpu", num_cpus=1, tracking_uri=server.uri, tracking_may_be_away=True
        )
        started = time.time()
        saboteur = Saboteur(server, fault)
        outcome = run_sweep(plan, output=folder / "run", options=options, progress=saboteur)
        ended = time.time()
        server.fault("none")
        if fault in {"away", "dies"}:
            server.stop()
            server.start()
        directory = RunDirectory.open(folder / "run")
        report = sync(directory, server.uri)
        again = sync(directory, server.uri)
    rows = directory.read_trials()
    begun, done = min(rows["started_at_ms"].to_pylist()), max(rows["finished_at_ms"].to_pylist())
    assert rows.num_rows == again.num_runs_unchanged == len(plan.trials)
    assert (outcome.tracking_error is None) == (fault == "none")
    return {
        "training": (done - begun) / 1000,
        "end": ended - done / 1000,
        "in all": ended - started,
        "repaired": report.num_runs_created + report.num_runs_updated,
        "unchanged": report.num_runs_unchanged,
        "removed": report.num_runs_removed,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=3, metavar="N")
    parser.add_argument("--only", nargs="+", choices=FAULTS, default=list(FAULTS))
    asked = parser.parse_args()
    seen: dict[str, list[dict[str, float]]] = {name: [] for name in asked.only}
    for _ in range(asked.repeat):
        for name in asked.only:
            with tempfile.TemporaryDirectory(prefix="rlp-faults-") as folder:
                seen[name].append(measure(FAULTS[name], Path(folder)))
            print(json.dumps({name: seen[name][-1]}), flush=True)
    columns = ["training", "end", "in all", "repaired", "unchanged", "removed"]
    print(f"| server | {' | '.join(columns)} |\n|---|{'--:|' * len(columns)}")
    for name, runs in seen.items():
        medians = (statistics.median(run[column] for run in runs) for column in columns)
        print(f"| {name} | {' | '.join(f'{value:.3g}' for value in medians)} |")


if __name__ == "__main__":
    main()

"""Readers of a directory in which a sweep is at work: whatever the moment, rows are whole.

A process writes trials and compacts, again and again, far more often than a sweep does; meanwhile
every way to read the directory is used. A reader must see each row that it has seen before, each
trial with all its evaluations, and never an error.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from analysis.load import load_epochs, load_trials
from analysis.query import query
from rlp_sweeps.orchestration.planner import plan_sweep
from rlp_sweeps.orchestration.status import sweep_status
from rlp_sweeps.spaces import ChoiceAxis, SearchSpace
from rlp_sweeps.tracking.run_directory import RunDirectory, build_manifest

NUM_EPOCHS = 4
SECONDS = 1.5
SPACE = SearchSpace(
    axes={"lr": ChoiceAxis(choices=(0.1,))},
    arms=("control",),
    num_seeds=40,
    fixed={"dataset": "digits", "backbone": "mlp", "num_epochs": NUM_EPOCHS},
)

WRITER = """
import itertools, sys, time
from rlp_sweeps.orchestration.planner import plan_from_manifest
from rlp_sweeps.tracking.run_directory import RunDirectory

directory = RunDirectory.open(sys.argv[1])
trials = plan_from_manifest(directory.manifest).trials
metrics = {name: 0.5 for name in ("train_accuracy", "val_accuracy", "test_accuracy", "test_loss")}
for number, trial in enumerate(itertools.cycle(trials)):
    row = {**trial.to_dict(), **metrics, "trial_id": trial.trial_id, "status": "completed"}
    row |= {"num_classes": 10, "wall_time_s": 1.0, "epochs_completed": 4, "metrics_epoch": 4}
    epochs = [{"trial_id": trial.trial_id, "epoch": epoch + 1} for epoch in range(4)]
    directory.write_trial(row, epochs)
    if number == 1:
        print("ready", flush=True)
    if number % 7 == 6:
        directory.compact()
    time.sleep(0.005)
"""


@pytest.fixture(scope="module")
def writer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory that a process of its own writes into until the tests end."""
    plan = plan_sweep(SPACE, name="tiny", device="cpu", engine="sequential", checks_data=False)
    manifest = build_manifest(
        plan_id=plan.plan_id,
        sweep_name="tiny",
        space=plan.space.to_dict(),
        configs=plan.trials,
        settings=plan.settings(),
    )
    directory = RunDirectory.create(tmp_path_factory.mktemp("live") / "run", manifest)
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(directory.path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    yield directory.path
    process.kill()
    process.communicate()


def _by_tables(path: Path) -> dict[str, int]:
    directory = RunDirectory.open(path)
    trials = directory.read_trials()["trial_id"].to_pylist()
    epochs = directory.read_epochs()["trial_id"].to_pylist()
    assert len(trials) == len(set(trials))
    return {trial_id: epochs.count(trial_id) for trial_id in trials}


def _by_analysis(path: Path) -> dict[str, int]:
    trials = load_trials([path])["trial_id"]
    epochs = load_epochs([path], columns=["trial_id", "epoch"])
    counts = dict(epochs.group_by("trial_id").len().iter_rows())
    assert trials.n_unique() == len(trials)
    return {trial_id: counts.get(trial_id, 0) for trial_id in trials}


def _by_query(path: Path) -> dict[str, int]:
    sql = "SELECT t.trial_id, count(e.epoch) AS n FROM trials t JOIN epochs e USING (trial_id) "
    return dict(query(path, sql + "GROUP BY t.trial_id").iter_rows())


def _by_status(path: Path) -> dict[str, int]:
    status = sweep_status(path)
    assert sum(status.counts.values()) + status.num_remaining == status.num_planned
    return {f"{number}": NUM_EPOCHS for number in range(status.counts["completed"])}


@pytest.mark.parametrize("read", [_by_tables, _by_analysis, _by_query, _by_status])
def test_reader_sees_whole_rows_and_all_it_has_seen_before(
    writer: Path, read: Callable[[Path], dict[str, int]]
) -> None:
    seen = set(read(writer))  # and whatever has to be imported
    deadline = time.monotonic() + SECONDS
    num_reads = 0

    while time.monotonic() < deadline:
        found = read(writer)

        assert set(found.values()) == {NUM_EPOCHS}
        assert seen <= set(found)
        seen, num_reads = set(found), num_reads + 1

    assert num_reads > 3

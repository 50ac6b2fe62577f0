"""A group of sampled points in training, halved at its rungs; without Ray and MLflow."""

import dataclasses
from collections import Counter
from typing import ClassVar

import pytest

from rlp_sweeps.orchestration.early_stopping import clear_stop_request
from rlp_sweeps.orchestration.points import form_groups, point_members
from rlp_sweeps.orchestration.trainable import GroupRun, SweepJob
from rlp_sweeps.spaces import LogAxis, Search, SearchSpace
from rlp_sweeps.tracking.run_directory import RunDirectory, build_manifest
from rlp_sweeps.training.engines import ENGINES, SequentialEngine

SPACE = SearchSpace(
    axes={
        "lr": LogAxis(low=1e-4, high=1.0, num_points=2),
        "rlp_lambda": LogAxis(low=1.0, high=10.0, num_points=2, control=0.0),
    },
    arms=("control", "full"),
    num_seeds=1,
    fixed={
        "dataset": "synthetic:1,4,4,3,64",
        "backbone": "mlp",
        "num_epochs": 6,
        "batch_size": 16,
    },
    search=Search(num_points=5, early_stopping=True, reduction_factor=2),
)
LRS = (1e-4, 0.02, 0.1, 1e30, 0.3)  # one of them diverges
CLOCKS = {"wall_time_s", "started_at_ms", "finished_at_ms", "epoch_time_s", "logged_at_ms"}


class CountingEngine(SequentialEngine):
    """Counts the epochs that each member is trained."""

    counts: ClassVar[Counter[str]] = Counter()

    def advance(self, epoch, *, evaluates):
        outcomes = super().advance(epoch, evaluates=evaluates)
        self.counts.update(list(outcomes))
        return outcomes


@pytest.fixture
def group():
    clear_stop_request()
    points = {i: point_members(SPACE, {"lr": lr, "rlp_lambda": 1.0}, i) for i, lr in enumerate(LRS)}
    (group,) = form_groups(points, size_of=lambda trial: 64)
    return group


def _job(folder, engine="sequential", **settings):
    manifest = build_manifest(plan_id="p", sweep_name="tiny", space=SPACE.to_dict(), configs=[])
    job = SweepJob(
        directory=RunDirectory.create(folder, manifest),
        groups={},
        data_dir=str(folder),
        device="cpu",
        engine=engine,
        num_threads=1,
        checkpoint_interval_s=0.0,
        halved_space=SPACE,
    )
    return dataclasses.replace(job, **settings)


def _rows(job):
    rows = [*job.directory.read_trials().to_pylist(), *job.directory.read_epochs().to_pylist()]
    rows.sort(key=lambda row: (row["trial_id"], row.get("epoch", 0)))
    return [{k: v for k, v in row.items() if k not in CLOCKS} for row in rows]


def _die_after(num_reports):
    """Return a report function that ends its process, as a kill would."""
    reports = []

    def report(scalars):
        reports.append(scalars)
        if len(reports) == num_reports:
            raise SystemExit(0)

    return report


def test_halving_saves_the_epochs_of_points_that_fall_behind(tmp_path, group, monkeypatch):
    monkeypatch.setitem(ENGINES, "counting", CountingEngine)
    CountingEngine.counts.clear()
    job = _job(tmp_path / "run", engine="counting")

    GroupRun(job, group, report=lambda scalars: None).run()

    rows = job.directory.read_trials().to_pylist()
    epochs = {row["trial_id"]: row["epochs_completed"] for row in rows}
    assert dict(CountingEngine.counts) == epochs
    assert sum(row["status"] == "completed" for row in rows) == 2  # one point, two arms
    stopped = Counter(row["epochs_completed"] for row in rows if row["status"] == "stopped")
    assert stopped == {1: 2, 2: 2, 4: 2}  # two arms of a point at each rung


def test_stopped_rows_carry_their_point_and_its_arms_stop_together(tmp_path, group):
    job = _job(tmp_path / "run")

    GroupRun(job, group, report=lambda scalars: None).run()

    ends = {}
    for row in job.directory.read_trials().to_pylist():
        assert row["point"] == group.points[row["trial_id"]]
        if row["status"] != "diverged":
            ends.setdefault(row["point"], set()).add((row["status"], row["epochs_completed"]))
    assert all(len(end) == 1 for end in ends.values())


@pytest.mark.parametrize("engine", [name for name in ENGINES if name in ("sequential", "grouped")])
@pytest.mark.parametrize("hears_of_rows", [False, True])
@pytest.mark.parametrize("killed_at", [2, 4])
def test_killed_group_is_halved_as_the_undisturbed_one(
    tmp_path, group, engine, hears_of_rows, killed_at
):
    """A lost worker is given the whole group again, a new driver what has no row."""
    undisturbed, job = _job(tmp_path / "a", engine), _job(tmp_path / "b", engine)
    GroupRun(undisturbed, group, report=lambda scalars: None).run()

    with pytest.raises(SystemExit):
        GroupRun(job, group, report=_die_after(killed_at)).run()
    if hears_of_rows:
        job.directory.compact()
    left = group.without(job.directory.finished_trials()) if hears_of_rows else group
    GroupRun(job, left, report=lambda scalars: None).run()

    assert _rows(job) == _rows(undisturbed)


def test_kill_between_two_stopped_rows_changes_no_decision(tmp_path, group, monkeypatch):
    undisturbed, job = _job(tmp_path / "a"), _job(tmp_path / "b")
    GroupRun(undisturbed, group, report=lambda scalars: None).run()
    write, written = RunDirectory.write_trial, []

    def dies_in_the_second(directory, row, epochs):
        written.append(row["status"])
        if written.count("stopped") == 2:
            raise SystemExit(0)
        write(directory, row, epochs)

    monkeypatch.setattr(RunDirectory, "write_trial", dies_in_the_second)
    with pytest.raises(SystemExit):
        GroupRun(job, group, report=lambda scalars: None).run()
    monkeypatch.setattr(RunDirectory, "write_trial", write)
    GroupRun(job, group, report=lambda scalars: None).run()

    assert written[-1] == "stopped"
    assert _rows(job) == _rows(undisturbed)


def test_group_that_lost_its_checkpoint_is_halved_as_the_undisturbed_one(tmp_path, group):
    undisturbed, job = _job(tmp_path / "a"), _job(tmp_path / "b")
    GroupRun(undisturbed, group, report=lambda scalars: None).run()

    with pytest.raises(SystemExit):
        GroupRun(job, group, report=_die_after(4)).run()
    job.directory.remove_checkpoint(group.group_id)
    GroupRun(job, group, report=lambda scalars: None).run()

    assert _rows(job) == _rows(undisturbed)

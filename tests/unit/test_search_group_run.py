"""One group on its way through training, without Ray."""

import json
import os
import shutil
import tempfile
import threading
from collections import Counter
from dataclasses import replace

import pytest
from tiny_sweep import tiny_directory, tiny_job, tiny_plan, tiny_space

from rlp_sweeps.errors import ProbeError, RecordError
from rlp_sweeps.orchestration import probe_tasks, trainable
from rlp_sweeps.orchestration.early_stopping import request_stop
from rlp_sweeps.orchestration.probing import probe_sweep
from rlp_sweeps.orchestration.progress import RunOptions
from rlp_sweeps.orchestration.trainable import GroupRun, mean_metrics
from rlp_sweeps.probes import ProbeOptions
from rlp_sweeps.tracking.kept_weights import keep_weights, kept_weights
from rlp_sweeps.tracking.probe_rows import ask_for_probes, read_probe_errors, read_probes
from rlp_sweeps.tracking.run_directory import RunDirectory
from rlp_sweeps.training import loop, part
from rlp_sweeps.training.checkpoint import save_checkpoint

SPACE = tiny_space()


@pytest.fixture
def plan():
    return tiny_plan()


@pytest.fixture
def job(plan, tmp_path):
    return tiny_job(tiny_directory(plan, tmp_path / "run"))


def _statuses(job):
    return sorted(job.directory.finished_trials().values())


def _run(job, plan):
    reports = []
    GroupRun(job, plan.groups[0], report=reports.append).run()
    return reports


def test_group_writes_its_rows_and_reports_at_most_ten_scalars_an_epoch(job, plan):
    reports = _run(job, plan)

    assert _statuses(job) == ["completed", "completed"]
    assert [report["epoch"] for report in reports] == [1, 2, 3, 3]
    assert all(len(report) <= 10 for report in reports)
    assert reports[-1]["num_completed"] == 2
    assert list(job.directory.path.glob("checkpoints/*")) == []


@pytest.mark.parametrize("engine", ["sequential", "grouped"])
def test_group_writes_what_observers_at_several_places_recall(tmp_path, job, engine):
    space = SPACE.override({"observed_attach_points": "all"})
    plan = tiny_plan(space)

    _run(replace(job, engine=engine), plan)

    rows = read_probes(job.directory).to_pylist()
    (trial,) = [
        row
        for row in job.directory.read_trials().to_pylist()
        if row["trial_id"] == rows[0]["trial_id"]
    ]
    assert _statuses(job) == ["completed", "completed"]
    assert [(row["attach_point"], row["probe"]) for row in rows] == 2 * [
        ("hidden1", "rlp_online"),
        ("hidden2", "rlp_online"),
    ]
    assert rows[1]["train_accuracy"] == trial["random_label_accuracy"]
    assert {row["device"] for row in rows} == {"cpu"}


def test_group_goes_on_without_members_that_have_a_row(job, plan, monkeypatch):
    _run(job, plan)
    monkeypatch.setattr(trainable, "train_group", lambda *a, **k: pytest.fail("trained again"))

    reports = _run(job, plan)

    assert len(reports) == 1
    assert reports[0]["num_completed"] == 0


def test_group_that_raises_becomes_failed_rows_with_the_trace(job, plan, monkeypatch):
    def raises(*arguments, **options):
        raise ArithmeticError("no data on this machine")

    monkeypatch.setattr(trainable, "train_group", raises)

    reports = _run(job, plan)

    assert _statuses(job) == ["failed", "failed"]
    assert reports[-1]["num_failed"] == 2
    errors = job.directory.read_trials()["error"].to_pylist()
    assert all("ArithmeticError: no data on this machine" in error for error in errors)


def test_group_whose_rows_cannot_be_written_raises(job, plan, monkeypatch):
    def full(*arguments):
        raise OSError("no space left on device")

    monkeypatch.setattr(RunDirectory, "write_trial", full)

    with pytest.raises(OSError, match="no space left"):
        _run(job, plan)


def test_group_whose_second_row_finds_no_room_writes_no_failed_rows(job, plan, monkeypatch):
    write = RunDirectory.write_trial

    def full(directory, row, epochs):
        if directory.finished_trials():
            raise OSError("no space left on device")
        write(directory, row, epochs)

    monkeypatch.setattr(RunDirectory, "write_trial", full)

    with pytest.raises(RecordError, match=r"rows of trial .* no space left"):
        _run(job, plan)
    monkeypatch.undo()
    _run(job, plan)

    assert _statuses(job) == ["completed", "completed"]


def test_group_trains_on_where_its_checkpoint_finds_no_room(job, plan, monkeypatch):
    def full(*arguments):
        raise OSError("no space left on device")

    monkeypatch.setattr(loop, "save_checkpoint", full)

    _run(job, plan)

    assert _statuses(job) == ["completed", "completed"]


def test_trial_whose_weights_find_no_room_has_not_failed(job, plan, monkeypatch):
    def full(*arguments):
        raise OSError("no space left on device")

    keep_weights(job.directory)
    monkeypatch.setattr(part, "save_weights", full)

    with pytest.raises(RecordError, match=r"weights of trial .* no space left"):
        _run(job, plan)

    assert _statuses(job) == []


@pytest.mark.parametrize("state", [{"parts": 3}, {"parts": [{"members": {}}]}, {"parts": [{}]}])
def test_group_starts_over_from_a_checkpoint_of_another_version(job, plan, state):
    save_checkpoint(job.directory.checkpoint_path(plan.groups[0].group_id), state)

    reports = _run(job, plan)

    assert "checkpoint" in reports[-1]["note"]
    assert _statuses(job) == ["completed", "completed"]


def test_group_that_hangs_becomes_failed_rows_that_say_so(job, plan, monkeypatch):
    killed = threading.Event()

    def hang(*arguments, **options):
        killed.wait(30)
        raise SystemExit  # its process has ended

    monkeypatch.setattr(trainable, "train_group", hang)
    monkeypatch.setattr(os, "kill", lambda pid, number: killed.set())

    with pytest.raises(SystemExit):
        _run(replace(job, trial_timeout_s=0.2), plan)

    assert _statuses(job) == ["failed", "failed"]
    errors = job.directory.read_trials()["error"].to_pylist()
    assert {error.splitlines()[-1] for error in errors} == {
        "the group made no progress for 0.2 s (`--trial-timeout`), so that its process was ended."
    }


def test_group_starts_over_when_its_checkpoint_is_of_no_use(job, plan, monkeypatch):
    group_id = plan.groups[0].group_id
    path = job.directory.checkpoint_path(group_id)
    save_checkpoint(path, {"epoch": 2, "members": {}, "engine": {}})
    seen = []
    train = trainable.train_group

    def noting(*arguments, **options):
        seen.append(path.exists())
        return train(*arguments, **options)

    monkeypatch.setattr(trainable, "train_group", noting)

    reports = _run(job, plan)

    assert seen == [True, False]
    assert reports[-1]["note"].startswith(
        f"group {group_id} was trained from the start: checkpoint"
    )
    assert _statuses(job) == ["completed", "completed"]


def test_group_that_is_asked_to_pause_leaves_a_checkpoint_and_no_rows(job, plan, monkeypatch):
    monkeypatch.setattr(trainable, "is_pause_requested", lambda: True)
    job = replace(job, checkpoint_interval_s=3600.0)

    reports = _run(job, plan)

    assert [report["epoch"] for report in reports] == [1, 1]
    assert reports[-1]["paused"] == 1
    assert _statuses(job) == []
    assert job.directory.checkpoint_path(plan.groups[0].group_id).exists()

    monkeypatch.setattr(trainable, "is_pause_requested", lambda: False)
    assert [report["epoch"] for report in _run(job, plan)] == [2, 3, 3]
    assert _statuses(job) == ["completed", "completed"]


def test_group_that_is_asked_to_stop_writes_stopped_rows(job, plan):
    def report(scalars):
        if scalars["epoch"] == 1:
            request_stop(None)

    GroupRun(job, plan.groups[0], report=report).run()

    assert _statuses(job) == ["stopped", "stopped"]
    assert set(job.directory.read_trials()["epochs_completed"].to_pylist()) == {1}


def test_group_that_is_cut_off_writes_no_row(job, plan):
    def report(scalars):
        raise SystemExit(0)  # what Tune does to a trial after Ctrl-C

    with pytest.raises(SystemExit):
        GroupRun(job, plan.groups[0], report=report).run()

    assert _statuses(job) == []


def test_mean_metrics_passes_over_what_is_missing_or_not_finite():
    rows = [{"val_accuracy": 0.5, "val_loss": float("nan")}, {"val_accuracy": 0.7}]

    assert mean_metrics(rows) == {"val_accuracy": pytest.approx(0.6)}


def test_group_tells_of_ended_members_once_and_of_running_ones_now_and_then(job, plan, monkeypatch):
    monkeypatch.setattr(trainable, "EVALUATIONS_EVERY_S", 0.0)

    news = [json.loads(report["news"]) for report in _run(job, plan) if "news" in report]

    ids = sorted(trial.trial_id for trial in plan.groups[0].trials)
    assert [sorted(told["running"]) for told in news] == [ids, ids, []]
    assert sorted(trial_id for told in news for trial_id in told["ended"]) == ids


def probe_rows(job):
    rows = read_probes(job.directory).to_pylist()
    return [{k: v for k, v in row.items() if k != "probe_time_s"} for row in rows]


@pytest.mark.parametrize("engine", ["sequential", "grouped"])
def test_members_are_probed_as_they_end_as_they_are_from_kept_weights(job, plan, engine):
    probes = ("rlp_online", "rlp_offline", "class_mean")
    keeps_none = replace(job, probes=probes, engine=engine)
    _run(keeps_none, plan)
    found = probe_rows(job)
    assert not (job.directory.path / "weights").exists()
    shutil.rmtree(job.directory.path / "probes")
    for path in job.directory.path.glob("trials/*.parquet"):
        path.unlink()

    keep_weights(job.directory)
    _run(replace(job, engine=engine), plan)
    options = ProbeOptions(probes=probes)
    probe_sweep(job.directory.path, options=options, run_options=RunOptions(device="cpu"))

    assert found == probe_rows(job)
    assert len({row["trial_id"] for row in found}) == 2


def test_what_observers_at_several_places_recall_stands_beside_the_end_s_probes(tmp_path, job):
    space = SPACE.override({"observed_attach_points": "all"})
    plan = tiny_plan(space)

    _run(replace(job, probes=("rlp_online", "class_mean")), plan)

    found = Counter((row["probe"], row["source"]) for row in probe_rows(job))
    assert found == {
        ("rlp_online", "trained"): 2 * 2,
        ("class_mean", "pixels"): 2 * 2,  # of both label sets
        ("class_mean", "random_init"): 2 * 4,
        ("class_mean", "trained"): 2 * 4,
    }


def test_rows_of_probes_are_there_before_the_trial_s_own(job, plan, monkeypatch):
    seen = []
    monkeypatch.setattr(
        RunDirectory,
        "write_trial",
        lambda directory, trial, epochs: seen.append(
            trial["trial_id"] in read_probes(directory)["trial_id"].to_pylist()
        ),
    )

    _run(replace(job, probes=("class_mean",)), plan)

    assert seen == [True, True]


def test_stopped_members_are_not_probed(tmp_path, job):
    space = SPACE.override({"observed_attach_points": "all"})
    plan = tiny_plan(space)

    def report(scalars):
        if scalars["epoch"] == 1:
            request_stop(None)

    probed = replace(job, probes=("class_mean",))
    GroupRun(probed, plan.groups[0], report=report).run()

    assert _statuses(job) == ["stopped", "stopped"]
    assert probe_rows(job) == []
    assert not read_probe_errors(job.directory)


def test_a_group_leaves_no_folder_of_weights_behind(job, plan, monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    probed = replace(job, probes=("class_mean",))

    for _ in range(2):  # the second finds nothing to train
        _run(probed, plan)

        assert list(tmp_path.glob("temporary/rlp-probes-*")) == []


def test_probes_that_raise_leave_the_trial_and_a_sentence(job, plan, monkeypatch):
    def broken(*args, **options):
        raise ProbeError("a sentence.")

    monkeypatch.setattr(probe_tasks, "probe_trained", broken)

    _run(replace(job, probes=("class_mean",)), plan)

    assert _statuses(job) == ["completed", "completed"]
    assert set(read_probe_errors(job.directory).values()) == {"a sentence."}
    assert probe_rows(job) == []


@pytest.mark.parametrize("keeps", [False, True])
def test_a_trial_that_could_not_be_probed_is_mended_by_its_weights(job, plan, monkeypatch, keeps):
    if keeps:
        keep_weights(job.directory)
    ask_for_probes(job.directory, ("class_mean", "lda"))
    with monkeypatch.context() as patch:
        patch.setattr(probe_tasks, "probe_trained", lambda *args, **options: 1 / 0)
        _run(replace(job, probes=("class_mean", "lda")), plan)
    ids = set(job.directory.finished_trials())
    errors, weights = [], []

    for probes in (("class_mean",), ("class_mean", "lda")):
        errors.append(set(read_probe_errors(job.directory)))
        options = ProbeOptions(probes=probes)
        probe_sweep(job.directory.path, options=options, run_options=RunOptions(device="cpu"))
        weights.append(set(kept_weights(job.directory)))

    assert errors == [ids, ids]  # after the first, one of the two is missing
    assert weights == [ids, ids if keeps else set()]
    assert read_probe_errors(job.directory) == {}
    assert {row["trial_id"] for row in probe_rows(job)} == ids

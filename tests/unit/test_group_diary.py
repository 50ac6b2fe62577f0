"""What a group that trains leaves in its log, without Ray."""

import logging
import os
import subprocess
import sys
import threading
import warnings
from dataclasses import replace

import pytest
from tiny_sweep import tiny_directory, tiny_job, tiny_plan, tiny_space

from rlp_sweeps.orchestration import log_capture, trainable
from rlp_sweeps.orchestration.trainable import GroupRun
from rlp_sweeps.stores import as_path
from rlp_sweeps.tracking import log_text
from rlp_sweeps.tracking.group_log import GroupLog, read_log
from rlp_sweeps.training import loop
from rlp_sweeps.training.backbones import get_builder

_user_log = logging.getLogger("my_nets")


class Killed(BaseException):
    """Stands for a process that ends here."""


def talkative(**settings):
    """Build a backbone, and say things meanwhile."""
    print("building", end=" ")
    print("a network")
    print("\r 10 %\r 20 %\r100 %", file=sys.stderr)
    _user_log.info("width %d", 7)
    warnings.warn("this network is odd", stacklevel=1)
    return get_builder("mlp")(**settings)


def broken(**settings):
    """Fail to build."""
    print("about to fail")
    raise ArithmeticError("this backbone is broken")


@pytest.fixture
def plan():
    return tiny_plan()


def _job(plan, path):
    return tiny_job(tiny_directory(plan, path))


@pytest.fixture
def job(tmp_path, plan):
    return _job(plan, tmp_path / "run")


def _run(job, plan, report=lambda values: None):
    group = plan.groups[0]
    GroupRun(job, group, report=report).run()
    return read_log(job.directory.log_path(group.group_id))


def _with_backbone(plan, monkeypatch, build):
    """Return the plan with a backbone of one's own, which its trials are told to be of."""
    monkeypatch.setattr("rlp_sweeps.training.backbones.get_builder", lambda name: build)
    return plan


def _texts(lines, source):
    return [line.text for line in lines if line.source == source]


def _kill_in_epoch_2(report):
    if report["epoch"] == 2:
        raise Killed


@pytest.mark.parametrize("engine", ["sequential", "grouped"])
def test_a_log_tells_of_start_members_evaluations_and_ends(job, plan, engine):
    lines = _run(replace(job, engine=engine), plan)

    first = plan.groups[0].trials[0]
    start, shared, end = _texts(lines, "group")
    assert start.startswith(f"start 1: 2 trial(s) by {engine} on cpu, 1 thread(s), machine ")
    assert f"process {os.getpid()}, code " in start
    assert "backbone=mlp, num_epochs=3" in shared
    told = _texts(lines, first.trial_id)
    assert told[0].startswith(f"member: arm=control, lr={first.lr:g}, rlp_lambda=0")
    assert [text.partition(":")[0] for text in told[1:4]] == [f"epoch {n}/3" for n in (1, 2, 3)]
    assert " val_accuracy=" in told[1]
    assert told[4].startswith("completed after epoch 3, ")
    assert len(told) == 5  # the last evaluation, which its end tells of too, once
    assert end == "ended: 2 completed"


def test_evaluations_are_those_of_the_rows(job, plan):
    lines = _run(job, plan)

    rows = job.directory.read_epochs().to_pylist()
    told = {(line.source, line.text) for line in lines}
    assert len(rows) == 6
    for row in rows:
        found = [t for i, t in told if i == row["trial_id"] and t[:8] == f"epoch {row['epoch']}/"]
        assert f"test_accuracy={row['test_accuracy']:.4g}" in found[0]


def test_a_log_has_what_user_code_prints_logs_and_warns_of(job, plan, monkeypatch, capsys):
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # pytest's own
    with warnings.catch_warnings():
        warnings.simplefilter("default")

        lines = _run(job, _with_backbone(plan, monkeypatch, talkative))

    said = capsys.readouterr()
    assert _texts(lines, "stdout")[0] == "building a network"
    assert _texts(lines, "stderr") == ["100 %"] * 2
    assert _texts(lines, "logging") == ["INFO my_nets: width 7"] * 2
    (warning,) = _texts(lines, "warning")
    assert warning.startswith(f"UserWarning: this network is odd ({__file__}:")
    assert said.out.count("building a network\n") == 2  # and where it went before
    assert said.err.count("100 %\n") == 2


def test_a_warning_is_in_the_log_of_every_group_of_a_process(tmp_path, plan, monkeypatch):
    plan = _with_backbone(plan, monkeypatch, talkative)
    with warnings.catch_warnings():
        warnings.simplefilter("default")

        logs = [_run(_job(plan, tmp_path / name), plan) for name in ("a", "b")]

    assert [len(_texts(log, "warning")) for log in logs] == [1, 1]


def test_messages_that_a_handler_prints_are_logged_once_and_as_it_has_them(
    job, plan, monkeypatch, capsys
):
    root = logging.getLogger()

    def configures(**settings):
        logging.basicConfig(format="mine: %(message)s", level=logging.DEBUG, force=True)
        _user_log.debug("depth 3")
        return get_builder("mlp")(**settings)

    monkeypatch.setattr(root, "handlers", [])
    monkeypatch.setattr(root, "level", root.level)

    lines = _run(job, _with_backbone(plan, monkeypatch, configures))

    assert _texts(lines, "logging") == []
    assert "mine: depth 3" in _texts(lines, "stderr")
    root.error("after its end")  # by the handler that has kept the stream
    assert "mine: after its end\n" in capsys.readouterr().err


def test_nothing_of_the_process_is_changed_once_a_group_has_ended(job, plan, monkeypatch):
    root, own = logging.getLogger(), logging.getLogger("rlp_sweeps")
    plan = _with_backbone(plan, monkeypatch, broken)

    def state():
        streams = (sys.stdout, sys.stderr, warnings.showwarning, logging.lastResort)
        return [*streams, root.level, own.level, *root.handlers, *own.handlers]

    before = state()

    _run(job, plan)

    assert state() == before


def test_a_trial_that_raises_leaves_its_trace_once(job, plan, monkeypatch):
    lines = _run(job, _with_backbone(plan, monkeypatch, broken))

    told = "\n".join(_texts(lines, "group"))
    assert told.count("\nArithmeticError: this backbone is broken") == 1
    assert told.count(", in broken\n") == 1
    for trial in plan.groups[0].trials:
        last = _texts(lines, trial.trial_id)[-1]
        assert last.startswith("failed after epoch ")
        assert last.endswith(": ArithmeticError: this backbone is broken")
    assert _texts(lines, "stdout") == ["about to fail"] * 2
    assert lines[-1].text == "ended: 2 failed"


def test_a_member_that_diverges_says_why(tmp_path, plan):
    steep = tiny_space().override({"lr": "1e30"})
    plan = tiny_plan(steep)

    lines = _run(_job(plan, tmp_path / "steep"), plan)

    last = _texts(lines, plan.trials[0].trial_id)[-1]
    assert last.startswith("diverged after epoch 1, ")
    assert ": training loss was nan in epoch 1" in last


def test_a_group_that_was_killed_goes_on_in_the_log_that_it_left(job, plan):
    with pytest.raises(Killed):
        _run(job, plan, _kill_in_epoch_2)
    left = read_log(job.directory.log_path(plan.groups[0].group_id))

    lines = _run(job, plan)

    told = _texts(lines, "group")
    assert lines[: len(left)] == left
    assert left[-1].text == "broken off by Killed: "
    assert [text[:8] for text in told if text.startswith("start ")] == ["start 1:", "start 2:"]
    assert "2 member(s) go on from epoch 1" in told
    assert lines[-1].text == "ended: 2 completed"


def test_a_group_that_pauses_says_so(job, plan, monkeypatch):
    monkeypatch.setattr(trainable, "is_pause_requested", lambda: True)

    lines = _run(job, plan)

    assert lines[-1].text == "paused after epoch 1; goes on in a later attempt"


def test_a_checkpoint_that_is_of_no_use_and_one_that_finds_no_room_are_told(job, plan, monkeypatch):
    path = job.directory.checkpoint_path(plan.groups[0].group_id)
    path.write_bytes(b"no checkpoint")

    def full(*arguments):
        raise OSError("no space left on device")

    monkeypatch.setattr(loop, "save_checkpoint", full)

    told = _texts(_run(job, plan), "group")

    assert any("was trained from the start: checkpoint" in text for text in told)
    assert any("goes on without a checkpoint: no space left on device" in text for text in told)


def test_a_group_that_finds_no_memory_tells_of_its_halves(job, plan, monkeypatch):
    advance = loop.Part.advance

    def small(part):
        if len(part.live) > 1:
            raise loop.MemoryExhausted("CUDA out of memory")
        return advance(part)

    monkeypatch.setattr(loop.Part, "advance", small)

    told = _texts(_run(job, plan), "group")

    assert any("2 members do not fit into memory; they go on in halves" in t for t in told)
    assert told[-1] == "ended: 2 completed"


def test_a_group_that_hangs_leaves_where_it_hung(job, plan, monkeypatch):
    killed = threading.Event()

    def hang(*arguments, **options):
        killed.wait(30)
        raise SystemExit

    monkeypatch.setattr(trainable, "train_group", hang)
    monkeypatch.setattr(os, "kill", lambda pid, number: killed.set())

    with pytest.raises(SystemExit):
        _run(replace(job, trial_timeout_s=0.2), plan)

    lines = read_log(job.directory.log_path(plan.groups[0].group_id))
    text = "\n".join(line.text for line in lines)
    assert ", in hang" in text
    assert "the group made no progress for 0.2 s (`--trial-timeout`)" in text


def test_a_group_trains_to_the_same_rows_where_its_log_finds_no_room(tmp_path, plan, monkeypatch):
    def full(self, data):
        raise OSError("no space left on device")

    jobs = [_job(plan, tmp_path / name) for name in ("a", "b")]
    _run(jobs[0], plan)
    monkeypatch.setattr(log_text.FileText, "append", full)

    assert _run(jobs[1], plan) == []

    volatile = ["epoch_time_s", "logged_at_ms"]
    one, other = (job.directory.read_epochs().drop_columns(volatile) for job in jobs)
    assert one == other


def test_no_value_of_the_environment_gets_into_a_log(job, plan, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cr3t")
    monkeypatch.setattr(sys, "argv", ["worker", "--redis-password=s3cr3t"])

    _run(job, plan)

    assert "s3cr3t" not in job.directory.log_path(plan.groups[0].group_id).read_text()


def test_in_a_store_a_log_is_sent_as_its_group_fails_pauses_or_ends(plan, bucket, monkeypatch):
    job = _job(plan, as_path(f"{bucket}/run"))
    with monkeypatch.context() as patch:
        patch.setattr(trainable, "is_pause_requested", lambda: True)
        paused = _run(job, plan)

    failed = _run(job, _with_backbone(plan, monkeypatch, broken))

    assert paused[-1].text.startswith("paused after epoch 1")
    assert failed[: len(paused)] == paused
    assert failed[-1].text == "ended: 2 failed"


def test_the_trace_of_a_crash_in_native_code_stays_in_the_log(tmp_path):
    path = tmp_path / "logs" / "g1.log"
    program = f"""
import ctypes
from pathlib import Path
from rlp_sweeps.orchestration.log_capture import captured, log_crashes
from rlp_sweeps.tracking.group_log import GroupLog
log = GroupLog(Path({str(path)!r}), on_file=log_crashes)
with captured(log):
    print("before")
    ctypes.string_at(0)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)

    lines = read_log(path)
    assert done.returncode < 0
    assert (lines[0].source, lines[0].text) == ("stdout", "before")
    assert "Fatal Python error: Segmentation fault" in _texts(lines, "crash")


def test_a_stream_that_returns_nothing_as_ray_has_it_is_passed_on_to(tmp_path, monkeypatch):
    class RayStream:
        encoding = "utf-8"
        taken = ""

        def write(self, text):
            self.taken += text

    stream = RayStream()
    monkeypatch.setattr(sys, "stdout", stream)
    log = GroupLog(tmp_path / "logs" / "g1.log")

    with log_capture.captured(log):
        num_written = sys.stdout.write("said\n")
        encoding = sys.stdout.encoding

    assert (num_written, encoding, stream.taken) == (5, "utf-8", "said\n")


def test_a_print_that_never_ends_a_line_is_logged_at_the_end(tmp_path):
    log = GroupLog(tmp_path / "logs" / "g1.log")

    with log_capture.captured(log):
        print("no end", end="")

    assert [line.text for line in read_log(tmp_path / "logs" / "g1.log")] == ["no end"]

"""What attempts took, kept whatever their end."""

import time

import pytest

from rlp_sweeps.orchestration.attempt_state import read_attempt, write_attempt
from rlp_sweeps.orchestration.attempts import keep_attempt, keep_lost_attempt, read_attempts
from rlp_sweeps.orchestration.planner import plan_sweep
from rlp_sweeps.orchestration.status import sweep_status
from rlp_sweeps.spaces import ChoiceAxis, SearchSpace
from rlp_sweeps.tracking.run_directory import RunDirectory, build_manifest

SPACE = SearchSpace(
    axes={"lr": ChoiceAxis(choices=(0.1, 0.2))},
    arms=("control",),
    num_seeds=1,
    fixed={"dataset": "digits", "backbone": "mlp", "num_epochs": 2},
)


@pytest.fixture
def directory(tmp_path):
    plan = plan_sweep(SPACE, name="tiny", device="cpu")
    manifest = build_manifest(
        plan_id=plan.plan_id,
        sweep_name="tiny",
        space=SPACE.to_dict(),
        configs=plan.trials,
        settings=plan.settings(),
    )
    return RunDirectory.create(tmp_path / "run", manifest)


def _at_work(directory, *, busy_s):
    write_attempt(directory.path, running=["g"], slots=2, busy_s=busy_s, devices_per_group=2.0)


def test_attempt_that_ends_is_kept_and_no_longer_at_work(directory):
    _at_work(directory, busy_s=10.0)

    keep_attempt(directory.path, busy_s=1800.0, ended_by="hours")

    (attempt,) = read_attempts(directory.path)
    assert (attempt.ended_by, attempt.device_hours) == ("hours", 1.0)
    assert read_attempt(directory.path) is None


def test_attempt_that_was_killed_is_kept_with_what_it_wrote_last(directory):
    _at_work(directory, busy_s=3600.0)

    keep_lost_attempt(directory.path)
    keep_lost_attempt(directory.path)

    (attempt,) = read_attempts(directory.path)
    assert (attempt.ended_by, attempt.device_hours) == ("lost", 2.0)


def test_status_says_what_ended_the_last_attempt_and_sums_device_hours(directory):
    for busy_s, ended_by in ((1800.0, "cancel"), (3600.0, "hours")):
        _at_work(directory, busy_s=0.0)
        keep_attempt(directory.path, busy_s=busy_s, ended_by=ended_by)
        time.sleep(0.002)  # files are named after the millisecond
    _at_work(directory, busy_s=900.0)

    status = sweep_status(directory.path)

    assert (status.ended_by, status.device_hours) == ("hours", 3.5)
    assert status.holder is None


def test_status_names_the_driver_at_work(directory):
    with directory.held() as holder:
        assert sweep_status(directory.path).holder == str(holder)


def test_wall_time_adds_up_over_attempts_and_the_one_at_work(directory):
    now_ms = time.time_ns() // 1_000_000
    write_attempt(directory.path, running=[], slots=1, started_at_ms=now_ms - 60_000)
    keep_attempt(directory.path, busy_s=1.0, ended_by="signal")
    write_attempt(directory.path, running=[], slots=1, started_at_ms=now_ms - 5_000)

    assert sweep_status(directory.path).wall_time_s == pytest.approx(65.0, abs=2.0)


def test_an_attempt_kept_by_another_version_is_read(directory):
    folder = directory.path / "attempts"
    folder.mkdir()
    values = '{"pid": 1, "hostname": "h", "ended_at_ms": 5, "busy_s": 7.2, "devices_per_group": 1.0'
    (folder / "5-1.json").write_text(values + ', "ended_by": "done", "invented_later": 1}')

    (attempt,) = read_attempts(directory.path)

    assert (attempt.wall_time_s, attempt.device_hours) == (None, 0.002)

import dataclasses
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import sweep_cases as cases

from rlp_sweeps.errors import ArgumentError, ClusterError, ConfigError
from rlp_sweeps.orchestration.attempt_state import write_attempt
from rlp_sweeps.orchestration.estimates import estimate_sweep
from rlp_sweeps.orchestration.progress import FailedTrial, RunOptions, SweepOutcome
from rlp_sweeps.orchestration.resources import (
    GroupResources,
    check_address,
    remove_stale_sessions,
)
from rlp_sweeps.orchestration.status import sweep_status
from rlp_sweeps.tracking.run_directory import RunDirectory, build_manifest

DONE = SweepOutcome(directory=Path("run"), num_planned=2, counts={"completed": 2})
FAILED = FailedTrial(trial_id="a", arm="full", seed=0, error="ValueError: no")


@pytest.fixture
def half_done(tmp_path):
    """A sweep of eight trials with a completed and a failed one."""
    plan = cases.plan_case("grid")
    manifest = build_manifest(
        plan_id=plan.plan_id,
        sweep_name=plan.name,
        space=plan.space.to_dict(),
        configs=plan.trials,
        settings=plan.settings(),
    )
    directory = RunDirectory.create(tmp_path / "run", manifest)
    for trial, status in zip(plan.trials, ("completed", "failed"), strict=False):
        row = {**trial.to_dict(), "trial_id": trial.trial_id, "status": status}
        error = "Traceback\nValueError: no\n" if status == "failed" else None
        directory.write_trial({**row, "wall_time_s": 3.0, "error": error}, [])
    return plan, directory


def test_status_counts_what_is_done_and_estimates_the_rest(half_done):
    plan, directory = half_done

    status = sweep_status(directory.path)

    assert (status.num_planned, status.num_remaining, status.num_running) == (8, 6, 0)
    assert status.counts == {"completed": 1, "diverged": 0, "stopped": 0, "failed": 1}
    assert status.remaining_s == pytest.approx(18.0)
    assert not status.is_running
    assert [(f.trial_id, f.error) for f in status.failed] == [
        (plan.trials[1].trial_id, "ValueError: no")
    ]


def test_status_tells_what_the_driver_at_work_trains(half_done):
    plan, directory = half_done
    running = [group.group_id for group in plan.groups[2:4]]

    with directory.held():
        write_attempt(directory.path, running=running, slots=2)
        status = sweep_status(directory.path)

    assert (status.is_running, status.num_running) == (True, 2)
    assert status.remaining_s == pytest.approx(9.0)


def test_status_passes_over_what_a_killed_driver_has_left(half_done):
    plan, directory = half_done
    write_attempt(directory.path, running=[plan.groups[3].group_id], slots=2)

    status = sweep_status(directory.path)

    assert (status.is_running, status.num_running) == (False, 0)


@pytest.mark.parametrize(
    ("changes", "exit_status"),
    [
        ({}, 0),
        ({"failed": (FAILED,)}, 1),
        ({"missing": ("a",), "lost": ("group g was lost",)}, 1),
        ({"missing": ("a",), "interrupted": True}, 130),
        ({"num_points_left": 1, "interrupted": True}, 130),
        ({"interrupted": True}, 0),
    ],
)
def test_outcome_gives_the_exit_status(changes, exit_status):
    assert dataclasses.replace(DONE, **changes).exit_status == exit_status


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"max_concurrent": 0}, "1 <= max_concurrent"),
        ({"cpus_per_group": 0.0}, "0 < cpus_per_group"),
        ({"gpus_per_group": -1.0}, "0 <= gpus_per_group"),
        ({"num_cpus": 0}, "1 <= num_cpus"),
        ({"address": ""}, "must not be empty"),
    ],
)
def test_options_refuse_values_out_of_range(options, match):
    with pytest.raises(ArgumentError, match=match):
        RunOptions(**options)


@pytest.mark.parametrize(
    ("num_gpus", "cluster", "slots"),
    [
        (0.0, {"CPU": 5.0}, 2),
        (0.25, {"CPU": 64.0, "GPU": 2.0}, 8),
        (1.0, {"CPU": 2.0, "GPU": 4.0}, 1),
    ],
)
def test_slots_are_what_fits_of_cores_and_gpus(num_gpus, cluster, slots):
    assert GroupResources(num_cpus=2.0, num_gpus=num_gpus).slots(cluster) == slots


def test_group_on_cuda_takes_one_gpu_unless_told_otherwise():
    assert GroupResources.of(RunOptions(), device="cuda").to_tune() == {"cpu": 1.0, "gpu": 1.0}
    shared = RunOptions(gpus_per_group=0.5)
    assert GroupResources.of(shared, device="cuda").to_tune() == {"cpu": 1.0, "gpu": 0.5}


def test_group_that_fits_nowhere_is_refused():
    with pytest.raises(ClusterError, match="a group needs"):
        GroupResources(num_cpus=1.0, num_gpus=1.0).slots({"CPU": 8.0})


def test_files_of_killed_drivers_are_removed_and_those_at_work_kept():
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    stale = Path(tempfile.mkdtemp(prefix=f"rlp-ray-{done.pid}-"))
    own = Path(tempfile.mkdtemp(prefix=f"rlp-ray-{os.getpid()}-"))

    remove_stale_sessions()

    assert (stale.exists(), own.exists()) == (False, True)
    own.rmdir()


@pytest.mark.slow
def test_server_that_is_no_cluster_is_refused_in_time():
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(ClusterError, match="no answer within 3 s"):
            check_address(address, timeout_s=3.0)


@pytest.mark.slow
def test_estimate_names_its_basis_and_grows_with_the_sweep():
    plan = cases.plan_case("grid")

    short = estimate_sweep(plan, options=RunOptions(max_concurrent=1))
    longer = dataclasses.replace(plan, trials=plan.trials * 10, groups=plan.groups * 10)
    long = estimate_sweep(longer, options=RunOptions(max_concurrent=1))

    assert 0 < short.time_s < long.time_s
    assert short.disk_bytes < long.disk_bytes < 10 * short.disk_bytes
    assert "1 of 1 kind(s) of trial timed" in short.basis


@pytest.mark.slow
def test_estimate_refuses_a_sweep_whose_trials_raise(monkeypatch):
    plan = cases.plan_case("grid")

    def broken(*arguments):
        raise ArithmeticError("broken")

    monkeypatch.setattr("rlp_sweeps.training.member.Member.train_epoch", broken)
    with pytest.raises(ConfigError, match="ArithmeticError: broken"):
        estimate_sweep(plan)

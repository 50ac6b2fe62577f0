"""A sweep that is extended, and one that is cancelled, by the command line alone."""

import json
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import sweep_cases as cases
from test_cli_sweep import LONG, rlp_sweeps
from untuned import train_here

from rlp_sweeps.orchestration.planner import plan_from_manifest, plan_sweep
from rlp_sweeps.tracking.holder import read_holder
from rlp_sweeps.tracking.run_directory import RunDirectory

pytestmark = pytest.mark.slow


def test_extended_sweep_equals_one_with_all_values_and_trains_nothing_twice(
    tmp_path: Path,
) -> None:
    def plan(values: str, num_seeds: int):
        space = cases.CASES["two_groups"].override({"lr": values, "data_dir": str(tmp_path)})
        space = space.override({"num_epochs": "3"})
        return plan_sweep(
            replace(space, num_seeds=num_seeds),
            name="tiny",
            device="cpu",
            engine="grouped",
            group_size=2,
        )

    before = train_here(plan("0.01,0.3", 1), tmp_path / "part").read_trials()

    done = rlp_sweeps("extend part --set lr=0.1,0.2 --num-seeds 2 --no-analyze", tmp_path)

    assert done.returncode == 0, done.stderr
    assert "extension of part: 6 trials: 6 control (lr=0.1,0.2; 2 seeds in all)" in done.stdout
    directory = RunDirectory.open(tmp_path / "part")
    (addition,) = directory.manifest["follow_ups"]
    assert addition["extends"] == {"axes": {"lr": [0.1, 0.2]}, "num_seeds": 2}
    assert len(plan_from_manifest(directory.manifest).trials) == 8
    train_here(plan("0.01,0.3,0.1,0.2", 2), tmp_path / "whole")
    for table in ("trials", "epochs"):
        part, whole = (
            cases.read_table(tmp_path / n, table).drop("group_id", strict=False)
            for n in ("part", "whole")
        )
        assert part.equals(whole), table
    trained = dict(_finished_at(directory.read_trials()))
    assert all(trained[i] == time_ms for i, time_ms in _finished_at(before))
    status = json.loads(rlp_sweeps("status part --json", tmp_path).stdout)
    assert (status["num_planned"], status["num_remaining"]) == (8, 0)


def _finished_at(rows):
    columns = rows["trial_id"].to_pylist(), rows["finished_at_ms"].to_pylist()
    return list(zip(*columns, strict=True))


@pytest.mark.faults
def test_cancelled_driver_ends_as_after_ctrl_c(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "rlp_sweeps", *shlex.split(LONG)]
    driver = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    _wait_for((tmp_path / "sweep" / "attempt.json").exists, driver)

    second = rlp_sweeps("resume sweep", tmp_path)
    cancelled = rlp_sweeps("cancel sweep", tmp_path)

    assert cancelled.returncode == 0, cancelled.stderr
    assert "`rlp-sweeps resume sweep` goes on" in cancelled.stdout
    assert second.returncode == 2
    assert f"process {driver.pid} on " in second.stderr
    _, error = driver.communicate(timeout=60)
    assert driver.returncode == 130
    assert "stopped, as `rlp-sweeps cancel` asked; " in error
    assert read_holder(tmp_path / "sweep") is None
    status = rlp_sweeps("status sweep", tmp_path)
    assert "not at work: cancelled; `rlp-sweeps resume` goes on" in " ".join(status.stdout.split())


def _wait_for(condition: Callable[[], bool], driver: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert driver.poll() is None, driver.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.1)

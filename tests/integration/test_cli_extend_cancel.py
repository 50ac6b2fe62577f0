"""A sweep that is extended, and one that is cancelled, by the command line alone."""

import json
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest
import sweep_cases as cases
from test_cli_sweep import LONG, SMALL, read_trials, rlp_sweeps

from rlp_sweeps.tracking.holder import read_holder
from rlp_sweeps.tracking.run_directory import RunDirectory

pytestmark = pytest.mark.slow

ENGINE = "--engine grouped --group-size 5 --max-concurrent 1 --no-analyze"


def test_extended_sweep_equals_one_with_all_values_and_trains_nothing_twice(
    tmp_path: Path,
) -> None:
    assert rlp_sweeps(f"{SMALL} {ENGINE} --output part", tmp_path).returncode == 0
    before = read_trials(tmp_path / "part")
    extend = "extend part --set lr=0.2 --num-seeds 2 --max-concurrent 1 --no-analyze"

    cut = rlp_sweeps(f"{extend} --max-trials 7", tmp_path)
    assert cut.returncode == 3, cut.stderr
    assert "extension of part: 15 trials: 3 control, 3 full," in cut.stdout
    status = json.loads(rlp_sweeps("status part --json", tmp_path).stdout)
    assert (status["num_remaining"], status["ended_by"]) == (10, "trials")
    done = rlp_sweeps("resume part --max-concurrent 1 --no-analyze", tmp_path)

    assert done.returncode == 0, done.stderr
    whole = SMALL.replace("--num-seeds 1", "--num-seeds 2").replace("lr=0.1", "lr=0.1,0.2")
    assert rlp_sweeps(f"{whole} {ENGINE} --output whole", tmp_path).returncode == 0
    after = read_trials(tmp_path / "part")
    assert after.join(before.select("trial_id"), on="trial_id").equals(before)
    for table in ("trials", "epochs"):
        part, all_ = (
            cases.read_table(tmp_path / n, table).drop("group_id", strict=False)
            for n in ("part", "whole")
        )
        assert part.equals(all_), table


def test_cancelled_driver_ends_as_after_ctrl_c_and_resume_goes_on(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "rlp_sweeps", *shlex.split(LONG), "--engine", "grouped"]
    driver = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    _wait_for((tmp_path / "sweep" / "attempt.json").exists, driver)
    second = rlp_sweeps(LONG, tmp_path)

    cancelled = rlp_sweeps("cancel sweep", tmp_path)

    assert cancelled.returncode == 0, cancelled.stderr
    assert second.returncode == 2
    assert f"process {driver.pid} on " in second.stderr
    assert "`rlp-sweeps resume sweep` goes on" in cancelled.stdout
    _, error = driver.communicate(timeout=60)
    assert driver.returncode == 130
    assert "stopped, as `rlp-sweeps cancel` asked; " in error
    assert read_holder(tmp_path / "sweep") is None
    status = rlp_sweeps("status sweep", tmp_path)
    assert "not at work: cancelled; `rlp-sweeps resume` goes on" in " ".join(status.stdout.split())
    before = _num_rows(tmp_path / "sweep")
    resumed = rlp_sweeps("resume sweep --max-trials 1 --max-concurrent 1", tmp_path)
    assert resumed.returncode == 3, resumed.stderr
    assert _num_rows(tmp_path / "sweep") == before + 1


def _num_rows(directory: Path) -> int:
    return len(RunDirectory.open(directory).finished_trials())


def _wait_for(condition, driver) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert driver.poll() is None, driver.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.1)

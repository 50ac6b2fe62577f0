"""Who holds a run directory, and requests to stop."""

import json
import os
import subprocess
import sys

import pytest

from rlp_sweeps.errors import RunDirectoryError
from rlp_sweeps.tracking import holder as holders
from rlp_sweeps.tracking.holder import (
    LOST_AFTER_S,
    ask_to_stop,
    lost_holder,
    read_holder,
    read_request,
    signed,
)
from rlp_sweeps.tracking.run_directory import RunDirectory, build_manifest


@pytest.fixture
def directory(tmp_path):
    manifest = build_manifest(plan_id="p", sweep_name="demo", space={}, configs=[])
    return RunDirectory.create(tmp_path / "run", manifest)


def sign_elsewhere(directory, *, age_s):
    """Leave the signature of a process of another machine, renewed that long ago."""
    values = {"token": "t", "pid": 7, "hostname": "elsewhere", "since_ms": 1_700_000_000_000}
    path = directory.path / "driver.json"
    path.write_text(json.dumps(values))
    renewed_at = path.stat().st_mtime - age_s
    os.utime(path, (renewed_at, renewed_at))


def test_holder_signs_while_it_holds_and_signs_off(directory):
    with directory.held() as this:
        assert read_holder(directory.path) == this
        assert (this.pid, this.is_here) == (os.getpid(), True)

    assert read_holder(directory.path) is None


def test_refusal_names_process_machine_and_time(directory):
    words = rf"process {os.getpid()} on \S+ \(since [-0-9]+ [:0-9]+\) runs .*`rlp-sweeps cancel"
    with (
        directory.held(),
        pytest.raises(RunDirectoryError, match=words),
        RunDirectory.open(directory.path).held(),
    ):
        pass


def test_driver_that_was_killed_here_is_lost_and_the_next_one_takes_over(directory):
    script = f"""
import os, pathlib
from rlp_sweeps.tracking.run_directory import RunDirectory
with RunDirectory(pathlib.Path({str(directory.path)!r})).held():
    os._exit(9)
"""
    subprocess.run([sys.executable, "-c", script], check=False)

    assert lost_holder(directory.path).pid not in {0, os.getpid()}
    assert not directory.is_held()
    with directory.held() as this:
        assert read_holder(directory.path) == this


def test_driver_at_work_on_a_machine_without_shared_locks_is_respected(directory):
    sign_elsewhere(directory, age_s=5.0)

    assert directory.is_held()
    assert lost_holder(directory.path) is None
    with pytest.raises(RunDirectoryError, match="process 7 on elsewhere"), directory.held():
        pass


def test_driver_elsewhere_without_a_sign_of_life_is_lost(directory):
    sign_elsewhere(directory, age_s=LOST_AFTER_S + 5.0)

    assert not directory.is_held()
    assert lost_holder(directory.path).hostname == "elsewhere"
    with directory.held() as this:
        assert this.is_here


def test_clock_of_the_files_decides_where_this_machine_is_ahead(directory, monkeypatch):
    sign_elsewhere(directory, age_s=5.0)
    ahead = holders.time.time() + 3600
    monkeypatch.setattr(holders.time, "time", lambda: ahead)

    with pytest.raises(RunDirectoryError, match="process 7 on elsewhere"), directory.held():
        pass


def test_signature_is_renewed_while_it_is_held(directory, monkeypatch):
    monkeypatch.setattr(holders, "PULSE_S", 0.01)
    path = directory.path / "driver.json"
    with directory.held():
        os.utime(path, (0.0, 0.0))
        deadline = holders.time.monotonic() + 5
        while path.stat().st_mtime == 0 and holders.time.monotonic() < deadline:
            holders.time.sleep(0.01)

        assert path.stat().st_mtime > 0


def test_request_reaches_the_holder_that_was_meant(directory):
    with signed(directory.path) as this:
        assert read_request(directory.path, this) is None

        ask_to_stop(directory.path, this, now=True)

        assert read_request(directory.path, this).now


def test_stale_request_does_not_stop_a_later_holder(directory):
    with signed(directory.path) as first:
        ask_to_stop(directory.path, first, now=False)
        request = (directory.path / "cancel.json").read_text()

    with signed(directory.path) as second:
        (directory.path / "cancel.json").write_text(request)  # arrives late

        assert read_request(directory.path, second) is None

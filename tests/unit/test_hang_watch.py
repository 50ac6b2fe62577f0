import os
import signal
import threading
import time

import pytest

from rlp_sweeps.errors import RecordError
from rlp_sweeps.orchestration.hang_watch import HangWatch


@pytest.fixture
def killed(monkeypatch):
    """Set in place of the end of this process."""
    event = threading.Event()

    def kill(pid, number):
        assert (pid, number) == (os.getpid(), signal.SIGKILL)
        event.set()

    monkeypatch.setattr(os, "kill", kill)
    return event


def test_group_without_progress_is_told_where_it_hangs_and_then_killed(killed):
    told = []

    with HangWatch(0.1, told.append):
        killed.wait(10.0)

    assert killed.is_set()
    (trace,) = told
    assert "killed.wait(10.0)" in trace
    assert trace.splitlines()[-1].startswith("the group made no progress for 0.1 s (`--trial-tim")


def test_group_is_killed_even_if_its_failure_cannot_be_written(killed):
    def full(trace):
        raise RecordError("no space left")

    with HangWatch(0.1, full):
        killed.wait(10.0)

    assert killed.is_set()


def test_group_that_makes_progress_goes_on(killed):
    with HangWatch(0.4, pytest.fail) as watch:
        for _ in range(10):
            time.sleep(0.08)
            watch.progress()

    assert not killed.is_set()


def test_group_without_a_time_limit_is_not_watched(killed):
    before = threading.active_count()

    with HangWatch(None, pytest.fail):
        assert threading.active_count() == before

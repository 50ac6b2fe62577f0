"""Several sweeps that feed one SQLite store, from its first use on."""

import contextlib
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from rlp_sweeps.tracking import mlflow_client
from rlp_sweeps.tracking.mlflow_client import Deadline, _repeated
from rlp_sweeps.tracking.mlflow_records import EPOCH_METRICS

NUM_SWEEPS, NUM_TRIALS, NUM_EPOCHS = 4, 15, 10


@pytest.mark.slow
def test_sweeps_that_start_at_once_with_a_fresh_store_lose_no_point(tmp_path):
    script = Path(__file__).with_name("concurrent_feed.py")
    sizes = [str(NUM_TRIALS), str(NUM_EPOCHS)]
    drivers = [
        subprocess.Popen(
            [sys.executable, str(script), str(tmp_path), f"sweep{i}", *sizes],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(NUM_SWEEPS)
    ]
    deadline = time.monotonic() + 150
    while len(list(tmp_path.glob("*.ready"))) < NUM_SWEEPS and time.monotonic() < deadline:
        time.sleep(0.05)
    (tmp_path / "go").touch()
    said = [driver.communicate(timeout=200) for driver in drivers]

    assert [output.split() for output, _ in said] == [[str(NUM_TRIALS), "0", "0"]] * NUM_SWEEPS
    assert not any("locked" in errors or "Traceback" in errors for _, errors in said)
    num_curves = NUM_SWEEPS * NUM_TRIALS * NUM_EPOCHS * (1 + len(EPOCH_METRICS))
    with contextlib.closing(sqlite3.connect(tmp_path / "mlflow.db")) as store:
        (num_points,) = store.execute("select count(*) from metrics").fetchone()
        (mode,) = store.execute("pragma journal_mode").fetchone()
    assert num_points >= num_curves
    assert mode == "wal"


def test_a_locked_file_is_asked_again(monkeypatch):
    monkeypatch.setattr(mlflow_client, "_LOCKED_PAUSES_S", (0.0, 0.0))
    answers = [OperationalError("insert", {}, Exception("database is locked"))] * 2

    def call():
        if answers:
            raise answers.pop()
        return "stored"

    assert _repeated(call) == "stored"


def test_a_file_that_stays_locked_is_given_up(monkeypatch):
    monkeypatch.setattr(mlflow_client, "_LOCKED_PAUSES_S", (0.0, 0.0))
    calls = []

    def call():
        calls.append(1)
        raise OperationalError("insert", {}, Exception("database is locked"))

    with pytest.raises(OperationalError, match="locked"):
        _repeated(call)
    assert len(calls) == 3


def test_nothing_is_asked_after_the_deadline():
    deadline = Deadline()
    deadline.stop()

    with deadline.applied(), pytest.raises(mlflow_client.StoreAwayError, match="time is over"):
        _repeated(lambda: pytest.fail("it was asked"))

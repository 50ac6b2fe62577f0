"""A sweep whose run directory is in an S3 store, which speaks HTTP on loopback."""

import json
import signal

import polars as pl
import pytest
import sweep_cases as cases
import untuned
from polars.testing import assert_frame_equal

from rlp_sweeps.cli import main
from rlp_sweeps.orchestration.status import sweep_status
from rlp_sweeps.orchestration.sweep import resume_sweep
from rlp_sweeps.stores import as_path
from rlp_sweeps.tracking.run_directory import RunDirectory

pytestmark = pytest.mark.slow


def _table(output, table):
    directory = RunDirectory.open(output)
    rows = directory.read_trials() if table == "trials" else directory.read_epochs()
    keys = ["trial_id", "epoch"] if table == "epochs" else ["trial_id"]
    return pl.from_arrow(rows).drop(cases.VOLATILE, strict=False).sort(keys)


def test_a_sweep_in_a_store_is_killed_resumed_and_read_like_one_on_a_disk(
    bucket, tmp_path, monkeypatch, capsys
):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    undisturbed = tmp_path / "undisturbed"
    untuned.train_here(cases.plan_case("grid"), undisturbed)
    output = as_path(f"{bucket}/runs/killed")
    driver = cases.start_driver("grid", output)
    cases.kill_driver_after(driver, output, num_rows=2, sent=signal.SIGKILL)
    before = _table(output, "trials")
    assert 2 <= len(before) < 8

    statuses = [
        main(["resume", str(output), "--device", "cpu", "--max-concurrent", "1"]),
        main(["status", str(output), "--json"]),
        main(["query", str(output), "SELECT count(*) AS n FROM effects_pooled", "--format", "csv"]),
        main(["sync", str(output), "--tracking-uri", f"sqlite:///{tmp_path}/mlflow.db"]),
    ]

    assert statuses == [0, 0, 0, 0]
    for table in ("trials", "epochs"):
        assert_frame_equal(_table(output, table), _table(undisturbed, table), check_exact=True)
    assert [path.name for path in (output / "trials").iterdir()] == ["0-compacted.parquet"]
    assert (output / "analysis" / "report.html").exists()
    said = capsys.readouterr()
    assert "the MLflow store of s3://" in said.err
    assert "8 runs created" in said.out
    for path in output.rglob("*.*"):
        assert b"very-secret-key" not in path.read_bytes()


def _asked(output):
    lines = (output / "search" / "points.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def _told(output):
    trials = cases.rebuild_study(output).get_trials()
    return [(trial.number, trial.state.name, trial.params, trial.values) for trial in trials]


@pytest.mark.faults
def test_a_search_in_a_store_that_is_killed_twice_asks_and_tells_every_point_once(
    bucket, tmp_path, monkeypatch
):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    undisturbed = tmp_path / "runs" / "undisturbed"
    assert cases.run_case("long_search", undisturbed).exit_status == 0
    output = as_path(f"{bucket}/runs/search")

    for command, num_rows in (("long_search", 3), ("resume", 21)):  # a point is half trained
        driver = cases.start_driver(command, output)
        cases.kill_driver_after(driver, output, num_rows=num_rows, timeout_s=400)
        assert num_rows <= len(_table(output, "trials")) < 26
        assert _asked(output) == _asked(undisturbed)[: len(_asked(output))]
    outcome = resume_sweep(output, options=cases.OPTIONS)

    assert outcome.exit_status == 0
    assert _asked(output) == _asked(undisturbed)
    assert [point["number"] for point in _asked(output)] == list(range(13))
    assert _told(output) == _told(undisturbed)
    assert {state for _, state, _, _ in _told(output)} == {"COMPLETE"}
    assert _table(output, "trials")["trial_id"].n_unique() == 26
    for table in ("trials", "epochs"):
        assert_frame_equal(_table(output, table), _table(undisturbed, table), check_exact=True)
    assert [path.name for path in (output / "trials").iterdir()] == ["0-compacted.parquet"]
    assert (sweep_status(output).num_remaining, sweep_status(output).holder) == (0, None)

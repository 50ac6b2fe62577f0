"""A sweep whose run directory is in an S3 store, which speaks HTTP on loopback."""

import signal

import polars as pl
import pytest
import sweep_cases as cases
import untuned
from polars.testing import assert_frame_equal

from rlp_sweeps.cli import main
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

"""A whole sweep, with secrets in its environment: none is in anything that it leaves."""

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import polars as pl
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.faults]

SECRET = "planted-5ecret"
NAMES = ("AWS_SECRET_ACCESS_KEY", "MLFLOW_TRACKING_PASSWORD", "GITHUB_TOKEN", "WANDB_API_KEY")
SMALL = (
    "run quickstart --device cpu --num-seeds 1 --output runs/own --set lr=0.1 --set rlp_lambda=1 "
    "--set num_epochs=1 --set eval_every=1 --set train_samples=128 --set val_samples=64 "
    "--set test_samples=64"
)


def contents(path: Path) -> str:
    """Return what a file holds, tables unpacked."""
    if path.suffix == ".parquet":
        return repr(pl.read_parquet(path, glob=False).to_dicts())
    return path.read_bytes().decode("latin-1")


def test_no_secret_of_the_environment_is_in_anything_that_a_sweep_leaves(tmp_path: Path) -> None:
    planted = {name: f"{SECRET}-{number}" for number, name in enumerate(NAMES)}

    done = subprocess.run(
        [sys.executable, "-m", "rlp_sweeps", *SMALL.split()],
        cwd=tmp_path,
        env={**os.environ, **planted},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {"manifest.json", "report.html", "mlflow.db"} <= {path.name for path in files}
    assert [path for path in files if SECRET in contents(path)] == []
    assert SECRET not in done.stdout + done.stderr
    with closing(sqlite3.connect(tmp_path / "runs" / "mlflow.db")) as store:
        assert SECRET not in "\n".join(store.iterdump())

"""Commands that run a sweep on a cluster of `ray_clusters`, and what they leave."""

import subprocess
import sys
import time
from pathlib import Path

import polars as pl


def start(arguments: str, folder: Path, environment: dict[str, str]) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "rlp_sweeps", *arguments.split()],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def rlp_sweeps(
    arguments: str, folder: Path, environment: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    process = start(arguments, folder, environment)
    out, err = process.communicate(timeout=300)
    return subprocess.CompletedProcess(arguments, process.returncode, out, err)


def wait_for_rows(process: "subprocess.Popen[str]", directory: Path, *, num_rows: int) -> None:
    deadline = time.monotonic() + 180
    while len(list(directory.glob("trials/[!.]*.parquet"))) < num_rows:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline, "no trial finished in time"
        time.sleep(0.1)


def read_trials(directory: Path) -> pl.DataFrame:
    return pl.read_parquet(directory / "trials" / "*.parquet")

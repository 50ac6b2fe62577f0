"""deploy/local/cluster.sh: a sweep on several nodes of this machine, one of which is lost."""

import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster_cases import read_trials, start, wait_for_rows
from test_cluster_nodes import NUM_TRIALS, write_study

pytestmark = [pytest.mark.slow, pytest.mark.faults]

SCRIPT = Path(__file__).parents[2] / "deploy" / "local" / "cluster.sh"


@pytest.fixture
def folder() -> Iterator[Path]:
    """The folder of a cluster, which is ended with the test."""
    path = Path(tempfile.mkdtemp(prefix="rlp-local-", dir="/tmp")) / "c"
    yield path
    if path.exists():
        cluster("stop", folder=path)
    path.parent.rmdir()


def cluster(*arguments: str, folder: Path) -> str:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        [SCRIPT, *arguments, "--folder", folder],
        env={**os.environ, "PATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def processes_of(folder: Path) -> list[str]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            environment = (process / "environ").read_bytes()
        except OSError:
            continue
        if f"RAY_TMPDIR={folder}".encode() in environment.split(b"\0"):
            found.append(process.name)
    return found


def test_sweep_on_a_local_cluster_goes_on_when_a_worker_is_lost_and_another_comes(
    folder: Path, tmp_path: Path
) -> None:
    write_study(tmp_path)
    cluster("start", "--workers", "2", "--cpus", "1", folder=folder)
    exports = cluster("env", folder=folder).replace("export ", "").replace("'", "").split()
    environment = {**os.environ, **dict(pair.split("=", 1) for pair in exports)}
    driver = start(
        "run study.py --output sweep --device cpu --group-size 1 --no-analyze "
        "--set num_epochs=1200 --set eval_every=400 --address " + environment["RLP_ADDRESS"],
        tmp_path,
        environment,
    )
    wait_for_rows(driver, tmp_path / "sweep", num_rows=1)
    cluster("remove", "1", folder=folder)
    added = cluster("add", folder=folder).strip()
    _, err = driver.communicate(timeout=300)
    mode = stat.S_IMODE((folder / "token").stat().st_mode)
    cluster("stop", folder=folder)

    assert driver.returncode == 0, err
    assert read_trials(tmp_path / "sweep")["status"].to_list() == ["completed"] * NUM_TRIALS
    assert (added, mode) == ("1", 0o600)
    assert not folder.exists()
    assert not processes_of(folder)

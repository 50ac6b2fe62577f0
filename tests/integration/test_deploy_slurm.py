"""deploy/slurm/sweep.sbatch on a real Slurm, whose nodes are all this machine."""

import stat
import sys
import time
from pathlib import Path

import pytest
from cluster_cases import read_trials
from slurm_cluster import SlurmCluster, slurm_cluster, why_not
from sweep_cases import count_mlflow_runs
from test_cluster_nodes import NUM_TRIALS, write_study

pytestmark = [
    pytest.mark.slow,
    pytest.mark.faults,
    pytest.mark.skipif(why_not() is not None, reason=str(why_not())),
]

SCRIPT = Path(__file__).parents[2] / "deploy" / "slurm" / "sweep.sbatch"
OPTIONS = "--device cpu --group-size 1 --set num_epochs=1200 --set eval_every=400 --no-analyze"


def wait_for_state(cluster: SlurmCluster, job: str, *states: str, log: Path) -> None:
    deadline = time.monotonic() + 240
    while cluster.state_of(job) not in states:
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.3)


def test_job_that_nears_its_time_limit_goes_back_to_the_queue_and_resumes(tmp_path: Path) -> None:
    write_study(tmp_path)
    (tmp_path / "home").mkdir()
    sweep, log = tmp_path / "sweep", tmp_path / "job.out"
    with slurm_cluster(num_nodes=2) as cluster:
        path = f"{Path(sys.executable).parent}:{cluster.environment['PATH']}"
        cluster.environment |= {"HOME": str(tmp_path / "home"), "PATH": path}
        submit = ["sbatch", "--parsable", "--nodes=2", "--cpus-per-task=1", f"--output={log}"]
        command = [*submit, str(SCRIPT), "study.py", str(sweep), *OPTIONS.split()]
        job = cluster.ask(*command, cwd=tmp_path)
        deadline = time.monotonic() + 240
        while not list(sweep.glob("trials/[!.]*.parquet")):
            assert time.monotonic() < deadline, log.read_text() if log.exists() else "no log"
            time.sleep(0.1)
        (token,) = (tmp_path / "home" / ".rlp-sweeps").iterdir()
        modes = [stat.S_IMODE(path.stat().st_mode) for path in (token, token.parent)]
        cluster.ask("scancel", "--signal=USR1", "--batch", job)  # as Slurm does by --signal
        wait_for_state(cluster, job, "PENDING", log=log)
        before = set(read_trials(sweep)["trial_id"])
        time.sleep(5)  # a job that starts again in the second of its end is refused by Slurm
        cluster.ask("scontrol", "update", f"JobId={job}", "StartTime=now")  # else in two minutes
        wait_for_state(cluster, job, "COMPLETED", log=log)

    said = log.read_text()
    rows = read_trials(sweep)
    assert modes == [0o600, 0o700]
    assert "the time limit is near" in said
    assert f"rlp-sweeps resume {sweep} --address" in said
    assert 1 <= len(before) < NUM_TRIALS
    assert rows["status"].to_list() == ["completed"] * NUM_TRIALS
    assert rows["trial_id"].n_unique() == NUM_TRIALS
    assert count_mlflow_runs(sweep) == {"FINISHED": NUM_TRIALS + 1}
    assert not list((tmp_path / "home" / ".rlp-sweeps").iterdir())

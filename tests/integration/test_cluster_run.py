"""Sweeps on Ray clusters that run already: they use them, leave them, and outlive their end."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster_cases import read_trials, rlp_sweeps, start, wait_for_rows
from ray_clusters import RayCluster, ray_cluster
from sweep_cases import count_mlflow_runs, most_at_once

pytestmark = pytest.mark.slow

STUDY = """from rlp_sweeps.spaces import ChoiceAxis, SearchSpace

SPACE = SearchSpace(
    axes={"lr": ChoiceAxis(choices=(0.05, 0.1)),
          "rlp_lambda": ChoiceAxis(choices=(1,), control=0.0)},
    arms=("control", "full"),
    num_seeds=2,
    fixed={"dataset": "digits", "train_samples": 128, "backbone": "BACKBONE", "num_epochs": 4},
)
"""
MEETING_NET = '''"""An MLP whose workers note what they see, and wait until there are two."""
import os
import sys
import time
from pathlib import Path

from rlp_sweeps.training.backbones import get_builder

SEEN = Path(__file__).parent / "seen"


def build(**settings):
    if "default_worker" in sys.argv[0]:
        SEEN.mkdir(exist_ok=True)
        (SEEN / str(os.getpid())).write_text(os.environ.get("CUDA_VISIBLE_DEVICES", "unset"))
        deadline = time.monotonic() + 120
        while len(list(SEEN.iterdir())) < 2:
            if time.monotonic() > deadline:
                raise TimeoutError("no second worker came")
            time.sleep(0.05)
    return get_builder("mlp")(**settings)
'''
SHARED_GPU = "--cpus-per-group 1 --gpus-per-group 0.5"
LONG = "--group-size 1 --set num_epochs=30 --set eval_every=15 --no-analyze"
NUM_TRIALS = 8


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    """Four cores and one logical GPU, which is counted and given away, but is not there."""
    with ray_cluster(num_cpus=4, num_gpus=1) as cluster:
        yield cluster


def write_study(folder: Path, *, backbone: str = "mlp") -> None:
    (folder / "study.py").write_text(STUDY.replace("BACKBONE", backbone))
    (folder / "meeting_net.py").write_text(MEETING_NET)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cluster")


@pytest.fixture(scope="module")
def done(cluster: RayCluster, folder: Path) -> subprocess.CompletedProcess[str]:
    """Eight trials in folder/sweep, each with half of the GPU."""
    write_study(folder, backbone="meeting_net:build")
    return rlp_sweeps(
        f"run study.py --output sweep --device cpu --group-size 1 {SHARED_GPU} "
        f"--address {cluster.address}",
        folder,
        cluster.environment,
    )


def test_sweep_on_a_running_cluster_writes_every_row_and_its_report(
    done: subprocess.CompletedProcess[str], folder: Path, cluster: RayCluster
) -> None:
    assert done.returncode == 0, done.stderr
    assert "results: sweep (8 completed)" in done.stdout

    status = json.loads(rlp_sweeps("status sweep --json", folder, cluster.environment).stdout)
    assert (status["counts"]["completed"], status["is_running"]) == (NUM_TRIALS, False)
    assert len(read_trials(folder / "sweep")) == NUM_TRIALS
    assert count_mlflow_runs(folder / "sweep") == {"FINISHED": NUM_TRIALS + 1}
    assert (folder / "sweep" / "analysis" / "report.html").exists()


def test_cluster_is_left_running_with_nothing_held(
    done: subprocess.CompletedProcess[str], folder: Path, cluster: RayCluster
) -> None:
    held = cluster.ask(
        "import json, ray._private.state as s\n"
        "from ray.util import placement_group_table\n"
        "actors = [a['State'] for a in s.actors().values()]\n"
        "groups = list(placement_group_table().values())\n"
        "free = {k: ray.available_resources()[k] for k in ('CPU', 'GPU')}\n"
        "print(json.dumps([actors, [g['state'] for g in groups], free]))"
    )

    actors, groups, free = json.loads(held.splitlines()[-1])
    assert cluster.is_up()
    assert set(actors) == {"DEAD"}
    assert set(groups) == {"REMOVED"}
    assert free == {"CPU": 4.0, "GPU": 1.0}
    assert not list((folder / "sweep").glob(".attempt-*"))


def test_groups_with_half_a_gpu_train_two_at_once_on_that_gpu(
    done: subprocess.CompletedProcess[str], folder: Path, cluster: RayCluster
) -> None:
    asked = cluster.ask(
        "import json\n"
        "from ray.util import placement_group_table\n"
        "print(json.dumps([g['bundles'] for g in placement_group_table().values()]))"
    )
    bundles = json.loads(asked.splitlines()[-1])
    seen = [path.read_text() for path in (folder / "seen").iterdir()]

    assert {"0": {"CPU": 1.0, "GPU": 0.5}} in bundles
    assert seen == ["0", "0"]  # CUDA_VISIBLE_DEVICES of both workers
    assert most_at_once(read_trials(folder / "sweep")) == 2  # by cores it would be four


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ("--gpus-per-group 2", "a group needs {'cpu': 1.0, 'gpu': 2.0} on one machine, but"),
        ("--cpus-per-group 5", "the cluster holds only CPU=4, GPU=1; ask for less with"),
    ],
    ids=["gpus", "cpus"],
)
def test_group_that_no_node_can_hold_is_refused_before_anything_is_written(
    cluster: RayCluster, tmp_path: Path, options: str, sentence: str
) -> None:
    write_study(tmp_path)

    refused = rlp_sweeps(
        f"run study.py --output sweep --device cpu --address {cluster.address} {options}",
        tmp_path,
        cluster.environment,
    )

    assert refused.returncode == 2
    assert sentence in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    assert not (tmp_path / "sweep").exists()


def test_cluster_that_asks_for_a_token_is_named_as_that(
    cluster: RayCluster, tmp_path: Path
) -> None:
    write_study(tmp_path)
    environment = {**cluster.environment, "RAY_AUTH_MODE": "disabled"}
    started = time.monotonic()

    refused = rlp_sweeps(
        f"run study.py --output sweep --device cpu --address {cluster.address}",
        tmp_path,
        environment,
    )

    assert refused.returncode == 2
    assert time.monotonic() - started < 60
    assert "answers only to its token" in refused.stderr
    assert "set RAY_AUTH_MODE=token" in refused.stderr
    assert not (tmp_path / "sweep").exists()


@pytest.mark.faults
def test_killed_driver_leaves_the_cluster_free_and_auto_finds_it_again(
    cluster: RayCluster, tmp_path: Path
) -> None:
    write_study(tmp_path)
    driver = start(
        f"run study.py --output sweep --device cpu {LONG} --address {cluster.address}",
        tmp_path,
        cluster.environment,
    )
    wait_for_rows(driver, tmp_path / "sweep", num_rows=1)
    driver.kill()
    _, err = driver.communicate(timeout=60)
    before = read_trials(tmp_path / "sweep")

    resumed = rlp_sweeps("resume sweep --no-analyze --address auto", tmp_path, cluster.environment)

    after = read_trials(tmp_path / "sweep")
    assert resumed.returncode == 0, resumed.stderr
    assert "went away" not in err
    assert 1 <= len(before) < len(after) == after["trial_id"].n_unique() == NUM_TRIALS
    kept = after.join(before.select("trial_id"), on="trial_id", how="semi")
    assert set(kept["finished_at_ms"]) == set(before["finished_at_ms"])
    assert count_mlflow_runs(tmp_path / "sweep") == {"FINISHED": NUM_TRIALS + 1}
    assert cluster.is_up()


@pytest.mark.faults
def test_groups_of_a_lost_node_are_trained_on_the_others(tmp_path: Path) -> None:
    write_study(tmp_path, backbone="meeting_net:build")
    with ray_cluster(num_cpus=1) as cluster:
        second = cluster.add_node(num_cpus=1)
        driver = start(
            f"run study.py --output sweep --device cpu {LONG} --address {cluster.address}",
            tmp_path,
            cluster.environment,
        )
        wait_for_rows(driver, tmp_path / "sweep", num_rows=2)
        cluster.stop_node(second)
        _, err = driver.communicate(timeout=300)

    rows = read_trials(tmp_path / "sweep")
    assert driver.returncode == 0, err
    assert len(list((tmp_path / "seen").iterdir())) >= 2  # one worker on each node, at least
    assert rows["status"].to_list() == ["completed"] * NUM_TRIALS
    assert count_mlflow_runs(tmp_path / "sweep") == {"FINISHED": NUM_TRIALS + 1}


@pytest.mark.faults
@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGKILL], ids=["sigterm", "sigkill"])
def test_cluster_that_goes_away_ends_the_sweep_with_a_sentence(
    tmp_path: Path, sent: signal.Signals
) -> None:
    write_study(tmp_path)
    with ray_cluster(num_cpus=1) as cluster:
        driver = start(
            f"run study.py --output sweep --device cpu {LONG} --address {cluster.address}",
            tmp_path,
            cluster.environment,
        )
        wait_for_rows(driver, tmp_path / "sweep", num_rows=1)
        cluster.stop(sent=sent)
        _, err = driver.communicate(timeout=120)  # Ray looks for its head for a minute

    assert driver.returncode == 1
    said = err.splitlines()[-1]
    assert said.startswith("rlp-sweeps: the Ray cluster at '")
    assert "went away, and Ray has ended this sweep's driver with it; what is finished" in said
    assert said.endswith(f"resume {tmp_path / 'sweep'} --address ADDR` goes on from there.")
    assert "Traceback" not in err

    resumed = rlp_sweeps("resume sweep --no-analyze", tmp_path, dict(os.environ))

    assert resumed.returncode == 0, resumed.stderr
    assert read_trials(tmp_path / "sweep")["trial_id"].n_unique() == NUM_TRIALS
    assert count_mlflow_runs(tmp_path / "sweep") == {"FINISHED": NUM_TRIALS + 1}

"""Machines of a cluster that come, go, differ, and lack files."""

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cluster_cases import read_trials, rlp_sweeps, start, wait_for_rows
from ray_clusters import RayCluster, can_hide_folders, ray_cluster
from sweep_cases import count_mlflow_runs, most_at_once

from rlp_sweeps.orchestration.attempt_state import read_attempt

pytestmark = [pytest.mark.slow, pytest.mark.faults]

STUDY = """from rlp_sweeps.spaces import ChoiceAxis, SearchSpace

SPACE = SearchSpace(
    axes={"lr": ChoiceAxis(choices=(0.05, 0.1)),
          "rlp_lambda": ChoiceAxis(choices=(1,), control=0.0)},
    arms=("control", "full"),
    num_seeds=2,
    fixed={"dataset": "DATASET", "train_samples": 128, "backbone": "BACKBONE", "num_epochs": 4},
)
"""
LOADER = '''"""Digits that note who reads them; only where the folder is."""
import os
from pathlib import Path

from rlp_sweeps.training.datasets import load_image_arrays


def load(data_dir):
    note = Path(os.environ["SHARED"]) / "loads" / str(os.getpid())
    note.parent.mkdir(exist_ok=True)
    note.write_text((Path(data_dir) / "here").read_text())
    return load_image_arrays("digits", data_dir=data_dir)
'''
NET = '''"""An MLP whose workers note their machine, and wait until two machines are at work."""
import os
import sys
import time
from pathlib import Path

from small_parts import widths

from rlp_sweeps.training.backbones import get_builder

SEEN = Path(os.environ["SHARED"]) / "seen"


def build(**settings):
    assert widths
    if "default_worker" in sys.argv[0]:
        SEEN.mkdir(exist_ok=True)
        (SEEN / os.environ.get("MACHINE", "first")).touch()
        deadline = time.monotonic() + 120
        while len(list(SEEN.iterdir())) < 2:
            if time.monotonic() > deadline:
                raise TimeoutError("no second machine came")
            time.sleep(0.05)
    return get_builder("mlp")(**settings)
'''
NUM_TRIALS = 8
LONG = "--set num_epochs=600 --set eval_every=200 --no-analyze"
hides = pytest.mark.skipif(
    not can_hide_folders(), reason="needs root, to hide a folder from a node"
)


def write_study(folder: Path, *, dataset: str = "digits", backbone: str = "mlp") -> None:
    folder.mkdir(exist_ok=True)
    text = STUDY.replace("DATASET", dataset).replace("BACKBONE", backbone)
    (folder / "study.py").write_text(text)
    (folder / "my_images.py").write_text(LOADER)
    (folder / "my_net.py").write_text(NET)
    (folder / "small_parts.py").write_text("widths = (8, 8)\n")


@pytest.fixture
def cluster() -> Iterator[RayCluster]:
    """A head without cores, on whose machine the driver runs."""
    with ray_cluster(num_cpus=0) as cluster:
        yield cluster


def wait_until(
    driver: subprocess.Popen[str], holds: Callable[[], bool], *, within_s: float = 120
) -> None:
    """Wait until something holds while a driver is at work."""
    deadline = time.monotonic() + within_s
    while not holds():
        assert driver.poll() is None, driver.communicate()[1]
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.1)


def slots_of(directory: Path) -> int | None:
    state = read_attempt(directory)
    return None if state is None else state.slots


def is_training(directory: Path) -> bool:
    state = read_attempt(directory)
    return state is not None and bool(state.slots and state.running)


@hides
def test_machine_without_data_and_code_trains_on_what_the_driver_sends(
    cluster: RayCluster, tmp_path: Path
) -> None:
    private, shared = tmp_path / "private", tmp_path / "shared"
    shared.mkdir()
    write_study(private, dataset="my_images:load", backbone="my_net:build")
    (private / "here").write_text("yes")
    environment = {"SHARED": str(shared)}
    cluster.add_node(num_cpus=2, variables={**environment, "MACHINE": "near"})
    cluster.add_node(num_cpus=2, hidden=private, variables={**environment, "MACHINE": "far"})

    done = rlp_sweeps(
        f"run study.py --output {shared}/sweep --device cpu --group-size 1 --no-analyze "
        f"--set data_dir={private} --address {cluster.address}",
        private,
        cluster.environment | environment,
    )

    assert done.returncode == 0, done.stderr
    assert read_trials(shared / "sweep")["status"].to_list() == ["completed"] * NUM_TRIALS
    assert {path.name for path in (shared / "seen").iterdir()} == {"near", "far"}
    assert len(list((shared / "loads").iterdir())) == 1  # the driver, for four workers


@hides
def test_machine_that_does_not_reach_the_run_directory_is_named_before_anything_is_trained(
    cluster: RayCluster, tmp_path: Path
) -> None:
    write_study(tmp_path)
    hidden = tmp_path / "runs"
    hidden.mkdir()
    cluster.add_node(num_cpus=1, hidden=hidden)

    refused = rlp_sweeps(
        f"run study.py --output runs/sweep --device cpu --address {cluster.address}",
        tmp_path,
        cluster.environment,
    )

    assert refused.returncode == 2, refused.stderr
    assert "every machine of the cluster must be able to train, but " in refused.stderr
    assert f"does not reach the run directory {hidden / 'sweep'}; put --output" in refused.stderr
    assert not list((hidden / "sweep" / "trials").iterdir())


def test_machines_that_differ_and_come_later_are_filled(
    cluster: RayCluster, tmp_path: Path
) -> None:
    write_study(tmp_path)
    cluster.add_node(num_cpus=3)
    epochs = "--set num_epochs=300 --set eval_every=100"  # six threads here, on any number of cores
    driver = start(
        f"run study.py --output sweep --device cpu --cpus-per-group 2 --group-size 1 {epochs} "
        f"--no-analyze --address {cluster.address}",
        tmp_path,
        cluster.environment,
    )
    wait_for_rows(driver, tmp_path / "sweep", num_rows=1)
    before = slots_of(tmp_path / "sweep")
    cluster.add_node(num_cpus=5)
    _, err = driver.communicate(timeout=600)

    rows = read_trials(tmp_path / "sweep")
    assert driver.returncode == 0, err
    assert rows["status"].to_list() == ["completed"] * NUM_TRIALS
    assert (before, most_at_once(rows)) == (1, 3)  # two of two cores on the second machine


@pytest.mark.faults
def test_sweep_outlives_the_loss_of_every_machine_but_the_head_again_and_again(
    cluster: RayCluster, tmp_path: Path
) -> None:
    write_study(tmp_path)
    node = cluster.add_node(num_cpus=1)
    driver = start(
        f"run study.py --output sweep --device cpu --group-size 8 {LONG} "
        f"--address {cluster.address}",
        tmp_path,
        cluster.environment,
    )
    for _ in range(4):  # more often than a process may be lost
        wait_until(driver, lambda: is_training(tmp_path / "sweep"))
        cluster.stop_node(node)
        wait_until(driver, lambda: slots_of(tmp_path / "sweep") == 0)
        node = cluster.add_node(num_cpus=1)
    _, err = driver.communicate(timeout=600)

    assert driver.returncode == 0, err
    assert read_trials(tmp_path / "sweep")["status"].to_list() == ["completed"] * NUM_TRIALS
    assert count_mlflow_runs(tmp_path / "sweep") == {"FINISHED": NUM_TRIALS + 1}

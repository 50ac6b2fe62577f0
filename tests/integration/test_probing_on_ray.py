"""Probes as Ray tasks: the numbers that they have in one process, and what becomes of an end."""

import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import ray
from ray_clusters import ray_cluster

from rlp_sweeps.orchestration import probe_workers
from rlp_sweeps.orchestration.planner import plan_sweep
from rlp_sweeps.orchestration.probing import ProbedTrial, probe_sweep
from rlp_sweeps.orchestration.progress import RunOptions
from rlp_sweeps.orchestration.resources import ray_session
from rlp_sweeps.probes import ProbeOptions
from rlp_sweeps.spaces import ChoiceAxis, SearchSpace
from rlp_sweeps.tracking.kept_weights import keep_weights, weights_folder
from rlp_sweeps.tracking.probe_rows import read_probes
from rlp_sweeps.tracking.run_directory import RunDirectory, build_manifest
from rlp_sweeps.training.loop import GroupContext, train_group

pytestmark = pytest.mark.slow

SPACE = SearchSpace(
    axes={"lr": ChoiceAxis(choices=(0.05, 0.1))},
    arms=("control",),
    num_seeds=2,
    fixed={"train_samples": 128, "val_samples": 64, "batch_size": 32, "num_epochs": 1},
)
ONE_CORE = RunOptions(device="cpu", num_cpus=1)
Rows = list[dict[str, object]]
TWO_CORES = RunOptions(device="cpu", num_cpus=2)


def train_into(path: Path) -> RunDirectory:
    """Train four trials in this process, and keep their weights."""
    plan = plan_sweep(SPACE, name="demo", device="cpu", engine="grouped", group_size=4)
    manifest = build_manifest(
        plan_id=plan.plan_id,
        sweep_name=plan.name,
        space=plan.space.to_dict(),
        configs=plan.trials,
        settings=plan.settings(),
    )
    directory = RunDirectory.create(path, manifest)
    keep_weights(directory)
    context = GroupContext(group_id="g", data_dir="", weights_folder=weights_folder(directory))
    train_group(
        plan.trials,
        context=context,
        report=lambda progress: (),
        record=lambda result: directory.write_trial(result.trial, result.epochs),
    )
    return directory


def rows_of(directory: RunDirectory) -> Rows:
    """Return all rows but for the time that they took, in the order of their files."""
    rows = read_probes(directory).to_pylist()
    return [{k: v for k, v in row.items() if k != "probe_time_s"} for row in rows]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunDirectory, Rows]:
    """A sweep whose weights were kept, and what one process finds there."""
    directory = train_into(tmp_path_factory.mktemp("runs") / "sweep")
    probe_sweep(directory.path, options=ProbeOptions(), run_options=ONE_CORE)
    return directory, rows_of(directory)


@pytest.fixture
def unprobed(trained: tuple[RunDirectory, Rows]) -> tuple[RunDirectory, Rows]:
    shutil.rmtree(trained[0].path / "probes")
    return trained


def test_tasks_find_what_one_process_finds_to_the_last_digit_and_can_be_interrupted(
    unprobed: tuple[RunDirectory, Rows], monkeypatch: pytest.MonkeyPatch
) -> None:
    directory, expected = unprobed
    sessions = []

    def counted(*args):
        sessions.append(args)
        return ray_session(*args)

    def end_early(trial: ProbedTrial) -> None:
        if trial.number == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(probe_workers, "ray_session", counted)
    monkeypatch.setattr(probe_workers, "CLUSTER_START_S", 0.0)
    ask = partial(probe_sweep, directory.path, options=ProbeOptions())
    with pytest.raises(KeyboardInterrupt):
        ask(run_options=TWO_CORES, on_trial=end_early)
    num_kept = len(list((directory.path / "probes").iterdir()))
    outcome = ask(run_options=TWO_CORES)

    assert (num_kept, outcome.num_complete, outcome.num_probed) == (3, 3, 1)
    assert len(sessions) == 1  # for the last trial alone it would not have been worth it
    assert not ray.is_initialized()
    assert rows_of(directory) == expected


def test_a_cluster_that_runs_already_finds_the_same(
    unprobed: tuple[RunDirectory, Rows],
) -> None:
    directory, expected = unprobed
    with ray_cluster(num_cpus=2) as cluster:
        where = f"--device cpu --address {cluster.address}".split()
        done = subprocess.run(
            [sys.executable, "-m", "rlp_sweeps", "probe", str(directory.path), *where],
            env=cluster.environment,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        is_up = cluster.is_up()

    assert (done.returncode, is_up) == (0, True), done.stderr
    assert "(4 trials probed, 0 had their rows)" in done.stdout
    assert rows_of(directory) == expected

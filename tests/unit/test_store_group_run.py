"""Groups that are trained into a run directory in a store, without Ray, and probed there."""

import pickle

import pytest
from tiny_sweep import tiny_directory, tiny_job, tiny_plan

from rlp_sweeps.orchestration.probing import probe_sweep
from rlp_sweeps.orchestration.status import sweep_status
from rlp_sweeps.orchestration.trainable import GroupRun
from rlp_sweeps.probes import ProbeOptions
from rlp_sweeps.stores import as_path
from rlp_sweeps.tracking.kept_weights import keep_weights
from rlp_sweeps.tracking.probe_rows import read_probes
from rlp_sweeps.tracking.sample_rows import keep_samples, read_samples

VOLATILE = ["wall_time_s", "started_at_ms", "finished_at_ms", "logged_at_ms", "epoch_time_s"]


class Killed(BaseException):
    """Stands for a process that ends here."""


@pytest.fixture
def plan():
    return tiny_plan()


def _job(plan, path):
    job = tiny_job(tiny_directory(plan, path))
    keep_weights(job.directory)
    keep_samples(job.directory)
    return pickle.loads(pickle.dumps(job))  # as a worker gets it


def _run(job, plan, report=lambda values: None):
    GroupRun(job, plan.groups[0], report=report).run()


def _kill_in_epoch_2(report):
    if report["epoch"] == 2:
        raise Killed


def _rows(directory):
    tables = {
        "trials": directory.read_trials().sort_by("trial_id"),
        "epochs": directory.read_epochs(),
        "samples": read_samples(directory).sort_by(
            [("trial_id", "ascending"), ("split", "ascending"), ("sample_id", "ascending")]
        ),
    }
    return {
        name: rows.drop_columns([column for column in VOLATILE if column in rows.column_names])
        for name, rows in tables.items()
    }


def test_a_group_that_is_killed_goes_on_in_a_store_to_the_rows_of_one_on_a_disk(
    plan, bucket, tmp_path
):
    local, remote = _job(plan, tmp_path / "run"), _job(plan, f"{bucket}/run")
    _run(local, plan)
    with pytest.raises(Killed):
        _run(remote, plan, _kill_in_epoch_2)
    kept = [path.name for path in (remote.directory.path / "checkpoints").iterdir()]

    _run(remote, plan)
    remote.directory.compact()

    assert kept == [f"{plan.groups[0].group_id}.pt"]
    assert _rows(remote.directory) == _rows(local.directory)
    assert not (remote.directory.path / "checkpoints").exists()


def test_networks_whose_weights_are_kept_in_a_store_are_probed_there(plan, bucket):
    job = _job(plan, f"{bucket}/run")
    _run(job, plan)

    outcome = probe_sweep(as_path(f"{bucket}/run"), options=ProbeOptions(probes=("knn",)))

    assert (outcome.num_probed, outcome.failed) == (2, ())
    assert {row["probe"] for row in read_probes(job.directory).to_pylist()} == {"knn"}
    assert sweep_status(as_path(f"{bucket}/run")).counts["completed"] == 2

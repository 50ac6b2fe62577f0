"""A group that leaves CUDA unusable in its process, without Ray."""

import pytest
from tiny_sweep import tiny_directory, tiny_job, tiny_plan

from rlp_sweeps.orchestration import trainable
from rlp_sweeps.orchestration.trainable import rlp_trainable


@pytest.fixture
def reports(monkeypatch):
    told = []
    monkeypatch.setattr(trainable.tune, "report", told.append)
    return told


def _fails_with(monkeypatch, words):
    def build(**settings):
        raise RuntimeError(words)

    monkeypatch.setattr("rlp_sweeps.training.backbones.get_builder", lambda name: build)


@pytest.fixture
def plan():
    return tiny_plan()


def _train(plan, job):
    rlp_trainable({"group": plan.groups[0].to_text()}, job=job)


def test_a_process_that_lost_its_device_is_left_when_the_rows_are_written(
    plan, reports, monkeypatch, tmp_path
):
    job = tiny_job(tiny_directory(plan, tmp_path / "run"))
    _fails_with(monkeypatch, "CUDA error: device-side assert triggered")

    with pytest.raises(RuntimeError, match="further groups need another"):
        _train(plan, job)

    rows = job.directory.read_trials().to_pylist()
    assert [row["status"] for row in rows] == ["failed", "failed"]
    assert reports[-1]["num_failed"] == 2


def test_the_next_process_finds_nothing_to_train(plan, reports, monkeypatch, tmp_path):
    job = tiny_job(tiny_directory(plan, tmp_path / "run"))
    _fails_with(monkeypatch, "CUDA error: an illegal memory access was encountered")
    with pytest.raises(RuntimeError, match="further groups need another"):
        _train(plan, job)
    before = len(reports)

    _train(plan, job)

    assert len(reports) == before + 1
    assert job.directory.read_trials().num_rows == 2


def test_any_other_error_leaves_the_process_to_the_next_group(plan, reports, monkeypatch, tmp_path):
    job = tiny_job(tiny_directory(plan, tmp_path / "run"))
    _fails_with(monkeypatch, "this backbone is broken")

    _train(plan, job)

    assert reports[-1]["num_failed"] == 2

"""The estimate of a sweep: its groups, their engine, and as many at once as there is room for."""

import numpy as np
import pytest

from rlp_sweeps.errors import BackboneError
from rlp_sweeps.orchestration.engine_choice import Room
from rlp_sweeps.orchestration.estimates import estimate_sweep
from rlp_sweeps.orchestration.evidence import dataset_info
from rlp_sweeps.orchestration.planner import plan_sweep
from rlp_sweeps.orchestration.progress import RunOptions
from rlp_sweeps.spaces import LogAxis, Search, SearchSpace
from rlp_sweeps.tracking.run_directory import RunDirectory
from rlp_sweeps.tracking.sample_rows import keep_samples, write_samples
from rlp_sweeps.training.engines.probing import EngineProbe, Prober
from rlp_sweeps.training.weights import bytes_of_weights


def _plan(*, search=None, **options):
    space = SearchSpace(
        axes={"lr": LogAxis(low=0.01, high=0.1, num_points=4)},
        arms=("control",),
        num_seeds=2,
        search=search,
        fixed={
            "rlp_lambda": 1.0,
            "dataset": "synthetic:1,8,8,10,128",
            "backbone": "mlp",
            "batch_size": 16,
            "num_epochs": 10,
            "train_samples": 64,
        },
    )
    return plan_sweep(space, name="tiny", device="cpu", room=Room(slots=2), **options)


@pytest.fixture
def probed(monkeypatch):
    """Answer every probe with one second a step, and hold what was asked for."""
    asked = []

    def probe(self, config, *, engine, group_size):
        asked.append((engine, group_size))
        return EngineProbe(engine=engine, group_size=group_size, step_s=1.0)

    monkeypatch.setattr(Prober, "probe", probe)
    return asked


@pytest.mark.parametrize(
    ("max_concurrent", "time_s"), [(1, 8 * 40), (2, 4 * 40), (3, 4 * 40), (4, 2 * 40)]
)
def test_estimate_is_when_the_last_group_ends(probed, max_concurrent, time_s):
    plan = _plan(engine="grouped", group_size=2)

    options = RunOptions(max_concurrent=max_concurrent, num_cpus=8)
    estimate = estimate_sweep(plan, options=options)

    assert [len(group.trials) for group in plan.groups] == [2] * 4
    assert estimate.time_s == time_s
    assert f"{max_concurrent} group(s) at once (as asked for)" in estimate.basis
    assert "at its present load" in estimate.basis


def test_estimate_times_the_engine_in_groups_as_planned(probed):
    estimate_sweep(_plan(engine="vmap", group_size=4))
    estimate_sweep(_plan(engine="sequential", group_size=4))

    assert probed == [("vmap", 2), ("vmap", 4), ("sequential", 1)]


def test_estimate_of_a_search_takes_all_points_to_be_trained(probed):
    plan = _plan(
        engine="grouped", group_size=4, search=Search(objective_arm="control", num_points=6)
    )

    estimate = estimate_sweep(plan, options=RunOptions(max_concurrent=1, num_cpus=1))

    assert plan.num_groups == 3
    assert estimate.time_s == 12 * 40


def test_estimate_refuses_a_group_that_does_not_fit(monkeypatch):
    reason = "out of memory"
    no_room = EngineProbe(engine="grouped", group_size=4, reason=reason)
    monkeypatch.setattr(Prober, "probe", lambda *_, **__: no_room)

    with pytest.raises(BackboneError, match=r"'grouped' must train 2 trial.* cannot: out of mem"):
        estimate_sweep(_plan(engine="grouped", group_size=4))


def test_disk_counts_the_samples_that_are_kept(probed):
    plan = _plan(engine="sequential")

    plain, kept = (
        estimate_sweep(plan, options=RunOptions(keep_samples=keeps)).disk_bytes
        for keeps in (False, True)
    )

    info = dataset_info(plan.trials[0].dataset, data_dir="")
    rows = info.num_train + info.num_test
    assert kept - plain == 8 * rows * 12


def test_disk_counts_networks_that_are_kept_and_once_more_those_that_are_logged(probed):
    plan = _plan(engine="sequential")

    plain, kept, logged = (
        estimate_sweep(plan, options=RunOptions(**options)).disk_bytes
        for options in ({}, {"keep_weights": True}, {"keep_weights": True, "log_models": True})
    )

    size = bytes_of_weights(plan.trials[0], data_dir="")
    assert kept - plain == pytest.approx(8 * size, rel=0.01)
    assert logged - plain == 2 * (kept - plain)


def test_an_estimate_says_what_its_disk_was_counted_from(probed):
    options = RunOptions(keep_samples=True, log_models=True)

    basis = estimate_sweep(_plan(engine="sequential"), options=options).basis

    assert "disk as measured per trial, evaluation, kept sample and network, check" in basis


@pytest.mark.parametrize(("num_pool", "num_test"), [(1000, 0), (4000, 1000)])
def test_a_kept_sample_takes_about_what_is_counted(num_pool, num_test, tmp_path):
    rng = np.random.default_rng(0)
    directory = RunDirectory.create(tmp_path / "run", {"plan_id": "p"})
    keep_samples(directory)
    blocks = [
        {
            "split": np.full(size, split),
            "sample_id": np.arange(size),
            "is_trained": rng.random(size) < (0.7 if split == "pool" else 0.0),
            "label": rng.integers(10, size=size),
            "true_label": rng.integers(10, size=size),
            "is_correct": rng.random(size) < 0.9,
            "class_confidence": rng.random(size, dtype=np.float32),
        }
        for split, size in (("pool", num_pool), ("test", num_test))
    ]
    blocks[0]["random_label"] = rng.integers(10, size=num_pool)
    blocks[0]["rlp_confidence"] = rng.random(num_pool, dtype=np.float32)

    write_samples(directory, "a", [block for block in blocks if len(block["split"])])

    size = (directory.path / "samples" / "a.parquet").stat().st_size
    assert size == pytest.approx(12 * (num_pool + num_test), rel=0.15)

"""Every recipe on digits trains an epoch of its small size, and every claim is asked of the rows.

The others need data sets that have to be downloaded; their settings are checked without training.
"""

import dataclasses
from pathlib import Path

import pytest

from analysis.tables import analyze
from rlp_sweeps.orchestration.early_stopping import clear_stop_request
from rlp_sweeps.orchestration.planner import plan_sweep
from rlp_sweeps.orchestration.trainable import GroupRun, SweepJob
from rlp_sweeps.recipes import list_recipes, load_space
from rlp_sweeps.spaces import SearchSpace
from rlp_sweeps.tracking.run_directory import RunDirectory, build_manifest
from rlp_sweeps.tracking.sample_rows import keep_samples

pytestmark = pytest.mark.slow

SPACES = {name: load_space(name).space for name in list_recipes()}
ON_DIGITS = [
    name
    for name, space in SPACES.items()
    if space.search is None and space.fixed.get("dataset") == "digits"
]
FEW = {"num_epochs": "1", "train_samples": "128", "val_samples": "100", "test_samples": "100"}
LARGE = 300
"""Trials of two seeds, beyond which one seed must do."""
WITHOUT_VALUE = ("no seed has a value", "there is no interval")


def train_an_epoch(name: str, path: Path) -> SearchSpace:
    """Train a recipe's first seeds here, on few samples, without Ray, and return its space."""
    space = dataclasses.replace(SPACES[name].override(FEW), num_seeds=2)
    if sum(1 for _ in space.grid()) > LARGE:
        space = dataclasses.replace(space, num_seeds=1)
    plan = plan_sweep(space, name=name, device="cpu")
    manifest = build_manifest(
        plan_id=plan.plan_id,
        sweep_name=name,
        space=space.to_dict(),
        configs=plan.trials,
        settings=plan.settings(),
    )
    directory = RunDirectory.create(path, manifest)
    if space.keep_samples:
        keep_samples(directory)
    job = SweepJob(
        directory=directory,
        groups={},
        data_dir="data",
        device="cpu",
        engine=plan.engine,
        engines={key: choice.engine for key, choice in plan.choices.items()},
        num_threads=1,
        checkpoint_interval_s=1e9,
        probes=space.probes,
    )
    clear_stop_request()
    for group in plan.groups:
        GroupRun(job, group, report=lambda _: None).run()
    return space


@pytest.mark.parametrize("name", ON_DIGITS)
def test_a_recipe_trains_and_its_claims_are_asked(name: str, tmp_path: Path) -> None:
    space = train_an_epoch(name, tmp_path / "sweep")

    analysis = analyze([tmp_path / "sweep"])

    assert set(analysis.trials["status"]) <= {"completed", "diverged"}
    assert len(analysis.trials) == sum(1 for _ in space.grid())
    if space.claims:
        assert analysis.claims is not None
        assert analysis.claims.height == len(space.claims)
        unmeasured = analysis.claims.filter(analysis.claims["result"] == "not measured")
        assert set(unmeasured["reason"]) <= set(WITHOUT_VALUE)

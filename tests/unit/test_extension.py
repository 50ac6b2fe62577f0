"""What an extension adds to a sweep, and how the manifest keeps it."""

from dataclasses import replace

import pytest

from rlp_sweeps.config import TrialConfig
from rlp_sweeps.errors import ArgumentError, ConfigError, RunDirectoryError, SearchSpaceError
from rlp_sweeps.orchestration.extension import ExtensionRequest, current_space, plan_extension
from rlp_sweeps.orchestration.planner import plan_from_manifest, plan_sweep
from rlp_sweeps.spaces import ChoiceAxis, LogAxis, Search, SearchSpace
from rlp_sweeps.tracking.manifest import build_manifest, extend_manifest
from rlp_sweeps.tracking.run_directory import RunDirectory

GRID = SearchSpace(
    axes={
        "lr": LogAxis(low=0.01, high=0.1, num_points=2),
        "rlp_lambda": ChoiceAxis(choices=(1.0,), control=0.0),
    },
    arms=("control", "full"),
    num_seeds=2,
    fixed={"dataset": "digits", "backbone": "mlp", "num_epochs": 2, "batch_size": 64},
)
SEARCH = replace(GRID, search=Search(num_points=4))


def manifest_of(space, **options):
    plan = plan_sweep(space, name="tiny", device="cpu", **options)
    return build_manifest(
        plan_id=plan.plan_id,
        sweep_name="tiny",
        space=space.to_dict(),
        configs=plan.trials,
        settings=plan.settings(),
    )


def extend(manifest, **request):
    found = plan_extension(manifest, ExtensionRequest(**{"settings": {}, **request}))
    return found, extend_manifest(manifest, found.trials, why="more", extends=found.changes)


def ids_of(space):
    return {TrialConfig.from_dict(trial).trial_id for trial in space.grid()}


@pytest.mark.parametrize(
    ("request_", "whole"),
    [
        ({"settings": {"lr": "0.2,0.4"}}, GRID.override({"lr": "0.01,0.1,0.2,0.4"})),
        ({"settings": {"rlp_lambda": "3"}}, GRID.override({"rlp_lambda": "1,3"})),
        ({"num_seeds": 3}, replace(GRID, num_seeds=3)),
        (
            {"settings": {"lr": "0.2"}, "num_seeds": 3},
            replace(GRID.override({"lr": "0.01,0.1,0.2"}), num_seeds=3),
        ),
    ],
)
def test_extended_grid_is_the_grid_of_all_values_and_no_trial_is_planned_twice(request_, whole):
    manifest = manifest_of(GRID)

    found, extended = extend(manifest, **request_)

    planned = [trial.trial_id for trial in plan_from_manifest(extended).trials]
    assert set(planned) == ids_of(whole)
    assert len(planned) == len(set(planned)) == 8 + found.num_new_trials


def test_second_extension_crosses_what_the_first_has_added():
    _, manifest = extend(manifest_of(GRID), settings={"lr": "0.2"})

    found, manifest = extend(manifest, settings={"rlp_lambda": "3"}, num_seeds=3)

    whole = replace(GRID.override({"lr": "0.01,0.1,0.2", "rlp_lambda": "1,3"}), num_seeds=3)
    assert {trial.trial_id for trial in plan_from_manifest(manifest).trials} == ids_of(whole)
    assert {t.lr for t in found.trials} == {0.01, 0.1, 0.2}
    assert [entry["extends"] for entry in manifest["follow_ups"]] == [
        {"axes": {"lr": [0.2]}},
        {"axes": {"rlp_lambda": [3.0]}, "num_seeds": 3},
    ]


def test_groups_planned_before_stay_as_they_are_and_new_ones_have_the_recorded_size():
    manifest = manifest_of(GRID, engine="grouped", group_size=4)
    before = plan_from_manifest(manifest)

    _, extended = extend(manifest, settings={"lr": "0.2,0.4"})

    after = plan_from_manifest(extended)
    assert after.groups[: len(before.groups)] == before.groups
    assert [len(group.trials) for group in after.groups[len(before.groups) :]] == [4, 4]
    assert {after.engine_of(trial) for trial in after.trials} == {"grouped"}
    assert after.plan_id == before.plan_id


def test_values_that_the_sweep_has_are_nothing_to_add():
    found, _ = extend(manifest_of(GRID), settings={"lr": "0.1", "rlp_lambda": "1"}, num_seeds=2)

    assert (found.num_new_trials, found.changes) == (0, {})


def test_extended_search_has_more_points_and_the_same_identity():
    manifest = manifest_of(SEARCH)

    found, extended = extend(manifest, num_points=7)

    assert (found.num_new_points, found.num_new_trials) == (3, 12)
    before, after = plan_from_manifest(manifest), plan_from_manifest(extended)
    assert (before.num_points, after.num_points) == (4, 7)
    assert (after.plan_id, after.group_size) == (before.plan_id, before.group_size)
    assert current_space(extended).search.num_points == 7


@pytest.mark.parametrize(
    ("space", "request_", "error", "match"),
    [
        (GRID, {}, ArgumentError, "give --set NAME=VALUES or --num-seeds N"),
        (SEARCH, {}, ArgumentError, "give --num-points N"),
        (GRID, {"settings": {"batch_size": "32"}}, ArgumentError, "it is fixed at 64; .*--reuse"),
        (GRID, {"settings": {"momentum": "0.5"}}, ArgumentError, "it is at its default"),
        (GRID, {"settings": {"data_dir": "/data"}}, ArgumentError, "must be an axis"),
        (GRID, {"settings": {"seed": "5"}}, ConfigError, "seeds with `--num-seeds N`"),
        (GRID, {"settings": {"lr": "fast"}}, ConfigError, "lr"),
        (GRID, {"settings": {"rlp_lambda": "0.0,-1"}}, (ConfigError, SearchSpaceError), "rlp_lam"),
        (GRID, {"num_seeds": 1}, ArgumentError, "`num_seeds >= 2` must hold"),
        (GRID, {"num_points": 9}, ArgumentError, "give values with --set"),
        (SEARCH, {"settings": {"lr": "0.2"}}, ArgumentError, "more points with --num-points"),
        (SEARCH, {"num_seeds": 3}, ArgumentError, "follow-up DIR --num-seeds N"),
        (SEARCH, {"num_points": 3}, ArgumentError, "`num_points >= 4` must hold"),
    ],
)
def test_what_cannot_be_added_is_refused_with_a_way_out(space, request_, error, match):
    with pytest.raises(error, match=match):
        extend(manifest_of(space), **request_)


def test_directory_keeps_an_extension_and_refuses_one_while_a_driver_is_at_work(tmp_path):
    directory = RunDirectory.create(tmp_path / "run", manifest_of(GRID))
    found = plan_extension(directory.manifest, ExtensionRequest(settings={"lr": "0.2"}))

    with directory.held(), pytest.raises(RunDirectoryError, match="one process at a time"):
        directory.add_trials(found.trials, why="more", extends=found.changes)
    directory.add_trials(found.trials, why="more", extends=found.changes)

    reopened = RunDirectory.open(directory.path)
    assert len(plan_from_manifest(reopened.manifest).trials) == 12
    assert reopened.manifest["follow_ups"][0]["extends"] == {"axes": {"lr": [0.2]}}

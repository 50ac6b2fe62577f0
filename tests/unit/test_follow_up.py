import dataclasses

import pytest

from rlp_sweeps.config import TrialConfig
from rlp_sweeps.errors import ArgumentError, RunDirectoryError
from rlp_sweeps.orchestration.follow_up import plan_follow_up
from rlp_sweeps.orchestration.planner import plan_from_manifest, plan_sweep
from rlp_sweeps.orchestration.points import AskedPoint, PointLog, asked_trials, planned_trials
from rlp_sweeps.spaces import ChoiceAxis, LogAxis, Search, SearchSpace
from rlp_sweeps.tracking.manifest import extend_manifest
from rlp_sweeps.tracking.run_directory import RunDirectory, build_manifest

SPACE = SearchSpace(
    axes={
        "lr": LogAxis(low=0.01, high=0.1, num_points=2),
        "rlp_lambda": ChoiceAxis(choices=(2.0,), control=0.0),
    },
    arms=("control", "full", "class_term"),
    num_seeds=2,
    fixed={"dataset": "digits", "backbone": "mlp", "num_epochs": 2, "train_samples": 200},
)
PLAN = plan_sweep(SPACE, name="study", device="cpu", engine="sequential", group_size=1)
MANIFEST = build_manifest(
    plan_id=PLAN.plan_id,
    sweep_name=PLAN.name,
    space=SPACE.to_dict(),
    configs=PLAN.trials,
    settings=PLAN.settings(),
)


def rows_of(plan, kappa=lambda trial: 1.5 + trial.seed, status="completed"):
    return [
        {"trial_id": trial.trial_id, "status": status, "lr_multiplier": kappa(trial)}
        for trial in plan.trials
    ]


def extended(plan, manifest, trials):
    """The manifest and plan after a follow-up was written down."""
    manifest = extend_manifest(manifest, trials, why="because")
    return manifest, plan_from_manifest(manifest)


def test_every_trial_of_an_arm_gets_a_rescaled_twin_at_its_own_multiplier() -> None:
    found = plan_follow_up(PLAN, rows_of(PLAN), matched_to=["full"])

    expected = {
        dataclasses.replace(trial, arm="rescaled", matched_multiplier=1.5 + trial.seed)
        for trial in PLAN.trials
        if trial.arm == "full"
    }
    assert set(found.trials) == expected
    assert found.multipliers == {"rescaled": (1.5, 2.5)}


def test_by_default_all_arms_that_the_sweep_has_are_matched() -> None:
    found = plan_follow_up(PLAN, rows_of(PLAN))

    assert {trial.arm for trial in found.trials} == {"rescaled", "rescaled_class_term"}
    assert found.skipped == ()


@pytest.mark.parametrize("kappa", [None, float("nan"), -0.5])
def test_a_cell_without_a_positive_multiplier_is_skipped_and_named(kappa) -> None:
    found = plan_follow_up(PLAN, rows_of(PLAN, kappa=lambda _: kappa), matched_to=["full"])

    assert found.is_empty
    assert found.skipped == (
        "4 trial(s) of arm 'full' get no rescaled control: their κ is missing or not above 0.",
    )


def test_diverged_trials_get_no_rescaled_twin() -> None:
    rows = rows_of(PLAN)
    rows[[trial.arm for trial in PLAN.trials].index("full")]["status"] = "diverged"

    found = plan_follow_up(PLAN, rows, matched_to=["full"])

    assert len(found.trials) == 3
    assert found.skipped[0].startswith("1 trial(s) of arm 'full'")


def test_further_seeds_train_the_whole_space_and_their_twins_come_with_the_next_follow_up() -> None:
    first = plan_follow_up(PLAN, rows_of(PLAN), matched_to=["full"], num_seeds=3)
    _, plan = extended(PLAN, MANIFEST, first.trials)

    second = plan_follow_up(plan, rows_of(plan), matched_to=["full"], num_seeds=3)

    by_seed = {seed: sorted({t.arm for t in first.trials if t.seed == seed}) for seed in (1, 2)}
    assert by_seed == {1: ["rescaled"], 2: ["class_term", "control", "full"]}
    assert [(t.arm, t.seed) for t in second.trials] == [("rescaled", 2)] * 2


def test_a_second_follow_up_schedules_nothing_twice() -> None:
    first = plan_follow_up(PLAN, rows_of(PLAN))
    _, plan = extended(PLAN, MANIFEST, first.trials)

    second = plan_follow_up(plan, rows_of(plan, kappa=lambda _: 9.0))

    assert second.is_empty


def test_failed_trials_are_trained_once_more() -> None:
    rows = rows_of(PLAN)
    rows[0]["status"] = "failed"

    assert plan_follow_up(PLAN, rows, matched_to=[]).num_retried == 1


def test_a_plan_with_a_follow_up_is_the_same_sweep_with_more_groups() -> None:
    found = plan_follow_up(PLAN, rows_of(PLAN))

    _, plan = extended(PLAN, MANIFEST, found.trials)

    assert plan.plan_id == PLAN.plan_id
    assert plan.groups[: len(PLAN.groups)] == PLAN.groups
    assert set(plan.trials) == {*PLAN.trials, *found.trials}
    assert plan.trials_by_arm["rescaled"] == 4


def test_a_run_directory_keeps_follow_ups_and_their_reason(tmp_path) -> None:
    directory = RunDirectory.create(tmp_path / "a", MANIFEST)
    found = plan_follow_up(PLAN, rows_of(PLAN))

    directory.add_trials(found.trials, why="matched controls")

    manifest = RunDirectory.open(tmp_path / "a").manifest
    assert [entry["why"] for entry in manifest["follow_ups"]] == ["matched controls"]
    assert plan_from_manifest(manifest) == plan_from_manifest(directory.manifest)
    assert len(manifest["trials"]) == len(PLAN.trials) + len(found.trials)


def test_a_follow_up_that_was_edited_is_refused() -> None:
    manifest, _ = extended(PLAN, MANIFEST, plan_follow_up(PLAN, rows_of(PLAN)).trials)
    manifest["trials"][-1]["config"] |= {"matched_multiplier": 7.0}

    with pytest.raises(RunDirectoryError, match="must be what its id says"):
        plan_from_manifest(manifest)


def test_an_unfinished_sweep_is_resumed_first() -> None:
    with pytest.raises(ArgumentError, match=r"1 of 12 planned trials have no row yet; .*resume"):
        plan_follow_up(PLAN, rows_of(PLAN)[1:])


SEARCH = plan_sweep(
    dataclasses.replace(SPACE, search=Search(num_points=2)),
    name="search",
    device="cpu",
    engine="sequential",
    group_size=1,
)


@pytest.fixture
def asked(tmp_path):
    """A search's run directory with two points, 0.013 and 0.07, and their trials."""
    manifest = build_manifest(
        plan_id=SEARCH.plan_id,
        sweep_name=SEARCH.name,
        space=SEARCH.space.to_dict(),
        configs=(),
        settings=SEARCH.settings(),
    )
    directory = RunDirectory.create(tmp_path / "search", manifest)
    points = [AskedPoint(n, {"lr": lr, "rlp_lambda": 2.0}) for n, lr in enumerate((0.013, 0.07))]
    PointLog.of(directory.path).extend(points)
    return directory, asked_trials(SEARCH, directory.path)


def test_the_points_of_a_search_are_followed_up_like_cells(asked) -> None:
    _, trials = asked
    rows = rows_of(dataclasses.replace(SEARCH, trials=tuple(trials)))

    found = plan_follow_up(SEARCH, rows, asked=trials, matched_to=["full"], num_seeds=3)

    of_points = {(t.arm, t.lr, t.seed) for t in found.trials}
    arms = {"control": 0, "full": 0, "class_term": 0}
    assert of_points == {
        *(("rescaled", lr, seed) for lr in (0.013, 0.07) for seed in (0, 1)),
        *((arm, lr, 2) for lr in (0.013, 0.07) for arm in arms),
    }


def test_a_search_keeps_its_follow_up_and_counts_it_as_planned(asked) -> None:
    directory, trials = asked
    done = {trial.trial_id: "completed" for trial in trials}
    rows = rows_of(dataclasses.replace(SEARCH, trials=tuple(trials)))
    found = plan_follow_up(SEARCH, rows, asked=trials, matched_to=["full"])

    directory.add_trials(found.trials, why="matched controls")

    plan = plan_from_manifest(RunDirectory.open(directory.path).manifest)
    planned, num_planned, num_points_left = planned_trials(plan, directory.path, done)
    assert plan.trials == found.trials
    assert num_planned == len(planned) == len(trials) + len(found.trials) == plan.num_trials
    assert num_points_left == 0
    assert plan.num_groups == SEARCH.num_groups + len(found.trials)


def test_failed_trials_of_a_search_are_named_and_not_trained_again(asked) -> None:
    _, trials = asked
    rows = rows_of(dataclasses.replace(SEARCH, trials=tuple(trials)))
    rows[0]["status"] = "failed"

    found = plan_follow_up(SEARCH, rows, asked=trials, matched_to=[])

    assert found.num_retried == 0
    assert found.skipped == ("1 failed trial(s) of the search are not trained again.",)


def test_bad_requests_name_their_rule() -> None:
    with pytest.raises(
        ArgumentError, match=r"no control can be matched to \['sham'\]; the arms are \['full'"
    ):
        plan_follow_up(PLAN, rows_of(PLAN), matched_to=["sham"])
    with pytest.raises(ArgumentError, match="`num_seeds >= 2` must hold"):
        plan_follow_up(PLAN, rows_of(PLAN), num_seeds=1)


def test_a_space_cannot_name_a_rescaled_arm() -> None:
    with pytest.raises(ValueError, match="'rescaled' needs the multiplier measured in 'full'"):
        dataclasses.replace(SPACE, arms=("control", "full", "rescaled"))


def test_ids_of_rescaled_trials_survive_the_manifest() -> None:
    trial = plan_follow_up(PLAN, rows_of(PLAN)).trials[0]

    assert TrialConfig.from_dict(trial.to_dict()).trial_id == trial.trial_id


def test_a_planted_scale_is_not_counted_twice() -> None:
    space = dataclasses.replace(SPACE, fixed={**SPACE.fixed, "extractor_scale": 2.0})
    plan = plan_sweep(space, name="study", device="cpu", engine="sequential", group_size=1)

    found = plan_follow_up(plan, rows_of(plan, kappa=lambda _: 3.0), matched_to=["full"])

    assert {trial.matched_multiplier for trial in found.trials} == {1.5}
    assert {trial.class_loss_scale(1) for trial in found.trials} == {3.0}


def test_an_arm_that_the_sweep_lacks_is_named() -> None:
    with pytest.raises(ArgumentError, match=r"arms \['uniform_term'\] must be in the sweep"):
        plan_follow_up(PLAN, rows_of(PLAN), matched_to=["uniform_term"])


def test_a_search_refuses_projection_arms_among_others() -> None:
    arms = ("control", "full", "orthogonal")

    with pytest.raises(ValueError, match="projection arms need groups of their own"):
        dataclasses.replace(SPACE, arms=arms, search=Search(num_points=3))

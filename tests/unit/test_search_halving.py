"""Who goes on at a rung: decisions from numbers written by hand."""

import dataclasses

import pytest

from rlp_sweeps.orchestration.halving import GroupHalving, Rung, rungs
from rlp_sweeps.orchestration.points import form_groups, point_members
from rlp_sweeps.spaces import ChoiceAxis, LogAxis, Search, SearchSpace

SEARCH = Search(num_points=6, early_stopping=True, reduction_factor=3)
LAMBDA = LogAxis(low=1.0, high=10.0, num_points=2, control=0.0)
SPACE = SearchSpace(
    axes={"lr": LogAxis(low=1e-3, high=1.0, num_points=2), "rlp_lambda": LAMBDA},
    arms=("control", "full"),
    num_seeds=2,
    fixed={"num_epochs": 9},
    search=SEARCH,
)
LRS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)


def _group(space=SPACE, lrs=LRS):
    points = {i: point_members(space, {"lr": lr, "rlp_lambda": 2.0}, i) for i, lr in enumerate(lrs)}
    (group,) = form_groups(points, size_of=lambda trial: 64)
    return group


def _members(group, *numbers, arm=None):
    return {
        t.trial_id
        for t in group.trials
        if group.points[t.trial_id] in numbers and arm in (None, t.arm)
    }


def _latest(group, values, epoch, objective="val_accuracy"):
    """Return rows of `epochs`: points stand at `values`, their seeds a little apart."""
    return {
        t.trial_id: {"epoch": epoch, objective: values[group.points[t.trial_id]] + 0.01 * t.seed}
        for t in group.trials
        if group.points[t.trial_id] in values
    }


def _row(group, trial, status, epochs_completed, values=()):
    return {
        "trial_id": trial.trial_id,
        "group_id": group.group_id,
        "arm": trial.arm,
        "status": status,
        "epochs_completed": epochs_completed,
        "epochs": [{"epoch": e, "val_accuracy": v} for e, v in values],
    }


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"num_points": 9, "num_epochs": 27, "eval_every": 1}, [(1, 3), (3, 1), (9, 1)]),
        ({"num_points": 9, "num_epochs": 9, "eval_every": 1}, [(1, 3), (3, 1)]),
        ({"num_points": 7, "num_epochs": 30, "eval_every": 4}, [(4, 3), (12, 1), (28, 1)]),
        ({"num_points": 4, "num_epochs": 4, "eval_every": 5}, []),
        ({"num_points": 1, "num_epochs": 3, "eval_every": 1}, [(1, 1)]),
    ],
)
def test_rungs_lie_on_evaluated_epochs_before_the_last(settings, expected):
    decisions = rungs(SEARCH, **settings)

    assert decisions == [Rung(epoch=epoch, num_kept=kept) for epoch, kept in expected]


def test_grace_epochs_put_the_first_rung_off():
    search = dataclasses.replace(SEARCH, grace_epochs=2, reduction_factor=2)

    decisions = rungs(search, num_points=8, num_epochs=9, eval_every=1)

    assert decisions == [Rung(epoch=e, num_kept=n) for e, n in ((2, 4), (4, 2), (8, 1))]


def test_points_behind_stop_with_all_their_arms_and_seeds():
    group = _group()
    halving = GroupHalving(SPACE, group)
    values = {0: 0.3, 1: 0.9, 2: 0.1, 3: 0.4, 4: 0.8, 5: 0.2}

    stopped = halving.stops(1, _latest(group, values, epoch=1))

    assert stopped == _members(group, 0, 2, 3, 5)


def test_nobody_stops_between_rungs():
    group = _group()

    assert GroupHalving(SPACE, group).stops(2, _latest(group, dict.fromkeys(range(6), 0.1), 2)) == (
        set()
    )


def test_points_are_ranked_by_the_objectives_arm_alone():
    group = _group(lrs=LRS[:3])
    latest = _latest(group, {0: 0.9, 1: 0.5, 2: 0.1}, epoch=1)
    for trial_id in _members(group, 2, arm="control"):
        latest[trial_id]["val_accuracy"] = 1.0

    assert GroupHalving(SPACE, group).stops(1, latest) == _members(group, 1, 2)


def test_of_equal_points_the_one_asked_first_goes_on():
    group = _group(lrs=LRS[:3])

    stopped = GroupHalving(SPACE, group).stops(1, _latest(group, dict.fromkeys(range(3), 0.5), 1))

    assert stopped == _members(group, 1, 2)


def test_a_loss_is_kept_low():
    search = dataclasses.replace(SEARCH, objectives=("val_loss",))
    space, group = dataclasses.replace(SPACE, search=search), _group(lrs=LRS[:3])
    latest = _latest(group, {0: 2.0, 1: 0.5, 2: 1.0}, epoch=1, objective="val_loss")

    assert GroupHalving(space, group).stops(1, latest) == _members(group, 0, 2)


def test_a_second_rung_ranks_those_that_are_left():
    group = _group()
    halving = GroupHalving(SPACE, group)
    stopped = halving.stops(1, _latest(group, {i: 0.1 * i for i in range(6)}, epoch=1))
    for trial in group.trials:
        if trial.trial_id in stopped:
            halving.add_ended(_row(group, trial, "stopped", 1), [{"epoch": 1, "val_accuracy": 0.9}])

    left = _members(group, 4, 5)
    again = halving.stops(3, {i: {"epoch": 3, "val_accuracy": 0.0} for i in left})

    assert stopped == _members(group, 0, 1, 2, 3)
    assert again == _members(group, 5)


@pytest.mark.parametrize(("status", "behind"), [("diverged", 1), ("failed", 1)])
def test_a_point_with_an_ended_seed_comes_last(status, behind):
    group = _group(lrs=LRS[:2])
    halving = GroupHalving(SPACE, group)
    ended = next(t for t in group.trials if group.points[t.trial_id] == 1 and t.arm == "full")
    halving.add_ended(_row(group, ended, status, 1), [])
    latest = _latest(group, {0: 0.3, 1: 0.5}, epoch=1)  # one seed at 0.51, one at nothing
    del latest[ended.trial_id]

    stopped = halving.stops(1, latest)

    assert stopped == _members(group, behind) - {ended.trial_id}


def test_a_failed_seed_is_worse_than_a_diverged_one():
    group = _group(lrs=LRS[:2])
    halving = GroupHalving(SPACE, group)
    for trial in group.trials:
        status = "failed" if group.points[trial.trial_id] == 0 else "diverged"
        if trial.arm == "full":
            halving.add_ended(_row(group, trial, status, 1), [])
    latest = _latest(group, {0: 0.9, 1: 0.1}, epoch=1)

    assert halving.stops(1, latest) == _members(group, 0, arm="control")


def test_points_that_have_not_come_to_the_rung_are_left_alone():
    group = _group(lrs=LRS[:4])
    latest = _latest(group, {0: 0.1, 1: 0.5, 2: 0.3}, epoch=1)

    assert GroupHalving(SPACE, group).stops(1, latest) == _members(group, 0)


def test_controls_that_points_may_share_go_on():
    axes = {"lr": ChoiceAxis(choices=LRS), "rlp_lambda": LAMBDA}
    space = dataclasses.replace(SPACE, axes=axes)
    group = _group(space, lrs=LRS[:2])

    stopped = GroupHalving(space, group).stops(1, _latest(group, {0: 0.3, 1: 0.5}, epoch=1))

    assert stopped == _members(group, 0, arm="full")


def test_decisions_after_an_interruption_are_those_of_the_undisturbed_group():
    """Killed after the first stopped rows of rung 1; the group begins again before it."""
    group = _group()
    values = {i: 0.1 * i for i in range(6)}
    undisturbed = GroupHalving(SPACE, group).stops(1, _latest(group, values, epoch=1))
    written = [t for t in group.trials if group.points[t.trial_id] in (0, 3)][:6]
    rows = [
        _row(group, t, "stopped", 1, [(1, values[group.points[t.trial_id]] + 0.01 * t.seed)])
        for t in written
    ]
    left = group.without({t.trial_id for t in written})

    resumed = GroupHalving(SPACE, left, rows).stops(1, _latest(left, values, epoch=1))

    assert resumed | {t.trial_id for t in written} == undisturbed
    assert resumed.isdisjoint(t.trial_id for t in written)


def test_a_row_of_a_later_end_stands_at_its_value_of_the_rung():
    """Point 1 diverged in epoch 5; from the start again, it is as good at rung 1 as it was."""
    group = _group(lrs=LRS[:2])
    gone = [t for t in group.trials if group.points[t.trial_id] == 1 and t.arm == "full"]
    rows = [_row(group, t, "diverged", 5, [(1, 0.9), (3, 0.9)]) for t in gone]
    left = group.without({t.trial_id for t in gone})

    stopped = GroupHalving(SPACE, left, rows).stops(1, _latest(left, {0: 0.5, 1: 0.0}, epoch=1))

    assert stopped == _members(left, 0)


def test_rows_of_another_group_are_no_standing():
    group = _group(lrs=LRS[:3])
    gone = [t for t in group.trials if group.points[t.trial_id] == 2]
    rows = [{**_row(group, t, "completed", 9, [(1, 0.9)]), "group_id": "other"} for t in gone]
    left = group.without({t.trial_id for t in gone})

    halving = GroupHalving(SPACE, left, rows)

    assert halving.rungs[0].num_kept == 1
    assert halving.stops(1, _latest(left, {0: 0.5, 1: 0.1}, epoch=1)) == _members(left, 1)

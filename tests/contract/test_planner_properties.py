"""What holds of every plan: each trial is in one group, with trials that it can be trained with."""

import json
import os
import subprocess
import sys
from collections import Counter

import pytest
from config_strategies import spaces
from hypothesis import given, settings
from hypothesis import strategies as st

from rlp_sweeps.config import FIELD_TYPES, SCALARS, TrialConfig
from rlp_sweeps.orchestration.engine_choice import EngineChoice
from rlp_sweeps.orchestration.grouping import Group, chunked, grouped
from rlp_sweeps.orchestration.planner import (
    SweepPlan,
    plan_from_manifest,
    plan_sweep,
    remaining_groups,
    with_trials,
)
from rlp_sweeps.orchestration.points import form_groups
from rlp_sweeps.spaces import SearchSpace
from rlp_sweeps.tracking.manifest import build_manifest, extend_manifest

IDS = """
import json, sys
from rlp_sweeps.orchestration.planner import plan_sweep
from rlp_sweeps.spaces import space_from_dict
for values in json.load(sys.stdin):
    plan = plan_sweep(space_from_dict(values), name="x", device="cpu", checks_data=False)
    print(json.dumps([plan.plan_id, [group.group_id for group in plan.groups]]))
"""

sizes = st.integers(1, 9)


def choices_of(trials: list[TrialConfig], size: int) -> dict[str, EngineChoice]:
    choice = EngineChoice(engine="sequential", group_size=size, why="asked for")
    return {trial.group_key: choice for trial in trials}


def check_groups(groups: list[Group], trials: list[TrialConfig], *, size: int) -> None:
    """Hold groups against what they must be."""
    members = Counter(trial.trial_id for group in groups for trial in group.trials)
    assert members == Counter(trial.trial_id for trial in trials)
    assert set(members.values()) <= {1}
    for group in groups:
        assert 1 <= len(group.trials) <= size
        assert len({trial.group_key for trial in group.trials}) == 1
        for name in set(FIELD_TYPES) - set(SCALARS):
            assert len({getattr(trial, name) for trial in group.trials}) == 1
    assert len({group.group_id for group in groups}) == len(groups)


def plan_of(space: SearchSpace, size: int | None = None) -> SweepPlan:
    return plan_sweep(space, name="x", device="cpu", group_size=size, checks_data=False)


@settings(max_examples=80)
@given(space=spaces(), size=sizes, order=st.randoms(use_true_random=False))
def test_each_trial_is_in_one_group_of_its_kind_and_of_no_more_than_asked(
    space: SearchSpace, size: int, order
) -> None:
    trials = list(map(TrialConfig.from_dict, space.grid()))
    for _ in range(2):
        check_groups(grouped(trials, choices_of(trials, size)), trials, size=size)
        check_groups(chunked(trials, size), trials, size=size)
        order.shuffle(trials)


@settings(max_examples=50)
@given(space=spaces(), size=st.none() | sizes, data=st.data())
def test_what_is_left_of_a_plan_is_what_is_not_finished(
    space: SearchSpace, size: int | None, data: st.DataObject
) -> None:
    plan = plan_of(space, size)
    check_groups(list(plan.groups), list(plan.trials), size=plan.group_size)
    ids = [trial.trial_id for trial in plan.trials]
    finished = set(data.draw(st.lists(st.sampled_from(ids))))

    left = remaining_groups(plan, finished)

    assert sorted(t.trial_id for g in left for t in g.trials) == sorted(set(ids) - finished)
    assert {group.group_id for group in left} <= {group.group_id for group in plan.groups}


@settings(max_examples=50)
@given(space=spaces(), size=st.none() | sizes)
def test_a_plan_is_read_back_from_its_manifest(space: SearchSpace, size: int | None) -> None:
    plan = plan_of(space, size)
    manifest = build_manifest(
        plan_id=plan.plan_id,
        sweep_name=plan.name,
        space=plan.space.to_dict(),
        configs=plan.trials,
        settings=plan.settings(),
    )
    more = [TrialConfig.from_dict({**t.to_dict(), "seed": 100 + t.seed}) for t in plan.trials]

    again = plan_from_manifest(json.loads(json.dumps(manifest)))
    extended = plan_from_manifest(json.loads(json.dumps(extend_manifest(manifest, more, why="w"))))

    assert (again.groups, again.plan_id) == (plan.groups, plan.plan_id)
    assert extended == with_trials(again, more)
    check_groups(list(extended.groups), [*plan.trials, *more], size=plan.group_size)


@settings(max_examples=50)
@given(space=spaces(), size=sizes, data=st.data())
def test_points_asked_together_are_each_in_one_group_and_share_no_trial(
    space: SearchSpace, size: int, data: st.DataObject
) -> None:
    trials = list(map(TrialConfig.from_dict, space.grid()))
    key = trials[0].group_key
    of_kind = [trial for trial in trials if trial.group_key == key]
    several = st.lists(st.sampled_from(of_kind), min_size=1, max_size=4, unique=True)
    points = dict(enumerate(data.draw(st.lists(several, min_size=1, max_size=5))))

    groups = form_groups(points, size_of=lambda trial: size)

    members = [trial.trial_id for group in groups for trial in group.trials]
    assert sorted(members) == sorted({t.trial_id for ts in points.values() for t in ts})
    first = {t.trial_id: n for n, ts in reversed(points.items()) for t in ts}
    assert {i: n for group in groups for i, n in group.points.items()} == first
    for group in groups:
        assert len(group.trials) <= size or len(set(group.points.values())) == 1


@pytest.mark.parametrize("hash_seed", ["1"])
def test_a_plan_is_the_same_in_every_process(hash_seed: str) -> None:
    drawn: list[SearchSpace] = []

    @settings(max_examples=8)
    @given(space=spaces())
    def draw_spaces(space: SearchSpace) -> None:
        drawn.append(space)

    draw_spaces()
    plans = [plan_of(space) for space in drawn]

    done = subprocess.run(
        [sys.executable, "-c", IDS],
        input=json.dumps([space.to_dict() for space in drawn]),
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
    )

    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert told == [[plan.plan_id, [g.group_id for g in plan.groups]] for plan in plans]

"""A search that asks for several points at a time, without training: rows are written by hand."""

import dataclasses
import json

import pytest
from optuna import create_study
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState, create_trial
from ray.tune.search import Searcher

from rlp_sweeps.errors import ArgumentError
from rlp_sweeps.orchestration.planner import Group, plan_sweep
from rlp_sweeps.orchestration.points import (
    PointLog,
    asked_groups,
    check_early_stopping,
    halved_space,
    planned_trials,
    points_per_group,
)
from rlp_sweeps.orchestration.search import SweepOptunaSearch, point_sampler
from rlp_sweeps.spaces import ChoiceAxis, LogAxis, Search, SearchSpace

LAMBDA = LogAxis(low=1.0, high=10.0, num_points=2, control=0.0)
SPACE = SearchSpace(
    axes={"lr": LogAxis(low=1e-3, high=1.0, num_points=2), "rlp_lambda": LAMBDA},
    arms=("control", "full"),
    num_seeds=2,
    fixed={"dataset": "digits", "backbone": "mlp", "num_epochs": 9},
    search=Search(num_points=10),
)
TWO_SIZES = dataclasses.replace(
    SPACE, axes={**SPACE.axes, "batch_size": ChoiceAxis(choices=(32, 64))}
)


class Bench:
    """A run directory, asked `at_a_time` points at a time."""

    def __init__(self, folder, space=SPACE, at_a_time=4, group_size=64):
        self.folder, self.space, self.at_a_time = folder, space, at_a_time
        self.group_size = group_size
        self.rows, self.num_asked = {}, 0
        folder.mkdir(exist_ok=True)

    def start(self):
        def read_rows(trial_ids):
            return {i: self.rows[i] for i in trial_ids if i in self.rows}

        log = PointLog.of(self.folder)
        search = SweepOptunaSearch(
            self.space, log=log, read_rows=read_rows, size_of=lambda trial: self.group_size
        )
        search.points_per_group = self.at_a_time
        return search

    def ask(self, search):
        self.num_asked += 1
        name = f"tune-{self.num_asked}"
        suggested = search.suggest(name)
        if suggested == Searcher.FINISHED:
            return name, None
        return name, Group.from_text(suggested["group"])

    def train(self, trials, status="completed"):
        for config in trials:
            self.rows[config.trial_id] = {
                "trial_id": config.trial_id,
                "status": status,
                "val_accuracy": 1.0 - abs(config.lr - 0.1) + 0.01 * config.seed,
                "epochs_completed": 2,
            }

    def step(self, search):
        name, group = self.ask(search)
        self.train(group.trials)
        search.on_trial_complete(name, {})
        return group

    def logged(self):
        lines = (self.folder / "search" / "points.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]


def _told(search):
    return [(t.number, t.state, t.params, t.values) for t in search.study.trials]


def _numbers(group):
    return sorted(set(group.points.values()))


def test_search_asks_for_several_distinct_points_at_a_time_as_one_group(tmp_path):
    bench = Bench(tmp_path)

    _, group = bench.ask(bench.start())

    assert _numbers(group) == [0, 1, 2, 3]
    assert len(group.trials) == 16
    assert len({(t.lr, t.rlp_lambda) for t in group.trials if t.arm == "full"}) == 4
    for trial in group.trials:
        logged = bench.logged()[group.points[trial.trial_id]]["params"]
        assert trial.lr == logged["lr"]


def test_points_are_written_down_together_before_they_are_trained(tmp_path):
    bench = Bench(tmp_path)
    search = bench.start()

    bench.ask(search)
    assert [(p["number"], p["asked_with"]) for p in bench.logged()] == [(i, 0) for i in range(4)]

    bench.ask(search)
    assert [p["asked_with"] for p in bench.logged()[4:]] == [4] * 4


def test_a_group_that_ends_tells_every_point_of_it(tmp_path):
    bench = Bench(tmp_path)
    search = bench.start()

    group = bench.step(search)

    for number, trial in enumerate(search.study.trials):
        full = [t for t in group.trials if t.arm == "full" and group.points[t.trial_id] == number]
        values = [bench.rows[t.trial_id]["val_accuracy"] for t in full]
        assert trial.state == TrialState.COMPLETE
        assert trial.value == pytest.approx(sum(values) / 2)
    assert search.num_left == 6


def test_search_in_groups_ends_after_its_points(tmp_path):
    bench = Bench(tmp_path)
    search = bench.start()

    groups = [bench.step(search) for _ in range(3)]

    assert [_numbers(group) for group in groups] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert bench.ask(search)[1] is None
    assert search.num_left == 0


def test_points_that_cannot_share_a_group_are_handed_out_one_group_after_the_other(tmp_path):
    bench = Bench(tmp_path, TWO_SIZES, at_a_time=8)
    search = bench.start()

    (first_name, first), (second_name, second) = bench.ask(search), bench.ask(search)

    assert [len({t.group_key for t in group.trials}) for group in (first, second)] == [1, 1]
    assert sorted(_numbers(first) + _numbers(second)) == list(range(8))
    bench.train(first.trials)
    search.on_trial_complete(first_name, {})
    assert [t.number for t in search.study.trials if t.state.is_finished()] == _numbers(first)
    bench.train(second.trials)
    search.on_trial_complete(second_name, {})
    assert all(t.state == TrialState.COMPLETE for t in search.study.trials)


def test_points_that_do_not_fit_into_one_group_are_in_several_each_whole(tmp_path):
    bench = Bench(tmp_path, group_size=11)
    search = bench.start()

    groups = [bench.ask(search)[1] for _ in range(2)]

    assert [(_numbers(g), len(g.trials)) for g in groups] == [([0, 1], 8), ([2, 3], 8)]
    assert bench.ask(bench.start())[1] == groups[0]


def test_waiting_half_of_the_points_is_not_told_before_its_group_was_trained(tmp_path):
    bench = Bench(tmp_path, TWO_SIZES, at_a_time=8)
    search = bench.start()

    bench.step(search)
    states = {t.state for t in search.study.trials if not t.state.is_finished()}

    assert states == {TrialState.RUNNING}
    assert bench.step(search) is not None
    assert {t.state for t in search.study.trials} == {TrialState.COMPLETE}


def test_rebuilt_search_asks_the_group_in_flight_again_as_it_was(tmp_path):
    bench = Bench(tmp_path)
    search = bench.start()
    bench.step(search)
    _, group = bench.ask(search)
    point_5 = [t for t in group.trials if group.points[t.trial_id] == 5]
    bench.train([*point_5, group.trials[0]])

    rebuilt = bench.start()
    _, again = bench.ask(rebuilt)

    assert (again.group_id, again.points) == (group.group_id, group.points)
    assert set(again.trials) == set(group.trials) - {*point_5, group.trials[0]}
    states = [t.state for t in rebuilt.study.trials]
    assert states[4:] == [TrialState.RUNNING, TrialState.COMPLETE, *[TrialState.RUNNING] * 2]
    assert len(bench.logged()) == 8


def test_rebuilt_search_asks_two_groups_in_flight_again_one_by_one(tmp_path):
    bench = Bench(tmp_path)
    search = bench.start()
    groups = [bench.ask(search)[1] for _ in range(2)]

    rebuilt = bench.start()
    again = [bench.ask(rebuilt)[1] for _ in range(3)]

    assert again[:2] == groups
    assert _numbers(again[2]) == [8, 9]


def test_rebuilt_search_in_groups_goes_on_as_the_undisturbed_one(tmp_path):
    disturbed, undisturbed = Bench(tmp_path / "a"), Bench(tmp_path / "b")
    search = undisturbed.start()
    for _ in range(3):
        undisturbed.step(search)

    last = disturbed.start()
    for num_before_the_kill in (3, 9, 5):
        _, group = disturbed.ask(last)
        disturbed.train(group.trials[:num_before_the_kill])
        last = disturbed.start()
        disturbed.step(last)

    assert _told(last) == _told(search)
    assert disturbed.logged() == undisturbed.logged()


def test_trials_that_another_group_trains_are_not_trained_twice(tmp_path):
    axes = {"lr": ChoiceAxis(choices=(0.1,)), "rlp_lambda": LAMBDA}
    bench = Bench(tmp_path, dataclasses.replace(SPACE, axes=axes))
    search = bench.start()

    (_, first), (_, second) = bench.ask(search), bench.ask(search)

    assert [t.arm for t in first.trials].count("control") == 2
    assert [first.points[t.trial_id] for t in first.trials if t.arm == "control"] == [0, 0]
    assert {t.arm for t in second.trials} == {"full"}


def _draw(number, *, in_flight):
    """Return what a point's sampler draws after 15 points that were told."""
    axis = {"lr": FloatDistribution(0.0, 1.0)}
    study = create_study(direction="maximize")
    for i in range(15):
        value = 1.0 - abs(i / 15 - 0.5)
        study.add_trial(create_trial(params={"lr": i / 15}, distributions=axis, value=value))
    for params in in_flight:
        study.enqueue_trial(params)
        study.ask(fixed_distributions=axis)
    study.sampler = point_sampler(Search(num_points=40), number)
    return study.ask(fixed_distributions=axis).params["lr"]


def test_points_in_flight_move_the_next_one_away():
    alone = [_draw(number, in_flight=[]) for number in range(15, 25)]
    beside = [_draw(number, in_flight=[{"lr": 0.48}]) for number in range(15, 25)]

    assert sum(abs(lr - 0.48) for lr in beside) > sum(abs(lr - 0.48) for lr in alone)


def test_asked_groups_are_those_that_were_handed_out(tmp_path):
    bench = Bench(tmp_path, TWO_SIZES, at_a_time=8)
    search = bench.start()
    handed = [bench.ask(search)[1] for _ in range(4)]

    plan = plan_sweep(TWO_SIZES, name="s", device="cpu", group_size=64, checks_data=False)
    groups = asked_groups(plan, tmp_path)

    assert sorted(g.group_id for g in groups) == sorted(g.group_id for g in handed if g)


def test_planned_trials_counts_points_one_by_one(tmp_path):
    plan = plan_sweep(SPACE, name="s", device="cpu", checks_data=False)
    bench = Bench(tmp_path)
    search = bench.start()
    _, group = bench.ask(search)
    done = {t.trial_id: "completed" for t in group.trials if group.points[t.trial_id] == 2}

    planned, num_planned, num_left = planned_trials(plan, tmp_path, done)

    assert (len(planned), num_planned, num_left) == (16, 40, 9)


@pytest.mark.parametrize(
    ("group_size", "slots", "early_stopping", "expected"),
    [
        (1, 1, False, 1),
        (7, 1, False, 1),  # a point is four trials
        (16, 1, False, 4),
        (16, 3, False, 4),
        (16, 5, False, 2),
        (64, 1, False, 10),
        (64, 4, False, 3),
        (64, 16, False, 1),
        (64, 16, True, 2),
    ],
)
def test_points_per_group_fill_a_group_and_keep_every_slot_busy(
    group_size, slots, early_stopping, expected
):
    search = Search(num_points=10, early_stopping=early_stopping)
    space = dataclasses.replace(SPACE, search=search)
    plan = plan_sweep(space, name="s", device="cpu", group_size=group_size, checks_data=False)

    number = points_per_group(plan, slots=slots)

    assert number == expected
    assert (halved_space(plan, num_points=number) is not None) == early_stopping


def test_early_stopping_of_points_that_are_many_trials_needs_room_for_two(tmp_path):
    space = dataclasses.replace(SPACE, search=Search(num_points=10, early_stopping=True))
    plans = [
        plan_sweep(space, name="s", device="cpu", group_size=size, checks_data=False)
        for size in (7, 8)
    ]

    check_early_stopping(plans[1])
    with pytest.raises(ArgumentError, match=r"`8 <= group_size` must hold, but got group_size=7"):
        check_early_stopping(plans[0])

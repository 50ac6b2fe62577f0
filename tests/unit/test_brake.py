"""The brake of an attempt, against a stand-in for Tune's event loop."""

from types import SimpleNamespace

import pytest

from rlp_sweeps.config import TrialConfig
from rlp_sweeps.errors import ArgumentError
from rlp_sweeps.orchestration.brake import Brake, BrakedFIFO, request_pause
from rlp_sweeps.orchestration.budget import brake_of, check_fits, first_trials
from rlp_sweeps.orchestration.planner import Group
from rlp_sweeps.orchestration.progress import RunOptions
from rlp_sweeps.tracking.holder import ask_to_stop, signed


class FakeTrial:
    """A trial of Tune whose actor notes what it is told to execute."""

    def __init__(self, trial_id, status):
        self.trial_id, self.status, self.told = trial_id, status, []
        execute = SimpleNamespace(remote=self.told.append)
        self.temporary_state = SimpleNamespace(ray_actor=SimpleNamespace(execute=execute))


class FakeController:
    """Tune's event loop, as schedulers see it."""

    def __init__(self, *trials):
        self.trials, self.is_finished = list(trials), False
        self.search_alg = SimpleNamespace(set_finished=self._finish)

    def _finish(self):
        self.is_finished = True

    def get_trials(self):
        return self.trials

    def get_live_trials(self):
        return {trial for trial in self.trials if trial.status != "TERMINATED"}

    def stop_trial(self, trial):
        print(f"Trial {trial.trial_id} completed. Last result:")  # as Tune's own callback does
        trial.status = "TERMINATED"


class Clock:
    """Time that a test moves."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def controller():
    return FakeController(FakeTrial("a", "RUNNING"), FakeTrial("b", "PENDING"))


def test_groups_start_in_their_order_while_nobody_brakes(controller, clock):
    scheduler = BrakedFIFO(Brake(ends_at=10.0, clock=clock))

    assert scheduler.choose_trial_to_run(controller).trial_id == "b"
    assert (controller.trials[0].told, controller.is_finished) == ([], False)


def test_used_up_hours_pause_running_groups_once_and_take_waiting_ones_back(
    controller, clock, capsys
):
    brake = Brake(ends_at=10.0, clock=clock)
    scheduler = BrakedFIFO(brake)
    clock.now = 10.0

    chosen = [scheduler.choose_trial_to_run(controller) for _ in range(3)]

    running, waiting = controller.trials
    assert chosen == [None, None, None]
    assert (running.told, running.status) == ([request_pause], "RUNNING")
    assert (waiting.told, waiting.status) == ([], "TERMINATED")
    assert (brake.reason, controller.is_finished) == ("hours", True)
    assert (brake.has_stopped("a"), brake.has_stopped("b")) == (False, True)
    assert capsys.readouterr().out == ""


def test_group_whose_epoch_outlasts_the_patience_is_cut_off(controller, clock):
    brake = Brake(ends_at=10.0, patience_s=300.0, clock=clock)
    for clock.now, status in ((10.0, "RUNNING"), (309.0, "RUNNING"), (310.0, "TERMINATED")):
        brake.apply(controller)

        assert controller.trials[0].status == status
    assert brake.has_stopped("a")


def test_request_to_stop_at_once_overrides_a_budget_that_is_waiting(controller, clock):
    asked = []
    brake = Brake(ends_at=10.0, asks=lambda: asked[0] if asked else None, clock=clock)
    clock.now = 10.0
    brake.apply(controller)
    asked.append(0.0)
    clock.now = 12.0

    brake.apply(controller)

    assert (brake.reason, controller.trials[0].status) == ("hours", "TERMINATED")


def test_somebody_who_asks_is_looked_for_once_a_second(controller, clock):
    looks = []
    brake = Brake(asks=lambda: looks.append(clock.now), clock=clock)

    for clock.now in (0.0, 0.5, 0.9, 1.0, 1.5, 2.1):
        brake.apply(controller)

    assert looks == [0.0, 1.0, 2.1]


def test_brake_of_a_sweep_hears_the_request_to_its_holder(controller, tmp_path):
    with signed(tmp_path) as holder:
        brake = brake_of(RunOptions(), tmp_path, holder)
        ask_to_stop(tmp_path, holder, now=False)

        assert brake.apply(controller)
    assert brake.reason == "cancel"


def _plan(engine, sizes):
    """Return a plan whose groups have these sizes, of seeds in their order."""
    seeds = iter(range(sum(sizes)))
    groups = [
        Group.of(
            TrialConfig(arm="control", lr=0.1, rlp_lambda=0.0, seed=next(seeds))
            for _ in range(size)
        )
        for size in sizes
    ]
    return SimpleNamespace(groups=groups, engine_of=lambda trial: engine)


@pytest.mark.parametrize(
    ("engine", "max_trials", "seeds"),
    [
        ("sequential", None, [[0, 1, 2], [3, 4]]),
        ("sequential", 9, [[0, 1, 2], [3, 4]]),
        ("sequential", 4, [[0, 1, 2], [3]]),
        ("sequential", 3, [[0, 1, 2]]),
        ("sequential", 2, [[0, 1]]),
        ("grouped", 5, [[0, 1, 2], [3, 4]]),
        ("grouped", 4, [[0, 1, 2]]),
    ],
)
def test_budget_of_trials_takes_the_first_ones_and_parts_none_that_train_together(
    engine, max_trials, seeds
):
    plan = _plan(engine, [3, 2])

    first = first_trials(plan, plan.groups, max_trials)

    assert [[trial.seed for trial in group.trials] for group in first] == seeds
    assert [g.group_id for g in first] == [g.group_id for g in plan.groups[: len(first)]]


def test_budget_that_the_next_group_does_not_fit_into_is_refused():
    plan = _plan("grouped", [3, 2])

    with pytest.raises(ArgumentError, match="because the next 3 trials of this sweep are trained"):
        first_trials(plan, plan.groups, 2)


def test_budget_that_no_point_fits_into_is_refused():
    with pytest.raises(ArgumentError, match="`8 <= max_trials` must hold"):
        check_fits(8, 7)
    check_fits(8, 8)

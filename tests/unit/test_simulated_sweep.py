"""Sweeps in simulated time: times by hand, losses, resume, and what is refused."""

import random

import pytest
from simulated_sweeps import ends_s, plan_of, record, resume, simulate, space_of

from rlp_sweeps.cli.app import main
from rlp_sweeps.errors import ArgumentError
from rlp_sweeps.orchestration.progress import RunOptions
from rlp_sweeps.orchestration.simulation import Simulation, nodes, read_reports
from rlp_sweeps.orchestration.simulation.clock import Clock
from rlp_sweeps.orchestration.simulation.nodes import Nodes
from rlp_sweeps.orchestration.simulation.results import epoch_times
from rlp_sweeps.orchestration.sweep import run_sweep
from rlp_sweeps.schema import STATUSES
from rlp_sweeps.spaces import LogAxis, Search
from rlp_sweeps.tracking.run_directory import RunDirectory

HOUR_S = 3600.0
FULL = {"arms": ("full",), "fixed": {"rlp_lambda": 1.0, "num_epochs": 8}}
VOLATILE = ("started_at_ms", "finished_at_ms", "logged_at_ms", "hostname", "code_version")


class FixedLosses(random.Random):
    """Lets every machine be lost after the same times, in seconds, then never again."""

    times_s: tuple[float, ...] = ()

    def __init__(self, seed):
        super().__init__(seed)
        self._left = list(self.times_s)

    def expovariate(self, rate):
        return (self._left.pop(0) if self._left else 1e9) / HOUR_S


@pytest.fixture
def losses(monkeypatch):
    def lose_after(*times_s):
        monkeypatch.setattr(FixedLosses, "times_s", times_s)
        monkeypatch.setattr(nodes.random, "Random", FixedLosses)

    return lose_after


def rows_of(directory, table="trials", *, without=(*VOLATILE, "group_id")):
    read = getattr(RunDirectory.open(directory), f"read_{table}")
    rows = read().sort_by("trial_id").to_pylist()
    return [{k: v for k, v in row.items() if k not in without} for row in rows]


def test_events_come_in_the_order_of_their_time_and_then_of_their_setting():
    clock, seen = Clock(), []
    for name, delay_s in (("late", 2.0), ("first", 1.0), ("second", 1.0)):
        clock.after(delay_s, lambda name=name: seen.append((name, clock.now_s)))

    for _ in range(3):
        clock.step()

    assert seen == [("first", 1.0), ("second", 1.0), ("late", 2.0)]


def test_epochs_between_evaluations_share_their_time_and_the_rest_goes_to_the_last_ones():
    epochs = [{"epoch": 2, "epoch_time_s": 6.0}, {"epoch": 3, "epoch_time_s": 1.0}]

    times = epoch_times({"epochs_completed": 5, "wall_time_s": 12.0}, epochs)

    assert times == [3.0, 3.0, 1.0, 2.5, 2.5]
    assert epoch_times({"epochs_completed": 0, "wall_time_s": None}, []) == [0.0]


def test_groups_take_their_recorded_time_on_the_slots_that_there_are(tmp_path):
    plan = plan_of(space_of(3))
    record(tmp_path / "real", plan, epoch_s=(10.0, 20.0, 5.0))

    outcome, report = simulate(plan, tmp_path / "run", recorded=tmp_path / "real", slots=2)

    assert outcome.exit_status == 0
    assert ends_s(tmp_path / "run") == {0.01: 20.0, 0.02: 40.0, 0.03: 30.0}
    assert (report.time_s, report.busy_s, report.num_trials) == (40.0, 70.0, 3)
    assert report.busy_share == 70.0 / 80.0


def test_the_driver_starts_one_group_after_the_other(tmp_path):
    plan = plan_of(space_of(3))
    record(tmp_path / "real", plan, epoch_s=(10.0, 20.0, 5.0))
    source = tmp_path / "real"

    _, report = simulate(plan, tmp_path / "run", recorded=source, slots=2, start_s=1.0)

    assert ends_s(tmp_path / "run") == {0.01: 20.0, 0.02: 41.0, 0.03: 31.0}  # after second 1
    assert report.time_s == 42.0


def test_members_of_a_group_pass_their_epochs_together(tmp_path):
    plan = plan_of(space_of(2), group_size=2)
    record(tmp_path / "real", plan, epoch_s=(10.0, 20.0))

    _, report = simulate(plan, tmp_path / "run", recorded=tmp_path / "real")

    assert (report.time_s, report.num_groups, report.trial_epochs) == (60.0, 1, 4)


def test_rows_are_those_that_were_recorded_but_for_time_and_place(tmp_path):
    plan = plan_of(space_of(3))
    record(tmp_path / "real", plan, epoch_s=(1.0, 2.0, 3.0), status="diverged", error="nan")

    simulate(plan, tmp_path / "run", recorded=tmp_path / "real", nodes=2)

    for table in ("trials", "epochs"):
        assert rows_of(tmp_path / "run", table) == rows_of(tmp_path / "real", table)
    hosts = RunDirectory.open(tmp_path / "run").read_trials()["hostname"].to_pylist()
    assert sorted(set(hosts)) == ["simulated-node-0", "simulated-node-1"]


@pytest.mark.parametrize(("interval_s", "time_s", "lost_s"), [(0.0, 85.0, 5.0), (99.0, 95.0, 15.0)])
def test_a_lost_group_goes_on_from_its_last_checkpoint(
    tmp_path, losses, interval_s, time_s, lost_s
):
    plan = plan_of(space_of(1))
    source = record(tmp_path / "real", plan, epoch_s=(10.0,))
    losses(15.0)
    options = RunOptions(checkpoint_interval_s=interval_s)
    loss = {"failures_per_hour": 1.0, "minutes_down": 1.0}

    outcome, report = simulate(plan, tmp_path / "run", options=options, recorded=source, **loss)

    assert outcome.is_complete
    assert (report.time_s, report.lost_s) == (time_s, lost_s)
    assert (report.num_nodes_lost, report.num_groups_lost) == (1, 1)


def test_a_lost_group_waits_behind_all_others(tmp_path, losses):
    plan = plan_of(space_of(3))
    source = record(tmp_path / "real", plan, epoch_s=(10.0, 10.0, 10.0))
    losses(15.0)

    simulate(plan, tmp_path / "run", recorded=source, spot_nodes=1, nodes=0, minutes_down=0.0)

    assert ends_s(tmp_path / "run") == {0.01: 75.0, 0.02: 35.0, 0.03: 55.0}


def test_a_group_lost_once_too_often_is_named_and_resume_trains_it(tmp_path, losses):
    plan = plan_of(space_of(1))
    source = record(tmp_path / "real", plan, epoch_s=(10.0,))
    losses(*[15.0] * 23)
    loss = {"failures_per_hour": 1.0, "minutes_down": 0.0}
    options = RunOptions(checkpoint_interval_s=99.0)

    outcome, report = simulate(plan, tmp_path / "run", options=options, recorded=source, **loss)
    losses()
    resumed, _ = resume(tmp_path / "run")

    assert outcome.exit_status == 1
    assert "its simulated machine was lost" in outcome.lost[0]
    assert (report.num_groups_lost, report.num_groups_given_up) == (22, 1)
    assert resumed.exit_status == 0
    assert rows_of(tmp_path / "run") == rows_of(source)


def test_losses_change_no_row_and_lose_none(tmp_path):
    plan = plan_of(space_of(40), group_size=2)
    loss = {"failures_per_hour": 60.0, "spot_nodes": 2, "spot_hours": 0.02, "minutes_down": 0.5}

    calm, _ = simulate(plan, tmp_path / "calm", epoch_s=10.0, nodes=4)
    simulate(plan, tmp_path / "run", epoch_s=10.0, nodes=2, **loss)
    lossy = read_reports(tmp_path / "run")[-1]
    while not (outcome := resume(tmp_path / "run")[0]).is_complete:
        pass

    assert calm.is_complete
    assert outcome.is_complete
    assert lossy.num_groups_lost > 0
    for table in ("trials", "epochs"):
        assert rows_of(tmp_path / "run", table) == rows_of(tmp_path / "calm", table)


def test_a_sweep_whose_driver_goes_is_interrupted_and_goes_on(tmp_path):
    plan = plan_of(space_of(4))
    source = record(tmp_path / "real", plan, epoch_s=(10.0,) * 4)

    outcome, report = simulate(plan, tmp_path / "run", recorded=source, hours=45.0 / HOUR_S)
    resumed, further = resume(tmp_path / "run")

    assert (outcome.exit_status, outcome.counts["completed"], report.time_s) == (130, 2, 45.0)
    assert (resumed.counts["completed"], further.time_s) == (4, 40.0)
    assert rows_of(tmp_path / "run") == rows_of(source)


def test_a_search_asks_and_tells_as_it_does_with_trained_trials(tmp_path):
    axes = {"lr": LogAxis(low=1e-3, high=1.0, num_points=2)}
    space = space_of(1, axes=axes, search=Search(num_points=12), num_seeds=2, **FULL)

    outcome, report = simulate(plan_of(space), tmp_path / "run", epoch_s=1.0)

    assert outcome.is_complete
    assert report.num_trials == 24
    rows = rows_of(tmp_path / "run")
    assert sorted(row["point"] for row in rows) == sorted([*range(12)] * 2)
    assert abs(outcome.best[0].params["lr"] - 0.1) < 0.1  # the formula is best at 0.1


@pytest.mark.parametrize("group_size", [1, 4])
def test_early_stopping_saves_epochs(tmp_path, group_size):
    axes = {"lr": LogAxis(low=1e-4, high=1.0, num_points=2)}
    search = Search(num_points=12, early_stopping=True, reduction_factor=2)
    space = space_of(1, axes=axes, search=search, **FULL)

    outcome, report = simulate(
        plan_of(space, group_size=group_size), tmp_path / "run", epoch_s=1.0, slots=3
    )

    assert outcome.counts["stopped"] == report.num_stopped > 0
    assert report.trial_epochs + report.trial_epochs_saved == 12 * 8
    stopped = [row for row in rows_of(tmp_path / "run") if row["status"] == "stopped"]
    assert {row["metrics_epoch"] for row in stopped} <= {1, 2, 4}


def test_a_trial_that_was_not_recorded_is_refused_or_takes_the_nearest(tmp_path):
    source = record(tmp_path / "real", plan_of(space_of(2)), epoch_s=(1.0, 2.0))
    further = plan_of(space_of(1, axes={"lr": LogAxis(low=0.05, high=0.1, num_points=2)}))

    with pytest.raises(ArgumentError, match=r"2 are not, the first of them .* --nearest"):
        simulate(further, tmp_path / "run", recorded=source)
    simulate(further, tmp_path / "run", recorded=source, is_nearest=True)

    rows = rows_of(tmp_path / "run")
    assert {row["lr"] for row in rows} == {0.05, 0.1}
    assert {row["test_accuracy"] for row in rows} == {0.02}


def test_simulated_rows_are_never_taken_for_trained_ones(tmp_path):
    plan = plan_of(space_of(1))
    simulate(plan, tmp_path / "run", epoch_s=1.0)

    with pytest.raises(ArgumentError, match=r"must come of training, but those of .* simulated"):
        run_sweep(plan, output=tmp_path / "real", options=RunOptions(reuse=(tmp_path / "run",)))
    with pytest.raises(ArgumentError, match="must come of training"):
        simulate(plan, tmp_path / "again", recorded=tmp_path / "run")
    assert not (tmp_path / "real").exists()


def test_one_more_machine_never_shifts_another_ones_losses():
    def loss_times(number):
        clock, seen = Clock(), []
        simulation = Simulation(epoch_s=1.0, nodes=number, failures_per_hour=2.0)
        machines = Nodes(
            simulation,
            clock,
            on_loss=lambda node: seen.append((node.name, clock.now_s)),
            on_return=lambda: None,
        )
        machines.start()
        while clock.next_s < 100 * HOUR_S:
            clock.step()
        return [time_s for name, time_s in seen if name == "simulated-node-0"]

    assert loss_times(1) == loss_times(3)
    assert 140 < len(loss_times(1)) < 220  # 2 in each of the 86 hours that it is there


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"nodes": 0}, "must have a machine"),
        ({"slots": 0}, "`1 <= slots` must hold, but got slots=0"),
        ({"failures_per_hour": -1.0}, "`0 <= failures_per_hour`"),
        ({"spot_hours": 0.0}, "`0 < spot_hours`"),
        ({"minutes_down": float("inf")}, "`0 <= minutes_down`"),
        ({"epoch_s": None}, "either recorded results or made-up ones"),
        ({"recorded": ("runs/a",)}, "either recorded results or made-up ones"),
    ],
)
def test_a_simulation_that_cannot_be_is_refused(changes, message):
    with pytest.raises(ArgumentError, match=message):
        Simulation(**{"epoch_s": 1.0, **changes})


def test_the_command_simulates_a_recorded_directory_and_says_how_long(tmp_path, capsys):
    plan = plan_of(space_of(3))
    source = record(tmp_path / "real", plan, epoch_s=(10.0, 20.0, 5.0))

    status = main(["simulate", str(source), "--slots", "2", "--output", str(tmp_path / "run")])

    assert status == 0
    printed = capsys.readouterr().out
    assert "simulated: 40 s on 2 slot(s), busy for 87.5% of their time; 3 groups" in printed


def test_the_command_refuses_to_change_a_recorded_plan(tmp_path, capsys):
    record(tmp_path / "real", plan_of(space_of(1)), epoch_s=(1.0,))

    status = main(["simulate", str(tmp_path / "real"), "--group-size", "4", "--num-seeds", "2"])

    assert status == 2
    assert "simulated as it is, but got ['--num-seeds', '--group-size']" in capsys.readouterr().err


@pytest.mark.slow
def test_hundreds_of_trials_all_end_in_the_time_that_their_places_need(tmp_path, monkeypatch):
    monkeypatch.setattr("rlp_sweeps.tracking.files._flush_to_disk", lambda path: None)
    plan = plan_of(space_of(30, num_seeds=10), group_size=10)

    outcome, report = simulate(plan, tmp_path / "run", epoch_s=36.0, nodes=10)

    assert outcome.counts == {**dict.fromkeys(STATUSES, 0), "completed": 300}
    assert report.time_s == pytest.approx(300 * 2 * 36.0 / 10, rel=0.05)

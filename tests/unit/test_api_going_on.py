"""A sweep that goes on from Python: extended, followed up, stopped, asked how it stands."""

from pathlib import Path
from typing import Any

import pytest
from test_api import FakeSweep, fake
from test_cli_budget import at_work, make_directory

from rlp_sweeps import cancel_sweep, extend_sweep, follow_up, sweep_status
from rlp_sweeps.cli import main
from rlp_sweeps.errors import ArgumentError, RunDirectoryError
from rlp_sweeps.orchestration.follow_up import FollowUp
from rlp_sweeps.orchestration.planner import plan_from_manifest
from rlp_sweeps.tracking.run_directory import RunDirectory

__all__ = ["fake"]  # a fixture

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def directory(tmp_path: Path) -> RunDirectory:
    return make_directory(tmp_path / "run")


def test_extended_sweep_plans_what_the_command_line_plans_and_trains_it(
    fake: FakeSweep, directory: RunDirectory, tmp_path: Path, capsys: Capture
) -> None:
    typed = make_directory(tmp_path / "typed")

    result = extend_sweep(directory.path, values={"lr": [0.2, 0.4]}, num_seeds=3, device="cpu")
    called = capsys.readouterr().out.splitlines()[0]
    options = ["--set", "lr=0.2,0.4", "--num-seeds", "3", "--device", "cpu", "--no-analyze"]
    assert main(["extend", str(typed.path), *options]) == 0

    assert result.is_complete
    assert fake.asked["options"].device == "cpu"
    plans = [plan_from_manifest(RunDirectory.open(d.path).manifest) for d in (directory, typed)]
    assert plans[0].trials == plans[1].trials
    assert len(plans[0].trials) == 9
    told = capsys.readouterr().out.splitlines()[0]
    assert called == told.replace(str(typed.path), str(directory.path))


def test_extension_by_nothing_goes_on_with_what_is_left(
    fake: FakeSweep, directory: RunDirectory, capsys: Capture
) -> None:
    extend_sweep(directory.path, num_seeds=2, device="cpu")

    assert ": nothing to add, the sweep has all of it" in capsys.readouterr().out
    assert fake.asked


def test_extension_that_cannot_be_is_refused_before_anything_starts(
    fake: FakeSweep, directory: RunDirectory
) -> None:
    with pytest.raises(ArgumentError, match=r"must be an axis .* --set num_epochs=3,4 --reuse DIR"):
        extend_sweep(directory.path, values={"num_epochs": [3, 4]})
    with pytest.raises(ArgumentError, match="must say what is added to a grid"):
        extend_sweep(directory.path)

    assert not fake.asked


@pytest.fixture
def stages(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Stands for what is lacking: two failed trials, then one; holds whether they are retried."""
    found = [
        FollowUp(trials=(), multipliers={}, num_retried=1),
        FollowUp(trials=(), multipliers={}, num_retried=2, skipped=("one has no κ.",)),
    ]
    written: list[Any] = []
    monkeypatch.setattr(
        "rlp_sweeps.api.following.plan_stage",
        lambda *_: found.pop(),
    )
    monkeypatch.setattr(
        "rlp_sweeps.api.following.write_stage",
        lambda directory, found, options: written.append(options.retry_failed),
    )
    return written


def test_follow_up_trains_in_two_stages_and_says_what_and_what_not(
    fake: FakeSweep, stages: list[Any], capsys: Capture
) -> None:
    result = follow_up("runs/a", device="cpu")

    assert stages == [True, False]
    assert result.is_complete
    said = capsys.readouterr().out
    assert "follow-up of runs/a: 2 trials: 2 that failed, once more; then the matched" in said
    assert "one has no κ." in said


def test_follow_up_stops_where_its_budget_does(
    fake: FakeSweep, stages: list[Any], capsys: Capture
) -> None:
    follow_up("runs/a", max_trials=2)

    assert stages == [True]
    assert "the budget is used up; `follow_up('runs/a')` again goes on." in capsys.readouterr().out


def test_follow_up_that_is_cut_short_begins_no_second_stage(
    fake: FakeSweep, stages: list[Any]
) -> None:
    fake.end = {"interrupted": True, "missing": ("a",), "stopped_by": "hours"}

    result = follow_up("runs/a", progress=False)

    assert stages == [True]
    assert not result.is_complete


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"cap": 4.0}, "`--cap 4` without `--replay`"),
        ({"num_seeds": 3, "half_width": 0.1}, "`--num-seeds 3` and `--half-width 0.1`"),
        ({}, "must exist"),
    ],
)
def test_follow_up_refuses_what_the_command_line_refuses(
    fake: FakeSweep, asked: dict[str, Any], sentence: str
) -> None:
    with pytest.raises((ArgumentError, RunDirectoryError), match=sentence):
        follow_up("runs/nowhere", **asked)

    assert not fake.asked


def test_sweep_at_work_is_cancelled_and_how_it_stands_is_read(directory: RunDirectory) -> None:
    with at_work(directory) as heard:
        running = sweep_status(directory.path).is_running
        num_finished = cancel_sweep(str(directory.path), now=True)

    status = sweep_status(directory.path)
    assert (running, status.is_running, num_finished, status.num_planned) == (True, False, 0, 4)
    assert [request.now for request in heard] == [True]
    with pytest.raises(ArgumentError, match="but nobody is at work in"):
        cancel_sweep(directory.path)

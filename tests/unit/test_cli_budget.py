"""Budgets, extension and cancellation as the command line takes and says them, without Ray."""

import dataclasses
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from test_cli import Capture, FakeSweep, run, sweep

from rlp_sweeps.cli import main
from rlp_sweeps.orchestration.budget import reach
from rlp_sweeps.orchestration.estimates import SweepEstimate
from rlp_sweeps.orchestration.planner import plan_sweep
from rlp_sweeps.orchestration.progress import RunOptions
from rlp_sweeps.spaces import ChoiceAxis, Search, SearchSpace
from rlp_sweeps.tracking.holder import CancelRequest, read_request
from rlp_sweeps.tracking.run_directory import RunDirectory, build_manifest

__all__ = ["sweep"]  # a fixture

GRID = SearchSpace(
    axes={"lr": ChoiceAxis(choices=(0.1, 0.2))},
    arms=("control",),
    num_seeds=2,
    fixed={"dataset": "digits", "backbone": "mlp", "num_epochs": 2},
)

JSON = ("--dry-run", "--json")


def make_directory(path: Path, space: SearchSpace = GRID) -> RunDirectory:
    plan = plan_sweep(space, name="tiny", device="cpu")
    manifest = build_manifest(
        plan_id=plan.plan_id,
        sweep_name="tiny",
        space=space.to_dict(),
        configs=plan.trials,
        settings=plan.settings(),
    )
    return RunDirectory.create(path, manifest)


@pytest.fixture
def directory(tmp_path: Path) -> RunDirectory:
    return make_directory(tmp_path / "run")


# --- budget ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stopped_by", "status", "sentence"),
    [
        ("hours", 3, "the budget of hours is used up; 2 of 5 trials are left, what is finished is"),
        ("trials", 3, "the budget of trials is used up; 2 of 5 trials are left"),
        ("cancel", 130, "stopped, as `rlp-sweeps cancel` asked; 2 of 5 trials are left"),
        (None, 130, "interrupted; what is finished is kept"),
    ],
)
def test_stopped_sweep_says_what_is_left_and_how_to_go_on(
    sweep: FakeSweep, capsys: Capture, stopped_by: str | None, status: int, sentence: str
) -> None:
    sweep.changes = {
        "num_planned": 5,
        "missing": ("a", "b"),
        "interrupted": True,
        "stopped_by": stopped_by,
    }

    assert run("--output", "out", "--max-hours", "2", "--max-trials", "7") == status

    error = capsys.readouterr().err
    assert sentence in error
    assert "`rlp-sweeps resume out` goes on from there." in error
    assert sweep.analyzed == []
    options = sweep.asked[0]["options"]
    assert (options.max_hours, options.max_trials) == (2.0, 7)


@pytest.mark.parametrize(
    ("option", "rule"),
    [("--max-hours", "0 < max_hours < inf"), ("--max-trials", "1 <= max_trials")],
)
def test_budget_of_nothing_is_refused(
    sweep: FakeSweep, capsys: Capture, option: str, rule: str
) -> None:
    assert run(option, "0") == 2

    assert f"`{rule}` must hold" in capsys.readouterr().err
    assert sweep.asked == []


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"max_hours": 0.5}, (2, 0.5, 2)),
        ({"max_hours": 0.2}, (0, 0.0, 5)),
        ({"max_hours": 9.0}, (4, 1.0, 1)),
        ({"max_trials": 3}, (3, 0.75, 2)),
        ({"max_trials": 3, "max_hours": 0.5}, (2, 0.5, 2)),
        ({"max_trials": 99}, (4, 1.0, 1)),
    ],
)
def test_reach_of_a_budget_is_what_has_ended_by_then(
    options: dict[str, Any], expected: tuple[int, float, int]
) -> None:
    plan = plan_sweep(GRID, name="tiny", device="cpu")
    ends = tuple((900.0 * (number + 1), 1.0) for number in range(4))
    estimate = SweepEstimate(time_s=3600.0, disk_bytes=1, basis="", ends=ends)

    reached = reach(plan, estimate, RunOptions(**options))

    assert reached is not None
    assert (reached.num_trials, reached.share, reached.num_calls) == expected


def test_plan_prints_the_share_that_a_budget_reaches(capsys: Capture) -> None:
    command = "plan quickstart --device cpu --num-seeds 1 --max-trials 9 --set num_epochs=1"
    assert main(command.split()) == 0

    text = " ".join(capsys.readouterr().out.split())
    assert "budget reaches about 9 of 27 trials (33%); about 3 such call(s) to the end" in text


# --- extend ---------------------------------------------------------------------------------------


def test_extension_is_previewed_and_changes_nothing(
    directory: RunDirectory, capsys: Capture
) -> None:
    before = (directory.path / "manifest.json").read_text()

    assert main(["extend", str(directory.path), "--set", "lr=0.2,0.4", "--dry-run"]) == 0
    assert ": 2 trials: 2 control (lr=0.4)\n" in capsys.readouterr().out
    assert main(["extend", str(directory.path), "--num-seeds", "5", *JSON]) == 0
    found = json.loads(capsys.readouterr().out)

    assert (found["num_new_trials"], found["trials_by_arm"]) == (6, {"control": 6})
    assert (directory.path / "manifest.json").read_text() == before


def test_extension_by_nothing_trains_nothing(directory: RunDirectory, capsys: Capture) -> None:
    assert main(["extend", str(directory.path), "--set", "lr=0.1", "--num-seeds", "2"]) == 0

    assert "nothing to add, the sweep has all of it" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "way_out"),
    [
        (["--set", "num_epochs=3"], "it is fixed at 2"),
        (["--num-points", "3"], "give values with --set NAME=VALUES"),
        ([], "give --set NAME=VALUES or --num-seeds N"),
    ],
)
def test_extension_that_cannot_be_is_refused_in_a_sentence(
    directory: RunDirectory, capsys: Capture, options: list[str], way_out: str
) -> None:
    assert main(["extend", str(directory.path), *options]) == 2

    error = capsys.readouterr().err
    assert way_out in error
    assert error.count("\n") == 1


def test_search_is_extended_by_points(tmp_path: Path, capsys: Capture) -> None:
    search = dataclasses.replace(GRID, search=Search(num_points=3, objective_arm="control"))
    directory = make_directory(tmp_path / "search", search)

    assert main(["extend", str(directory.path), "--num-points", "5", "--dry-run"]) == 0

    assert ": 2 points of 2 trial(s)\n" in capsys.readouterr().out


# --- cancel ---------------------------------------------------------------------------------------


def test_nothing_at_work_cannot_be_cancelled(directory: RunDirectory, capsys: Capture) -> None:
    assert main(["cancel", str(directory.path)]) == 2

    assert "but nobody is at work in" in capsys.readouterr().err


@contextmanager
def at_work(directory: RunDirectory) -> Iterator[list[CancelRequest]]:
    """Hold a directory in another thread until that is asked to stop; give what it has heard."""
    heard: list[CancelRequest] = []

    def work() -> None:
        with directory.held() as holder:
            deadline = time.monotonic() + 20
            while time.monotonic() < deadline and not heard:
                heard.extend(filter(None, [read_request(directory.path, holder)]))
                time.sleep(0.02)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    while not (directory.path / "driver.json").exists():
        time.sleep(0.01)
    yield heard
    thread.join()


@pytest.mark.parametrize("now", [False, True])
def test_cancel_asks_the_holder_and_waits_for_its_end(
    directory: RunDirectory, capsys: Capture, now: bool
) -> None:
    with at_work(directory) as heard:
        assert main(["cancel", str(directory.path), *["--now"] * now]) == 0

    assert [request.now for request in heard] == [now]
    out = capsys.readouterr().out
    assert "to stop at once" in out if now else "at the end of the epochs that run" in out
    assert "stopped with 0 finished trials; `rlp-sweeps resume" in out

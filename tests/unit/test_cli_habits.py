"""What every command does alike: --quiet, --json, and terminals without colors."""

import json
import os
import pty
import re
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from test_cli import Capture, FakeSweep, run, sweep
from test_cli_budget import at_work, make_directory

from rlp_sweeps.cli import main
from rlp_sweeps.cli.app import app
from rlp_sweeps.orchestration.follow_up import FollowUp
from rlp_sweeps.orchestration.progress import FailedTrial
from rlp_sweeps.tracking.mlflow_tracker import SyncReport

__all__ = ["sweep"]  # a fixture

GOLDEN = Path(__file__).parents[1] / "contract" / "golden_v1"
WITHOUT_JSON = {"ui": "serves pages until Ctrl-C, and says where"}
"""Commands that print no JSON, and why."""

READING = {
    "spaces": "spaces --json",
    "new": "new my_study --json",
    "plan": "plan quickstart --device cpu --num-seeds 1 --set num_epochs=1 --json",
    "status": "status DIR --json",
    "list": "list . --json",
    "clean": "clean DIR --json",
    "doctor": "doctor --no-ray --json",
    "analyze": "analyze DIR --json",
    "show": "show DIR d4b8 --json",
    "query": "query DIR SELECT*FROM(trials) --json",
    "export": "export DIR --json",
    "compare": "compare DIR copy --json",
    "sync": "sync DIR --json",
    "extend": "extend DIR --num-seeds 9 --dry-run --json",
}
ELSEWHERE = {"follow-up", "run", "resume", "simulate", "cancel", "probe"}
"""Commands whose JSON has a test of its own, here or where they are run."""


@pytest.fixture
def golden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(GOLDEN, tmp_path / "copy")
    return shutil.copytree(GOLDEN, tmp_path / "golden")


def options_of(name: str, capsys: Capture) -> str:
    main([name, "--help"])
    return capsys.readouterr().out


# --- JSON -----------------------------------------------------------------------------------------


def test_every_command_prints_json_or_has_a_reason_not_to(capsys: Capture) -> None:
    names = [str(command.name) for command in app.registered_commands]

    without = {name for name in names if "  --json " not in options_of(name, capsys)}

    assert without == set(WITHOUT_JSON)
    assert {*READING, *ELSEWHERE, *WITHOUT_JSON} == set(names)


@pytest.mark.parametrize("name", READING)
def test_a_command_prints_json_alone(
    golden: Path, name: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = SyncReport("http://me:secret@host", "demo", 1, 2, 3, 4, 5, 6)
    monkeypatch.setattr("rlp_sweeps.tracking.mlflow_tracker.sync", lambda *_: report)

    status = main([str(golden) if word == "DIR" else word for word in READING[name].split()])

    out = capsys.readouterr().out
    assert status in {0, 2}
    assert json.loads(out)
    assert "secret" not in out


def test_follow_up_says_as_json_what_is_lacking(
    golden: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = FollowUp(trials=(), multipliers={"rescaled_full": (1.0, 2.0)}, num_retried=3)
    monkeypatch.setattr("rlp_sweeps.api.following.plan_stage", lambda *_: found)

    assert main(["follow-up", str(golden), "--dry-run", "--json"]) == 0

    lacking = json.loads(capsys.readouterr().out)
    assert (lacking["num_trials"], lacking["num_retried"]) == (3, 3)
    assert lacking["multipliers"] == {"rescaled_full": [1.0, 2.0]}


def test_run_prints_what_it_came_to_as_json(sweep: FakeSweep, capsys: Capture) -> None:
    failed = FailedTrial(trial_id="id0", arm="full", seed=1, error="ValueError: no")
    sweep.changes = {"counts": {"completed": 2, "failed": 1}, "failed": (failed,)}

    assert run("--output", "out", "--json") == 1

    out, err = capsys.readouterr()
    ending = json.loads(out)
    assert (ending["directory"], ending["status"], ending["exit_status"]) == ("out", "failed", 1)
    assert ending["failed"] == [asdict(failed)]
    assert ending["analysis"] == {"verdict": "in words"}
    assert "the verdict" in err


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({}, "done"),
        ({"stopped_by": "hours"}, "budget"),
        ({"stopped_by": "cancel"}, "interrupted"),
    ],
)
def test_resume_says_its_ending_in_a_word(
    sweep: FakeSweep, capsys: Capture, changes: dict[str, Any], word: str
) -> None:
    sweep.changes = {**changes, **({"interrupted": True, "missing": ("a",)} if changes else {})}

    main(["resume", "out", "--json"])

    assert json.loads(capsys.readouterr().out)["status"] == word


def test_run_that_is_cut_off_counts_its_rows_as_json(sweep: FakeSweep, capsys: Capture) -> None:
    sweep.interrupts = True

    assert run("--output", "out", "--json") == 130

    assert json.loads(capsys.readouterr().out)["status"] == "interrupted"


def test_a_wrong_request_leaves_stdout_empty(sweep: FakeSweep, capsys: Capture) -> None:
    assert run("--json", "--set", "lamda=1") == 2

    assert capsys.readouterr().out == ""


def test_cancel_says_as_json_whom_it_stopped(tmp_path: Path, capsys: Capture) -> None:
    directory = make_directory(tmp_path / "run")

    with at_work(directory):
        assert main(["cancel", str(directory.path), "--json"]) == 0

    found = json.loads(capsys.readouterr().out)
    assert (found["has_stopped"], found["num_finished"]) == (True, 0)
    assert found["holder"]["pid"] == os.getpid()


def test_simulation_prints_its_report_as_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    size = "--num-seeds 1 --set lr=0.1 --set rlp_lambda=1 --set num_epochs=2"

    assert main(f"simulate quickstart {size} --epoch-seconds 9 --json".split()) == 0

    ending = json.loads(capsys.readouterr().out)
    assert ending["counts"]["completed"] == ending["simulation"]["num_trials"] == 5


def test_query_refuses_two_formats(golden: Path, capsys: Capture) -> None:
    assert main(["query", str(golden), "SELECT 1", "--format", "csv", "--json"]) == 2

    assert "in one format, but got `--json` and `--format csv`" in capsys.readouterr().err


# --- quiet ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("flag", ["--quiet", "-q"])
def test_quiet_run_prints_the_line_of_its_result(
    sweep: FakeSweep, capsys: Capture, flag: str
) -> None:
    assert run("--output", "out", flag) == 0

    assert capsys.readouterr() == ("results: out (3 completed)\n", "")


def test_quiet_run_says_what_failed(sweep: FakeSweep, capsys: Capture) -> None:
    failed = FailedTrial(trial_id="id0", arm="full", seed=1, error="ValueError: no")
    sweep.changes = {"counts": {"failed": 1}, "failed": (failed,)}

    assert run("--output", "out", "-q") == 1

    assert "trial id0 (full, seed 1) failed" in capsys.readouterr().err


def test_quiet_and_json_print_json_alone(sweep: FakeSweep, capsys: Capture) -> None:
    run("--output", "out", "-q", "--json")

    out, err = capsys.readouterr()
    assert json.loads(out)["status"] == "done"
    assert err == ""


def test_quiet_analysis_says_where_its_report_is(golden: Path, capsys: Capture) -> None:
    main(["analyze", str(golden), "-q"])

    assert capsys.readouterr().out == f"report: {golden / 'analysis' / 'report.html'}\n"


# --- terminals ------------------------------------------------------------------------------------


def on_a_terminal(arguments: list[str], **environment: str) -> str:
    """Return what a command writes to a terminal."""
    driver, terminal = pty.openpty()
    inherited = {k: v for k, v in os.environ.items() if k not in {"NO_COLOR", "FORCE_COLOR"}}
    done = subprocess.Popen(
        [sys.executable, "-c", DRAW, *arguments],
        stdout=terminal,
        stderr=terminal,
        env={**inherited, "TERM": "xterm-256color", **environment},
    )
    os.close(terminal)
    said = b""
    while chunk := read(driver):
        said += chunk
    os.close(driver)
    assert done.wait(60) == 0, said
    return said.decode()


def read(driver: int) -> bytes:
    try:
        return os.read(driver, 65536)
    except OSError:  # Linux says so where the other end is closed
        return b""


DRAW = """
import sys
from dataclasses import asdict
from pathlib import Path
from rich.console import Console
from rlp_sweeps.cli import main
from test_live_view import Clock, open_view, play
clock = Clock()
with open_view(Console(stderr=True, highlight=False), directory=Path("runs/a")) as view:
    view._progress._clock = clock
    play(view, clock)
sys.exit(main(["spaces"]))
"""
COLOR = r"\x1b\[[0-9;]*\b(3[0-7]|4[0-7]|9[0-7]|38;|48;)"


@pytest.fixture
def tests_path(monkeypatch: pytest.MonkeyPatch) -> None:
    here, before = str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([here, str(GOLDEN.parents[2]), before]))


@pytest.mark.usefixtures("tests_path")
def test_a_terminal_gets_a_live_table_in_color() -> None:
    said = on_a_terminal([])

    assert re.search(COLOR, said)
    assert "2 of 10 (2 running" in said


@pytest.mark.usefixtures("tests_path")
def test_no_color_leaves_a_live_table_without_color() -> None:
    said = on_a_terminal([], NO_COLOR="1")

    assert not re.search(COLOR, said)
    assert "\x1b[" in said  # still redrawn in place


@pytest.mark.usefixtures("tests_path")
def test_a_dumb_terminal_gets_lines_without_escapes() -> None:
    said = on_a_terminal([], TERM="dumb")

    assert "\x1b" not in said
    assert re.search(r"\d\d:\d\d:\d\d  trials 2 of 10 done", said)

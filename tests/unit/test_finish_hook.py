"""The command that is run when a sweep ends."""

import json
import os
import re
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from test_cli import Capture, FakeSweep, run, sweep
from test_cli_habits import golden

from rlp_sweeps.cli import main
from rlp_sweeps.cli.finish_hook import FinishHook
from rlp_sweeps.errors import ArgumentError, SchemaError
from rlp_sweeps.orchestration.follow_up import FollowUp

__all__ = ["golden", "sweep"]  # fixtures

HEARD = """import json, os, sys
names = [name for name in os.environ if name.startswith("RLP_SWEEPS_")]
said = {"environment": {name: os.environ[name] for name in names}, "stdin": json.load(sys.stdin)}
with open("heard.jsonl", "a") as file:
    print(json.dumps(said), file=file)
print("the hook says so")
"""


@pytest.fixture
def hook(sweep: FakeSweep, tmp_path: Path) -> str:
    """A command line that writes down what it is told."""
    (tmp_path / "hook.py").write_text(HEARD)
    return f"{sys.executable} '{tmp_path / 'hook.py'}'"


def heard(folder: Path) -> list[dict[str, Any]]:
    path = folder / "heard.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.mark.parametrize(
    ("changes", "status", "word"),
    [
        ({}, 0, "done"),
        ({"counts": {"completed": 1, "failed": 1, "diverged": 1}, "lost": ("g",)}, 0, "done"),
        ({"missing": ("a",)}, 1, "failed"),
        ({"interrupted": True, "stopped_by": "hours", "missing": ("a",)}, 3, "budget"),
        ({"interrupted": True, "missing": ("a",)}, 130, "interrupted"),
    ],
)
def test_hook_is_told_once_what_a_run_came_to(
    sweep: FakeSweep, hook: str, tmp_path: Path, changes: dict[str, Any], status: int, word: str
) -> None:
    sweep.changes = changes

    assert run("--output", "out", "--on-finish", hook) == status

    (told,) = heard(tmp_path)
    counts = {"completed": 3, **changes.get("counts", {})}
    assert told["environment"] == {
        "RLP_SWEEPS_DIR": "out",
        "RLP_SWEEPS_STATUS": word,
        "RLP_SWEEPS_EXIT_STATUS": str(status),
        "RLP_SWEEPS_DONE": str(counts["completed"]),
        "RLP_SWEEPS_FAILED": str(counts.get("failed", 0)),
        "RLP_SWEEPS_DIVERGED": str(counts.get("diverged", 0)),
        "RLP_SWEEPS_SUMMARY": told["stdin"]["summary"],
    }
    assert (told["stdin"]["exit_status"], told["stdin"]["status"]) == (status, word)


def test_hook_of_a_run_that_is_cut_off_is_told_so(
    sweep: FakeSweep, hook: str, tmp_path: Path
) -> None:
    sweep.interrupts = True

    assert run("--output", "out", "--on-finish", hook) == 130

    assert [told["stdin"]["status"] for told in heard(tmp_path)] == ["interrupted"]


def test_hook_hears_of_a_driver_that_fails_on_its_way(
    sweep: FakeSweep, hook: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def resume(directory: Path, *, progress: Any, **_: Any) -> None:
        progress.has_started = True
        raise SchemaError("a file is corrupt.")

    monkeypatch.setattr(sys.modules["rlp_sweeps.orchestration.sweep"], "resume_sweep", resume)

    assert main(["resume", "out", "--on-finish", hook]) == 2

    (told,) = heard(tmp_path)
    assert told["stdin"]["status"] == "failed"
    assert told["stdin"]["error"] == "SchemaError: a file is corrupt."


def test_hook_is_not_run_for_a_request_that_is_refused(
    sweep: FakeSweep, hook: str, tmp_path: Path
) -> None:
    assert run("--set", "lamda=1", "--on-finish", hook) == 2

    assert heard(tmp_path) == []


def test_hook_of_a_follow_up_is_run_once_for_both_stages(
    sweep: FakeSweep, hook: str, tmp_path: Path, golden: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = FollowUp(trials=(), multipliers={}, num_retried=1)
    monkeypatch.setattr("rlp_sweeps.api.following.plan_stage", lambda *_: found)
    monkeypatch.setattr("rlp_sweeps.api.following.write_stage", lambda *_: None)

    main(["follow-up", "golden", "--dry-run", "--on-finish", hook])
    assert heard(tmp_path) == []
    assert main(["follow-up", "golden", "--on-finish", hook]) == 0

    assert len(sweep.asked) == 2
    assert [told["environment"]["RLP_SWEEPS_DIR"] for told in heard(tmp_path)] == ["golden"]


def test_hook_that_fails_is_said_and_changes_no_status(sweep: FakeSweep, capfd: Capture) -> None:
    assert run("--output", "out", "--on-finish", "sh -c 'exit 7'") == 0

    assert "the command of --on-finish failed with status 7." in capfd.readouterr().err


def test_what_a_hook_prints_leaves_stdout_to_json(
    sweep: FakeSweep, hook: str, capfd: Capture
) -> None:
    run("--output", "out", "--json", "--on-finish", hook)

    out, err = capfd.readouterr()
    assert json.loads(out)["status"] == "done"
    assert "the hook says so" in err


def test_hook_that_hangs_is_ended_with_what_it_started(capfd: Capture, tmp_path: Path) -> None:
    script = f"sleep 60 & echo $! > {tmp_path / 'pid'}; wait"
    started_at = time.monotonic()

    FinishHook(("sh", "-c", script)).run(make_ending(), time_limit_s=0.5)

    assert time.monotonic() - started_at < 30
    assert "was ended after 0.5 s" in capfd.readouterr().err
    child = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + 10
    while is_alive(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_alive(child)


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def make_ending(**changes: Any) -> dict[str, Any]:
    values = {"directory": "a", "status": "done", "exit_status": 0, "summary": "s.", "counts": {}}
    return values | changes


def test_hook_takes_no_name_for_a_command(tmp_path: Path, capfd: Capture) -> None:
    hostile = f"$(touch {tmp_path / 'pwned'}); `touch {tmp_path / 'pwned'}`"

    FinishHook.parse("printenv RLP_SWEEPS_DIR").run(make_ending(directory=hostile))

    assert capfd.readouterr().err == f"{hostile}\n"
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("number", [0, 1])
def test_hooks_of_the_docs_mail_and_post_what_they_say(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    docs = Path(__file__).parents[2] / "docs" / "reliability.md"
    commands = re.findall(r"--on-finish '([^\n]+)'\n", docs.read_text())
    program = ("mail", "curl")[number]
    (tmp_path / program).write_text(f'#!/bin/sh\nprintf "%s|" "$@" > {tmp_path}/argv\ncat > in\n')
    (tmp_path / program).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.chdir(tmp_path)

    FinishHook.parse(commands[number]).run(make_ending(summary="it is 'done'."))

    argv = (tmp_path / "argv").read_text()
    assert argv.startswith("-s|it is 'done'.|" if number == 0 else "-sS|--json|@-|https://")
    assert json.loads((tmp_path / "in").read_text())["status"] == "done"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "must name a command, but got ''"),
        ("mail 'me", "must be a command with matching quotes"),
        ("no-such-program -s x", "there is no 'no-such-program'; a command for a shell"),
    ],
)
def test_hook_that_cannot_be_is_refused_before_the_start(text: str, says: str) -> None:
    with pytest.raises(ArgumentError, match=says):
        FinishHook.parse(text)

import errno
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from rlp_sweeps.cli import main
from rlp_sweeps.orchestration.progress import FailedTrial
from rlp_sweeps.orchestration.status import SweepStatus
from rlp_sweeps.tracking.mlflow_tracker import SyncReport

Capture = pytest.CaptureFixture[str]

POOLED = pl.DataFrame(
    {
        "outcome": ["test_accuracy"] * 4 + ["test_loss"],
        "rlp_lambda": [1.0, 1.0, None, 1.0, 1.0],
        "estimator": ["arms", "arms", "arms", "sham", "arms"],
        "effect": ["effect_total", "effect_lr_first", "effect_lr", "effect_total", "effect_total"],
        "estimate": [0.0123, 0.5, -0.01, 0.25, 9.0],
        "ci_low": [0.001, 0.4, None, 0.2, 8.0],
        "ci_high": [0.0236, 0.6, None, 0.3, 10.0],
        "p_holm": [0.012, None, None, None, None],
        "num_seeds": [3, 3, 1, 3, 3],
        "num_diverged": [0, 0, 0, 0, 0],
    }
)


def make_analysis(pooled: pl.DataFrame = POOLED) -> Any:
    paragraph = SimpleNamespace(lead="At λ = 1", text="the regularizer [did] something.")
    return SimpleNamespace(
        paragraphs=[paragraph],
        claim_paragraphs=[],
        further_paragraphs=[],
        outcome="test_accuracy",
        effects_pooled=pooled,
        notes=("one trial [a] failed.",),
        separation=SimpleNamespace(is_refused=False),
        to_json=lambda: {"verdict": "something", "pooled": [{"estimate": float("nan")}]},
    )


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Stands for the analysis; holds what it was asked for."""
    calls: list[Any] = []

    def analyze(directories: list[Path], **options: Any) -> Any:
        calls.append((directories, options))
        return make_analysis()

    monkeypatch.setattr("analysis.tables.analyze", analyze)
    return calls


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory that holds only a table of trials."""
    folder = tmp_path / "sweep" / "trials"
    folder.mkdir(parents=True)
    frame = pl.DataFrame({"trial_id": ["a", "b"], "arm": ["control", "full"], "lr": [0.1, 0.2]})
    frame.write_parquet(folder / "part.parquet")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "sweep"


def test_analyze_hands_its_options_on(asked: list[Any]) -> None:
    options = "--outcome test_loss --diverged last --margin 0.1 --memorized-above 0.9 --output c"
    main(["analyze", "a", "b", *options.split()])

    expected = {"output": Path("c"), "outcome": "test_loss", "diverged": "last", "margin": 0.1}
    assert asked == [([Path("a"), Path("b")], {**expected, "memorized_above": 0.9})]


def test_analyze_prints_verdict_effects_notes_and_report(asked: list[Any], capsys: Capture) -> None:
    assert main(["analyze", "a"]) == 0

    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        "At λ = 1: the regularizer [did] something.",
        "",
        "Effects on test_accuracy, pooled over cells; 95 % intervals over seeds",
        "λ estimator effect estimate p_holm n",
        "1 arms effect_total +0.0123 [+0.0010, +0.0236] 0.012 3",
        "all arms effect_lr -0.0100 – 1",
        "1 sham effect_total +0.2500 [+0.2000, +0.3000] – 3",
        "Note: one trial [a] failed.",
        "report: a/analysis/report.html",
    ]


def test_analyze_shows_how_many_diverged_where_any_did(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    pooled = POOLED.with_columns(num_diverged=pl.lit(2))
    monkeypatch.setattr("analysis.tables.analyze", lambda *_, **__: make_analysis(pooled))

    main(["analyze", "a"])

    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["λ", "estimator", "effect", "estimate", "p_holm", "n", "diverged"] in lines


def test_analyze_cuts_no_number_on_a_narrow_terminal(
    asked: list[Any], monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("COLUMNS", "30")

    main(["analyze", "a"])

    assert "+0.0123 [+0.0010, +0.0236]" in capsys.readouterr().out


def test_analyze_prints_only_json_when_asked(asked: list[Any], capsys: Capture) -> None:
    main(["analyze", "a", "--json"])

    out, err = capsys.readouterr()
    assert json.loads(out) == {"verdict": "something", "pooled": [{"estimate": None}]}
    assert err == ""


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("csv", "arm,lr\ncontrol,0.1\nfull,0.2\n"),
        ("json", '[\n  {\n    "arm": "control",\n    "lr": 0.1\n  },\n'),
        ("table", "│ control ┆ 0.1 │"),
    ],
)
def test_query_prints_rows_in_the_format_asked_for(
    sweep: Path, capsys: Capture, name: str, text: str
) -> None:
    assert (
        main(["query", "sweep", "SELECT arm, lr FROM trials ORDER BY arm", "--format", name]) == 0
    )

    assert text in capsys.readouterr().out


def test_query_writes_parquet_to_a_pipe(
    sweep: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    main(["query", "sweep", "SELECT * FROM trials", "--format", "parquet"])

    assert pl.read_parquet(io.BytesIO(capfdbinary.readouterr().out)).shape == (2, 3)


def test_query_refuses_to_write_parquet_to_a_terminal(
    sweep: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)

    assert main(["query", "sweep", "SELECT * FROM trials", "--format", "parquet"]) == 2
    assert "send it to a file: `--format parquet > rows.parquet`" in capsys.readouterr().err


def test_reader_that_closes_stdout_early_sees_no_traceback(sweep: Path) -> None:
    command = [sys.executable, "-m", "rlp_sweeps", "query", str(sweep), "SELECT * FROM trials"]
    buffered = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=buffered
    )
    assert process.stdout is not None
    assert process.stderr is not None

    process.stdout.close()
    err = process.stderr.read()
    process.stderr.close()

    assert (process.wait(60), err) == (1, "")


def make_status(**changes: Any) -> SweepStatus:
    values: dict[str, Any] = {
        "name": "quickstart",
        "is_running": True,
        "num_planned": 10,
        "counts": {"completed": 3, "diverged": 1, "stopped": 0, "failed": 1},
        "num_running": 2,
        "num_remaining": 5,
        "failed": (FailedTrial(trial_id="id0", arm="full", seed=1, error="ValueError: no"),),
        "remaining_s": 65.0,
    }
    return SweepStatus(**{**values, **changes})


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({}, "state at work planned 10 completed 3 diverged 1 stopped 0 failed 1 running 2"),
        ({}, "remaining 5 time left about 1 min 5 s"),
        ({}, "failed: trial id0 (full, seed 1): ValueError: no"),
        ({"remaining_s": None}, "time left unknown"),
        ({"num_remaining": 0, "is_running": False}, "state not at work"),
        ({"num_remaining": 0}, "time left none"),
        ({"holder": "process 7 on here"}, "state at work: process 7 on here planned"),
        (
            {"is_running": False, "ended_by": "hours"},
            "state not at work: the budget of hours is used up; `rlp-sweeps resume` goes on",
        ),
        (
            {"is_running": False, "holder": "process 7 on here"},
            "state not at work: process 7 on here was killed;",
        ),
        ({"device_hours": 2.5}, "device time 2 h 30 min so far"),
        ({"tracking_error": "MLflow lacks a part"}, "MLflow lacks a part"),
    ],
)
def test_status_says_how_far_a_sweep_is(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture, changes: dict[str, Any], text: str
) -> None:
    monkeypatch.setattr(
        "rlp_sweeps.orchestration.status.sweep_status", lambda _: make_status(**changes)
    )

    assert main(["status", "sweep"]) == 0

    assert text in " ".join(capsys.readouterr().out.split())


def test_status_prints_only_json_when_asked(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setattr("rlp_sweeps.orchestration.status.sweep_status", lambda _: make_status())

    main(["status", "sweep", "--json"])

    assert json.loads(capsys.readouterr().out)["counts"]["completed"] == 3


def test_sync_says_what_it_changed_without_passwords(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    report = SyncReport("http://me:secret@host", "demo", 1, 2, 3, 4, 5, 6)
    monkeypatch.setattr("rlp_sweeps.tracking.mlflow_tracker.sync", lambda *_: report)
    monkeypatch.setattr("rlp_sweeps.tracking.run_directory.RunDirectory.open", Path)

    assert main(["sync", "sweep"]) == 0

    out = capsys.readouterr().out
    assert "'demo'" in out
    assert "1 runs created, 2 updated, 3 unchanged, 4 closed, 5 removed; 6 artifacts" in out
    assert "secret" not in out


@pytest.mark.parametrize(
    ("argv", "directory", "options"),
    [
        (["ui"], "runs", {"port": 5000, "tracking_uri": None}),
        (["ui", "sweep", "--port", "0"], "sweep", {"port": 0, "tracking_uri": None}),
        (
            ["ui", "absent", "--tracking-uri", "http://host"],
            "absent",
            {"port": 5000, "tracking_uri": "http://host"},
        ),
    ],
)
def test_ui_serves_the_store_of_a_folder(
    monkeypatch: pytest.MonkeyPatch,
    sweep: Path,
    argv: list[str],
    directory: str,
    options: dict[str, Any],
) -> None:
    served: list[Any] = []
    (sweep.parent / "runs").mkdir()
    monkeypatch.setattr(
        "rlp_sweeps.tracking.mlflow_tracker.serve_ui", lambda d, **o: served.append((d, o))
    )

    assert main(argv) == 0
    assert served == [(Path(directory), options)]


def test_full_disk_is_said_in_a_sentence_with_the_way_out(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    def fail(*_args: object, **_options: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device", "/full/trials/a.parquet")

    monkeypatch.setattr("rlp_sweeps.orchestration.status.sweep_status", fail)

    assert main(["status", "anywhere"]) == 1

    said = capsys.readouterr().err
    assert "a disk must have room" in said
    assert "/full/trials/a.parquet" in said
    assert "resume" in said


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


def be_terminal(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """Let stdout be a terminal of 80 columns, and return what takes its text."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("TERM", "dumb")  # neither colors nor bold
    return terminal


def write_wide(folder: Path, num_rows: int) -> None:
    """Write trials of 12 columns, 12 characters each, the last one empty."""
    row = {"trial_id": "abcdefghijkl"} | {f"column_{n:05}": float(n) for n in range(10)}
    rows = [{**row, "error": None} for _ in range(num_rows)]
    pl.DataFrame(rows, schema_overrides={"error": pl.String}).write_parquet(
        folder / "trials" / "part.parquet"
    )


def test_query_prints_the_columns_that_fit_a_terminal_and_says_how_the_others_are_had(
    sweep: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    write_wide(sweep, 4)
    terminal = be_terminal(monkeypatch)

    assert main(["query", "sweep", "SELECT * FROM trials"]) == 0

    out, err = terminal.getvalue(), capsys.readouterr().err
    assert max(map(len, out.splitlines())) <= 80
    assert "column_00003 │" in out
    assert "column_00004" not in out
    assert "5 of 12 columns fit into 80 characters; SELECT those that you want" in err


def test_query_prints_a_few_wide_rows_one_by_one_on_a_terminal(
    sweep: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_wide(sweep, 1)
    terminal = be_terminal(monkeypatch)

    assert main(["query", "sweep", "SELECT * FROM trials"]) == 0

    lines = [line.split() for line in terminal.getvalue().splitlines()]
    assert lines[:2] == [["row", "1", "of", "1"], ["trial_id", "abcdefghijkl"]]
    assert lines[-2:] == [["column_00009", "9.0"], ["without", "a", "value:", "error"]]


def test_query_prints_every_column_where_stdout_is_no_terminal(
    sweep: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    write_wide(sweep, 4)

    assert main(["query", "sweep", "SELECT * FROM trials"]) == 0

    out, err = capsys.readouterr()
    assert all(f"column_{number:05}" in out for number in range(10))
    assert err == ""


@pytest.mark.parametrize("argv", [["spaces"], ["query", "sweep"]])
def test_no_line_ends_in_blanks_where_stdout_is_no_terminal(
    sweep: Path, capsys: Capture, argv: list[str]
) -> None:
    assert main(argv) == 0

    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line != line.rstrip()] == []

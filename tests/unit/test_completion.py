"""What the Tab key offers."""

import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rlp_sweeps.cli import main
from rlp_sweeps.training.engines import ENGINES

GOLDEN = Path(__file__).parents[1] / "contract" / "golden_v1"
ROOT = GOLDEN.parents[2]
HEAVY = ("torch", "ray", "mlflow", "optuna", "polars", "pyarrow", "analysis", "scipy")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    shutil.copytree(GOLDEN, tmp_path / "runs" / "golden")
    (tmp_path / "runs" / "mlartifacts").mkdir()
    (tmp_path / "my_study.py").write_text("raise SystemExit('run by a key')")
    return tmp_path


def offered(
    line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> list[str]:
    """Return what bash is told for a line that is typed so far."""
    monkeypatch.setenv("_RLP_SWEEPS_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", f"rlp-sweeps {line}")
    monkeypatch.setenv("COMP_CWORD", str(len(line.split(" "))))
    with pytest.raises(SystemExit):
        main([])
    return capsys.readouterr().out.split()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("follow", ["follow-up"]),
        ("run quickst", ["quickstart"]),
        ("new my_study --from depth", ["depth_profile"]),
        ("resume r", ["runs/golden"]),
        ("resume runs/g", ["runs/golden"]),
        ("clean runs/golden runs/", ["runs/golden", "runs/mlartifacts/"]),
        ("run quickstart --device c", ["cpu", "cuda"]),
        ("query runs/golden SELECT --format p", ["parquet"]),
        ("follow-up runs/golden --matched-to f", ["full"]),
        ("analyze runs/golden --outcome test_a", ["test_accuracy"]),
        ("show runs/golden d4", ["d4b8fa29e4521ceb"]),
        ("run quickstart --set num_ep", ["num_epochs="]),
        ("extend runs/golden --set ", ["lr=", "rlp_lambda="]),
        ("run my_study.py --set num_ep", ["num_epochs="]),
        ("extend absent --set ", []),
        ("resume s3://bucket/r", []),
    ],
)
def test_a_line_is_completed(
    folder: Path,
    line: str,
    expected: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert offered(line, monkeypatch, capsys) == expected


def test_settings_of_a_recipe_begin_with_its_axes(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names = offered("run quickstart --set ", monkeypatch, capsys)

    assert names[:2] == ["lr=", "rlp_lambda="]
    assert {"arm=", "seed="}.isdisjoint(names)
    assert "data_dir=" in names


def test_completion_is_light(folder: Path) -> None:
    """A key must answer within a blink; on a machine that is busy, CPU time tells."""
    code = (
        "import sys, atexit; from rlp_sweeps.cli import main; "
        f"heavy = set({HEAVY!r}); "
        "atexit.register(lambda: print(heavy & set(sys.modules), file=sys.stderr)); main([])"
    )
    words = {"COMP_WORDS": "rlp-sweeps extend runs/golden --set ", "COMP_CWORD": "4"}
    environment = {**os.environ, **words, "_RLP_SWEEPS_COMPLETE": "complete_bash"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)

    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )

    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.stdout.split() == ["lr=", "rlp_lambda="]
    assert done.stderr == "set()\n"
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 2.0


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_completes_with_the_script_that_is_shown(folder: Path) -> None:
    (folder / "rlp-sweeps").write_text(f'#!/bin/sh\nexec {sys.executable} -m rlp_sweeps "$@"\n')
    (folder / "rlp-sweeps").chmod(0o755)
    script = (
        'eval "$(rlp-sweeps --show-completion bash)"; COMP_WORDS=(rlp-sweeps resume ru); '
        'COMP_CWORD=2; _rlp_sweeps_completion rlp-sweeps; echo "${COMPREPLY[@]}"'
    )
    path = f"{folder}{os.pathsep}{os.environ['PATH']}"

    done = subprocess.run(
        ["bash", "--norc", "-c", script],
        env={**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout == "runs/golden\n", done.stderr


def test_every_engine_is_offered(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = offered("run quickstart --engine ", monkeypatch, capsys)

    assert sorted(words) == sorted(["auto", *ENGINES])

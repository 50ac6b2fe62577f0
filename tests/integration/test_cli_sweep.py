"""The command line from end to end: real trials, in processes of their own."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest

pytestmark = pytest.mark.slow

SMALL = (
    "run quickstart --device cpu --num-seeds 1 --set lr=0.1 --set rlp_lambda=1 --set num_epochs=2 "
    "--set eval_every=1 --set train_samples=200 --set val_samples=100 --set test_samples=100"
)
LONG = "run quickstart --device cpu --output sweep --max-concurrent 1 --set num_epochs=200"

BROKEN_NET = """from torch import nn

from rlp_sweeps.training.backbones.base import Backbone


class Refuse(nn.Flatten):
    def forward(self, images):
        if self.training:
            raise ZeroDivisionError("this network does not train")
        return super().forward(images)


def build(*, image_shape, num_classes, depth, width, dropout):
    size = image_shape[0] * image_shape[1] * image_shape[2]
    extractor = nn.Sequential(Refuse(), nn.Linear(size, 4))
    return Backbone(
        extractor=extractor, classifier=nn.Linear(4, num_classes), attach_points=("1",)
    )
"""
STUDY = """from rlp_sweeps.spaces import ChoiceAxis, SearchSpace

SPACE = SearchSpace(
    axes={"lr": ChoiceAxis(choices=(0.1,)), "rlp_lambda": ChoiceAxis(choices=(1,), control=0.0)},
    arms=("control", "full"),
    num_seeds=1,
    fixed={"num_epochs": 1, "train_samples": 200, "backbone": "broken_net:build"},
)
"""


def rlp_sweeps(arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "rlp_sweeps", *arguments.split()],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_auto_without_a_cluster_is_refused_in_a_sentence(tmp_path: Path) -> None:
    """Here, where one sweep runs at a time: `auto` finds every cluster of the machine."""
    done = rlp_sweeps("run quickstart --address auto --output sweep", tmp_path)

    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert re.fullmatch(r"rlp-sweeps: .*address='auto', but it does not[^\n]+\.\n", done.stderr)
    assert list(tmp_path.iterdir()) == []


def read_trials(directory: Path) -> pl.DataFrame:
    return pl.read_parquet(directory / "trials" / "*.parquet").sort("trial_id")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cli")


@pytest.fixture(scope="module")
def done(folder: Path) -> subprocess.CompletedProcess[str]:
    """One small sweep, five trials, in folder/sweep."""
    return rlp_sweeps(f"{SMALL} --output sweep", folder)


def test_run_trains_analyzes_and_says_where_everything_is(
    done: subprocess.CompletedProcess[str], folder: Path
) -> None:
    assert done.returncode == 0, done.stderr

    assert "results: sweep (5 completed)" in done.stdout
    assert "Effects on test_accuracy, pooled over cells" in done.stdout
    assert "report: sweep/analysis/report.html" in done.stdout
    assert "rlp-sweeps ui sweep" in done.stdout
    assert (folder / "sweep" / "analysis" / "report.html").stat().st_size > 10_000
    shown = sorted(name for name in os.listdir(folder) if not name.startswith("."))
    assert shown == ["mlartifacts", "mlflow.db", "sweep"]


def test_run_writes_only_lines_with_a_time_to_its_log(
    done: subprocess.CompletedProcess[str],
) -> None:
    lines = done.stderr.splitlines()

    assert all(re.match(r"\d\d:\d\d:\d\d  ", line) for line in lines), done.stderr
    assert re.search(r"sweep quickstart: 5 trials; \d groups to train on cpu", lines[0])
    assert "trials 5 of 5 done" in lines[-1]
    assert "epochs 10 of 10" in lines[-1]


def test_status_counts_what_was_trained(
    done: subprocess.CompletedProcess[str], folder: Path
) -> None:
    status = json.loads(rlp_sweeps("status sweep --json", folder).stdout)

    assert (status["num_planned"], status["counts"]["completed"]) == (5, 5)
    assert (status["is_running"], status["num_remaining"]) == (False, 0)


def test_analyze_prints_only_json_when_asked(
    done: subprocess.CompletedProcess[str], folder: Path
) -> None:
    analyzed = rlp_sweeps("analyze sweep --json", folder)

    result = json.loads(analyzed.stdout)
    assert {"verdict", "pooled"} <= set(result)
    assert {row["effect"] for row in result["pooled"]} >= {"effect_total", "effect_lr"}
    assert analyzed.stderr == ""


@pytest.mark.parametrize("command", [f"{SMALL} --output sweep", "resume sweep"])
def test_finished_sweep_is_not_trained_again(
    done: subprocess.CompletedProcess[str], folder: Path, command: str
) -> None:
    before = read_trials(folder / "sweep")

    again = rlp_sweeps(f"{command} --no-analyze", folder)

    assert (again.returncode, again.stdout) == (0, "results: sweep (5 completed)\n")
    assert read_trials(folder / "sweep").equals(before)


def test_finished_trials_of_another_sweep_are_taken_over(
    done: subprocess.CompletedProcess[str], folder: Path
) -> None:
    reused = rlp_sweeps(f"{SMALL} --output copy --reuse sweep --no-analyze", folder)

    assert reused.returncode == 0, reused.stderr
    columns = ["trial_id", "test_accuracy", "finished_at_ms"]
    taken, old = read_trials(folder / "copy"), read_trials(folder / "sweep")
    assert taken.select(columns).equals(old.select(columns))


def test_sync_finds_nothing_to_mend(done: subprocess.CompletedProcess[str], folder: Path) -> None:
    synced = rlp_sweeps("sync sweep", folder)

    assert "0 runs created, 0 updated, 5 unchanged, 0 closed, 0 removed" in synced.stdout


def test_trials_that_fail_are_named_and_the_status_says_so(tmp_path: Path) -> None:
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "study.py").write_text(STUDY)
    (tmp_path / "studies" / "broken_net.py").write_text(BROKEN_NET)

    failed = rlp_sweeps("run studies/study.py --device cpu --output sweep", tmp_path)

    said = [line for line in failed.stderr.splitlines() if line.startswith("rlp-sweeps: ")]
    named = [line for line in said if "failed: ZeroDivisionError: this network does not" in line]
    assert failed.returncode == 1
    assert len(named) == 2, failed.stderr
    assert [line for line in said if line not in named and "/sweep/logs/" in line]
    assert "results: sweep (2 failed)" in failed.stdout
    assert "Traceback" not in failed.stderr


@pytest.mark.faults
def test_interrupted_sweep_keeps_what_is_finished_and_says_how_to_resume(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "rlp_sweeps", *LONG.split()]
    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 240
    while not list(tmp_path.glob("sweep/trials/*.parquet")) and time.monotonic() < deadline:
        time.sleep(0.2)

    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)

    assert process.returncode == 130, err
    assert err.splitlines()[-1] == (
        "rlp-sweeps: interrupted; what is finished is kept, and `rlp-sweeps resume sweep` goes on "
        "from there."
    )
    assert "Traceback" not in err
    assert 1 <= len(read_trials(tmp_path / "sweep")) < 81

"""Run directories of other versions: an older one reads, a newer one is refused by every command.

``golden_v1`` was written by the first version that could (commit f0a5e78): one recipe of four
trials, of which three are trained. It lacks every column and every key that came later.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from rlp_sweeps.cli.app import app, main
from rlp_sweeps.orchestration.attempt_state import read_attempt, write_attempt
from rlp_sweeps.orchestration.planner import plan_from_manifest, remaining_groups
from rlp_sweeps.schema import SCHEMA_VERSION
from rlp_sweeps.tracking.mlflow_sync import sync
from rlp_sweeps.tracking.run_directory import RunDirectory

GOLDEN = Path(__file__).parent / "golden_v1"
COMMANDS = {
    "run": "run quickstart --num-seeds 1 --output DIR",
    "run --reuse": "run quickstart --num-seeds 1 --output OTHER --reuse DIR",
    "resume": "resume DIR",
    "follow-up": "follow-up DIR",
    "extend": "extend DIR --num-seeds 9",
    "cancel": "cancel DIR",
    "simulate": "simulate DIR",
    "status": "status DIR",
    "clean": "clean DIR --logs --yes",
    "probe": "probe DIR",
    "analyze": "analyze DIR",
    "show": "show DIR d4b8",
    "show --log": "show DIR d4b8 --log",
    "query": "query DIR SELECT*FROM(trials)",
    "export": "export DIR",
    "compare": "compare GOLDEN DIR",
    "sync": "sync DIR",
    "ui": "ui DIR",
}
WITHOUT_DIRECTORY = {"spaces", "new", "plan", "list", "doctor"}


@pytest.fixture
def golden(tmp_path: Path) -> Path:
    return shutil.copytree(GOLDEN, tmp_path / "golden")


def rewrite(directory: Path, **changes: Any) -> None:
    path = directory / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_every_command_that_takes_a_run_directory_is_asked() -> None:
    names = {command.name for command in app.registered_commands}

    assert names == {name.split()[0] for name in COMMANDS} | WITHOUT_DIRECTORY


@pytest.mark.parametrize("name", COMMANDS)
def test_a_newer_directory_is_refused_in_a_sentence(
    golden: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rewrite(golden, schema_version=SCHEMA_VERSION + 1)
    places = {"DIR": str(golden), "OTHER": str(golden.parent / "other"), "GOLDEN": str(GOLDEN)}
    before = sorted(path.name for path in golden.rglob("*"))

    status = main([places.get(word, word) for word in COMMANDS[name].split()])

    said = capsys.readouterr().err
    assert (status, said.count("\n")) == (2, 1), said
    assert f"schema_version={SCHEMA_VERSION + 1}" in said
    assert "newer rlp-sweeps" in said
    assert sorted(path.name for path in golden.rglob("*")) == before
    assert not (golden.parent / "other").exists()


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        (["status", "DIR"], "remaining    1"),
        (["query", "DIR", "SELECT arm, AVG(test_accuracy) AS a FROM trials GROUP BY arm"], "full"),
        (["query", "DIR", "SELECT COUNT(*) AS n FROM epochs", "--format", "csv"], "6"),
        (["analyze", "DIR"], "3 of 4 planned trials have a row"),
        (["show", "DIR", "d4b8"], "d4b8fa29e4521ceb"),
        (["export", "DIR"], "trials.csv"),
        (["extend", "DIR", "--num-seeds", "3", "--dry-run"], "extension of"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_an_older_directory_reads(
    golden: Path, command: list[str], shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status = main([str(golden) if word == "DIR" else word for word in command])

    said = capsys.readouterr()
    assert status == 0, said.err
    assert shown in said.out


def test_an_older_sweep_plans_what_it_planned_under_the_ids_it_had(golden: Path) -> None:
    directory = RunDirectory.open(golden)
    plan = plan_from_manifest(directory.manifest)

    left = remaining_groups(plan, directory.finished_trials())

    written = [entry["trial_id"] for entry in directory.manifest["trials"]]
    assert [trial.trial_id for trial in plan.trials] == written
    assert [trial.trial_id for group in left for trial in group.trials] == written[3:]


def test_keys_that_are_not_known_are_passed_over(golden: Path) -> None:
    rewrite(golden, invented_later={"deep": [1]}, machine={"quantum": True})
    directory = RunDirectory.open(golden)

    assert main(["status", str(golden)]) == 0
    assert len(plan_from_manifest(directory.manifest).trials) == 4


def test_what_a_newer_driver_says_of_itself_is_read_without_its_further_words(
    golden: Path,
) -> None:
    write_attempt(golden, running=["g1"], slots=2)
    path = golden / "attempt.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "invented_later": 1}))

    state = read_attempt(golden)

    assert state is not None
    assert (state.running, state.slots) == (("g1",), 2)


def test_columns_that_a_directory_lacks_are_null_and_others_are_kept(golden: Path) -> None:
    path = golden / "trials" / "0-compacted.parquet"
    frame = pl.read_parquet(path).drop("engine", "hostname").with_columns(invented_later=pl.lit(1))
    frame.write_parquet(path)

    directory = RunDirectory.open(golden)

    assert set(directory.read_trials()["engine"].to_pylist()) == {None}
    assert main(["query", str(golden), "SELECT invented_later FROM trials"]) == 0
    assert main(["analyze", str(golden)]) == 0


def test_an_older_directory_is_brought_into_mlflow(golden: Path) -> None:
    report = sync(RunDirectory.open(golden))

    assert (report.num_runs_created, report.num_runs_removed) == (3, 0)

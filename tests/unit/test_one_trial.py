"""One trial of a run directory: everything that is known of it."""

import json

import polars as pl
import pytest
from analysis_frames import make_epochs, make_trials, where_arm, write_directory

from analysis.one_trial import read_trial
from rlp_sweeps.cli import main
from rlp_sweeps.errors import RunDirectoryError

FULL = "full-0.1-1.0-0"


@pytest.fixture
def directory(tmp_path):
    trials = make_trials(error=None, engine="grouped", weight_decay=0.0)
    failed = trials.with_columns(
        where_arm("sham", "status", "failed"), where_arm("sham", "error", "Trace\nOSError: gone")
    )
    return write_directory(tmp_path / "run", failed, epochs=make_epochs(trials))


def test_trial_is_found_by_how_its_id_begins(directory):
    trial = read_trial(directory, "full-0.1-1.0-0")

    assert trial.row["trial_id"] == FULL
    assert trial.settings["rlp_lambda"] == 1.0
    assert trial.metrics["test_accuracy"] == 0.44
    assert trial.provenance == {"num_classes": 4, "engine": "grouped"}
    assert trial.epochs["epoch"].to_list() == [1, 2, 3]
    assert set(trial.epochs["trial_id"]) == {FULL}


def test_kept_files_of_a_trial_are_named(directory):
    (directory / "weights").mkdir()
    (directory / "weights" / f"{FULL}.pt").write_bytes(b"")

    assert read_trial(directory, FULL).files == (directory / "weights" / f"{FULL}.pt",)


@pytest.mark.parametrize(
    ("begins", "sentence"),
    [
        ("full", "one trial must begin with 'full', but 2 do: full-0.1-1.0-0, full-0.1-1.0-1."),
        ("zebra", "no finished trial of"),
    ],
)
def test_trial_that_is_not_told_apart_is_refused(directory, begins, sentence):
    with pytest.raises(RunDirectoryError, match=r".*") as refused:
        read_trial(directory, begins)

    assert sentence in str(refused.value)


def test_show_prints_result_evaluations_and_the_whole_error(directory, capsys):
    assert main(["show", str(directory), "full-0.1-1.0-0"]) == 0
    told = capsys.readouterr().out
    assert main(["show", str(directory), "sham-0.1-1.0-0"]) == 0
    failed = capsys.readouterr().out

    assert "test_accuracy" in told
    assert "evaluations" in told
    assert failed.endswith("Trace\nOSError: gone\n")


def test_show_tells_moments_as_dates_and_json_as_they_are(tmp_path, capsys):
    trials = make_trials(started_at_ms=1_764_157_240_500, finished_at_ms=10**18)
    run = str(write_directory(tmp_path / "run", trials))

    assert main(["show", run, FULL]) == 0
    told = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert main(["show", run, FULL, "--json"]) == 0

    assert ["started_at", "2025-11-26", "11:40:40", "UTC"] in told
    assert ["finished_at", str(10**18)] in told
    assert json.loads(capsys.readouterr().out)["trial"]["started_at_ms"] == 1_764_157_240_500


def test_show_as_json_holds_every_column(directory, capsys):
    assert main(["show", str(directory), FULL, "--json"]) == 0

    shown = json.loads(capsys.readouterr().out)
    assert set(shown["trial"]) == set(pl.read_parquet(directory / "trials" / "*.parquet").columns)
    assert len(shown["epochs"]) == 3

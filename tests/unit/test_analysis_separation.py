"""What of the separation a table allows; what is missing, and the command that adds it."""

import json

import polars as pl
import pytest
from analysis_frames import ARMS, make_trials, where_arm, write_directory, write_plan

from analysis.load import load_sweep
from analysis.result import build_analysis
from rlp_sweeps.cli import main

f = pl.col
NO_EPOCHS = pl.DataFrame(schema={"trial_id": pl.String, "epoch": pl.Int64})


def separation_of(*directories):
    """Return the judgement on the primary outcome of these directories."""
    trials, origin = load_sweep(directories)
    return build_analysis(trials, NO_EPOCHS, origin=origin).separation


def plan_all(directory, *, arms=ARMS, rows=None) -> None:
    """Write a manifest of a grid with these arms; `rows` replace its trials' ids."""
    trials = make_trials(arms=arms) if rows is None else rows
    by_id = dict(trials.select("trial_id", "arm").iter_rows())
    write_plan(directory, by_id, arms=by_id, sweep_name="quickstart")


@pytest.mark.parametrize(
    ("trials", "status", "reason", "missing_arms"),
    [
        (make_trials(), "complete", None, ()),
        (make_trials(arms=("control", "full")), "partial", "no_split", ARMS[2:4]),
        (make_trials(arms=("control", "sham")), "partial", "no_total", ARMS[1:4]),
        (make_trials(arms=ARMS[1:]), "none", "no_control", ("control",)),
        (make_trials(arms=("control",)), "none", "only_control", ARMS[1:4]),
        (
            make_trials(rlp_lambda=0.0).filter(f("arm").is_in(["control", "full"])),
            "none",
            "only_control",
            ARMS[1:4],
        ),
        (make_trials(status=where_arm("control", "status", "failed")), "none", "no_pair", ARMS[:1]),
        (make_trials(seed=f("arm").rank("dense").cast(pl.Int64)), "none", "no_pair", ()),
        (make_trials(status="failed"), "none", "not_trained", ARMS[:4]),
        (make_trials(status="diverged"), "none", "all_diverged", ()),
    ],
)
def test_separation_names_its_status_and_reason(tmp_path, trials, status, reason, missing_arms):
    trials = trials.unique(["arm", "lr", "rlp_lambda", "seed"])
    found = separation_of(write_directory(tmp_path / "a", trials))

    assert (found.status, found.reason) == (status, reason)
    assert found.missing_arms == missing_arms
    assert bool(found.missing) == bool(found.way_out) == (status != "complete")
    assert found.is_refused == (reason in ("no_control", "no_pair"))


def test_planned_trials_without_a_row_are_resumed(tmp_path):
    directory = write_directory(tmp_path / "a", make_trials(arms=ARMS[1:]))
    plan_all(directory)

    way_out = separation_of(directory).way_out

    assert way_out == f"Planned trials have no row yet: `rlp-sweeps resume {directory}`."


def test_a_recipe_without_the_arms_is_told_to_name_them(tmp_path):
    directory = write_directory(tmp_path / "a", make_trials(arms=("control", "full")))
    plan_all(directory, arms=("control", "full"))

    way_out = separation_of(directory).way_out

    assert way_out == (
        "Name the arms class_term, uniform_term in the recipe quickstart; `rlp-sweeps run "
        f"quickstart --reuse {directory}` with the same options trains what is missing."
    )


def test_a_search_without_control_is_run_again_with_it(tmp_path):
    directory = write_directory(tmp_path / "a", make_trials(arms=ARMS[1:]))
    plan_all(directory, rows=make_trials().clear())

    way_out = separation_of(directory).way_out

    assert "Name the arm control in the recipe quickstart; `rlp-sweeps run quickstart`" in way_out


def test_controls_that_failed_are_trained_again(tmp_path):
    failed = make_trials(status=where_arm("control", "status", "failed"))
    directory = write_directory(tmp_path / "a", failed)
    plan_all(directory)

    assert "They were planned and failed; `rlp-sweeps run" in separation_of(directory).way_out


def test_a_foreign_table_is_analyzed_with_a_second_one(tmp_path):
    directory = write_directory(tmp_path / "a", make_trials(arms=ARMS[1:]))

    found = separation_of(directory)

    assert "Without one: lr=0.1, label_smoothing=0, seeds 0, 1." in found.missing
    assert "(control: rlp_lambda=0) in the same cells and seeds" in found.way_out
    assert f"`rlp-sweeps analyze {directory} OTHER`" in found.way_out


def test_an_outcome_without_a_value_is_not_a_missing_trial(tmp_path):
    trials = make_trials(test_accuracy=where_arm("control", "test_accuracy", None))

    found = separation_of(write_directory(tmp_path / "a", trials))

    assert (found.reason, found.missing_arms) == ("no_pair", ())
    assert found.way_out.startswith("Ask for an outcome that has a value there, with `--outcome")


@pytest.mark.parametrize(
    ("arms", "expected"),
    [(ARMS, 0), (("control", "full"), 0), (("control",), 0), (ARMS[1:], 2)],
    ids=["complete", "partial", "controls", "no control"],
)
def test_analyze_refuses_regularized_trials_without_control(tmp_path, capsys, arms, expected):
    directory = write_directory(tmp_path / "run", make_trials(arms=arms))

    status = main(["analyze", str(directory), "--json"])

    out, err = capsys.readouterr()
    separation = json.loads(out)["separation"]
    assert status == expected
    assert separation["status"] in {"complete", "partial", "none"}
    says = "rlp-sweeps: there is nothing to separate: there is no control trial"
    assert err.startswith(says) if expected else err == ""
    assert (separation["way_out"] in err) if expected else True
    assert (directory / "analysis" / "report.html").exists()


def test_the_verdict_of_part_of_the_arms_says_what_is_missing(tmp_path):
    directory = write_directory(tmp_path / "a", make_trials(arms=("control", "full")))
    trials, origin = load_sweep([directory])

    paragraphs = build_analysis(trials, NO_EPOCHS, origin=origin).paragraphs

    assert paragraphs[-1].lead == "What is missing"
    assert "Arms without a trial trained to its end: class_term, uniform_term." in paragraphs[-1][1]


def test_a_single_head_has_no_split_and_is_sent_to_projection_arms(tmp_path) -> None:
    trials = make_trials(arms=("control", "full"), head="single")

    found = separation_of(write_directory(tmp_path / "run", trials))

    assert (found.status, found.reason, found.missing_arms) == ("partial", "no_split", ())
    assert "no exact split" in found.missing
    assert "orthogonal and grafted" in found.way_out

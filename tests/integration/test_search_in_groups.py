"""A search of twelve points, four at a time, halved inside its groups: through Ray and MLflow."""

import dataclasses
import json

import polars as pl
import pytest
import sweep_cases as cases

from rlp_sweeps.orchestration.planner import plan_sweep
from rlp_sweeps.orchestration.status import sweep_status
from rlp_sweeps.orchestration.sweep import resume_sweep, run_sweep
from rlp_sweeps.training.engines import ENGINES

pytestmark = pytest.mark.slow


def _asked(output):
    lines = (output / "search" / "points.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The whole search, and how it ended."""
    output = tmp_path_factory.mktemp("runs") / "undisturbed"
    return output, cases.run_case("halved_groups", output)


def test_every_point_is_trained_once_in_a_group_of_four(undisturbed):
    output, outcome = undisturbed

    rows = pl.read_parquet(output / "trials" / "*.parquet")
    points = rows.group_by("group_id").agg(pl.col("point").unique().sort())

    assert outcome.exit_status == 0
    assert (outcome.is_complete, outcome.num_points_left) == (True, 0)
    assert [point["asked_with"] for point in _asked(output)] == [0] * 4 + [4] * 4 + [8] * 4
    assert rows["trial_id"].n_unique() == len(rows) == 24
    assert rows["point"].value_counts().sort("point")["count"].to_list() == [2] * 12
    assert sorted(points["point"].to_list()) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    assert sum(cases.count_mlflow_runs(output).values()) == 24 + 1  # the sweep's own run
    assert sweep_status(output).num_remaining == 0


def test_each_rung_stops_the_worse_half_with_both_arms(undisturbed):
    output, _ = undisturbed
    rows = pl.read_parquet(output / "trials" / "*.parquet")

    alive = rows.filter(pl.col("status").is_in(["stopped", "completed"]))
    ends = alive.group_by("point").agg(pl.col("epochs_completed").unique()).sort("point")
    lasted = [end for (end,) in ends["epochs_completed"].to_list()]

    assert set(lasted) == {1, 2, 9}
    for _, group in rows.group_by("group_id"):
        lengths = group.filter(pl.col("arm") == "full")["epochs_completed"].sort().to_list()
        assert lengths == [1, 1, 2, 9]


def test_killed_search_in_groups_ends_as_the_undisturbed_one(undisturbed, tmp_path):
    """The driver dies when the first stopped trials have rows, in the middle of a group."""
    output, (whole, _) = tmp_path / "runs" / "killed", undisturbed
    driver = cases.start_driver("halved_groups", output)
    cases.kill_driver_after(driver, output, num_rows=10)
    early = pl.read_parquet(output / "trials" / "*.parquet")

    outcome = resume_sweep(output, options=cases.OPTIONS)

    assert outcome.exit_status == 0
    assert _asked(output) == _asked(whole)
    for table in ("trials", "epochs"):
        assert cases.read_table(output, table).equals(cases.read_table(whole, table))
    after = pl.read_parquet(output / "trials" / "*.parquet")
    kept = after.join(early.select("trial_id"), on="trial_id", how="semi")
    assert set(kept["finished_at_ms"]) == set(early["finished_at_ms"])
    assert cases.count_mlflow_runs(output) == cases.count_mlflow_runs(whole)


@pytest.mark.parametrize("engine", [name for name in ENGINES if name == "grouped"])
def test_points_that_train_as_one_program_are_each_told(engine, tmp_path):
    search = dataclasses.replace(cases.CASES["halved_groups"].search, early_stopping=False)
    space = dataclasses.replace(cases.CASES["halved_groups"], search=search)
    plan = plan_sweep(space, name="one_program", device="cpu", engine=engine, group_size=8)

    outcome = run_sweep(plan, output=tmp_path / "runs" / "one", options=cases.OPTIONS)

    assert outcome.counts["completed"] + outcome.counts["diverged"] == 24
    assert (outcome.exit_status, outcome.num_points_left) == (0, 0)

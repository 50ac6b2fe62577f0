import json

import polars as pl
import pytest
import sweep_cases as cases

from rlp_sweeps.orchestration.status import sweep_status
from rlp_sweeps.orchestration.sweep import resume_sweep

pytestmark = pytest.mark.slow


def _asked(output):
    lines = (output / "search" / "points.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_killed_search_is_resumed_without_a_lost_or_repeated_point(tmp_path):
    output = tmp_path / "runs" / "search"
    driver = cases.start_driver("search", output)
    cases.kill_driver_after(driver, output, num_rows=5)
    asked = _asked(output)
    rows = pl.read_parquet(output / "trials" / "*.parquet")

    outcome = resume_sweep(output, options=cases.OPTIONS)

    after = pl.read_parquet(output / "trials" / "*.parquet")
    assert outcome.exit_status == 0
    assert _asked(output)[: len(asked)] == asked
    assert [point["number"] for point in _asked(output)] == list(range(6))
    assert after["trial_id"].n_unique() == len(after) == 24
    assert after["point"].value_counts().sort("point")["count"].to_list() == [4] * 6
    kept = after.join(rows.select("trial_id"), on="trial_id", how="semi")
    assert set(kept["finished_at_ms"]) == set(rows["finished_at_ms"])


def test_early_stopping_writes_a_row_for_every_stopped_trial(tmp_path):
    output = tmp_path / "runs" / "early_stopping"

    outcome = cases.run_case("early_stopping", output)

    rows = pl.read_parquet(output / "trials" / "*.parquet")
    stopped = rows.filter(pl.col("status") == "stopped")
    assert outcome.exit_status == 0
    assert len(rows) == 8
    assert outcome.counts["stopped"] == len(stopped) > 0
    assert set(stopped["epochs_completed"]) <= {1, 3}
    status = sweep_status(output)
    assert (status.num_remaining, status.is_running, status.num_planned) == (0, False, 8)

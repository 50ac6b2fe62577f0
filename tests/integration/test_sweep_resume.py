import signal

import mlflow
import polars as pl
import pytest
import sweep_cases as cases
from polars.testing import assert_frame_equal

from rlp_sweeps.orchestration.sweep import resume_sweep

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The grid, run to its end at once."""
    output = tmp_path_factory.mktemp("runs") / "undisturbed"
    cases.run_case("grid", output)
    return output


def _timestamps(output):
    frame = pl.read_parquet(output / "trials" / "*.parquet")
    return dict(frame.select("trial_id", "finished_at_ms").iter_rows())


def _run_statuses(output):
    client = mlflow.MlflowClient(f"sqlite:///{output.parent}/mlflow.db")
    (experiment,) = (e for e in client.search_experiments() if e.name == output.name)
    runs = client.search_runs([experiment.experiment_id])
    return sorted((r.data.tags.get("trial_id", "sweep"), r.info.status) for r in runs)


def test_killed_sweep_is_resumed_to_the_same_rows(undisturbed, tmp_path):
    output = tmp_path / "runs" / "killed"
    driver = cases.start_driver("grid", output)
    cases.kill_driver_after(driver, output, num_rows=2)
    before = _timestamps(output)
    assert 2 <= len(before) < 8

    outcome = resume_sweep(output, options=cases.OPTIONS)

    assert outcome.exit_status == 0
    for table in ("trials", "epochs"):
        assert_frame_equal(
            cases.read_table(output, table),
            cases.read_table(undisturbed, table),
            check_exact=True,
        )
    after = _timestamps(output)
    assert {trial_id: after[trial_id] for trial_id in before} == before
    assert _run_statuses(output) == sorted(
        [("sweep", "FINISHED"), *((trial_id, "FINISHED") for trial_id in after)]
    )


def test_interrupted_sweep_says_so_and_keeps_what_is_finished(tmp_path):
    output = tmp_path / "runs" / "interrupted"
    driver = cases.start_driver("grid", output)

    printed = cases.kill_driver_after(driver, output, num_rows=1, sent=signal.SIGINT)

    status, num_rows, interrupted = printed.split()
    assert (status, interrupted) == ("130", "True")
    assert 1 <= int(num_rows) < 8
    assert pl.read_parquet(output / "trials" / "*.parquet")["status"].unique().to_list() == [
        "completed"
    ]

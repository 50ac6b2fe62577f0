import json
from dataclasses import replace
from pathlib import Path

import mlflow
import polars as pl
import pytest
import sweep_cases as cases

from rlp_sweeps.errors import ClusterError, RunDirectoryError, TrackingError
from rlp_sweeps.orchestration.progress import SilentProgress
from rlp_sweeps.orchestration.sweep import resume_sweep, run_sweep
from rlp_sweeps.tracking.group_log import read_log
from rlp_sweeps.tracking.run_directory import RunDirectory
from rlp_sweeps.tracking.sample_rows import read_samples


class Recorder(SilentProgress):
    """Notes what it is told."""

    def __init__(self):
        self.calls = []

    def on_start(self, plan, num_groups, finished):
        self.calls.append(("start", num_groups, sum(finished.values())))

    def on_group_progress(self, group_id, epoch, num_epochs, metrics):
        self.calls.append(("epoch", group_id, epoch, num_epochs, sorted(metrics)))

    def on_group_finished(self, group_id, counts):
        self.calls.append(("finished", group_id, counts))

    def on_end(self, outcome):
        self.calls.append(("end", outcome))


@pytest.fixture(scope="module")
def two_groups(tmp_path_factory):
    """A finished sweep of two groups, what its listener was told, and how it ended."""
    output, recorder = tmp_path_factory.mktemp("runs") / "two", Recorder()
    plan = cases.plan_case("two_groups")
    options = replace(cases.OPTIONS, num_cpus=2)
    outcome = run_sweep(plan, output=output, options=options, progress=recorder)
    return output, recorder.calls, outcome


@pytest.mark.slow
def test_sweep_writes_a_row_for_every_trial(two_groups):
    output, _, outcome = two_groups

    trials = pl.read_parquet(output / "trials" / "*.parquet")

    assert set(trials["trial_id"]) == {t.trial_id for t in cases.plan_case("two_groups").trials}
    assert trials["status"].to_list() == ["completed"] * 2
    assert (
        trials.select("group_id", "hostname", "code_version").null_count().sum_horizontal()[0] == 0
    )
    assert (outcome.exit_status, outcome.is_complete, outcome.interrupted) == (0, True, False)


@pytest.mark.slow
def test_sweep_makes_one_mlflow_run_a_trial_with_the_rows_last_metrics(two_groups):
    output, _, _ = two_groups
    client = mlflow.MlflowClient(f"sqlite:///{output.parent}/mlflow.db")
    (experiment,) = (e for e in client.search_experiments() if e.name == output.name)

    runs = {
        run.data.tags["trial_id"]: run
        for run in client.search_runs([experiment.experiment_id])
        if "trial_id" in run.data.tags
    }

    rows = pl.read_parquet(output / "trials" / "*.parquet").rows(named=True)
    assert len(runs) == len(rows)
    for row in rows:
        logged = runs[row["trial_id"]].data.metrics["test_accuracy"]
        assert logged == pytest.approx(row["test_accuracy"], abs=1e-9)


@pytest.mark.slow
def test_sweep_tells_its_listener_of_every_epoch_and_group(two_groups):
    _, calls, outcome = two_groups

    epochs = [call[2] for call in calls if call[0] == "epoch"]
    finished = [call[2] for call in calls if call[0] == "finished"]

    assert calls[0] == ("start", 2, 0)
    assert sorted(epochs) == [1, 1, 2, 2, 3, 3]
    assert finished == [{"completed": 1}] * 2
    assert calls[-1] == ("end", outcome)


@pytest.mark.slow
def test_sweep_leaves_nothing_of_ray_behind(two_groups):
    output, _, _ = two_groups

    assert sorted(p.name for p in output.iterdir() if not p.name.endswith(".lock")) == [
        "attempts", "checkpoints", "epochs", "logs", "manifest.json", "trials",
    ]  # fmt: skip
    assert list((output / "checkpoints").iterdir()) == []


@pytest.mark.slow
def test_finished_sweep_is_run_again_without_ray_and_without_training(two_groups, monkeypatch):
    output, _, _ = two_groups
    before = pl.read_parquet(output / "trials" / "*.parquet")
    monkeypatch.setattr("ray.init", lambda **options: pytest.fail("Ray was started"))

    outcome = run_sweep(cases.plan_case("two_groups"), output=output, options=cases.OPTIONS)

    assert outcome.exit_status == 0
    assert pl.read_parquet(output / "trials" / "*.parquet").equals(before)


@pytest.mark.slow
def test_reused_trials_are_copied_with_their_epochs_and_not_trained(
    two_groups, tmp_path, monkeypatch
):
    output, _, _ = two_groups
    monkeypatch.setattr("ray.init", lambda **options: pytest.fail("Ray was started"))

    outcome = cases.run_case("two_groups", tmp_path / "again", reuse=(output,))

    assert outcome.exit_status == 0
    for table in ("trials", "epochs"):
        again = cases.read_table(tmp_path / "again", table)
        assert again.equals(cases.read_table(output, table))


@pytest.mark.slow
def test_failing_trial_is_a_row_and_the_others_complete(tmp_path):
    outcome = cases.run_case("failing", tmp_path / "runs" / "failing")

    (failed,) = outcome.failed
    assert outcome.exit_status == 1
    assert outcome.counts == {"completed": 1, "diverged": 0, "stopped": 0, "failed": 1}
    assert "'sweep_cases.broken_backbone' must return a backbone" in failed.error
    assert "raised ArithmeticError: this backbone is broken." in failed.error
    assert ", in broken_backbone\n" in Path(failed.log).read_text()


@pytest.mark.slow
def test_lost_process_is_started_again_but_not_for_ever(tmp_path, monkeypatch):
    deaths = tmp_path / "deaths"
    deaths.write_text("die\n" * 3)
    monkeypatch.setenv("SWEEP_CASES_DEATHS", str(deaths))

    outcome = cases.run_case("dying", tmp_path / "runs" / "dying")

    assert (outcome.exit_status, outcome.interrupted) == (1, False)
    assert len(outcome.lost) == len(outcome.missing) == 1
    assert outcome.counts["completed"] == 1
    assert "was lost: " in outcome.lost[0]
    assert "no trace was kept" not in outcome.lost[0]
    logs = [read_log(path) for path in (outcome.directory / "logs").glob("*.log")]
    told = max(([line.text for line in log] for log in logs), key=len)
    assert [text[:8] for text in told if text.startswith("start ")] == [
        *("start 1:", "start 2:", "start 3:")
    ]
    assert told.count("its process was lost; it is started again") == 2
    assert told[-1].startswith("its process was lost once too often: ")


@pytest.mark.slow
def test_failed_trials_are_trained_again_only_on_request(tmp_path):
    output = tmp_path / "runs" / "failing"
    first = cases.run_case("failing", output)
    rows = pl.read_parquet(output / "trials" / "*.parquet").sort("trial_id")

    again = resume_sweep(output, options=cases.OPTIONS)
    assert again.failed == first.failed
    assert pl.read_parquet(output / "trials" / "*.parquet").sort("trial_id").equals(rows)

    retried = resume_sweep(output, options=replace(cases.OPTIONS, retry_failed=True))
    newer = pl.read_parquet(output / "trials" / "*.parquet").sort("trial_id")
    assert retried.failed == first.failed
    assert (newer["finished_at_ms"] != rows["finished_at_ms"]).sum() == 1


def test_unreachable_cluster_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ClusterError, match=r"must answer at address='127\.0\.0\.1:9'"):
        cases.run_case("two_groups", tmp_path / "run", address="127.0.0.1:9")

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"address": " "}, "must not be empty"),
        ({"address": "nonsense"}, "must be host:port"),
        ({"cpus_per_group": 10_000.0}, "a group needs"),
    ],
)
def test_cluster_that_cannot_be_had_is_refused(options, match, tmp_path):
    with pytest.raises(ClusterError, match=match):
        cases.run_case("two_groups", tmp_path / "run", **options)


def test_unreachable_tracking_server_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(TrackingError, match="must answer"):
        cases.run_case("two_groups", tmp_path / "run", tracking_uri="http://127.0.0.1:9")

    assert list(tmp_path.iterdir()) == []


def test_directory_of_another_sweep_is_refused(tmp_path):
    path = tmp_path / "run"
    path.mkdir()
    (path / "manifest.json").write_text(
        json.dumps({"schema_version": 1, "sweep_id": "0" * 32, "plan_id": "other"})
    )

    with pytest.raises(RunDirectoryError, match="holds another sweep"):
        cases.run_case("two_groups", path)


@pytest.mark.slow
def test_directory_in_use_is_refused(two_groups):
    output, _, _ = two_groups

    with (
        RunDirectory.open(output).held(),
        pytest.raises(RunDirectoryError, match="one process at a time"),
    ):
        resume_sweep(output, options=cases.OPTIONS)


@pytest.mark.slow
def test_a_sweep_keeps_weights_and_samples_where_it_is_told_and_when_it_is_resumed(tmp_path):
    plan, output = cases.plan_case("two_groups"), tmp_path / "run"
    kept = {"keep_weights": True, "keep_samples": True}
    run_sweep(plan, output=output, options=replace(cases.OPTIONS, **kept))
    trained = {path.stem for path in (output / "weights").iterdir()}
    samples = read_samples(RunDirectory.open(output))
    for folder in ("trials", "weights"):
        for path in (output / folder).iterdir():
            path.unlink()

    outcome = resume_sweep(output, options=cases.OPTIONS)

    assert outcome.is_complete
    assert trained == {trial.trial_id for trial in plan.trials}
    assert {path.stem for path in (output / "weights").iterdir()} == trained
    assert samples.num_rows == 1797 * len(trained)
    assert read_samples(RunDirectory.open(output)).equals(samples)

"""Rebuild MLflow from the files of a sweep. Repeatable: what is right already is left alone."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from rlp_sweeps.tracking import mlflow_records as records
from rlp_sweeps.tracking.mlflow_run import PARENT_TAG, TrialRun
from rlp_sweeps.tracking.mlflow_store import (
    MlflowTarget,
    connect,
    default_tracking_uri,
    translated_errors,
)
from rlp_sweeps.tracking.mlflow_sweep import (
    close_interrupted,
    finish_sweep,
    log_sweep_artifacts,
    prepare_sweep,
)
from rlp_sweeps.tracking.run_directory import RunDirectory

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

_PAGE_SIZE = 200
_EPOCH_COLUMNS = ("epoch", "logged_at_ms", *records.EPOCH_METRICS)


@dataclass(frozen=True, slots=True)
class SyncReport:
    """What a rebuild changed.

    Attributes:
        tracking_uri: The store.
        experiment_name: The sweep's experiment.
        num_runs_created: Trials that had no run.
        num_runs_updated: Trials whose run lacked something or said something else.
        num_runs_unchanged: Trials whose run was right.
        num_runs_closed: Open runs of trials that have no row.
        num_runs_removed: Second and further runs of one trial; MLflow can restore them.
        num_artifacts: Files stored at the parent run.
    """

    tracking_uri: str
    experiment_name: str
    num_runs_created: int
    num_runs_updated: int
    num_runs_unchanged: int
    num_runs_closed: int
    num_runs_removed: int
    num_artifacts: int


def sync(run_directory: RunDirectory, tracking_uri: str | None = None) -> SyncReport:
    """Make MLflow say what the files say: one run a trial, its last metrics those of its row.

    Args:
        run_directory: The sweep.
        tracking_uri: As `open_store` takes it; the store beside the directory where missing.

    Raises:
        TrackingError: The store does not answer, or refuses.
        SchemaError: A part file is corrupt.
    """
    trials = run_directory.read_trials()
    epochs = _epochs_by_trial(run_directory.read_epochs())
    uri = tracking_uri or default_tracking_uri(run_directory.path)
    target = prepare_sweep(uri, run_directory)
    with translated_errors(target.tracking_uri):
        client = connect(target.tracking_uri)
        known = {row["trial_id"]: row for row in _rows(trials)}
        done = {"created": 0, "updated": 0, "unchanged": 0}
        seen: set[str] = set()
        removed: list[str] = []
        num_closed = 0
        for run in _child_runs(client, target):  # a page at a time, for there may be thousands
            trial_id = run.data.tags.get("trial_id", "")
            if trial_id in seen:
                removed.append(run.info.run_id)
                continue
            seen.add(trial_id)
            if trial_id in known:
                rows = epochs.get(trial_id, [])
                done[_sync_trial(client, target, run, known[trial_id], rows)] += 1
            elif run.info.status == "RUNNING":
                close_interrupted(client, run.info.run_id)
                num_closed += 1
        for run_id in removed:  # afterwards, for a page is told by how many runs are before it
            client.delete_run(run_id)
        for trial_id in [i for i in known if i not in seen]:
            rows = epochs.get(trial_id, [])
            done[_sync_trial(client, target, None, known[trial_id], rows)] += 1
    artifacts = log_sweep_artifacts(target, run_directory)
    _finish(target, run_directory, trials)
    return SyncReport(
        tracking_uri=target.tracking_uri,
        experiment_name=target.sweep_name,
        num_runs_created=done["created"],
        num_runs_updated=done["updated"],
        num_runs_unchanged=done["unchanged"],
        num_runs_closed=num_closed,
        num_runs_removed=len(removed),
        num_artifacts=len(artifacts),
    )


def _sync_trial(
    client: "MlflowClient",
    target: MlflowTarget,
    run: "Run | None",
    trial: Mapping[str, Any],
    epochs: list[dict[str, Any]],
) -> str:
    tags = records.tags_of(trial["trial_id"], trial)
    if run is None:
        opened = TrialRun.create(
            client, target, trial, tags, started_at_ms=trial.get("started_at_ms")
        )
    elif _is_right(run, trial, len(epochs)):
        return "unchanged"
    else:
        opened = TrialRun.reopen(client, run, trial, tags)
    opened.finish(trial, epochs)
    return "created" if run is None else "updated"


def _is_right(run: "Run", trial: Mapping[str, Any], num_epochs: int) -> bool:
    last = run.data.metrics
    return (
        run.info.status == records.RUN_STATUS[trial["status"]]
        and run.data.tags.get("status") == trial["status"]
        and int(run.data.tags.get("num_epochs_logged", -1)) >= num_epochs
        and all(
            name in last and math.isclose(last[name], value, rel_tol=1e-12)
            for name, value in records.final_metrics(trial).items()
        )
    )


def _child_runs(client: "MlflowClient", target: MlflowTarget) -> "Iterator[Run]":
    """Yield the sweep's runs, the oldest of a trial first."""
    token: str | None = None
    while True:
        page = client.search_runs(
            [target.experiment_id],
            f"tags.`{PARENT_TAG}` = '{target.parent_run_id}'",
            max_results=_PAGE_SIZE,
            order_by=["attributes.start_time ASC"],
            page_token=token,
        )
        yield from page
        token = page.token
        if not token:
            return


def _finish(target: MlflowTarget, directory: RunDirectory, trials: pa.Table) -> None:
    statuses = trials["status"].to_pylist()
    counts = {status: statuses.count(status) for status in sorted(set(statuses))}
    planned = {entry["trial_id"] for entry in directory.manifest.get("trials", [])}
    finish_sweep(target, counts, is_complete=planned <= set(trials["trial_id"].to_pylist()))


def _epochs_by_trial(epochs: pa.Table) -> dict[str, list[dict[str, Any]]]:
    by_trial: dict[str, list[dict[str, Any]]] = {}
    for row in _rows(epochs.select(["trial_id", *_EPOCH_COLUMNS])):
        by_trial.setdefault(row.pop("trial_id"), []).append(row)
    return by_trial


def _rows(table: pa.Table) -> Iterator[dict[str, Any]]:
    for batch in table.to_batches():
        yield from batch.to_pylist()

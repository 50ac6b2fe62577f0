"""Rebuild MLflow from the files of a sweep. Repeatable: what is right already is left alone."""

import math
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from rlp_sweeps.errors import TrackingError
from rlp_sweeps.tracking import mlflow_records as records
from rlp_sweeps.tracking.kept_weights import logs_models
from rlp_sweeps.tracking.mlflow_address import default_tracking_uri, is_server
from rlp_sweeps.tracking.mlflow_client import connect, translated_errors, within
from rlp_sweeps.tracking.mlflow_gap import TrackingGap, forget_gap, note_gap
from rlp_sweeps.tracking.mlflow_models import EndedTrial, ModelsInStore
from rlp_sweeps.tracking.mlflow_run import IS_TRIAL, PARENT_TAG, TrialRun
from rlp_sweeps.tracking.mlflow_store import MlflowTarget
from rlp_sweeps.tracking.mlflow_sweep import (
    close_interrupted,
    finish_sweep,
    log_sweep_artifacts,
    prepare_sweep,
    remove_second_parents,
)
from rlp_sweeps.tracking.run_directory import RunDirectory

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

Row = dict[str, Any]

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
        num_models_added: Models that were not there, whole or in part.
        num_models_removed: Second and further models of one trial, and those of an earlier row.
    """

    tracking_uri: str
    experiment_name: str
    num_runs_created: int
    num_runs_updated: int
    num_runs_unchanged: int
    num_runs_closed: int
    num_runs_removed: int
    num_artifacts: int
    num_models_added: int = 0
    num_models_removed: int = 0


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
        rebuild = _Rebuild(client, target, epochs)
        rebuild.correct({row["trial_id"]: row for row in _rows(trials)})
        if rebuild.done["created"] and is_server(target.tracking_uri):
            rebuild.remove_others()
    remove_second_parents(target)
    artifacts = log_sweep_artifacts(target, run_directory)
    _finish(target, run_directory, trials)
    num_models_added, num_models_removed = 0, 0
    if logs_models(run_directory):  # at last, for it takes longest
        models = ModelsInStore(client, target, run_directory)
        with translated_errors(target.tracking_uri):
            models.correct(rebuild.ended(_rows(trials)))
        num_models_added, num_models_removed = models.num_added, models.num_removed
    forget_gap(run_directory.path, tracking_uri=target.tracking_uri)
    return SyncReport(
        tracking_uri=target.tracking_uri,
        experiment_name=target.sweep_name,
        num_runs_created=rebuild.done["created"],
        num_runs_updated=rebuild.done["updated"],
        num_runs_unchanged=rebuild.done["unchanged"],
        num_runs_closed=rebuild.num_closed,
        num_runs_removed=rebuild.num_removed,
        num_artifacts=len(artifacts),
        num_models_added=num_models_added,
        num_models_removed=num_models_removed,
    )


def sync_within(
    seconds: float, run_directory: RunDirectory, tracking_uri: str | None = None
) -> TrackingGap | None:
    """Do what `sync` does, but give up in time.

    Args:
        seconds: Longest time to wait.
        run_directory: The sweep.
        tracking_uri: As `sync` takes it.

    Returns:
        What the store lacks, which `status` then says; None where it is complete.

    Raises:
        SchemaError: A part file is corrupt.
    """
    uri = tracking_uri or default_tracking_uri(run_directory.path)
    try:
        within(seconds, lambda: sync(run_directory, tracking_uri), tracking_uri=uri)
    except TrackingError as error:
        now_ms = time.time_ns() // 1_000_000
        return note_gap(run_directory.path, tracking_uri=uri, reason=str(error), now_ms=now_ms)
    return None


class _Rebuild:
    """One pass over a store.

    Attributes:
        done: Trials by what became of their run.
        num_closed: Open runs of trials that have no row.
        num_removed: Second and further runs of one trial.
    """

    def __init__(
        self, client: "MlflowClient", target: MlflowTarget, epochs: Mapping[str, list[Row]]
    ) -> None:
        self.done = {"created": 0, "updated": 0, "unchanged": 0}
        self.num_closed = 0
        self.num_removed = 0
        self._client = client
        self._target = target
        self._epochs = epochs
        self._kept: dict[str, str] = {}

    def correct(self, trials: Mapping[str, Row]) -> None:
        """Leave one right run a trial, given the rows of ``trials`` by id."""
        others: list[str] = []
        for run in self._runs():  # a page at a time, for there may be thousands
            trial_id = run.data.tags["trial_id"]
            if trial_id in self._kept:
                others.append(run.info.run_id)
                continue
            self._kept[trial_id] = run.info.run_id
            if trial_id in trials:
                self._correct_run(trials[trial_id], run)
            elif run.info.status == "RUNNING":
                close_interrupted(self._client, run.info.run_id)
                self.num_closed += 1
        self._remove(others)  # afterwards, for a page is told by how many runs are before it
        for trial_id, row in trials.items():
            if trial_id not in self._kept:
                self._correct_run(row, None)

    def ended(self, trials: Iterable[Row]) -> Iterator[EndedTrial]:
        """Yield what a model is logged with, given the rows of ``trials``; after `correct`."""
        for row in trials:
            epochs, run_id = self._epochs.get(row["trial_id"], []), self._kept[row["trial_id"]]
            yield EndedTrial(row=row, epochs=epochs, run_id=run_id)

    def remove_others(self) -> None:
        """Remove runs that a slow server made of calls whose answer came too late."""
        ids = [(run.data.tags["trial_id"], run.info.run_id) for run in self._runs()]
        self._remove([run_id for trial_id, run_id in ids if run_id != self._kept.get(trial_id)])

    def _correct_run(self, trial: Row, run: "Run | None") -> None:
        epochs = self._epochs.get(trial["trial_id"], [])
        tags = records.tags_of(trial["trial_id"], trial)
        if run is None:
            started_at_ms = trial.get("started_at_ms")
            opened = TrialRun.create(
                self._client, self._target, trial, tags, started_at_ms=started_at_ms
            )
        elif _is_right(run, self._target, trial, len(epochs)):
            self.done["unchanged"] += 1
            return
        else:
            opened = TrialRun.reopen(self._client, self._target, run, trial, tags)
        opened.finish(trial, epochs)
        self._kept[trial["trial_id"]] = opened.run_id
        self.done["created" if run is None else "updated"] += 1

    def _remove(self, run_ids: list[str]) -> None:
        for run_id in run_ids:
            self._client.delete_run(run_id)
        self.num_removed += len(run_ids)

    def _runs(self) -> "Iterator[Run]":
        """Yield the sweep's runs, the oldest of a trial first."""
        token: str | None = None
        while True:
            page = self._client.search_runs(
                [self._target.experiment_id],
                IS_TRIAL,
                max_results=_PAGE_SIZE,
                order_by=["attributes.start_time ASC"],
                page_token=token,
            )
            yield from page
            token = page.token
            if not token:
                return


def _is_right(run: "Run", target: MlflowTarget, trial: Row, num_epochs: int) -> bool:
    last = run.data.metrics
    return (
        run.data.tags.get(PARENT_TAG) == target.parent_run_id
        and run.info.status == records.RUN_STATUS[trial["status"]]
        and run.data.tags.get("status") == trial["status"]
        and int(run.data.tags.get("num_epochs_logged", -1)) >= num_epochs
        and all(
            name in last and math.isclose(last[name], value, rel_tol=1e-12)
            for name, value in records.final_metrics(trial).items()
        )
    )


def _finish(target: MlflowTarget, directory: RunDirectory, trials: pa.Table) -> None:
    statuses = trials["status"].to_pylist()
    counts = {status: statuses.count(status) for status in sorted(set(statuses))}
    planned = {entry["trial_id"] for entry in directory.manifest.get("trials", [])}
    finish_sweep(target, counts, is_complete=planned <= set(trials["trial_id"].to_pylist()))


def _epochs_by_trial(epochs: pa.Table) -> dict[str, list[Row]]:
    by_trial: dict[str, list[Row]] = {}
    for row in _rows(epochs.select(["trial_id", *_EPOCH_COLUMNS])):
        by_trial.setdefault(row.pop("trial_id"), []).append(row)
    return by_trial


def _rows(table: pa.Table) -> Iterator[Row]:
    for batch in table.to_batches():
        yield from batch.to_pylist()

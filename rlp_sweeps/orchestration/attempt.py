"""One attempt at a sweep: a Tune experiment over the groups that are left, thrown away afterwards.

What an attempt leaves are part files. Nothing of Tune's own state is ever read again.
"""

import contextlib
import shutil
import time
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ray import tune

from rlp_sweeps.orchestration.attempt_state import write_attempt
from rlp_sweeps.orchestration.brake import Brake, BrakedASHA, BrakedFIFO
from rlp_sweeps.orchestration.capacity import (
    MAX_LOST_PROCESSES,
    Capacity,
    allow_for_lost_node,
)
from rlp_sweeps.orchestration.planner import Group, SweepPlan, group_representatives
from rlp_sweeps.orchestration.progress import AttemptLog, ProgressListener, last_line
from rlp_sweeps.orchestration.resources import GroupResources, scratch_folder
from rlp_sweeps.orchestration.search import SweepOptunaSearch, tune_grid
from rlp_sweeps.orchestration.trainable import (
    NEWS,
    NOTE,
    PAUSED,
    REPORTED_METRICS,
    SweepJob,
    rlp_trainable,
)
from rlp_sweeps.orchestration.worker_environment import (
    inherited_environment,
    without_credentials,
)
from rlp_sweeps.schema import STATUSES
from rlp_sweeps.stores import is_remote
from rlp_sweeps.tracking.mlflow_feed import MlflowFeed
from rlp_sweeps.tracking.run_directory import RunDirectory

_FOLDER_PREFIX = ".attempt-"
_WRITE_EVERY_S = 1.0
_BUSY_EVERY_S = 10.0  # the time of groups at work is written down as often


@dataclass(frozen=True, kw_only=True, slots=True)
class Attempt:
    """What one attempt runs.

    Attributes:
        plan: The sweep.
        job: What its workers need.
        resources: What a group holds.
        groups: Groups of a grid that are left; empty in a search.
        searcher: The rebuilt search; None for a grid.
        capacity: Groups at once.
        feed: Tells MLflow.
        brake: Ends the attempt before its groups are done.
    """

    plan: SweepPlan
    job: SweepJob
    resources: GroupResources
    groups: list[Group]
    searcher: SweepOptunaSearch | None
    capacity: Capacity
    feed: MlflowFeed
    brake: Brake


def run_attempt(attempt: Attempt, progress: ProgressListener) -> AttemptLog:
    """Run the groups that are left, and return what was heard of them.

    Returns normally whatever becomes of the groups, and after Ctrl-C.
    """
    directory = attempt.job.directory
    remove_attempt_folders(directory)
    storage = scratch_folder() if is_remote(directory.path) else directory.path
    name = f"{_FOLDER_PREFIX}{uuid.uuid4().hex[:8]}"
    listener = _Listener(attempt, progress)
    trainable = tune.with_resources(
        tune.with_parameters(rlp_trainable, job=attempt.job), attempt.resources.to_tune()
    )
    tuner = tune.Tuner(
        trainable,
        param_space={} if attempt.searcher is not None else tune_grid(attempt.groups),
        tune_config=_tune_config(attempt),
        run_config=tune.RunConfig(
            name=name,
            storage_path=str(storage),
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=MAX_LOST_PROCESSES),
            callbacks=[listener],
        ),
    )
    try:
        with inherited_environment() if attempt.capacity.is_own else without_credentials():
            tuner.fit()
    finally:
        remove_attempt_folders(directory)
        listener.close()
        if storage is not directory.path:
            shutil.rmtree(storage, ignore_errors=True)
    return listener.log


def remove_attempt_folders(directory: RunDirectory) -> None:
    """Remove what Tune has left in a run directory; no attempt may be at work.

    Tune's folder is beside the rows, where all machines of a cluster see it; that of a directory in
    a store is the driver's own: no group reports a checkpoint, so that no worker looks into it.
    """
    if is_remote(directory.path):
        return
    for folder in directory.path.glob(f"{_FOLDER_PREFIX}*"):
        shutil.rmtree(folder, ignore_errors=True)


def _tune_config(attempt: Attempt) -> tune.TuneConfig:
    searcher = attempt.searcher
    return tune.TuneConfig(
        search_alg=attempt.capacity.limit(searcher),
        num_samples=1 if searcher is None else searcher.num_left,
        scheduler=_scheduler(attempt),
        reuse_actors=True,
        trial_name_creator=_trial_name,
        trial_dirname_creator=_trial_name,
    )


def _scheduler(attempt: Attempt) -> BrakedASHA | BrakedFIFO:
    search = attempt.plan.space.search
    if search is None or not search.early_stopping or attempt.job.halved_space is not None:
        return BrakedFIFO(attempt.brake)  # inside a group, points are compared with each other
    num_epochs = max(c.num_epochs for c in group_representatives(attempt.plan))
    scheduler = BrakedASHA(search, num_epochs=num_epochs)
    scheduler.brake = attempt.brake
    scheduler.replay(attempt.job.directory.read_epochs().to_pylist())
    return scheduler


def _trial_name(trial: Any) -> str:
    return str(trial.trial_id)


class _Listener(tune.Callback):
    """Passes on what Tune's event loop says, and writes down which groups are running."""

    def __init__(self, attempt: Attempt, progress: ProgressListener) -> None:
        self.log = AttemptLog()
        self._progress = progress
        self._directory = attempt.job.directory.path
        self._write_every_s = _WRITE_EVERY_S * (10 if is_remote(self._directory) else 1)
        self._capacity = attempt.capacity
        self._devices_per_group = attempt.resources.num_gpus or attempt.resources.num_cpus
        self._job = attempt.job
        self._feed = attempt.feed
        self._brake = attempt.brake
        self._names: dict[str, str] = {}
        self._started_at: dict[str, float] = {}
        self._written: tuple[frozenset[str], int] | None = None
        self._written_at = 0.0

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its callbacks; a live view cannot be, and is never read again

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        group = self._job.group_of(trial.config)
        self._names[trial.trial_id] = group.group_id
        self.log.running.add(group.group_id)
        self._started_at[group.group_id] = time.monotonic()
        self._progress.on_group_start(group.group_id, len(group.trials))
        self._feed.start(group.group_id, group.trials)

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        self._feed.take(result.get(NEWS, ""))
        if NOTE in result:
            self.log.notes.append(result[NOTE])
        if "num_epochs" not in result:
            return  # the last report of a group: its counts
        metrics = {name: result[name] for name in REPORTED_METRICS if name in result}
        self._progress.on_group_progress(
            self._name(trial), result["epoch"], result["num_epochs"], metrics
        )

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        result = trial.last_result or {}
        goes_on = PAUSED in result or self._brake.has_stopped(trial.trial_id)
        counts = {status: result.get(f"num_{status}", 0) for status in STATUSES}
        ended = {status: number for status, number in counts.items() if number}
        self._end(trial, ended, goes_on=goes_on)

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        allow_for_lost_node(trial)
        name = self._name(trial)
        self.log.running.discard(name)  # until it is started again
        self._count_time(name)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        reason = last_line(str(trial.get_error() or ""))
        self.log.lost.append(f"group {self._name(trial)} was lost: {reason}")
        self._end(trial, {})

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        self._capacity.follow()
        standing = (frozenset(self.log.running), self._capacity.at_once)
        now = time.monotonic()
        is_due = standing != self._written or now - self._written_at >= _BUSY_EVERY_S
        if is_due and now - self._written_at >= self._write_every_s:
            busy_s = self.log.busy_s + sum(now - begun for begun in self._started_at.values())
            with contextlib.suppress(OSError):  # no room: `status` says less, and training goes on
                write_attempt(
                    self._directory,
                    running=standing[0],
                    slots=standing[1],
                    busy_s=busy_s,
                    devices_per_group=self._devices_per_group,
                )
            self._written, self._written_at = standing, now

    def close(self) -> None:
        """Count the time of groups that were cut off, and take over why the attempt ended."""
        for name in list(self._started_at):
            self._count_time(name)
        self.log.stopped_by = self._brake.reason

    def _end(self, trial: Any, counts: Mapping[str, int], *, goes_on: bool = False) -> None:
        name = self._name(trial)
        self.log.running.discard(name)
        self.log.num_ended += not goes_on
        self._count_time(name)
        self._progress.on_group_finished(name, counts)

    def _count_time(self, name: str) -> None:
        begun = self._started_at.pop(name, None)
        if begun is not None:
            self.log.busy_s += time.monotonic() - begun

    def _name(self, trial: Any) -> str:
        if trial.trial_id not in self._names:  # lost before it was started
            self._names[trial.trial_id] = self._job.group_of(trial.config).group_id
        return self._names[trial.trial_id]


def group_texts(groups: Iterable[Group]) -> dict[str, str]:
    """Return groups as workers read them, by id."""
    return {group.group_id: group.to_text() for group in groups}

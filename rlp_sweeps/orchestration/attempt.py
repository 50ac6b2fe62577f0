"""One attempt at a sweep: a Tune experiment over the groups that are left, thrown away afterwards.

What an attempt leaves are part files. Nothing of Tune's own state is ever read again.
"""

import contextlib
import shutil
import signal
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ray import tune

from rlp_sweeps.orchestration.attempt_watch import AttemptWatch
from rlp_sweeps.orchestration.brake import Brake, BrakedASHA, BrakedFIFO
from rlp_sweeps.orchestration.capacity import (
    MAX_LOST_PROCESSES,
    Capacity,
    allow_for_lost_node,
    last_error,
)
from rlp_sweeps.orchestration.gathering import ATTEMPT_PREFIX, remove_attempt_folders
from rlp_sweeps.orchestration.planner import Group, SweepPlan, group_representatives
from rlp_sweeps.orchestration.progress import AttemptLog, ProgressListener, last_line
from rlp_sweeps.orchestration.resources import GroupResources, scratch_folder
from rlp_sweeps.orchestration.search import SweepOptunaSearch, tune_grid
from rlp_sweeps.orchestration.trainable import SweepJob, rlp_trainable
from rlp_sweeps.orchestration.worker_environment import (
    inherited_environment,
    without_credentials,
)
from rlp_sweeps.stores import is_remote
from rlp_sweeps.tracking.mlflow_feed import Feed


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
        feed: Tells MLflow, or nobody.
        brake: Ends the attempt before its groups are done.
    """

    plan: SweepPlan
    job: SweepJob
    resources: GroupResources
    groups: list[Group]
    searcher: SweepOptunaSearch | None
    capacity: Capacity
    feed: Feed
    brake: Brake


def run_attempt(attempt: Attempt, progress: ProgressListener) -> AttemptLog:
    """Run the groups that are left, and return what was heard of them.

    Returns normally whatever becomes of the groups, and after Ctrl-C.
    """
    directory = attempt.job.directory
    remove_attempt_folders(directory)
    storage = scratch_folder() if is_remote(directory.path) else directory.path
    name = f"{ATTEMPT_PREFIX}{uuid.uuid4().hex[:8]}"
    watch = AttemptWatch(attempt, progress)
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
            progress_reporter=_NoReporter(),
            failure_config=tune.FailureConfig(max_failures=MAX_LOST_PROCESSES),
            callbacks=[_Listener(attempt, watch)],
        ),
    )
    try:
        environment = inherited_environment if attempt.capacity.is_own else without_credentials
        with environment(), kept_handlers(signal.SIGINT, signal.SIGUSR1):
            tuner.fit()
    finally:
        remove_attempt_folders(directory)
        watch.close()
        if storage is not directory.path:
            shutil.rmtree(storage, ignore_errors=True)
    return watch.log


@contextlib.contextmanager
def kept_handlers(*signals: signal.Signals) -> Iterator[None]:
    """Give the caller its signal handlers back, which Tune leaves replaced by its own.

    In a thread other than the main one Tune sets none, and none could be set.
    """
    before = {number: signal.getsignal(number) for number in signals}
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in before.items():
                signal.signal(number, handler)


def _tune_config(attempt: Attempt) -> tune.TuneConfig:
    searcher = attempt.searcher
    return tune.TuneConfig(
        search_alg=attempt.capacity.limit(searcher),
        num_samples=1 if searcher is None else searcher.num_left,
        scheduler=attempt_scheduler(attempt),
        reuse_actors=True,
        trial_name_creator=_trial_name,
        trial_dirname_creator=_trial_name,
    )


def attempt_scheduler(attempt: Attempt) -> BrakedASHA | BrakedFIFO:
    """Return who starts groups in their order, and stops points early where groups do not."""
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


class _NoReporter(tune.ProgressReporter):
    """Reports nothing: in a notebook, Tune would clear the cell's output at any verbosity."""

    def should_report(self, trials: list[Any], done: bool = False) -> bool:
        return False

    def report(self, trials: list[Any], done: bool, *sys_info: Any) -> None:
        return None


class _Listener(tune.Callback):
    """Passes on what Tune's event loop says."""

    def __init__(self, attempt: Attempt, watch: AttemptWatch) -> None:
        self._job = attempt.job
        self._capacity = attempt.capacity
        self._brake = attempt.brake
        self._watch = watch
        self._names: dict[str, str] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its callbacks; a live view cannot be, and is never read again

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        group = self._job.group_of(trial.config)
        self._names[trial.trial_id] = group.group_id
        self._watch.started(group)

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        self._watch.reported(self._name(trial), result)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        is_cut_off = self._brake.has_stopped(trial.trial_id)
        self._watch.completed(self._name(trial), trial.last_result or {}, is_cut_off=is_cut_off)

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        allow_for_lost_node(trial)
        self._watch.interrupted(self._name(trial))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._watch.lost(self._name(trial), last_line(last_error(trial)))

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        self._capacity.follow()
        self._watch.write_down()

    def _name(self, trial: Any) -> str:
        if trial.trial_id not in self._names:  # lost before it was started
            self._names[trial.trial_id] = self._job.group_of(trial.config).group_id
        return self._names[trial.trial_id]

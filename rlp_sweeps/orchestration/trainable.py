"""The function that Ray starts: trains one group, writes its rows, reports once an epoch."""

import math
import platform
import sys
import time
import traceback
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import TYPE_CHECKING, Any

import torch
from ray import tune

from rlp_sweeps.config import TrialConfig
from rlp_sweeps.errors import CheckpointError, RecordError
from rlp_sweeps.orchestration.attempt_watch import NEWS, NOTE, PAUSED, REPORTED_METRICS
from rlp_sweeps.orchestration.brake import is_pause_requested
from rlp_sweeps.orchestration.early_stopping import clear_stop_request, is_stop_requested
from rlp_sweeps.orchestration.group_diary import GroupDiary, kept_diary
from rlp_sweeps.orchestration.halving import GroupHalving
from rlp_sweeps.orchestration.hang_watch import HangWatch
from rlp_sweeps.orchestration.nodes import wait_for_directory
from rlp_sweeps.orchestration.planner import Group
from rlp_sweeps.orchestration.rows import Row, read_parts, read_with_epochs
from rlp_sweeps.orchestration.shared_data import SharedData
from rlp_sweeps.orchestration.user_code import UserCode
from rlp_sweeps.schema import STATUSES
from rlp_sweeps.spaces import SearchSpace
from rlp_sweeps.tracking.kept_weights import weights_folder
from rlp_sweeps.tracking.mlflow_feed import news_text
from rlp_sweeps.tracking.probe_rows import write_probes
from rlp_sweeps.tracking.run_directory import RunDirectory, code_version
from rlp_sweeps.tracking.sample_rows import keeps_samples, write_samples
from rlp_sweeps.training.loop import (
    GroupContext,
    GroupProgress,
    TrainingPaused,
    TrialResult,
    train_group,
)
from rlp_sweeps.training.memory import is_device_lost, keep_freed_memory

if TYPE_CHECKING:
    from rlp_sweeps.orchestration.end_probes import EndProbes

EVALUATIONS_EVERY_S = 10.0
"""Least seconds between two reports of a group that carry evaluations of running trials."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SweepJob:
    """What every worker needs of a sweep; kept small, because each group reads it anew.

    Attributes:
        directory: Where rows go.
        groups: Groups of a grid as text, by id; empty in a search.
        data_dir: Absolute folder that data sets are read from.
        device: ``cpu`` or ``cuda``.
        engine: How a group is trained whose `group_key` is not among `engines`.
        num_threads: Threads of training.
        checkpoint_interval_s: Least seconds between two checkpoints.
        import_paths: Folders that the driver imports from, for a user's own data and backbones.
        engines: How the groups of a kind are trained, by `group_key`.
        halved_space: Space of a search whose points are halved inside their group; None elsewhere.
        probes: What trials are probed by as they end; empty for none.
        data: The data sets, from the driver; None: every worker reads the files.
        code: A user's own modules, from the driver; None: they are imported from `import_paths`.
        trial_timeout_s: Seconds after which a group without progress is ended; None for never.
    """

    directory: RunDirectory
    groups: Mapping[str, str]
    data_dir: str
    device: str
    engine: str
    num_threads: int
    checkpoint_interval_s: float
    import_paths: tuple[str, ...] = ()
    engines: Mapping[str, str] = field(default_factory=dict)
    halved_space: SearchSpace | None = None
    probes: tuple[str, ...] = ()
    data: SharedData | None = None
    code: UserCode | None = None
    trial_timeout_s: float | None = None

    def group_of(self, config: Mapping[str, Any]) -> Group:
        """Return the group that a Tune configuration stands for."""
        text = config["group"] if "group" in config else self.groups[config["group_id"]]
        return Group.from_text(text)

    def engine_of(self, group: Group) -> str:
        """Return how a group is trained."""
        return self.engines.get(group.trials[0].group_key, self.engine)

    def context_of(self, group: Group) -> GroupContext:
        """Return where and how a group trains."""
        return GroupContext(
            group_id=group.group_id,
            data_dir=self.data_dir,
            device=self.device,
            engine=self.engine_of(group),
            checkpoint_path=self.directory.checkpoint_path(group.group_id),
            checkpoint_interval_s=self.checkpoint_interval_s,
            weights_folder=weights_folder(self.directory),
            keeps_samples=keeps_samples(self.directory),
        )

    def prepare_worker(self) -> None:
        """Let this process import what the driver imports, and train on what the driver has read.

        Raises:
            ClusterError: This machine does not reach the run directory.
        """
        if self.code is not None:
            wait_for_directory(self.directory)
            self.code.install()
        sys.path.extend(path for path in self.import_paths if path not in sys.path)
        if self.data is not None:
            self.data.take()

    def end_probes(self) -> "EndProbes | None":
        """Return what probes a group's members as they end; None where nothing does."""
        if not self.probes:
            return None
        from rlp_sweeps.orchestration.end_probes import EndProbes
        from rlp_sweeps.orchestration.probe_tasks import ProbeJob

        job = ProbeJob(data_dir=self.data_dir, device=self.device, num_threads=self.num_threads)
        return EndProbes(self.directory, self.probes, job)


def rlp_trainable(config: dict[str, Any], *, job: SweepJob) -> None:
    """Train one group; Ray starts this.

    Args:
        config: ``group_id`` of a planned group, or ``group``, that of sampled points as text.
        job: The sweep.

    Raises:
        RuntimeError: CUDA can do nothing more in this process. The rows are written, and Ray starts
            another process, which finds nothing left to train.
    """
    clear_stop_request()
    job.prepare_worker()
    torch.set_num_threads(job.num_threads)
    keep_freed_memory()
    run = GroupRun(job, job.group_of(config), report=tune.report)
    run.run(catches_crashes=True)
    if run.has_lost_device:
        msg = "CUDA has failed in this process for good, so that further groups need another one."
        raise RuntimeError(msg)


class GroupRun:
    """One group on its way through training: its rows, its MLflow runs, its reports.

    `run` trains it, and keeps its log. Who lets its epochs pass in another way calls `begin`, then
    `on_epoch` and `end` as `train_group` does, then `finish`.

    Attributes:
        counts: Members that have ended here, by status.
        is_paused: Whether the others go on in a later attempt, from the checkpoint.
        has_lost_device: Whether an error ended members that leaves CUDA unusable here.
    """

    def __init__(
        self,
        job: SweepJob,
        group: Group,
        *,
        report: Callable[[dict[str, Any]], None],
        hostname: str | None = None,
    ) -> None:
        self._job = job
        self._hostname = platform.node() if hostname is None else hostname
        self._report = report
        self._group = group.without(finished_members(job, group))
        self._halving: GroupHalving | None = None
        self._written: set[str] = set()
        self._told: set[str] = set()
        self._pending: dict[str, list[Row]] = {}
        self._told_at = time.monotonic()
        self._epoch = 0
        self._probes: EndProbes | None = None
        self.is_paused = False
        self._note: str | None = None
        self._diary = GroupDiary()
        self._watch = HangWatch(job.trial_timeout_s, self._fail)
        self.has_lost_device = False
        self.counts = dict.fromkeys(STATUSES, 0)

    def run(self, *, catches_crashes: bool = False) -> None:
        """Train what is not finished; a group's own exception becomes its members' rows.

        Args:
            catches_crashes: Have the trace of a crash in native code written into the group's log.

        Raises:
            RecordError: A row cannot be written.
        """
        if self._group.trials:
            group_id = self._group.group_id
            with kept_diary(self._job, group_id, catches_crashes=catches_crashes) as self._diary:
                self._diary.started(self._job, self._group, hostname=self._hostname)
                self._train_or_fail()
                self._diary.closed(self.counts, is_paused=self.is_paused, epoch=self._epoch)
        self.finish()

    def _train_or_fail(self) -> None:
        try:
            with self._watch:
                self._train()
        except TrainingPaused:
            self.is_paused = True
        except RecordError:
            raise
        except Exception:  # noqa: BLE001  the trial boundary; what cannot be recorded raises
            self._fail(traceback.format_exc())
        finally:
            if self._probes is not None:
                self._probes.close()
        if not self.is_paused:
            self._job.directory.remove_checkpoint(self._group.group_id)

    def begin(self) -> tuple[TrialConfig, ...]:
        """Take note of the members that have ended before, and return those that train."""
        if self._job.halved_space is not None and self._group.trials:
            gone = set(self._group.points) - {trial.trial_id for trial in self._group.trials}
            ended = read_with_epochs(self._job.directory, gone)
            self._halving = GroupHalving(self._job.halved_space, self._group, ended)
        return self._group.trials

    def finish(self) -> None:
        """Report how many members have ended, and how."""
        paused = {PAUSED: 1} if self.is_paused else {}
        note = {} if self._note is None else {NOTE: self._note}
        counts = self._scalar_counts()
        self._report({"epoch": self._epoch, **counts, **paused, **self._news(), **note})

    def _train(self) -> None:
        self._probes = self._job.end_probes()
        self.begin()
        if not self._goes_on():  # a restart from the first epoch gives the same numbers
            self._job.directory.remove_checkpoint(self._group.group_id)
            self._group = self._group.without(self._written)
            self._train_group()

    def _goes_on(self) -> bool:
        """Train the group from its checkpoint, if any; return whether that could be read."""
        try:
            self._train_group()
        except CheckpointError as error:
            self._note = f"group {self._group.group_id} was trained from the start: {error}"
            self._diary.told(self._note)
            return False
        return True

    def _train_group(self) -> None:
        context = self._job.context_of(self._group)
        if self._probes is not None:
            context = replace(context, weights_folder=self._probes.weights_folder)
        train_group(
            self._group.trials,
            context=context,
            report=self.on_epoch,
            record=self.end,
            pauses=is_pause_requested,
        )

    def on_epoch(self, progress: GroupProgress) -> Collection[str]:
        """Pass on an epoch and return the members that shall stop."""
        self._watch.progress()
        self._epoch = progress.epoch
        self._diary.evaluated(progress)
        for trial_id, rows in progress.new_rows.items():
            if trial_id not in self._written:
                self._pending.setdefault(trial_id, []).extend(rows)
        self._report(
            {
                "epoch": progress.epoch,
                "num_epochs": progress.num_epochs,
                **mean_metrics(list(progress.latest.values())),
                **self._scalar_counts(),
                **self._news(),
            }
        )
        if is_stop_requested():
            return progress.live
        if self._halving is None:
            return ()
        return self._halving.stops(progress.epoch, progress.latest) & set(progress.live)

    def end(self, result: TrialResult) -> None:
        """Write an ended member's rows.

        Raises:
            RecordError: They cannot be written.
        """
        try:
            self._record(result)
        except OSError as error:
            trial_id = result.trial["trial_id"]
            msg = f"the rows of trial {trial_id} could not be written: {error}"
            raise RecordError(msg) from error

    def _record(self, result: TrialResult) -> None:
        self._watch.progress()
        trial_id = result.trial["trial_id"]
        row = {
            **result.trial,
            "group_id": self._group.group_id,
            "point": self._group.points.get(trial_id),
            "hostname": self._hostname,
            "code_version": code_version(),
        }
        about = {"device": row["device"], "code_version": row["code_version"]}
        probes = [{**probe, **about} for probe in result.probes]
        if self._probes is not None:  # before the row: a trial that has one is never trained again
            self._probes.probe(trial_id, row["status"], probes)
        elif probes:
            write_probes(self._job.directory, trial_id, probes)
        if result.samples:
            write_samples(self._job.directory, trial_id, result.samples)
        self._job.directory.write_trial(row, result.epochs)
        self._written.add(trial_id)
        if self._halving is not None:
            self._halving.add_ended(row, result.epochs)
        self._pending.pop(trial_id, None)
        self.counts[row["status"]] += 1
        self.has_lost_device |= is_device_lost(row.get("error") or "")
        self._diary.ended(row, result.epochs)

    def _fail(self, trace: str) -> None:
        self._diary.failed(trace)
        now = time.time_ns() // 1_000_000
        for trial in self._group.without(self._written).trials:
            row = {
                **trial.to_dict(),
                "trial_id": trial.trial_id,
                "status": "failed",
                "epochs_completed": self._epoch,
                "engine": self._job.engine_of(self._group),
                "device": self._job.device,
                "finished_at_ms": now,
                "error": trace,
            }
            self.end(TrialResult(trial=row, epochs=[]))

    def _news(self) -> dict[str, str]:
        """Return what the driver tells MLflow of: ended members, now and then evaluations."""
        ended = self._written - self._told
        running: dict[str, list[Row]] = {}
        if time.monotonic() - self._told_at >= EVALUATIONS_EVERY_S:
            running, self._pending = self._pending, {}
            self._told_at = time.monotonic()
        self._told |= ended
        text = news_text(ended=sorted(ended), running=running)
        return {NEWS: text} if text else {}

    def _scalar_counts(self) -> dict[str, int]:
        return {f"num_{status}": number for status, number in self.counts.items()}


def finished_members(job: SweepJob, group: Group) -> set[str]:
    """Return the members that got a row in this attempt, before their process was lost."""
    return set(read_parts(job.directory, [trial.trial_id for trial in group.trials]))


def mean_metrics(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Return the means of the reported metrics over the rows that have a finite value."""
    means = {}
    for name in REPORTED_METRICS:
        known = [row[name] for row in rows if row.get(name) is not None]
        finite = [value for value in known if math.isfinite(value)]
        if finite:
            means[name] = fmean(finite)
    return means

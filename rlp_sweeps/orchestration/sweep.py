"""Run and resume a sweep: the plan minus finished rows, a fresh Tune experiment for the rest."""

import sys
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rlp_sweeps.orchestration.best_points import best_points
from rlp_sweeps.orchestration.budget import brake_of, check_fits, first_trials
from rlp_sweeps.orchestration.executor import Executor, RayExecutor, executor_of
from rlp_sweeps.orchestration.gathering import Gathering
from rlp_sweeps.orchestration.group_texts import GroupTexts
from rlp_sweeps.orchestration.named_code import check_code, trust_code
from rlp_sweeps.orchestration.planner import (
    SweepPlan,
    group_representatives,
    plan_from_manifest,
)
from rlp_sweeps.orchestration.points import (
    PointLog,
    all_groups,
    halved_space,
    planned_trials,
    points_per_group,
)
from rlp_sweeps.orchestration.progress import (
    AttemptLog,
    ProgressListener,
    RunOptions,
    SilentProgress,
    SweepOutcome,
    count_by_status,
    failed_trials,
)
from rlp_sweeps.orchestration.resources import GroupResources
from rlp_sweeps.orchestration.rows import RowReader, read_parts, take_over
from rlp_sweeps.orchestration.sweep_request import check_request, checked_plan
from rlp_sweeps.orchestration.sweep_tracking import SweepTracking
from rlp_sweeps.orchestration.work import Work
from rlp_sweeps.tracking.kept_weights import LOG_MODELS, keep_weights, log_models
from rlp_sweeps.tracking.mlflow_feed import Feed
from rlp_sweeps.tracking.probe_rows import (
    ask_for_probes,
    asked_probes,
    probe_error_path,
    read_probe_errors,
)
from rlp_sweeps.tracking.run_directory import RunDirectory, build_manifest
from rlp_sweeps.tracking.sample_rows import keep_samples

if TYPE_CHECKING:
    from rlp_sweeps.orchestration.attempt import Attempt
    from rlp_sweeps.orchestration.brake import Brake
    from rlp_sweeps.orchestration.search import SweepOptunaSearch
    from rlp_sweeps.orchestration.trainable import SweepJob


def run_sweep(
    plan: SweepPlan,
    *,
    output: Path,
    options: RunOptions | None = None,
    progress: ProgressListener | None = None,
    executor: Executor | None = None,
) -> SweepOutcome:
    """Run a planned sweep; where `output` holds the same one, go on with it.

    Args:
        plan: From `plan_sweep`.
        output: The run directory: absent, empty, or of the same plan.
        options: Where it runs.
        progress: Is told how it goes.
        executor: Carries out the groups; None: Ray.

    Returns:
        How it stands; failed and lost trials are named there and raise nothing.

    Raises:
        RunDirectoryError: `output` holds something else, was trained on other data, cannot be
            written, or is in use.
        DatasetError: A data set cannot be read.
        ClusterError: The Ray cluster does not answer, has no room for a group, or has a machine
            that cannot train.
        TrackingError: The MLflow store does not answer, unless `options` allow for that.
        ArgumentError: The budget of trials is smaller than the first group.
    """
    options = options or RunOptions()
    executor = executor or RayExecutor()
    away = check_request(plan, options, executor)
    if not RunDirectory.is_one(output):
        first_trials(plan, plan.groups, options.max_trials)  # refused before anything is written
    executor.check_data(plan)
    data = executor.data_of(plan)
    for path in options.reuse:
        RunDirectory.open(path).check_same_data(data)
    manifest = build_manifest(
        plan_id=plan.plan_id,
        sweep_name=plan.name,
        space=plan.space.to_dict(),
        configs=plan.trials,
        settings={**plan.settings(), **executor.settings(), **_logging(options)},
        data=data,
    )
    directory = RunDirectory.create(output, manifest)
    recorded = plan_from_manifest(directory.manifest)
    trust_code(directory, group_representatives(plan))  # the recipe is the user's own
    check_code(directory, recorded)
    here = replace(recorded, device=plan.device, data_dir=plan.data_dir)
    return _Sweep(here, directory, options, executor=executor, progress=progress, away=away).run()


def _logging(options: RunOptions) -> dict[str, bool]:
    """Return what the manifest says of models; nothing where they are not asked for."""
    return {LOG_MODELS: True} if options.log_models else {}


def resume_sweep(
    directory: Path,
    *,
    options: RunOptions | None = None,
    progress: ProgressListener | None = None,
) -> SweepOutcome:
    """Go on with a sweep where it stopped; trials with a row are not trained again.

    Args:
        directory: The run directory.
        options: Where it runs; engine and group size are those it began with.
        progress: Is told how it goes.

    Raises:
        RunDirectoryError: It is no run directory, is in use, or names code of unknown origin.
        DatasetError, DeviceError, BackboneError, ConfigError: What it trains cannot be had here.
        ClusterError: The Ray cluster does not answer, has no room for a group, or has a machine
            that cannot train.
        TrackingError: The address of the MLflow store can never work; one that does not answer
            holds nothing up.
    """
    options = replace(options or RunOptions(), tracking_may_be_away=True)
    opened = RunDirectory.open(directory)
    executor = executor_of(opened)
    plan, away = checked_plan(opened, options, executor)
    return _Sweep(plan, opened, options, executor=executor, progress=progress, away=away).run()


class _Sweep:
    """One driver's walk through a plan."""

    def __init__(
        self,
        plan: SweepPlan,
        directory: RunDirectory,
        options: RunOptions,
        *,
        executor: Executor,
        progress: ProgressListener | None,
        away: str | None,
    ) -> None:
        self._plan = plan
        self._directory = directory
        self._options = options
        self._executor = executor
        self._progress = progress or SilentProgress()
        self._is_tracked = executor.is_tracked(options)
        self._tracking = SweepTracking(directory, options, away, is_asked=self._is_tracked)
        self._gathering = Gathering(directory)

    def run(self) -> SweepOutcome:
        """Train what is left, gather the rows, complete MLflow, and say how the sweep stands."""
        started = time.monotonic()
        with self._directory.held() as holder:
            self._gathering.begin()  # from here on, part files are this attempt's
            brake = brake_of(self._options, self._directory.path, holder, started_at=started)
            if self._options.keep_weights:
                keep_weights(self._directory)
            if self._options.log_models:
                log_models(self._directory)
            if self._options.keep_samples:
                keep_samples(self._directory)
            if self._options.probes:
                ask_for_probes(self._directory, self._options.probes)
            work = self._work()
            log = self._attempt(work, brake) if work.num_groups else AttemptLog()
            failed_before = set(work.finished) - self._done(work.finished)
            not_retried = failed_before - set(read_parts(self._directory, failed_before))
            self._gathering.end()
            outcome = self._outcome(work, log, not_retried=not_retried)
            self._remove_checkpoints(outcome)
            if not outcome.missing:
                self._gathering.clear()
            outcome = replace(
                outcome,
                wall_time_s=time.monotonic() - started,
                device_hours=log.busy_s * self._devices_per_group() / 3600,
                tracking_error=self._tracking.complete(),
            )
            ended_by = outcome.stopped_by or ("signal" if outcome.interrupted else "done")
            self._gathering.close(busy_s=log.busy_s, ended_by=ended_by)
        self._progress.on_end(outcome)
        return outcome

    def _devices_per_group(self) -> float:
        resources = GroupResources.of(self._options, device=self._plan.device)
        return resources.num_gpus or resources.num_cpus

    def _work(self) -> Work:
        finished = self._directory.finished_trials()
        if self._plan.is_search:
            searcher = self._searcher()
            if searcher.num_left or not self._plan.trials:
                return Work(finished, [], searcher)
            return self._grid_work(finished)
        planned = {trial.trial_id for trial in self._plan.trials}
        finished |= take_over(self._directory, self._options.reuse, planned - set(finished))
        return self._grid_work(finished)

    def _grid_work(self, finished: dict[str, str]) -> Work:
        done, max_trials = self._done(finished), self._options.max_trials
        return Work.of_grid(self._plan, finished, done, max_trials=max_trials)

    def _done(self, finished: Mapping[str, str]) -> set[str]:
        """Return the trials that are not trained again."""
        if not self._options.retry_failed:
            return set(finished)
        return {trial_id for trial_id, status in finished.items() if status != "failed"}

    def _searcher(self) -> "SweepOptunaSearch":
        from rlp_sweeps.orchestration.search import SweepOptunaSearch

        rows = {row["trial_id"]: row for row in self._directory.read_trials().to_pylist()}
        done = self._done({trial_id: row["status"] for trial_id, row in rows.items()})
        return SweepOptunaSearch(
            self._plan.space,
            log=PointLog.of(self._directory.path),
            read_rows=RowReader(self._directory, {i: rows[i] for i in done}),
            size_of=self._plan.group_size_of,
        )

    def _attempt(self, work: Work, brake: "Brake") -> AttemptLog:
        resources = GroupResources.of(self._options, device=self._plan.device)
        session = self._executor.session(self._options, resources, self._directory)
        with self._tracking.feed() as feed, session as slots:
            return self._carry_out(work, resources, feed, slots, brake)

    def _carry_out(
        self, work: Work, resources: GroupResources, feed: Feed, slots: int, brake: "Brake"
    ) -> AttemptLog:
        """Run an attempt and let go of it, before its session ends."""
        attempt = self._attempt_of(work, resources, feed, slots, brake)
        self._progress.on_start(self._plan, work.num_groups, count_by_status(work.finished))
        self._tracking.notify(self._progress)
        return self._executor.run(attempt, self._progress)

    def _attempt_of(
        self,
        work: Work,
        resources: GroupResources,
        feed: Feed,
        slots: int,
        brake: "Brake",
    ) -> "Attempt":
        from rlp_sweeps.orchestration.attempt import Attempt
        from rlp_sweeps.orchestration.capacity import Capacity

        capacity = Capacity(
            resources=resources,
            slots=slots,
            most=self._options.max_concurrent,
            is_own=self._options.address is None,
        )
        num_points = points_per_group(self._plan, slots=capacity.asked)
        if work.searcher is not None:
            work.searcher.points_per_group = num_points
            work.searcher.trials_left = self._options.max_trials
            if self._options.max_trials is not None:
                check_fits(work.searcher.next_size, self._options.max_trials)
        return Attempt(
            plan=self._plan,
            job=self._job_of(work, resources, num_points=num_points),
            resources=resources,
            groups=work.groups,
            searcher=work.searcher,
            capacity=capacity,
            feed=feed,
            brake=brake,
        )

    def _job_of(self, work: Work, resources: GroupResources, *, num_points: int) -> "SweepJob":
        from rlp_sweeps.orchestration.trainable import SweepJob

        halved = halved_space(self._plan, num_points=num_points)
        sent = self._executor.sent(self._plan, self._options, self._directory)
        return SweepJob(
            directory=self._directory,
            groups=GroupTexts(work.groups),
            data_dir=self._plan.data_dir,
            device=self._plan.device,
            engine=self._plan.engine,
            engines={key: choice.engine for key, choice in self._plan.choices.items()},
            num_threads=resources.num_threads,
            checkpoint_interval_s=self._options.checkpoint_interval_s,
            import_paths=tuple(str(Path(path).absolute()) for path in sys.path),
            halved_space=None if work.searcher is None else halved,
            probes=asked_probes(self._directory),
            data=sent.data,
            code=sent.code,
            trial_timeout_s=self._options.trial_timeout_s,
        )

    def _outcome(
        self, work: Work, log: AttemptLog, *, not_retried: Collection[str]
    ) -> SweepOutcome:
        trials = self._directory.read_trials()
        statuses = dict(
            zip(trials["trial_id"].to_pylist(), trials["status"].to_pylist(), strict=True)
        )
        planned, num_planned, num_points_left = planned_trials(
            self._plan, self._directory.path, statuses
        )
        return SweepOutcome(
            directory=self._directory.path,
            num_planned=num_planned,
            counts=count_by_status(statuses),
            failed=failed_trials(trials.to_pylist(), self._directory),
            missing=tuple(i for i in planned if i not in statuses or i in not_retried),
            lost=tuple(log.lost),
            num_points_left=num_points_left,
            best=best_points(self._plan.space, trials.to_pylist()),
            interrupted=work.was_interrupted(log),
            stopped_by=log.stopped_by or ("trials" if work.is_out_of_trials else None),
            unprobed=tuple(self._unprobed()),
            notes=(*self._gathering.notes, *log.notes),
            is_tracked=self._is_tracked,
        )

    def _unprobed(self) -> Iterator[str]:
        """Yield why trials could not be probed as they ended, with the ways out."""
        path, names = self._directory.path, ",".join(asked_probes(self._directory))
        for trial_id, error in read_probe_errors(self._directory).items():
            yield (
                f"trial {trial_id} could not be probed: {error.rstrip('.')}; its weights are kept, "
                f"and `rlp-sweeps probe {path} --probes {names} --trials {trial_id}` tries again, "
                f"or remove {probe_error_path(self._directory, trial_id)} to leave it unprobed."
            )

    def _remove_checkpoints(self, outcome: SweepOutcome) -> None:
        missing = set(outcome.missing)
        for group in all_groups(self._plan, self._directory.path):
            if missing.isdisjoint(trial.trial_id for trial in group.trials):
                self._directory.remove_checkpoint(group.group_id)

"""Probe the trials of a run directory whose weights were kept, here or on a Ray cluster.

The driver reads the weights, which travel with the tasks, and writes all rows: machines of a
cluster need to reach the data sets alone. Rows that stand in the directory already are kept: what
is left to do is told by trial, pooling and probe, so that a run that was interrupted goes on, and
further probes can be asked for later.
"""

import contextlib
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from rlp_sweeps.config import TrialConfig
from rlp_sweeps.containment import check_links
from rlp_sweeps.errors import CheckpointError, ProbeError
from rlp_sweeps.orchestration.data_identity import data_fingerprints
from rlp_sweeps.orchestration.named_code import check_code
from rlp_sweeps.orchestration.planner import plan_from_manifest, resolve_device
from rlp_sweeps.orchestration.probe_fit import UNFIT_COLUMNS, sentences_of, unfit_trials
from rlp_sweeps.orchestration.probe_tasks import Found, ProbeJob, ProbeTask, rows_of
from rlp_sweeps.orchestration.probe_workers import Place, work_on
from rlp_sweeps.orchestration.progress import RunOptions
from rlp_sweeps.orchestration.resources import GroupResources, check_cluster
from rlp_sweeps.orchestration.rows import Row
from rlp_sweeps.probes import ProbeOptions, ProbeRow, data_key
from rlp_sweeps.tracking.kept_weights import drop_weights_of, kept_weights
from rlp_sweeps.tracking.probe_rows import (
    END_POOLING,
    asked_probes,
    clear_probe_error,
    read_probes,
    write_probes,
)
from rlp_sweeps.tracking.run_directory import RunDirectory
from rlp_sweeps.training.datasets import check_dataset
from rlp_sweeps.training.weights import load_weights


@dataclass(frozen=True, kw_only=True, slots=True)
class ProbedTrial:
    """A trial that was probed now.

    Attributes:
        config: The trial's.
        rows: What was found now, the references included.
        number: Its place among the trials to probe, from 1.
        num_trials: Trials to probe.
    """

    config: TrialConfig
    rows: tuple[ProbeRow, ...]
    number: int
    num_trials: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ProbingOutcome:
    """How probing went.

    Attributes:
        num_probed: Trials probed now.
        num_complete: Trials that had all their rows before.
        num_without_weights: Finished trials whose weights were not kept.
        left_out: Which probes some trials go without, and why, one sentence each.
        unreadable: Why weights could not be read, one sentence a trial.
        failed: Why trials could not be probed, one sentence each.
    """

    num_probed: int
    num_complete: int
    num_without_weights: int
    left_out: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()


OnTrial = Callable[[ProbedTrial], None]
"""Called with every trial as soon as its rows are written."""


def probe_sweep(
    path: Path,
    *,
    options: ProbeOptions,
    run_options: RunOptions | None = None,
    trial_ids: Collection[str] = (),
    on_trial: OnTrial = lambda trial: None,
) -> ProbingOutcome:
    """Probe every completed trial that has weights, and write what its table still lacks.

    Trials that are the same before training (`probes.reference_key`) share their references. Where
    they are worked on changes no number.

    Args:
        path: The run directory; a sweep may be at work in it.
        options: What is probed.
        run_options: Where: address, device, and what a task holds of it.
        trial_ids: Trials to probe, stopped ones as well; all that are completed where empty.
        on_trial: Hears of every trial.

    Returns:
        How it went; a trial whose probes raise is named there and raises nothing.

    Raises:
        ProbeError: No weights were kept, a trial that was asked for has none, or a probe fits no
            trial.
        RunDirectoryError: It is no run directory, was trained on other data, names code of unknown
            origin, or is not writable.
        DatasetError, BackboneError, DeviceError: What was trained cannot be had here.
        ClusterError: The Ray cluster does not answer, or has no room for a task.
    """
    run_options = run_options or RunOptions()
    directory = RunDirectory.open(path)
    check_links(directory.path)
    weights, finished = kept_weights(directory), directory.finished_trials()
    kept = {i: finished[i] for i in weights if i in finished}
    chosen = _chosen(directory, kept, trial_ids)
    plan = plan_from_manifest(directory.manifest)
    directory.check_same_data(data_fingerprints(plan))
    device = resolve_device(run_options.device)
    resources = GroupResources.of(run_options, device=device)
    check_cluster(run_options, resources)
    table = _Table(directory, options)
    left_out = sentences_of([table.unfit[i] for i in chosen], options.probes, of="trials")
    left = [i for i in chosen if table.missing(i)]
    read, unreadable = _readable(left, weights)
    check_code(directory, plan, is_trusted=run_options.trusts_code, further=read)
    read.sort(key=lambda config: (repr(data_key(config)), config.trial_id))
    for dataset in dict.fromkeys(config.dataset for config in read):
        check_dataset(dataset, data_dir=plan.data_dir)
    job = ProbeJob(
        data_dir=plan.data_dir,
        device=device,
        num_threads=resources.num_threads,
        import_paths=tuple(str(Path(path).absolute()) for path in sys.path),
    )
    walk = _Walk(read, weights, table, on_trial)
    walk.run(job, Place(options=run_options, resources=resources))
    return ProbingOutcome(
        num_probed=len(read) - len(walk.failed),
        num_complete=len(chosen) - len(left),
        num_without_weights=len(set(finished) - set(weights)),
        left_out=left_out,
        unreadable=tuple(unreadable),
        failed=tuple(walk.failed),
    )


def _chosen(
    directory: RunDirectory, available: Mapping[str, str], trial_ids: Collection[str]
) -> list[str]:
    """Return the trials to look at, out of those with weights, whose status is given by id."""
    if not available:
        msg = (
            f"no finished trial of {directory.path} has kept its weights; train with "
            "`rlp-sweeps run SPACE --keep-weights` to have them probed."
        )
        raise ProbeError(msg)
    absent = [i for i in dict.fromkeys(trial_ids) if i not in available]
    if absent:
        msg = (
            f"trial(s) {absent} must be finished and have kept their weights; those of "
            f"{directory.path} that have are {_few(list(available))}."
        )
        raise ProbeError(msg)
    if trial_ids:
        return [i for i in available if i in trial_ids]
    return [i for i, status in available.items() if status == "completed"]


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{list(names[:3])}{more}"


def _readable(
    trial_ids: Iterable[str], weights: dict[str, Path]
) -> tuple[list[TrialConfig], list[str]]:
    """Return the trials whose weights can be read, and why the others' cannot."""
    configs, reasons = [], []
    for trial_id in trial_ids:
        try:
            configs.append(load_weights(weights[trial_id], torch.device("cpu")).config)
        except CheckpointError as error:
            reasons.append(str(error))
    return configs, reasons


class _Table:
    """The rows of a run directory's probes.

    Attributes:
        unfit: Why finished trials cannot be probed by some of what is asked, by id.

    Raises:
        SchemaError: A part file of ``probes`` is corrupt.
    """

    def __init__(self, directory: RunDirectory, options: ProbeOptions) -> None:
        self._directory = directory
        self._options = options
        self._rows: dict[str, list[Row]] = {}
        self.unfit = unfit_trials(
            directory.read_trials().select(UNFIT_COLUMNS).to_pylist(), options.probes
        )
        for row in read_probes(directory).to_pylist():
            self._rows.setdefault(row["trial_id"], []).append(row)

    def missing(self, trial_id: str) -> tuple[str, ...]:
        """Return the probes that were asked for, fit, and have no rows yet.

        Heads read averages alone, so that ``rlp_online`` has one row a place, whatever the pooling.
        """
        rows = self._rows.get(trial_id, [])
        pooling = self._options.pooling
        there = {
            row["probe"]
            for row in rows
            if row["pooling"] == pooling or row["probe"] == "rlp_online"
        }
        there.update(self.unfit[trial_id])
        return tuple(name for name in self._options.probes if name not in there)

    def options_of(self, trial_id: str) -> ProbeOptions:
        """Return what is left to ask of a trial."""
        return replace(self._options, probes=self.missing(trial_id))

    def write(self, trial_id: str, found: Iterable[Found]) -> None:
        """Write what was found beside the rows that the trial has.

        Once it has all that trials are probed by as they end, no error of theirs is left.
        """
        rows = self._rows.get(trial_id, []) + [
            row for one in found for row in rows_of(trial_id, one)
        ]
        write_probes(self._directory, trial_id, rows)
        there = {row["probe"] for row in rows if row["pooling"] == END_POOLING}
        if there.issuperset(set(asked_probes(self._directory)) - set(self.unfit[trial_id])):
            clear_probe_error(self._directory, trial_id)
            drop_weights_of(self._directory, trial_id)


class _Walk:
    """One driver's walk through the trials; one is written when its references are there, too.

    Attributes:
        failed: Why trials could not be probed, one sentence each.
    """

    def __init__(
        self,
        configs: Sequence[TrialConfig],
        weights: Mapping[str, Path],
        table: _Table,
        on_trial: OnTrial,
    ) -> None:
        self.failed: list[str] = []
        self._configs = configs
        self._weights = weights
        self._table = table
        self._on_trial = on_trial
        self._references: dict[tuple[object, ...], Found] = {}
        self._waiting: dict[tuple[object, ...], list[tuple[ProbeTask, Found]]] = {}
        self._num_ended = 0

    def run(self, job: ProbeJob, place: Place) -> None:
        """Have all tasks worked on, and write what they find."""
        asked = [ProbeTask(c, self._table.options_of(c.trial_id)) for c in self._configs]
        num_tasks = len(asked) + len({task.reference for task in asked})
        findings = work_on(self._tasks(asked), num_tasks=num_tasks, job=job, place=place)
        with contextlib.closing(findings):
            for task, found in findings:
                self._take(task, found)

    def _tasks(self, asked: Iterable[ProbeTask]) -> Iterator[ProbeTask]:
        """Yield the references of every trial ahead of it, and its weights as they are read."""
        begun = set()
        for task in asked:
            if task.reference not in begun:
                begun.add(task.reference)
                yield task
            path = self._weights[task.config.trial_id]
            yield task._replace(weights=load_weights(path, torch.device("cpu")))

    def _take(self, task: ProbeTask, found: Found) -> None:
        if task.weights is None:
            self._references[task.reference] = found
            for trained in self._waiting.pop(task.reference, ()):
                self._end(*trained)
        elif task.reference in self._references:
            self._end(task, found)
        else:  # not with its weights: many trials may wait
            waiting = self._waiting.setdefault(task.reference, [])
            waiting.append((task._replace(weights=None), found))

    def _end(self, task: ProbeTask, found: Found) -> None:
        trial_id = task.config.trial_id
        both = (self._references[task.reference], found)
        self._num_ended += 1
        reason = next((one.error for one in both if one.error is not None), None)
        if reason is not None:
            self.failed.append(f"trial {trial_id} could not be probed: {reason}")
            return
        self._table.write(trial_id, both)
        self._on_trial(
            ProbedTrial(
                config=task.config,
                rows=tuple(row for one in both for row in one.rows),
                number=self._num_ended,
                num_trials=len(self._configs),
            )
        )

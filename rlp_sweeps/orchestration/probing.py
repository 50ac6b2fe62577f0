"""Probe the trials of a run directory whose weights were kept, one after the other.

Rows that stand in the directory already are kept: what is left to do is told by trial, pooling and
probe, so that a run that was interrupted goes on, and further probes can be asked for later.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from rlp_sweeps.config import TrialConfig
from rlp_sweeps.errors import CheckpointError, ProbeError
from rlp_sweeps.orchestration.data_identity import data_fingerprints
from rlp_sweeps.orchestration.planner import plan_from_manifest, resolve_device
from rlp_sweeps.orchestration.rows import Row
from rlp_sweeps.probes import (
    ProbeOptions,
    ProbeRow,
    probe_references,
    probe_trained,
    reference_key,
)
from rlp_sweeps.tracking.kept_weights import kept_weights
from rlp_sweeps.tracking.probe_rows import read_probes, write_probes
from rlp_sweeps.tracking.run_directory import RunDirectory, code_version
from rlp_sweeps.training.datasets import SplitDataset, check_dataset, split_dataset
from rlp_sweeps.training.ledger import device_name
from rlp_sweeps.training.weights import TrainedWeights, load_weights, restore_network


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
        unreadable: Why weights could not be read, one sentence a trial.
    """

    num_probed: int
    num_complete: int
    num_without_weights: int
    unreadable: tuple[str, ...] = ()


OnTrial = Callable[[ProbedTrial], None]
"""Called with every trial as soon as its rows are written."""


def probe_sweep(
    path: Path,
    *,
    options: ProbeOptions,
    device: str = "auto",
    trial_ids: Collection[str] = (),
    on_trial: OnTrial = lambda trial: None,
) -> ProbingOutcome:
    """Probe every trial that has weights and a row, and write what its table still lacks.

    Trials that are the same before training (`probes.reference_key`) share their references.

    Args:
        path: The run directory; a sweep may be at work in it.
        options: What is probed.
        device: One of ``planner.DEVICES``.
        trial_ids: Trials to probe; all where empty.
        on_trial: Hears of every trial.

    Raises:
        ProbeError: No weights were kept, a trial that was asked for has none, or a probe cannot be
            fitted.
        RunDirectoryError: It is no run directory, was trained on other data, or is not writable.
        DatasetError, BackboneError, DeviceError: What was trained cannot be had here.
    """
    directory = RunDirectory.open(path)
    weights, finished = kept_weights(directory), directory.finished_trials()
    chosen = _chosen(directory, [i for i in weights if i in finished], trial_ids)
    plan = plan_from_manifest(directory.manifest)
    directory.check_same_data(data_fingerprints(plan))
    torch_device = torch.device(resolve_device(device))
    prober = _Prober(directory, options, plan.data_dir, torch_device)
    left = [i for i in chosen if prober.missing(i)]
    read, unreadable = _readable(left, weights)
    read.sort(key=lambda config: (repr(reference_key(config)), config.trial_id))
    for dataset in dict.fromkeys(config.dataset for config in read):
        check_dataset(dataset, data_dir=plan.data_dir)
    num_probed = 0
    for number, config in enumerate(read, start=1):
        try:
            rows = prober.probe(load_weights(weights[config.trial_id], torch_device))
        except CheckpointError as error:  # of another architecture
            unreadable.append(str(error))
            continue
        num_probed += 1
        on_trial(ProbedTrial(config=config, rows=rows, number=number, num_trials=len(read)))
    return ProbingOutcome(
        num_probed=num_probed,
        num_complete=len(chosen) - len(left),
        num_without_weights=len(set(finished) - set(weights)),
        unreadable=tuple(unreadable),
    )


def _chosen(
    directory: RunDirectory, available: Sequence[str], trial_ids: Collection[str]
) -> list[str]:
    """Return the trials to look at."""
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
            f"{directory.path} that have are {_few(available)}."
        )
        raise ProbeError(msg)
    return [i for i in available if not trial_ids or i in trial_ids]


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


class _Prober:
    """Probes trial after trial; those that are the same before training share data and references.

    Raises:
        SchemaError: A part file of ``probes`` is corrupt.
    """

    def __init__(
        self, directory: RunDirectory, options: ProbeOptions, data_dir: str, device: torch.device
    ) -> None:
        self._directory = directory
        self._options = options
        self._data_dir = data_dir
        self._device = device
        self._key: tuple[object, ...] = ()
        self._data: SplitDataset | None = None
        self._references: dict[tuple[str, ...], list[ProbeRow]] = {}
        self._rows: dict[str, list[Row]] = {}
        for row in read_probes(directory).to_pylist():
            self._rows.setdefault(row["trial_id"], []).append(row)

    def missing(self, trial_id: str) -> tuple[str, ...]:
        """Return the probes that were asked for and have no rows yet."""
        rows = self._rows.get(trial_id, [])
        there = {row["probe"] for row in rows if row["pooling"] == self._options.pooling}
        return tuple(name for name in self._options.probes if name not in there)

    def probe(self, weights: TrainedWeights) -> tuple[ProbeRow, ...]:
        """Probe a trial, write its rows beside those that it has, and return the new ones."""
        config, trial_id = weights.config, weights.config.trial_id
        options = replace(self._options, probes=self.missing(trial_id))
        data = self._data_of(config)
        network = restore_network(weights, data, self._device)
        found = [
            *self._references_of(config, data, options),
            *probe_trained(network, config, data, options=options),
        ]
        about = {
            "trial_id": trial_id,
            "device": device_name(self._device),
            "code_version": code_version(),
        }
        new = [{**row.to_dict(), **about} for row in found]
        write_probes(self._directory, trial_id, [*self._rows.get(trial_id, []), *new])
        return tuple(found)

    def _data_of(self, config: TrialConfig) -> SplitDataset:
        if self._data is None or self._key != reference_key(config):
            self._key, self._references = reference_key(config), {}
            self._data = split_dataset(config, data_dir=self._data_dir, device=self._device)
        return self._data

    def _references_of(
        self, config: TrialConfig, data: SplitDataset, options: ProbeOptions
    ) -> list[ProbeRow]:
        if options.probes not in self._references:
            rows = probe_references(config, data, options=options)
            self._references[options.probes] = rows
        return self._references[options.probes]

"""What is probed at a time, here or as a Ray task: one network, or what its like find untrained.

Trials that are the same before training share their references, which are a task of their own.
Weights travel with the task, so that a machine that works on it reads no file but the data set's.
"""

import sys
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch

from rlp_sweeps.config import TrialConfig
from rlp_sweeps.errors import RlpSweepsError
from rlp_sweeps.orchestration.rows import Row
from rlp_sweeps.orchestration.threads import limited_threads
from rlp_sweeps.probes import (
    ProbeOptions,
    ProbeRow,
    data_key,
    probe_references,
    probe_trained,
    reference_key,
    unfit_probes,
)
from rlp_sweeps.tracking.run_directory import code_version
from rlp_sweeps.training.datasets import SplitDataset, split_dataset
from rlp_sweeps.training.ledger import device_name
from rlp_sweeps.training.weights import TrainedWeights, restore_network


@dataclass(frozen=True, kw_only=True, slots=True)
class ProbeJob:
    """What every task needs.

    Attributes:
        data_dir: Absolute folder that data sets are read from.
        device: ``cpu`` or ``cuda``.
        num_threads: Threads of a task.
        import_paths: Folders that the driver imports from, for a user's own data and backbones.
    """

    data_dir: str
    device: str
    num_threads: int
    import_paths: tuple[str, ...] = ()


class ProbeTask(NamedTuple):
    """One trial's network, or the references of all trials that are like it before training.

    Attributes:
        config: The trial's.
        options: What is probed.
        weights: The trained network, on the CPU; None asks for the references.
    """

    config: TrialConfig
    options: ProbeOptions
    weights: TrainedWeights | None = None

    @property
    def reference(self) -> tuple[object, ...]:
        """What tasks that share their references have in common."""
        return reference_key(self.config), self.options


class Found(NamedTuple):
    """What a task found.

    Attributes:
        rows: The probes' rows; empty where one raised.
        device: Name of the device that they were computed on.
        error: Why there are none, one sentence; None where there are.
    """

    rows: tuple[ProbeRow, ...]
    device: str = ""
    error: str | None = None


def rows_of(trial_id: str, found: Found) -> list[Row]:
    """Return what a task found as rows of a trial's table."""
    about = {"trial_id": trial_id, "device": found.device, "code_version": code_version()}
    return [{**row.to_dict(), **about} for row in found.rows]


class Bench:
    """Works on one task after the other; those of one data key share the data set."""

    def __init__(self, job: ProbeJob) -> None:
        self._job = job
        self._device = torch.device(job.device)
        self._key: tuple[object, ...] | None = None
        self._data: SplitDataset | None = None

    def work(self, task: ProbeTask) -> Found:
        """Return what a task found; what it raises is its finding."""
        sys.path.extend(path for path in self._job.import_paths if path not in sys.path)
        try:
            with limited_threads(self._job.num_threads):
                rows = self._probe(task)
        except RlpSweepsError as error:
            return Found((), error=str(error))
        except Exception as error:  # noqa: BLE001  the trial boundary: the others go on
            return Found((), error=f"{type(error).__name__}: {' '.join(str(error).split())}")
        return Found(tuple(rows), device=device_name(self._device))

    def _probe(self, task: ProbeTask) -> list[ProbeRow]:
        data = self._data_of(task.config)
        options = _fitting(task, num_samples=len(data.train_labels_N))
        if options is None:
            return []
        if task.weights is None:
            return probe_references(task.config, data, options=options)
        network = restore_network(task.weights, data, self._device)
        return probe_trained(network, task.config, data, options=options)

    def _data_of(self, config: TrialConfig) -> SplitDataset:
        if self._data is None or self._key != data_key(config):
            self._data = None  # before the next one takes its place in memory
            self._data = split_dataset(config, data_dir=self._job.data_dir, device=self._device)
            self._key = data_key(config)
        return self._data


def _fitting(task: ProbeTask, *, num_samples: int) -> ProbeOptions | None:
    """Return what the trial can be probed by of what is asked; None where that is nothing."""
    asked = task.options.probes
    unfit = unfit_probes(asked, num_samples=num_samples, view_labels=task.config.view_labels)
    names = tuple(name for name in asked if name not in unfit)
    return replace(task.options, probes=names) if names else None

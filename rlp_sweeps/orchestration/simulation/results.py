"""What a simulated trial ends with: rows of an earlier sweep, or rows made up by a formula."""

import math
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from rlp_sweeps.arms import get_arm
from rlp_sweeps.config import FIELD_TYPES, TrialConfig
from rlp_sweeps.errors import ArgumentError
from rlp_sweeps.orchestration.executor import check_trained
from rlp_sweeps.orchestration.grouping import shared_settings
from rlp_sweeps.orchestration.rows import Row
from rlp_sweeps.orchestration.simulation.settings import Simulation
from rlp_sweeps.seeding import stream_seed
from rlp_sweeps.stores import as_path
from rlp_sweeps.tracking.run_directory import RunDirectory

_LOGARITHMIC = ("lr", "rlp_lambda")
_LINEAR = ("label_smoothing", "weight_decay", "momentum", "extractor_scale")


@dataclass(frozen=True, kw_only=True, slots=True)
class Recording:
    """One trial as it went.

    Attributes:
        trial: Its row of ``trials``.
        epochs: Its rows of ``epochs``, in their order.
        epoch_times_s: Seconds of each epoch that it trained, its share where it was in a group.
    """

    trial: Row
    epochs: Sequence[Row]
    epoch_times_s: Sequence[float]

    @property
    def num_epochs(self) -> int:
        """Epochs after which it ended; a trial that failed before the first counts as in it."""
        return len(self.epoch_times_s)


class Results(Protocol):
    """Returns how trials go."""

    def of(self, config: TrialConfig) -> Recording:
        """Return how a trial goes.

        Raises:
            ArgumentError: It is not known.
        """
        ...

    def check(self, trials: Iterable[TrialConfig]) -> None:
        """Refuse trials that are not known.

        Raises:
            ArgumentError: How many are not.
        """
        ...


def results_of(simulation: Simulation) -> Results:
    """Return the results that a simulation takes.

    Raises:
        RunDirectoryError: A recorded directory is none, or is itself simulated.
    """
    if simulation.epoch_s is not None:
        return StatedResults(epoch_s=simulation.epoch_s)
    return RecordedResults(map(as_path, simulation.recorded), is_nearest=simulation.is_nearest)


class RecordedResults:
    """Rows of run directories; of a trial in several of them, those of the first."""

    def __init__(self, directories: Iterable[Path], *, is_nearest: bool = False) -> None:
        """Read the tables; they stay in memory as Arrow.

        Args:
            directories: Run directories.
            is_nearest: A trial that is in none takes the rows of the trial with the same arm, seed
                and shared settings whose scalars are nearest: log distance of λ and learning rate,
                plain distance of the others.

        Raises:
            RunDirectoryError: One is no run directory.
            SchemaError: A part file is corrupt.
        """
        self._is_nearest = is_nearest
        self._tables: list[tuple[pa.Table, pa.Table]] = []
        self._places: dict[str, tuple[int, int]] = {}
        self._spans: list[dict[str, tuple[int, int]]] = []
        for number, path in enumerate(directories):
            directory = RunDirectory.open(path)
            check_trained(directory)
            trials, epochs = directory.read_trials(), directory.read_epochs()
            self._tables.append((trials, epochs))
            self._spans.append(_spans(epochs["trial_id"].to_pylist()))
            for row, trial_id in enumerate(trials["trial_id"].to_pylist()):
                self._places.setdefault(trial_id, (number, row))
        self._alike: dict[object, list[TrialConfig]] = {}
        if is_nearest:
            self._sort_alike()

    def _sort_alike(self) -> None:
        for number, row in self._places.values():
            values = self._tables[number][0].slice(row, 1).to_pylist()[0]
            config = TrialConfig.from_dict({name: values[name] for name in FIELD_TYPES})
            self._alike.setdefault(_kind(config), []).append(config)

    def check(self, trials: Iterable[TrialConfig]) -> None:
        """Refuse trials that no directory holds, nor one like them where those are taken."""
        unknown = [trial for trial in trials if self._source_of(trial) is None]
        if unknown:
            first, hint = unknown[0], "" if self._is_nearest else ", or take the --nearest ones"
            msg = (
                f"every planned trial must be recorded, but {len(unknown)} are not, the first of "
                f"them {first.trial_id} ({first.arm}, lr={first.lr:g}, λ={first.rlp_lambda:g}, seed"
                f" {first.seed}); name further directories with --recorded{hint}."
            )
            raise ArgumentError(msg)

    def of(self, config: TrialConfig) -> Recording:
        """Return how the trial went, or the one nearest to it."""
        source = self._source_of(config)
        if source is None:
            self.check([config])
        assert source is not None
        number, row = self._places[source]
        trials, epochs = self._tables[number]
        trial = {**trials.slice(row, 1).to_pylist()[0], **config.to_dict()}
        start, length = self._spans[number].get(source, (0, 0))
        rows = [
            {**epoch, "trial_id": config.trial_id}
            for epoch in epochs.slice(start, length).to_pylist()
        ]
        trial["trial_id"] = config.trial_id
        return Recording(trial=trial, epochs=rows, epoch_times_s=epoch_times(trial, rows))

    def _source_of(self, config: TrialConfig) -> str | None:
        if config.trial_id in self._places:
            return config.trial_id
        alike = self._alike.get(_kind(config), [])
        return min(alike, key=lambda other: _distance(config, other)).trial_id if alike else None


_scalars = attrgetter(*_LOGARITHMIC, *_LINEAR)


def _kind(config: TrialConfig) -> object:
    return (config.arm, config.seed, shared_settings(config))


def _distance(config: TrialConfig, other: TrialConfig) -> float:
    number = len(_LOGARITHMIC)
    ours, theirs = _scalars(config), _scalars(other)
    logs = [_log(a) - _log(b) for a, b in zip(ours[:number], theirs[:number], strict=True)]
    plain = [a - b for a, b in zip(ours[number:], theirs[number:], strict=True)]
    return math.hypot(*logs, *plain)


def _log(value: float) -> float:
    return math.log10(value) if value > 0 else -10.0


def _spans(trial_ids: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Return first row and number of rows of each trial, whose rows stand together."""
    spans: dict[str, tuple[int, int]] = {}
    for row, trial_id in enumerate(trial_ids):
        start, length = spans.get(trial_id, (row, 0))
        spans[trial_id] = (start, length + 1)
    return spans


def epoch_times(trial: Mapping[str, Any], epochs: Sequence[Mapping[str, Any]]) -> list[float]:
    """Return the seconds of each epoch that a recorded trial trained, at least of one.

    Epochs between two evaluations share their time evenly; so do those after the last one, with
    what is left of the trial's time.
    """
    times: list[float] = []
    for row in epochs:
        number = row["epoch"] - len(times)
        times += [(row["epoch_time_s"] or 0.0) / number] * number
    missing = max(1, trial["epochs_completed"] or 0) - len(times)
    if missing > 0:
        left_s = max(0.0, (trial["wall_time_s"] or 0.0) - sum(times))
        times += [left_s / missing] * missing
    return times


@dataclass(frozen=True, kw_only=True, slots=True)
class StatedResults:
    """Results that nobody measured, from a formula; for questions about time and scale alone.

    With x = 1 − exp(−4 e/E) after epoch e of E: accuracies are 0.1 + 0.8 x exp(−(log₁₀ lr + 1)²/2)
    + 0.02 tanh(λ w_c), plus normal noise of 0.01 for each trial; training lies 0.05 above, losses
    are −log of the accuracies, memorization is 0.5 x (1 − w_u tanh λ). Every trial completes. Its
    epochs take `epoch_s` times a factor between 0.8 and 1.2, one for each trial.

    Attributes:
        epoch_s: Mean seconds of an epoch of one trial.
    """

    epoch_s: float

    def check(self, trials: Iterable[TrialConfig]) -> None:
        """Do nothing: every trial has results."""

    def of(self, config: TrialConfig) -> Recording:
        """Return the trial's stated results."""
        number = int(config.trial_id, 16)
        chance = random.Random(stream_seed(config.seed, "simulation", number))
        noise, time_s = chance.gauss(0.0, 0.01), self.epoch_s * chance.uniform(0.8, 1.2)
        evaluated = [*range(config.eval_every, config.num_epochs, config.eval_every)]
        rows, last = [], 0
        for epoch in (*evaluated, config.num_epochs):
            spent_s, last = (epoch - last) * time_s, epoch
            metrics = _stated_metrics(config, epoch, noise)
            row = {"trial_id": config.trial_id, "epoch": epoch, "epoch_time_s": spent_s}
            rows.append({**row, **metrics})
        arm = get_arm(config.arm)
        trial = {
            **config.to_dict(),
            "trial_id": config.trial_id,
            "status": "completed",
            **metrics,
            "weight_class_term": arm.weight_class_term,
            "weight_uniform_term": arm.weight_uniform_term,
            "rlp_lambda_per_label": config.rlp_lambda_per_label,
            "epochs_completed": config.num_epochs,
            "metrics_epoch": config.num_epochs,
            "wall_time_s": config.num_epochs * time_s,
            "engine": "stated",
            "device": "none",
        }
        return Recording(trial=trial, epochs=rows, epoch_times_s=[time_s] * config.num_epochs)


def _stated_metrics(config: TrialConfig, epoch: int, noise: float) -> dict[str, float]:
    arm = get_arm(config.arm)
    trained = 1.0 - math.exp(-4.0 * epoch / config.num_epochs)
    peak = math.exp(-((math.log10(config.lr) + 1.0) ** 2) / 2)
    pull = 0.02 * math.tanh(config.rlp_lambda * (arm.weight_class_term or 0.0))
    accuracy = min(0.99, max(0.01, 0.1 + 0.8 * trained * peak + pull + noise))
    train_accuracy = min(1.0, accuracy + 0.05)
    forgotten = (arm.weight_uniform_term or 0.0) * math.tanh(config.rlp_lambda)
    memorization = 0.5 * trained * (1.0 - forgotten)
    chance = 1.0 / config.num_random_labels
    return {
        "train_accuracy": train_accuracy,
        "val_accuracy": accuracy,
        "test_accuracy": accuracy,
        "train_loss": -math.log(train_accuracy),
        "val_loss": -math.log(accuracy),
        "test_loss": -math.log(accuracy),
        "generalization_gap": train_accuracy - accuracy,
        "random_label_accuracy": chance + memorization * (1.0 - chance),
        "memorization": memorization,
    }

"""Engines timed on a trial's real shapes, and what their speed depends on.

A probe trains copies of a trial, alike but for a harmlessly small learning rate, for a few steps
through the engine's own interface. Shapes: N samples, C H W image, D features, K classes.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from statistics import median
from typing import NamedTuple

import torch

from rlp_sweeps.config import TrialConfig
from rlp_sweeps.errors import BackboneError, ConfigError, DeviceError
from rlp_sweeps.training.datasets import split_dataset
from rlp_sweeps.training.engines import GraphEngine, get_engine
from rlp_sweeps.training.memory import free_memory, is_out_of_memory

Clock = Callable[[], float]

_HARMLESS_LR = 1e-6  # takes as long as any other, and does not diverge
_FEW_STEPS, _MORE_STEPS = 1, 5
_EVALUATED_SAMPLES = 64
_ROUNDS = 3
_NUM_EPOCHS = 10_000  # a probe stops long before
_REFUSED = f"{BackboneError.__module__}.{BackboneError.__qualname__}: "


class SplitSizes(NamedTuple):
    """Samples of a trial's three splits."""

    num_train: int
    num_val: int
    num_test: int


@lru_cache(maxsize=64)
def split_sizes(config: TrialConfig, *, data_dir: str) -> SplitSizes:
    """Return how many samples a trial trains on and is evaluated on.

    Raises:
        DatasetError: The data cannot be read, or are fewer than what is asked for.
    """
    data = split_dataset(config, data_dir=data_dir, device=torch.device("cpu"))
    return SplitSizes(
        num_train=len(data.train_labels_N),
        num_val=len(data.val_labels_N),
        num_test=len(data.test_labels_N),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineProbe:
    """What a member's training costs with an engine and a group size.

    Attributes:
        engine: One of ``engines.ENGINES``.
        group_size: Members trained together.
        step_s: Seconds a member and step.
        epoch_s: Seconds a member and epoch beside its steps.
        evaluation_s: Seconds a member and evaluation beside its samples.
        sample_s: Seconds a member and evaluated sample.
        peak_memory_bytes: Most memory that the whole group held on a GPU, data set left out; None
            on a CPU.
        reason: Why the engine cannot train such a group; None where it can. All times are then 0.
    """

    engine: str
    group_size: int
    step_s: float = 0.0
    epoch_s: float = 0.0
    evaluation_s: float = 0.0
    sample_s: float = 0.0
    peak_memory_bytes: int | None = None
    reason: str | None = None

    def trial_s(self, config: TrialConfig, sizes: SplitSizes) -> float:
        """Return the seconds of one member's whole training."""
        num_steps = sizes.num_train // config.batch_size
        num_evaluations = -(-config.num_epochs // config.eval_every)
        epoch_s = self.epoch_s + num_steps * self.step_s
        evaluation_s = self.evaluation_s + sum(sizes) * self.sample_s
        return config.num_epochs * epoch_s + num_evaluations * evaluation_s


class ShortTraining:
    """A few steps an epoch of a group of like trials.

    Attributes:
        num_steps: Steps an epoch, no more than the data have.
        num_evaluated: Samples of an evaluation.

    Raises:
        BackboneError: The engine cannot take the backbone.
        DatasetError: The data cannot be read.
    """

    def __init__(
        self,
        config: TrialConfig,
        *,
        engine: str,
        group_size: int,
        num_steps: int,
        data_dir: str,
        device: torch.device,
    ) -> None:
        sizes = split_sizes(config, data_dir=data_dir)
        self.num_steps = max(1, min(num_steps, sizes.num_train // config.batch_size))
        few = SplitSizes(
            num_train=self.num_steps * config.batch_size,
            num_val=min(sizes.num_val, _EVALUATED_SAMPLES),
            num_test=min(sizes.num_test, _EVALUATED_SAMPLES),
        )
        self.num_evaluated = sum(few)
        self._device = device
        self._epoch = 0
        short = _shortened(config, few)
        members = [
            replace(short, lr=short.lr * (1 + number / 1024)) for number in range(group_size)
        ]
        self._engine = get_engine(engine)(members, data_dir=data_dir, device=device)

    def train_epoch(self, *, evaluates: bool = False) -> None:
        """Train one epoch further, to its end on the device.

        Raises:
            BackboneError: The engine cannot take the backbone.
            ConfigError: A member raises.
            MemoryError: A member raises because memory ran out.
        """
        self._epoch += 1
        outcomes = self._engine.advance(self._epoch, evaluates=evaluates)
        for outcome in outcomes.values():
            if outcome.error is not None:
                _raise_of(outcome.error)
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)


@dataclass(frozen=True, kw_only=True, slots=True)
class Prober:
    """Times engines on one device.

    Attributes:
        data_dir: Folder that data sets are read from.
        device: Where trials train.
        budget_s: Seconds after which one probe is content with what it has timed.
        clock: Seconds since any fixed moment.
    """

    data_dir: str
    device: torch.device
    budget_s: float = 2.0
    clock: Clock = time.perf_counter

    def probe(self, config: TrialConfig, *, engine: str, group_size: int) -> EngineProbe:
        """Return what a member of such a group costs; why it cannot be trained where it cannot.

        The first epoch warms up; medians of the next ones, of two lengths, give the shares of a
        step and of an epoch.

        Raises:
            ConfigError: A trial raises.
            DatasetError: The data cannot be read.
        """
        try:
            return self._probe(config, engine=engine, group_size=group_size)
        except (BackboneError, DeviceError) as error:
            reason = str(error)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(f"{type(error).__name__}: {error}"):
                raise
            reason = "out of memory"
        finally:
            if self.device.type == "cuda":
                free_memory()
        return EngineProbe(engine=engine, group_size=group_size, reason=reason)

    def _probe(self, config: TrialConfig, *, engine: str, group_size: int) -> EngineProbe:
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        few = self._time(config, engine, group_size, _FEW_STEPS)
        is_slow = few.plain_s > self.budget_s / 8  # without what only the first epoch costs
        more = few if is_slow else self._time(config, engine, group_size, _MORE_STEPS)
        epoch_s, step_s = _line((few.num_steps, few.plain_s), (more.num_steps, more.plain_s))
        evaluation_s, sample_s = _line(
            (few.num_evaluated, few.evaluation_s), (more.num_evaluated, more.evaluation_s)
        )
        return EngineProbe(
            engine=engine,
            group_size=group_size,
            step_s=step_s / group_size,
            epoch_s=epoch_s / group_size,
            evaluation_s=evaluation_s / group_size,
            sample_s=sample_s / group_size,
            peak_memory_bytes=_peak_memory_bytes(self.device, engine),
        )

    def _time(
        self, config: TrialConfig, engine: str, group_size: int, num_steps: int
    ) -> "_EpochTimes":
        training = ShortTraining(
            config,
            engine=engine,
            group_size=group_size,
            num_steps=num_steps,
            data_dir=self.data_dir,
            device=self.device,
        )
        started = self.clock()
        training.train_epoch(evaluates=True)
        rounds = 1 if self.clock() - started > self.budget_s / 8 else _ROUNDS
        plain_s = median(self._epoch_s(training, evaluates=False) for _ in range(rounds))
        evaluated_s = median(self._epoch_s(training, evaluates=True) for _ in range(rounds))
        return _EpochTimes(
            training.num_steps, training.num_evaluated, plain_s, max(0.0, evaluated_s - plain_s)
        )

    def _epoch_s(self, training: ShortTraining, *, evaluates: bool) -> float:
        started = self.clock()
        training.train_epoch(evaluates=evaluates)
        return self.clock() - started


@dataclass(frozen=True, slots=True)
class _EpochTimes:
    """Seconds of a group's short epoch, and of an evaluation after it."""

    num_steps: int
    num_evaluated: int
    plain_s: float
    evaluation_s: float


def _line(first: tuple[int, float], second: tuple[int, float]) -> tuple[float, float]:
    """Return start and slope of the line through two points; in proportion where there is none."""
    (few, few_s), (more, more_s) = first, second
    slope = (more_s - few_s) / (more - few) if more > few else 0.0
    if slope <= 0 or few_s < slope * few:
        return 0.0, more_s / more
    return few_s - slope * few, slope


def _shortened(config: TrialConfig, sizes: SplitSizes) -> TrialConfig:
    """Return the trial with these splits, and with epochs enough for any probe."""
    return replace(
        config,
        lr=_HARMLESS_LR,
        head_lr=None,
        num_epochs=_NUM_EPOCHS,
        eval_every=1,
        warmup_epochs=0,
        train_samples=sizes.num_train,
        train_fraction=1.0,
        imbalance_factor=1.0,
        subset_share=1.0,
        val_samples=sizes.num_val,
        test_samples=sizes.num_test,
    )


def _raise_of(trace: str) -> None:
    if is_out_of_memory(trace):
        raise MemoryError(trace)
    reason = last_line(trace)
    if trace.rstrip().splitlines()[-1].startswith(_REFUSED):
        raise BackboneError(reason)
    msg = f"a trial must train, but does not: {reason.rstrip('.')}."
    raise ConfigError(msg)


def last_line(trace: str) -> str:
    """Return what an exception's trace ends with; of a `BackboneError` its sentence alone."""
    line = trace.rstrip().rpartition("\n")[2].strip()
    return line.removeprefix(_REFUSED)


def _peak_memory_bytes(device: torch.device, engine: str) -> int | None:
    """Return the most memory held; a captured graph keeps its own though no tensor is in it."""
    if device.type != "cuda":
        return None
    is_graph = issubclass(get_engine(engine), GraphEngine)
    return (torch.cuda.max_memory_reserved if is_graph else torch.cuda.max_memory_allocated)(device)


def memory_limit(device: torch.device, *, share: float) -> int | None:
    """Return the bytes that a group may hold on a device; None on a CPU, where none is known.

    Args:
        device: Where the group trains.
        share: Share of the device that is the group's; a tenth of it is left free.
    """
    if device.type != "cuda":
        return None
    total = torch.cuda.get_device_properties(device).total_memory
    return int(0.9 * min(1.0, share) * total)

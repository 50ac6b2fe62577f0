"""Members that train side by side: a whole group, or as much of it as memory holds."""

import math
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from rlp_sweeps.errors import CheckpointError, RecordError
from rlp_sweeps.schema import KEPT_STATUSES
from rlp_sweeps.training import samples
from rlp_sweeps.training.datasets import network_inputs
from rlp_sweeps.training.engines import EVALUATED_LOSSES, Engine, EpochOutcome, get_engine
from rlp_sweeps.training.ledger import Ledger, Row, TrialResult, device_name
from rlp_sweeps.training.memory import is_out_of_memory
from rlp_sweeps.training.weights import TrainedWeights, save_weights, weights_path

State = dict[str, Any]
"""A part between two epochs: its ``epoch``, and by trial id its ``members`` and its ``engine``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupContext:
    """Where and how a group trains; nothing here changes a trial's numbers.

    Attributes:
        group_id: Name of the group, written into its rows.
        data_dir: Folder that data sets are read from.
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        engine: One of ``engines.ENGINES``.
        checkpoint_path: File to resume from and to write to; no checkpoints where missing.
        checkpoint_interval_s: Least seconds between two checkpoints; 0 writes one each epoch.
        weights_folder: Where trained weights are kept; nowhere where missing.
        keeps_samples: Whether results of completed members say what is predicted of each sample.
    """

    group_id: str
    data_dir: str
    device: str = "cpu"
    engine: str = "sequential"
    checkpoint_path: Path | None = None
    checkpoint_interval_s: float = 30.0
    weights_folder: Path | None = None
    keeps_samples: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupProgress:
    """What a group reports once an epoch.

    Attributes:
        epoch: Epochs completed.
        num_epochs: Epochs of the whole training.
        latest: Newest row of `epochs` of every member that trained in this epoch and has one.
        new_rows: Rows of `epochs` that this epoch added, by trial id.
        live: Members that go on, unless they are told to stop.
    """

    epoch: int
    num_epochs: int
    latest: dict[str, Row]
    new_rows: dict[str, list[Row]]
    live: tuple[str, ...]


class MemoryExhausted(Exception):  # noqa: N818  caught by the loop, which makes smaller parts
    """A part does not fit into the device's memory.

    Attributes:
        trace: What the engine raised.
    """

    def __init__(self, trace: str) -> None:
        super().__init__(trace)
        self.trace = trace


class Part:
    """Members of a group in training, with the engine that trains them.

    Attributes:
        live: Ledgers of the members that still train, by trial id.
        ended: Rows of the members that the last epoch ended.
        epoch: Epochs completed.
    """

    def __init__(
        self,
        ledgers: Mapping[str, Ledger],
        state: State,
        *,
        context: GroupContext,
        device: torch.device,
    ) -> None:
        """Build the members and restore them.

        Args:
            ledgers: The members.
            state: Where they stand; nothing of it is changed by training.
            context: Where and how.
            device: Its device.

        Raises:
            MemoryExhausted: They do not fit.
            CheckpointError: The engine's state is not of this version.
        """
        self.live = dict(ledgers)
        self.ended: list[TrialResult] = []
        self.epoch: int = state["epoch"]
        self._context = context
        self._device = device
        configs = [ledger.config for ledger in self.live.values()]
        self._eval_every = configs[0].eval_every
        self._num_epochs = configs[0].num_epochs
        engine_type = get_engine(context.engine)
        with _memory_errors():
            self._engine: Engine = engine_type(configs, data_dir=context.data_dir, device=device)
            if state["engine"]:
                with checkpoint_errors(context.checkpoint_path):
                    self._engine.load_state_dict(_on_device(state["engine"], device))

    def advance(self) -> GroupProgress:
        """Train one epoch; end the members that diverged, failed or are done.

        Raises:
            MemoryExhausted: They do not fit; the engine is of no use any more. Members that this
                epoch had ended before stand in `ended`.
        """
        self.ended = []
        is_last = self.epoch + 1 == self._num_epochs
        evaluates = is_last or (self.epoch + 1) % self._eval_every == 0
        with _memory_errors():
            outcomes = self._engine.advance(self.epoch + 1, evaluates=evaluates)
        self._check_memory(outcomes)
        self.epoch += 1
        latest: dict[str, Row] = {}
        new_rows: dict[str, list[Row]] = {}
        for trial_id, outcome in outcomes.items():
            ledger = self.live[trial_id]
            row = ledger.add(self.epoch, outcome)
            new_rows[trial_id] = [] if row is None else [row]
            if ledger.epochs:
                latest[trial_id] = ledger.epochs[-1]
            status = _status(outcome, is_last=is_last)
            if status is not None:
                self.ended.append(self.end(trial_id, status, _reason(outcome, self.epoch)))
        return GroupProgress(
            epoch=self.epoch,
            num_epochs=self._num_epochs,
            latest=latest,
            new_rows=new_rows,
            live=tuple(self.live),
        )

    def end(self, trial_id: str, status: str, error: str | None = None) -> TrialResult:
        """Take a member out, keep its weights where that is asked for, and return its rows.

        A member whose network cannot be kept or read has failed.

        Raises:
            MemoryExhausted: Memory ran out while it was read; it is not taken out.
            RecordError: There is no room for its weights.
        """
        probes: list[Row] = []
        read: tuple[samples.SampleBlock, ...] = ()
        try:
            with _memory_errors():
                self._keep_weights(trial_id, status)
                probes = self._probes(trial_id, status)
                read = self._samples_of(trial_id, status)
        except (MemoryExhausted, RecordError):
            raise
        except Exception:  # noqa: BLE001  the trial boundary: the others go on
            status, error, probes = "failed", traceback.format_exc(), []
            self._drop_weights(trial_id)
        provenance = {
            **self._engine.describe(trial_id),
            **provenance_of(self._context, self._device),
            "engine": self._engine.name,
            "error": error,
        }
        ledger = self.live.pop(trial_id)
        self._engine.drop(trial_id)
        result = ledger.close(status, epoch=self.epoch, provenance=provenance)
        return replace(result, probes=probes, samples=read)

    def state_dict(self) -> State:
        """Return where the live members stand; its tensors are the engine's own."""
        members = {trial_id: ledger.state_dict() for trial_id, ledger in self.live.items()}
        return {"epoch": self.epoch, "members": members, "engine": self._engine.state_dict()}

    def _keep_weights(self, trial_id: str, status: str) -> None:
        """Write the weights before the row: a trial that has a row is never trained again."""
        folder = self._context.weights_folder
        if folder is not None and status in KEPT_STATUSES:
            weights = self._weights_of(trial_id)
            try:
                save_weights(folder, weights)
            except OSError as error:
                raise RecordError(f"the weights of trial {trial_id}: {error}") from error

    def _drop_weights(self, trial_id: str) -> None:
        """Remove the weights of a member that has failed after all."""
        if self._context.weights_folder is not None:
            weights_path(self._context.weights_folder, trial_id).unlink(missing_ok=True)

    def _samples_of(self, trial_id: str, status: str) -> tuple[samples.SampleBlock, ...]:
        if not self._context.keeps_samples or status not in samples.KEPT_STATUSES:
            return ()
        data_dir = self._context.data_dir
        weights = self._weights_of(trial_id)
        return samples.sample_blocks(weights, data_dir=data_dir, device=self._device)

    def _weights_of(self, trial_id: str) -> TrainedWeights:
        config = self.live[trial_id].config
        return TrainedWeights(
            config=config,
            epoch=self.epoch,
            network=self._engine.network_state(trial_id),
            inputs=network_inputs(config.dataset, data_dir=self._context.data_dir),
        )

    def _probes(self, trial_id: str, status: str) -> list[Row]:
        """Return what the observers of a completed member recall, where it has several."""
        config = self.live[trial_id].config
        is_alone = config.attach_points is None and config.observed_attach_points is None
        if is_alone or status != "completed":
            return []
        return self._engine.online_rows(trial_id)

    def _check_memory(self, outcomes: Mapping[str, EpochOutcome]) -> None:
        """Refuse an epoch in which one of several members found no memory."""
        errors = [outcome.error for outcome in outcomes.values() if outcome.error is not None]
        exhausted = [error for error in errors if is_out_of_memory(error)]
        if exhausted and len(self.live) > 1:
            raise MemoryExhausted(exhausted[0])


def provenance_of(context: GroupContext, device: torch.device) -> Row:
    """Return the columns of `trials` that say in which group and where a member trained."""
    return {
        "group_id": context.group_id,
        "engine": context.engine,
        "device": device_name(device),
    }


def fresh_state(ledgers: Mapping[str, Ledger]) -> State:
    """Return the state of a part before its first epoch."""
    members = {trial_id: ledger.state_dict() for trial_id, ledger in ledgers.items()}
    return {"epoch": 0, "members": members, "engine": {}}


def restricted(state: State, trial_ids: list[str]) -> State:
    """Return the state of some members of a part, in this order."""
    engine = state["engine"]
    return {
        "epoch": state["epoch"],
        "members": {trial_id: state["members"][trial_id] for trial_id in trial_ids},
        "engine": {trial_id: engine[trial_id] for trial_id in trial_ids if engine},
    }


@contextmanager
def _memory_errors() -> Iterator[None]:
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        trace = traceback.format_exc()
        if not is_out_of_memory(trace):
            raise
        raise MemoryExhausted(trace) from error


@contextmanager
def checkpoint_errors(path: Path | None) -> Iterator[None]:
    """Say of whatever a checkpoint's content raises that it is of another version.

    Raises:
        CheckpointError: The block raised.
    """
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        if is_out_of_memory(traceback.format_exc()):
            raise
        reason = (str(error).splitlines() or [""])[0]
        msg = (
            f"checkpoint {path} must be of this version, but it is not "
            f"({type(error).__name__}: {reason}); delete it to train from the start."
        )
        raise CheckpointError(msg) from error


def _on_device(value: Any, device: torch.device) -> Any:
    """Return a copy of a state with its tensors on a device."""
    if isinstance(value, torch.Tensor):
        return value.to(device, copy=True)
    if isinstance(value, dict):
        return {key: _on_device(item, device) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_on_device(item, device) for item in value)
    return value


def _status(outcome: EpochOutcome, *, is_last: bool) -> str | None:
    if outcome.error is not None:
        return "failed"
    if not outcome.is_finite:
        return "diverged"
    return "completed" if is_last else None


def _reason(outcome: EpochOutcome, epoch: int) -> str | None:
    if outcome.error is not None or outcome.is_finite:
        return outcome.error
    if not math.isfinite(outcome.step_loss):
        return f"training loss was {outcome.step_loss} in epoch {epoch}"
    losses = {name: outcome.metrics[name] for name in EVALUATED_LOSSES}
    return f"losses at the evaluation of epoch {epoch} were not all finite: {losses}"

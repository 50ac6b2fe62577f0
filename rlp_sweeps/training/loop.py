"""The loop: trains a group of trials through an engine and reports rows; it does not know to whom.

A trial ends as ``completed``, ``diverged`` (a loss of training or evaluation was not finite),
``stopped`` (the caller said so) or ``failed`` (it raised). All four are rows.
"""

import math
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from rlp_sweeps.arms import get_arm
from rlp_sweeps.config import TrialConfig
from rlp_sweeps.errors import CheckpointError, ConfigError, DeviceError
from rlp_sweeps.schema import METRICS
from rlp_sweeps.training.checkpoint import load_checkpoint, save_checkpoint
from rlp_sweeps.training.engines import EVALUATED_LOSSES, Engine, EpochOutcome, get_engine

Row = dict[str, Any]


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
    """

    group_id: str
    data_dir: str
    device: str = "cpu"
    engine: str = "sequential"
    checkpoint_path: Path | None = None
    checkpoint_interval_s: float = 30.0


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialResult:
    """One ended trial: its row of `trials` and its rows of `epochs`."""

    trial: Row
    epochs: list[Row]


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupProgress:
    """What a group reports once an epoch.

    Attributes:
        epoch: Epochs completed.
        num_epochs: Epochs of the whole training.
        latest: Newest row of `epochs` of every member that trained in this epoch and has one.
        new_rows: Rows of `epochs` that this epoch added, by trial id.
        finished: Members that ended in this epoch.
    """

    epoch: int
    num_epochs: int
    latest: dict[str, Row]
    new_rows: dict[str, list[Row]]
    finished: list[TrialResult]


@dataclass(kw_only=True, slots=True)
class _Ledger:
    """What is known of one member while it trains: plain values, kept in checkpoints."""

    config: TrialConfig
    epochs: list[Row] = field(default_factory=list)
    started_at_ms: int
    wall_time_s: float = 0.0
    pending_losses: list[float] = field(default_factory=list)
    pending_time_s: float = 0.0

    def add(self, epoch: int, outcome: EpochOutcome) -> Row | None:
        """Take in one epoch; return its row if the member was evaluated."""
        self.wall_time_s += outcome.time_s
        self.pending_time_s += outcome.time_s
        self.pending_losses.append(outcome.step_loss)
        if not outcome.metrics or not outcome.is_finite:
            return None
        row = {
            "trial_id": self.config.trial_id,
            "epoch": epoch,
            "step": outcome.step,
            "current_lr": outcome.current_lr,
            "train_step_loss": sum(self.pending_losses) / len(self.pending_losses),
            **outcome.metrics,
            "epoch_time_s": self.pending_time_s,
            "logged_at_ms": _now_ms(),
        }
        self.pending_losses, self.pending_time_s = [], 0.0
        self.epochs.append(row)
        return row

    def state_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in _LEDGER_STATE}


_LEDGER_STATE = ("epochs", "started_at_ms", "wall_time_s", "pending_losses", "pending_time_s")


class _Group:
    """The members of a group that still train, and what is written of them."""

    def __init__(self, configs: Sequence[TrialConfig], context: GroupContext) -> None:
        self.context = context
        self.num_epochs = configs[0].num_epochs
        self.eval_every = configs[0].eval_every
        self.device = resolve_device(context.device)
        self.engine: Engine = get_engine(context.engine)(
            configs, data_dir=context.data_dir, device=self.device
        )
        now = _now_ms()
        self.live = {c.trial_id: _Ledger(config=c, started_at_ms=now) for c in configs}
        self.results: list[TrialResult] = []
        self.epoch = 0
        self._saved_at = time.monotonic()

    def advance(self) -> GroupProgress:
        """Train one epoch; end the members that diverged, failed or are done."""
        self.epoch += 1
        is_last = self.epoch == self.num_epochs
        evaluates = is_last or self.epoch % self.eval_every == 0
        latest: dict[str, Row] = {}
        new_rows: dict[str, list[Row]] = {}
        finished = []
        for trial_id, outcome in self.engine.advance(self.epoch, evaluates=evaluates).items():
            ledger = self.live[trial_id]
            row = ledger.add(self.epoch, outcome)
            new_rows[trial_id] = [] if row is None else [row]
            if ledger.epochs:
                latest[trial_id] = ledger.epochs[-1]
            status = _status(outcome, is_last=is_last)
            if status is not None:
                finished.append(self.end(trial_id, status, _reason(outcome, self.epoch)))
        return GroupProgress(
            epoch=self.epoch,
            num_epochs=self.num_epochs,
            latest=latest,
            new_rows=new_rows,
            finished=finished,
        )

    def end(self, trial_id: str, status: str, error: str | None = None) -> TrialResult:
        """Take a member out of the group and return its rows."""
        ledger = self.live.pop(trial_id)
        last = ledger.epochs[-1] if ledger.epochs else {}
        trial = {
            **ledger.config.to_dict(),
            "trial_id": trial_id,
            "status": status,
            **{name: last.get(name) for name in METRICS},
            **self.engine.describe(trial_id),
            "weight_class_term": get_arm(ledger.config.arm).weight_class_term,
            "weight_uniform_term": get_arm(ledger.config.arm).weight_uniform_term,
            "epochs_completed": self.epoch,
            "metrics_epoch": last.get("epoch"),
            "wall_time_s": ledger.wall_time_s,
            "started_at_ms": ledger.started_at_ms,
            "finished_at_ms": _now_ms(),
            "engine": self.engine.name,
            "group_id": self.context.group_id,
            "device": _device_name(self.device),
            "hostname": platform.node(),
            "error": error,
        }
        self.engine.drop(trial_id)
        result = TrialResult(trial=trial, epochs=ledger.epochs)
        self.results.append(result)
        return result

    def save_if_due(self) -> None:
        """Write a checkpoint if the last one is old enough and members are left."""
        path = self.context.checkpoint_path
        waited = time.monotonic() - self._saved_at
        if path is None or not self.live or waited < self.context.checkpoint_interval_s:
            return
        members = {trial_id: ledger.state_dict() for trial_id, ledger in self.live.items()}
        state = {"epoch": self.epoch, "members": members, "engine": self.engine.state_dict()}
        save_checkpoint(path, state)
        self._saved_at = time.monotonic()

    def resume(self) -> None:
        """Go on from the checkpoint, if there is one.

        Raises:
            CheckpointError: It is truncated, or lacks a member of this group.
        """
        path = self.context.checkpoint_path
        if path is None or not path.exists():
            return
        state = load_checkpoint(path, self.device)
        missing = sorted(set(self.live) - set(state["members"]))
        if missing:
            msg = f"checkpoint {path} must hold every member of its group, but lacks {missing}."
            raise CheckpointError(msg)
        self.epoch = state["epoch"]
        for trial_id, ledger in self.live.items():
            for name in _LEDGER_STATE:
                setattr(ledger, name, state["members"][trial_id][name])
        self.engine.load_state_dict(state["engine"])


def train_group(
    configs: Sequence[TrialConfig],
    *,
    context: GroupContext,
    report: Callable[[GroupProgress], bool],
) -> list[TrialResult]:
    """Train a group to its end and return every member's rows.

    Args:
        configs: Trials that share their `group_key`; no two alike.
        context: Where and how.
        report: Called once an epoch; returns False to stop the members that still train, which
            then end as ``stopped``.

    Raises:
        ConfigError: The trials do not form a group.
        DeviceError: torch does not see the device.
        CheckpointError: The checkpoint is truncated or of another group.
    """
    if len({c.trial_id for c in configs}) < max(1, len(configs)):
        msg = f"a group must have at least one trial and no two alike, but got {len(configs)}."
        raise ConfigError(msg)
    if len({c.group_key for c in configs}) > 1:
        msg = "trials of a group must share all settings but scalars; split them by `group_key`."
        raise ConfigError(msg)
    group = _Group(configs, context)
    group.resume()
    while group.live and group.epoch < group.num_epochs:
        goes_on = report(group.advance())
        if not goes_on:
            for trial_id in list(group.live):
                group.end(trial_id, "stopped")
        group.save_if_due()
    return group.results


def resolve_device(device: str) -> torch.device:
    """Return the device of that name.

    Raises:
        DeviceError: torch does not see it.
    """
    if device.startswith("cuda") and not torch.cuda.is_available():
        msg = (
            f"device {device!r} was asked for, but torch sees none. Use device='cpu', or check "
            "CUDA_VISIBLE_DEVICES and the driver."
        )
        raise DeviceError(msg)
    return torch.device(device)


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


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _now_ms() -> int:
    return time.time_ns() // 1_000_000

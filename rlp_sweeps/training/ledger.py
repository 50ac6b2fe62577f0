"""What is known of one trial while it trains, and the rows that come of it."""

import platform
import time
from dataclasses import dataclass, field
from typing import Any

import torch

from rlp_sweeps.arms import get_arm
from rlp_sweeps.config import TrialConfig
from rlp_sweeps.schema import METRICS
from rlp_sweeps.training.engines import EpochOutcome
from rlp_sweeps.training.samples import SampleBlock

Row = dict[str, Any]


def now_ms() -> int:
    """Return the time, in ms since 1970."""
    return time.time_ns() // 1_000_000


_STATE = ("epochs", "started_at_ms", "wall_time_s", "pending_losses", "pending_time_s")


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialResult:
    """One ended trial: its row of `trials`, its rows of `epochs`, of `probes` and of `samples`.

    Probes are those of observers at several places; a trial with heads at one place has none.
    Samples are there where they are kept.
    """

    trial: Row
    epochs: list[Row]
    probes: list[Row] = field(default_factory=list)
    samples: tuple[SampleBlock, ...] = ()


@dataclass(kw_only=True, slots=True)
class Ledger:
    """What is known of one member while it trains: plain values, kept in checkpoints.

    Attributes:
        config: The trial.
        epochs: Its rows of `epochs` so far.
        started_at_ms: When it began, in ms since 1970.
        wall_time_s: Seconds spent on it.
        pending_losses: Training losses of the epochs since its last row, in nats.
        pending_time_s: Seconds since its last row.
    """

    config: TrialConfig
    epochs: list[Row] = field(default_factory=list)
    started_at_ms: int = field(default_factory=now_ms)
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
            "logged_at_ms": now_ms(),
        }
        self.pending_losses, self.pending_time_s = [], 0.0
        self.epochs.append(row)
        return row

    def close(self, status: str, *, epoch: int, provenance: Row) -> TrialResult:
        """Return the member's rows at its end.

        Args:
            status: One of ``schema.STATUSES``.
            epoch: Epochs completed.
            provenance: Columns of `trials` that say how, where and why it ended.
        """
        last = self.epochs[-1] if self.epochs else {}
        arm = get_arm(self.config.arm)
        trial = {
            **self.config.to_dict(),
            "trial_id": self.config.trial_id,
            "status": status,
            **{name: last.get(name) for name in METRICS},
            "weight_class_term": arm.weight_class_term,
            "weight_uniform_term": arm.weight_uniform_term,
            "rlp_lambda_per_label": self.config.rlp_lambda_per_label,
            "epochs_completed": epoch,
            "metrics_epoch": last.get("epoch"),
            "wall_time_s": self.wall_time_s,
            "started_at_ms": self.started_at_ms,
            "finished_at_ms": now_ms(),
            "hostname": platform.node(),
            **provenance,
        }
        return TrialResult(trial=trial, epochs=self.epochs)

    def state_dict(self) -> dict[str, Any]:
        """Return what `of_state` reads; later epochs do not change it."""
        state = {name: getattr(self, name) for name in _STATE}
        return {k: list(v) if isinstance(v, list) else v for k, v in state.items()}

    @classmethod
    def of_state(cls, config: TrialConfig, state: dict[str, Any]) -> "Ledger":
        """Return the ledger that `state_dict` wrote."""
        ledger = cls(config=config)
        for name in _STATE:
            value = state[name]
            setattr(ledger, name, list(value) if isinstance(value, list) else value)
        return ledger


def device_name(device: torch.device) -> str:
    """Return the name of a GPU's model, or ``cpu``."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type

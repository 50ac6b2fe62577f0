"""What every engine promises: train a group's live members one epoch further, whatever way it does.

The loop knows epochs, statuses, rows and checkpoints; an engine knows tensors. Members are named by
trial id, and one member's numbers never depend on its neighbours.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import torch

from rlp_sweeps.config import TrialConfig

EVALUATED_LOSSES = ("train_loss", "val_loss", "test_loss", "head_loss", "regularizer_loss")
"""Losses that tell a network or a head that blew up: its accuracies would look like chance."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EpochOutcome:
    """What one member's epoch came to.

    Attributes:
        step_loss: Mean L_class over the epoch's steps, in nats; not finite where it diverged.
        metrics: Metrics by column name; empty where none were asked for, or none could be had.
        step: Optimizer steps completed.
        current_lr: Learning rate of the last step.
        time_s: Seconds spent on this member in this epoch, its share where members train as one.
        error: Trace of the exception that ended the member; None where there was none.
    """

    step_loss: float
    metrics: dict[str, float | None] = field(default_factory=dict)
    step: int = 0
    current_lr: float = 0.0
    time_s: float = 0.0
    error: str | None = None

    @property
    def is_finite(self) -> bool:
        """Whether the training loss and, where it was evaluated, every loss of it are finite."""
        losses = [self.metrics[name] for name in EVALUATED_LOSSES if name in self.metrics]
        return all(math.isfinite(x) for x in (self.step_loss, *losses) if x is not None)


class Engine(Protocol):
    """Trains the members of one group on one device."""

    name: ClassVar[str]

    def __init__(
        self, configs: Sequence[TrialConfig], *, data_dir: str, device: torch.device
    ) -> None: ...

    def advance(self, epoch: int, *, evaluates: bool) -> dict[str, EpochOutcome]:
        """Train every live member one epoch, then evaluate it if asked to.

        An exception in one member comes back as its `EpochOutcome.error`.
        """
        ...

    def drop(self, trial_id: str) -> None:
        """Take a member out of the group: it ended, and its memory is free."""
        ...

    def describe(self, trial_id: str) -> dict[str, Any]:
        """Return columns of `trials` that only the built member knows; empty if not built."""
        ...

    def network_state(self, trial_id: str) -> dict[str, torch.Tensor]:
        """Return a trained member's network, as `RLPNetwork.state_dict` has it alone."""
        ...

    def online_rows(self, trial_id: str) -> list[dict[str, Any]]:
        """Return what a trained member's observers recall, one row of ``probes`` a place.

        Empty where it has heads at one place only: the row of `trials` says it.
        """
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return the live members' states by trial id: tensors and plain values."""
        ...

    def load_state_dict(self, states: dict[str, Any]) -> None:
        """Restore the live members, each from its own state."""
        ...

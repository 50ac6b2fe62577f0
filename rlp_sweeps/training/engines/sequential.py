"""The plain engine: members train one after the other, each as if it were alone."""

import math
import time
import traceback
from collections.abc import Sequence
from typing import Any, ClassVar

import torch

from rlp_sweeps.config import TrialConfig
from rlp_sweeps.training.datasets import SplitDataset, split_dataset
from rlp_sweeps.training.engines.base import EpochOutcome
from rlp_sweeps.training.member import Member
from rlp_sweeps.training.observing import online_rows_of_several


class SequentialEngine:
    """Every member its own network and optimizer; members of one seed share their data."""

    name: ClassVar[str] = "sequential"

    def __init__(
        self, configs: Sequence[TrialConfig], *, data_dir: str, device: torch.device
    ) -> None:
        self._configs = {config.trial_id: config for config in configs}
        self._data_dir = data_dir
        self._device = device
        self._data: dict[int, SplitDataset] = {}
        self._members: dict[str, Member] = {}
        self._states: dict[str, Any] = {}

    def advance(self, epoch: int, *, evaluates: bool) -> dict[str, EpochOutcome]:
        """Train every live member one epoch, then evaluate it if asked to.

        Raises:
            torch.OutOfMemoryError: The members do not fit into memory together.
        """
        return {
            trial_id: self._advance_one(trial_id, epoch, evaluates=evaluates)
            for trial_id in list(self._configs)
        }

    def drop(self, trial_id: str) -> None:
        """Take a member out of the group."""
        del self._configs[trial_id]
        self._members.pop(trial_id, None)
        self._states.pop(trial_id, None)

    def describe(self, trial_id: str) -> dict[str, Any]:
        """Return what only the built member knows; empty if it was not built."""
        member = self._members.get(trial_id)
        return {} if member is None else member.describe()

    def network_state(self, trial_id: str) -> dict[str, torch.Tensor]:
        """Return a trained member's network; its tensors are the engine's own."""
        state: dict[str, torch.Tensor] = self._members[trial_id].network.state_dict()
        return state

    def online_rows(self, trial_id: str) -> list[dict[str, Any]]:
        """Return what a trained member's observers recall, one row of ``probes`` a place."""
        member = self._members[trial_id]
        return online_rows_of_several(member.network, member.config, member.data)

    def state_dict(self) -> dict[str, Any]:
        """Return the live members' states by trial id."""
        return {trial_id: member.state_dict() for trial_id, member in self._members.items()}

    def load_state_dict(self, states: dict[str, Any]) -> None:
        """Restore the live members; each is built when it trains next."""
        self._states = {trial_id: states[trial_id] for trial_id in self._configs}

    def _advance_one(self, trial_id: str, epoch: int, *, evaluates: bool) -> EpochOutcome:
        start = time.perf_counter()
        try:
            member = self._member(trial_id)
            step_loss = member.train_epoch(epoch)
            metrics = member.evaluate(epoch) if evaluates and math.isfinite(step_loss) else {}
        except torch.OutOfMemoryError:
            raise
        except Exception:  # noqa: BLE001  the trial boundary: a crash is this trial's row, not the group's end
            return EpochOutcome(
                step_loss=math.nan,
                time_s=time.perf_counter() - start,
                error=traceback.format_exc(),
            )
        return EpochOutcome(
            step_loss=step_loss,
            metrics=metrics,
            step=member.step,
            current_lr=member.current_lr,
            time_s=time.perf_counter() - start,
        )

    def _member(self, trial_id: str) -> Member:
        if trial_id not in self._members:
            config = self._configs[trial_id]
            if config.seed not in self._data:
                self._data[config.seed] = split_dataset(
                    config, data_dir=self._data_dir, device=self._device
                )
            member = Member(config, self._data[config.seed], self._device)
            if trial_id in self._states:
                member.load_state_dict(self._states.pop(trial_id))
            self._members[trial_id] = member
        return self._members[trial_id]

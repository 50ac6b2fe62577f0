"""Engines that train a group as one program: `grouped` layers, or `vmap` over any backbone."""

import math
import time
import traceback
from collections.abc import Sequence
from typing import Any, ClassVar

import torch

from rlp_sweeps.config import TrialConfig
from rlp_sweeps.training.datasets import SplitDataset, split_dataset
from rlp_sweeps.training.engines.base import EpochOutcome
from rlp_sweeps.training.engines.extractor_stack import StackedExtractor
from rlp_sweeps.training.engines.grouped_extractor import GroupedExtractor
from rlp_sweeps.training.engines.stacked_group import StackedGroup
from rlp_sweeps.training.engines.vmap_extractor import VmapExtractor
from rlp_sweeps.training.observing import online_rows_of_several


class StackedEngine:
    """All members in one program; those that end are cut out of it.

    An exception ends every member that was in the program, since it is nobody's in particular; only
    a lack of memory goes on to the caller, who can try again with fewer.
    """

    name: ClassVar[str]
    stack: ClassVar[type[StackedExtractor]]
    group: ClassVar[type[StackedGroup]] = StackedGroup

    def __init__(
        self, configs: Sequence[TrialConfig], *, data_dir: str, device: torch.device
    ) -> None:
        self._live = {config.trial_id: config for config in configs}
        self._data_dir = data_dir
        self._device = device
        self._group: StackedGroup | None = None
        self._states: dict[str, Any] = {}

    def advance(self, epoch: int, *, evaluates: bool) -> dict[str, EpochOutcome]:
        """Train every live member one epoch, then evaluate it if asked to.

        Raises:
            torch.OutOfMemoryError: The members do not fit into memory together.
        """
        start = time.perf_counter()
        try:
            group = self._compacted()
            losses = group.train_epoch(epoch)
            metrics = group.evaluate(epoch) if evaluates else [{} for _ in losses]
        except torch.OutOfMemoryError:
            self._group = None
            raise
        except Exception:  # noqa: BLE001  the trial boundary: a crash is the members' rows
            failed = EpochOutcome(
                step_loss=math.nan,
                time_s=(time.perf_counter() - start) / len(self._live),
                error=traceback.format_exc(),
            )
            return dict.fromkeys(self._live, failed)
        time_s = (time.perf_counter() - start) / len(self._live)
        return {
            config.trial_id: EpochOutcome(
                step_loss=loss,
                metrics=row if math.isfinite(loss) else {},
                step=group.step,
                current_lr=group.current_lr(config),
                time_s=time_s,
            )
            for config, loss, row in zip(group.configs, losses, metrics, strict=True)
        }

    def drop(self, trial_id: str) -> None:
        """Take a member out; it is cut out of the program before the next epoch."""
        del self._live[trial_id]
        self._states.pop(trial_id, None)
        if not self._live:
            self._group = None

    def describe(self, trial_id: str) -> dict[str, Any]:
        """Return what only the built member knows; empty if it was not built."""
        is_live = trial_id in self._live
        return {} if self._group is None or not is_live else self._group.describe()

    def network_state(self, trial_id: str) -> dict[str, torch.Tensor]:
        """Return a trained member's network as it would be alone."""
        assert self._group is not None, "a member that has trained stands in the program"
        ids = [config.trial_id for config in self._group.configs]
        return self._group.network_state(ids.index(trial_id))

    def online_rows(self, trial_id: str) -> list[dict[str, Any]]:
        """Return what a trained member's observers recall, one row of ``probes`` a place."""
        assert self._group is not None, "a member that has trained stands in the program"
        ids = [config.trial_id for config in self._group.configs]
        network, config, data = self._group.member_alone(ids.index(trial_id))
        return online_rows_of_several(network, config, data)

    def state_dict(self) -> dict[str, Any]:
        """Return the live members' states by trial id."""
        if self._group is None:
            return dict(self._states)
        positions = {config.trial_id: i for i, config in enumerate(self._group.configs)}
        return {i: self._group.member_state(positions[i]) for i in self._live}

    def load_state_dict(self, states: dict[str, Any]) -> None:
        """Restore the live members; they are built when they train next."""
        self._group = None
        self._states = {trial_id: states[trial_id] for trial_id in self._live}

    def _compacted(self) -> StackedGroup:
        """Return the program of the live members alone."""
        if self._group is None:
            self._group = self._build()
        ids = [config.trial_id for config in self._group.configs]
        kept = [position for position, trial_id in enumerate(ids) if trial_id in self._live]
        if len(kept) < len(ids):
            self._group.select(kept)
        return self._group

    def _build(self) -> StackedGroup:
        configs = list(self._live.values())
        data: dict[int, SplitDataset] = {}
        for config in configs:
            if config.seed not in data:
                data[config.seed] = split_dataset(
                    config, data_dir=self._data_dir, device=self._device
                )
        group = self.group(configs, data, self._device, stack=self.stack)
        if self._states:
            group.load_members([self._states[config.trial_id] for config in group.configs])
            self._states = {}
        return group


class GroupedEngine(StackedEngine):
    """Grouped convolutions, batched products and norms over all members' channels."""

    name: ClassVar[str] = "grouped"
    stack: ClassVar[type[StackedExtractor]] = GroupedExtractor


class VmapEngine(StackedEngine):
    """``torch.func.vmap`` over the members: takes a user's own backbone too."""

    name: ClassVar[str] = "vmap"
    stack: ClassVar[type[StackedExtractor]] = VmapExtractor

"""The loop: trains a group of trials through an engine and reports rows; it does not know to whom.

A trial ends as ``completed``, ``diverged`` (a loss of training or evaluation was not finite),
``stopped`` (the caller said so) or ``failed`` (it raised). All four are rows, and each member's are
recorded as soon as it ends: the others go on without it. Members that do not fit into the device's
memory together are trained in halves, one after the other.
"""

import logging
import time
from collections.abc import Callable, Collection, Sequence
from typing import Any

import torch

from rlp_sweeps.config import TrialConfig
from rlp_sweeps.errors import CheckpointError, ConfigError, DeviceError
from rlp_sweeps.training.checkpoint import load_checkpoint, save_checkpoint
from rlp_sweeps.training.ledger import Ledger, Row, TrialResult
from rlp_sweeps.training.memory import free_memory
from rlp_sweeps.training.part import (
    GroupContext,
    GroupProgress,
    MemoryExhausted,
    Part,
    State,
    checkpoint_errors,
    fresh_state,
    provenance_of,
    restricted,
)

__all__ = [
    "GroupContext",
    "GroupProgress",
    "Record",
    "Report",
    "Row",
    "TrainingPaused",
    "TrialResult",
    "resolve_device",
    "train_group",
]

Report = Callable[[GroupProgress], Collection[str]]
"""Called once an epoch; returns the live members that shall stop."""

Record = Callable[[TrialResult], object]
"""Called with the rows of every member as soon as it has ended."""

_log = logging.getLogger(__name__)


class TrainingPaused(Exception):  # noqa: N818  caught by the caller, who has asked for it
    """A group was asked to pause: its checkpoint holds all that it has trained."""


def train_group(
    configs: Sequence[TrialConfig],
    *,
    context: GroupContext,
    report: Report,
    record: Record | None = None,
    pauses: Callable[[], bool] | None = None,
) -> list[TrialResult]:
    """Train a group to its end and return every member's rows.

    A member that ends is taken out, and the others' numbers are those that they have without it.
    Where memory runs out, the members that are left are split in halves, which go on one after the
    other from the last checkpoint, or from the start without one; a member that does not fit alone
    is ``failed``. Epochs are then reported again, a half at a time.

    Args:
        configs: Trials that share their `group_key`; no two alike.
        context: Where and how.
        report: Called once an epoch; returns ids out of `GroupProgress.live` of members to stop,
            which then end as ``stopped``.
        record: Called with each result before a checkpoint is written that lacks its member.
        pauses: Asked after each epoch's report whether the members that go on shall do so later.

    Raises:
        TrainingPaused: They shall; what they have trained is in the checkpoint.
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
    return _Training(configs, context, report, record, pauses or _never).run()


def _never() -> bool:
    return False


class _Training:
    """A group on its way: the part in training, and those that wait for their turn."""

    def __init__(
        self,
        configs: Sequence[TrialConfig],
        context: GroupContext,
        report: Report,
        record: Record | None,
        pauses: Callable[[], bool],
    ) -> None:
        self._configs = {config.trial_id: config for config in configs}
        self._num_epochs = configs[0].num_epochs
        self._context = context
        self._device = resolve_device(context.device)
        self._report = report
        self._record = record
        self._pauses = pauses
        self._results: list[TrialResult] = []
        self._waiting: list[State] = []
        self._saved_at = time.monotonic()
        self._is_saved = False

    def run(self) -> list[TrialResult]:
        """Train part after part."""
        self._waiting = self._first_parts()
        while self._waiting:
            state = self._waiting.pop(0)
            try:
                self._train(state)
            except MemoryExhausted as error:
                trace = error.trace
            else:
                continue
            free_memory()  # out here, where no frame of the error holds a tensor any more
            self._make_smaller(state, trace)
        return self._results

    def _first_parts(self) -> list[State]:
        """Return the parts of the checkpoint, if there is one, or the whole group as one part.

        Members that the checkpoint does not know were not asked for when it was written: they are a
        part of their own and start from the beginning.
        """
        path = self._context.checkpoint_path
        if path is None or not path.exists():
            return [fresh_state({i: Ledger(config=c) for i, c in self._configs.items()})]
        parts = _read_parts(load_checkpoint(path, torch.device("cpu")))
        with checkpoint_errors(path):
            known = set[str]().union(*(part["members"] for part in parts))
        missing = {i: Ledger(config=c) for i, c in self._configs.items() if i not in known}
        if len(missing) == len(self._configs):
            msg = f"checkpoint {path} must hold members of its group, but lacks {sorted(missing)}."
            raise CheckpointError(msg)
        with checkpoint_errors(path):
            left = [[i for i in part["members"] if i in self._configs] for part in parts]
            found = [restricted(part, ids) for part, ids in zip(parts, left, strict=True) if ids]
        return [*found, fresh_state(missing)] if missing else found

    def _train(self, state: State) -> None:
        """Train a part to its end."""
        members = state["members"].items()
        with checkpoint_errors(self._context.checkpoint_path):
            ledgers = {i: Ledger.of_state(self._configs[i], ledger) for i, ledger in members}
        self._is_saved = False
        if state["epoch"]:
            _log.info("%d member(s) go on from epoch %d", len(ledgers), state["epoch"])
        part = Part(ledgers, state, context=self._context, device=self._device)
        while part.live and part.epoch < self._num_epochs:
            try:
                progress = part.advance()
            finally:  # those that ended before memory ran out as well
                for result in part.ended:
                    self._end(result)
            stopped = set(self._report(progress))
            for trial_id in progress.live:
                if trial_id in stopped:
                    self._end(part.end(trial_id, "stopped"))
            if part.live and self._pauses():
                self._save(part)
                raise TrainingPaused
            self._save_if_due(part)

    def _end(self, result: TrialResult) -> None:
        self._results.append(result)
        if self._record is not None:
            self._record(result)

    def _save_if_due(self, part: Part) -> None:
        """Write a checkpoint if the last one is old enough and members are left."""
        waited = time.monotonic() - self._saved_at
        if part.live and waited >= self._context.checkpoint_interval_s:
            self._save(part)

    def _save(self, part: Part) -> None:
        """Write a checkpoint; where there is no room for it, training goes on without."""
        path = self._context.checkpoint_path
        if path is None:
            return
        self._saved_at = time.monotonic()
        try:
            save_checkpoint(path, {"parts": [part.state_dict(), *self._waiting]})
        except OSError as error:
            _log.warning("group %s goes on without a checkpoint: %s", path.stem, error)
        else:
            self._is_saved = True

    def _make_smaller(self, state: State, trace: str) -> None:
        """Let the halves of a part that found no memory wait first; one member alone has failed."""
        path = self._context.checkpoint_path
        if path is not None and self._is_saved:
            state = _read_parts(load_checkpoint(path, torch.device("cpu")))[0]
        ended = {result.trial["trial_id"] for result in self._results}
        left = [trial_id for trial_id in state["members"] if trial_id not in ended]
        if len(left) == 1:
            ledger = Ledger.of_state(self._configs[left[0]], state["members"][left[0]])
            provenance = {**provenance_of(self._context, self._device), "error": trace}
            self._end(ledger.close("failed", epoch=state["epoch"], provenance=provenance))
            return
        half = (len(left) + 1) // 2
        self._waiting[:0] = [restricted(state, ids) for ids in (left[:half], left[half:])]
        _log.warning(
            "group %s: %d members do not fit into memory; they go on in halves from epoch %d",
            self._context.group_id,
            len(left),
            state["epoch"],
        )


def _read_parts(checkpoint: dict[str, Any]) -> list[State]:
    parts: list[State] = checkpoint.get("parts", [])
    return parts


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

"""Ends an attempt before its plan is done, without losing what the groups at work have trained.

No further group starts. Each group at work trains to the end of its epoch, writes a checkpoint and
ends its function without rows for the members that go on; a later attempt takes it up there. A
group whose epoch lasts longer than the brake's patience is cut off and goes on from its last
checkpoint.
"""

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler

from rlp_sweeps.orchestration.early_stopping import PoliteASHA

StopReason = Literal["hours", "cancel"]
"""Why an attempt ends early: its budget of hours is used up, or somebody has asked for it."""

_ASK_EVERY_S = 1.0

_pause_requested = threading.Event()
"""Set in a process whose group shall pause. Never cleared: an attempt that brakes starts no group,
and its processes end with it."""


def is_pause_requested() -> bool:
    """Return whether the group of this process shall pause."""
    return _pause_requested.is_set()


def request_pause(trainable: object) -> None:
    """Tell the group of this process to pause; runs there, between two of its epochs."""
    del trainable
    _pause_requested.set()


@dataclass(kw_only=True)
class Brake:
    """Stops an attempt when its time is up or somebody asks.

    Attributes:
        ends_at: When the budget is used up, on `clock`; None without one.
        asks: Returns how long a running epoch is waited for where somebody has asked to stop,
            in s, else None; called about once a second.
        patience_s: Longest wait for a running epoch once the time is up, in s.
        clock: Seconds, monotonic.
        reason: Why the brake was pulled; None while it is not.
    """

    ends_at: float | None = None
    asks: Callable[[], float | None] = lambda: None
    patience_s: float = 300.0
    clock: Callable[[], float] = time.monotonic
    reason: StopReason | None = None
    _gives_up_at: float = field(default=0.0, init=False)
    _asked_at: float | None = field(default=None, init=False)
    _told: set[str] = field(default_factory=set, init=False)
    _stopped: set[str] = field(default_factory=set, init=False)

    def apply(self, controller: Any) -> bool:
        """Carry on with stopping, if that is due; return whether it is.

        Args:
            controller: Tune's event loop, as it hands itself to schedulers.
        """
        self._look()
        if self.reason is None:
            return False
        controller.search_alg.set_finished()
        is_over = self.clock() >= self._gives_up_at
        for trial in list(controller.get_live_trials()):
            if trial.status in {Trial.PENDING, Trial.PAUSED} or is_over:
                self._stopped.add(trial.trial_id)
                with contextlib.redirect_stdout(None):  # where Tune prints that it has no result
                    controller.stop_trial(trial)
            elif trial.status == Trial.RUNNING and trial.trial_id not in self._told:
                self._told.add(trial.trial_id)
                trial.temporary_state.ray_actor.execute.remote(request_pause)
        return True

    def look(self) -> StopReason | None:
        """Return why the attempt is to end, if it is."""
        self._look()
        return self.reason

    def has_stopped(self, trial_id: str) -> bool:
        """Return whether Tune's trial of that id was taken back or cut off."""
        return trial_id in self._stopped

    def _look(self) -> None:
        now = self.clock()
        if self.reason is None and self.ends_at is not None and now >= self.ends_at:
            self.reason, self._gives_up_at = "hours", now + self.patience_s
        if self._asked_at is not None and now - self._asked_at < _ASK_EVERY_S:
            return
        self._asked_at = now
        patience_s = self.asks()
        if patience_s is None:
            return
        first = self.reason is None
        self.reason = self.reason or "cancel"
        gives_up_at = now + patience_s
        self._gives_up_at = gives_up_at if first else min(self._gives_up_at, gives_up_at)


class BrakedFIFO(FIFOScheduler):
    """Starts groups in their order, until the brake is pulled."""

    def __init__(self, brake: Brake) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Ray gives no types
        self._brake = brake

    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        """Return the next group to start, none once the brake is pulled; Tune calls this."""
        if self._brake.apply(tune_controller):
            return None
        return super().choose_trial_to_run(tune_controller)


class BrakedASHA(PoliteASHA):
    """ASHA, until the brake is pulled."""

    brake: Brake

    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        """Return the next group to start, none once the brake is pulled; Tune calls this."""
        if self.brake.apply(tune_controller):
            return None
        return super().choose_trial_to_run(tune_controller)

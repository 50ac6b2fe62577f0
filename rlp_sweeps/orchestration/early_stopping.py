"""Successive halving (ASHA) that asks a trial to stop, instead of cutting it off.

Tune ends a stopped trial's function in the middle of its report, perhaps with its process, just as
it does after Ctrl-C. Here the trial is told that it shall stop before it goes on from its report,
so that it ends by itself, writes its row as ``stopped``, and an interruption stays another thing.
"""

import threading
from collections.abc import Iterable, Mapping
from types import SimpleNamespace
from typing import Any

from ray.tune.schedulers import ASHAScheduler, TrialScheduler

from rlp_sweeps.spaces import OBJECTIVES, Search

_stop_requested = threading.Event()
"""Set in the process of a trial that shall stop; one process trains one group at a time."""


def clear_stop_request() -> None:
    """Forget what an earlier trial of this process was told."""
    _stop_requested.clear()


def is_stop_requested() -> bool:
    """Return whether the trial of this process shall stop."""
    return _stop_requested.is_set()


def request_stop(trainable: object) -> None:
    """Tell the trial of this process to stop; runs there, between two of its epochs."""
    del trainable
    _stop_requested.set()


class PoliteASHA(ASHAScheduler):
    """ASHA over epochs on the search's objective."""

    def __init__(self, search: Search, *, num_epochs: int) -> None:
        """Set the rungs.

        Args:
            search: Objective, grace period and reduction factor.
            num_epochs: Epochs of a trial trained to its end.
        """
        self._objective = search.objectives[0]
        super().__init__(
            time_attr="epoch",
            metric=self._objective,
            mode=OBJECTIVES[self._objective],
            max_t=num_epochs,
            grace_period=min(search.grace_epochs, num_epochs),
            reduction_factor=search.reduction_factor,
            stop_last_trials=False,
        )

    def replay(self, epochs: Iterable[Mapping[str, Any]]) -> None:
        """Take in what finished trials reported before this attempt, so that their rungs count.

        Args:
            epochs: Rows of ``epochs``.
        """
        nobody: Any = None
        known: dict[str, Any] = {}
        for row in sorted(epochs, key=lambda row: (row["logged_at_ms"] or 0, row["epoch"])):
            trial_id = row["trial_id"]
            if trial_id not in known:
                known[trial_id] = SimpleNamespace(trial_id=trial_id)
                self.on_trial_add(nobody, known[trial_id])
            if row[self._objective] is not None:
                result = {"epoch": row["epoch"], self._objective: row[self._objective]}
                super().on_trial_result(nobody, known[trial_id], result)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Let every trial go on, and ask those below their rung's cutoff to stop."""
        if self.is_to_stop(trial, result):
            trial.temporary_state.ray_actor.execute.remote(request_stop)
        return str(TrialScheduler.CONTINUE)

    def is_to_stop(self, trial: Any, result: dict[str, Any]) -> bool:
        """Take in a report and return whether its trial is below its rung's cutoff.

        Args:
            trial: Whatever has its `trial_id`; `on_trial_add` was told of it.
            result: A report of `trainable.GroupRun`.
        """
        nobody: Any = None  # its controller is never asked
        verdict = super().on_trial_result(nobody, trial, result)
        is_done = result.get("epoch", 0) >= self._max_t
        return bool(verdict == TrialScheduler.STOP and not is_done)

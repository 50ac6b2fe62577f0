"""What is known of a sweep at work: counts, epochs, the best so far, speed and time left."""

import math
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rlp_sweeps.config import TrialConfig

if TYPE_CHECKING:
    from rlp_sweeps.orchestration.planner import SweepPlan


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """A sweep's state at one moment.

    Attributes:
        num_trials: Trials planned; of a search, those that its points will ask for.
        counts: Trials that ended, by status; those of earlier attempts included.
        num_running: Trials of groups that have reported and not ended.
        epochs_done: Trial-epochs of this attempt; a trial that ended counts in full.
        epochs_total: Trial-epochs that this attempt was started for.
        best_val_accuracy: Highest share seen in this attempt; none before the first.
        elapsed_s: Time since this attempt's start, s.
        epochs_per_s: Trial-epochs a second since the first report; none before the second.
        remaining_s: Time left at that speed, s; none before the second.
    """

    num_trials: int
    counts: Mapping[str, int]
    num_running: int
    epochs_done: int
    epochs_total: int
    best_val_accuracy: float | None
    elapsed_s: float
    epochs_per_s: float | None
    remaining_s: float | None

    @property
    def num_ended(self) -> int:
        """Trials that have a row, whatever their status."""
        return sum(self.counts.values())


class SweepProgress:
    """Follow a sweep's events; `snapshot` may be called from another thread.

    Args:
        clock: Seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._started_at = clock()
        self._num_trials = 0
        self._epochs_total = 0
        self._epochs_ended = 0
        self._trials_per_group: dict[str, int] = {}
        self._counts: Counter[str] = Counter()
        self._running: dict[str, tuple[int, int]] = {}  # epoch, num_epochs
        self._best_val_accuracy: float | None = None
        self._first_report: tuple[float, int] | None = None  # when, trial-epochs done

    def start(self, plan: "SweepPlan", finished: Mapping[str, int]) -> None:
        """Take the plan, and the rows by status that earlier attempts left."""
        self._started_at = self._clock()
        self._num_trials = plan.num_trials
        self._counts = Counter(finished)
        self._trials_per_group = {group.group_id: len(group.trials) for group in plan.groups}
        num_remaining = max(plan.num_trials - sum(finished.values()), 0)
        self._epochs_total = round(num_remaining * _epochs_per_trial(plan))

    def group_started(self, group_id: str, num_trials: int) -> None:
        """Take the size of a group that was started."""
        self._trials_per_group[group_id] = num_trials

    def group_progress(
        self, group_id: str, epoch: int, num_epochs: int, metrics: Mapping[str, float]
    ) -> None:
        """Take a running group's epoch and latest metrics."""
        self._running[group_id] = (epoch, num_epochs)
        value = metrics.get("val_accuracy", math.nan)
        if math.isfinite(value):
            best = self._best_val_accuracy
            self._best_val_accuracy = value if best is None else max(best, value)
        if self._first_report is None:
            self._first_report = (self._clock(), self._epochs_done())

    def group_finished(self, group_id: str, counts: Mapping[str, int]) -> None:
        """Take the trials of a group that ended, by status."""
        self._counts.update(counts)
        _, num_epochs = self._running.pop(group_id, (0, 0))
        self._epochs_ended += num_epochs * sum(counts.values())

    def snapshot(self) -> Snapshot:
        """Return the state now."""
        done = self._epochs_done()
        speed = self._epochs_per_s(done)
        return Snapshot(
            num_trials=self._num_trials,
            counts=dict(self._counts),
            num_running=sum(self._num_trials_of(group) for group in list(self._running)),
            epochs_done=done,
            epochs_total=max(self._epochs_total, done),
            best_val_accuracy=self._best_val_accuracy,
            elapsed_s=self._clock() - self._started_at,
            epochs_per_s=speed,
            remaining_s=max(self._epochs_total - done, 0) / speed if speed else None,
        )

    def _epochs_done(self) -> int:
        running = list(self._running.items())
        under_way = sum(epoch * self._num_trials_of(group) for group, (epoch, _) in running)
        return self._epochs_ended + under_way

    def _epochs_per_s(self, done: int) -> float | None:
        """Return the speed since the first report: processes take their time to start."""
        if self._first_report is None:
            return None
        first_at, first_done = self._first_report
        elapsed_s = self._clock() - first_at
        return (done - first_done) / elapsed_s if done > first_done and elapsed_s > 0 else None

    def _num_trials_of(self, group_id: str) -> int:
        return self._trials_per_group.get(group_id, 1)


def _epochs_per_trial(plan: "SweepPlan") -> float:
    """Return the mean number of epochs of a planned trial; a search is judged by its first."""
    if plan.trials:
        return sum(trial.num_epochs for trial in plan.trials) / len(plan.trials)
    first = plan.space.trials_of(next(plan.space.points()))[0]
    return TrialConfig.from_dict(first).num_epochs


def in_words(duration_s: float) -> str:
    """Return a duration as people say it: ``42 s``, ``3 min 5 s``, ``2 h 10 min``, ``3 d 4 h``."""
    seconds = max(round(duration_s), 0)
    for unit, name, smaller, smaller_name in (
        (86_400, "d", 3_600, "h"),
        (3_600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if seconds >= unit:
            return f"{seconds // unit} {name} {seconds % unit // smaller} {smaller_name}"
    return f"{seconds} s"

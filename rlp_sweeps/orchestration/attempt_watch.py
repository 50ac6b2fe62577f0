"""Passes on what is heard of an attempt's groups, whoever carries them out."""

import contextlib
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from rlp_sweeps.orchestration.attempt_state import write_attempt
from rlp_sweeps.orchestration.planner import Group
from rlp_sweeps.orchestration.progress import AttemptLog, ProgressListener
from rlp_sweeps.schema import STATUSES
from rlp_sweeps.stores import is_remote
from rlp_sweeps.tracking.group_log import add_line

if TYPE_CHECKING:
    from rlp_sweeps.orchestration.attempt import Attempt

NEWS = "news"
"""Key of a report under which stands what MLflow is told of."""

PAUSED = "paused"
"""Key of a group's last report that stands there where the group goes on in a later attempt."""

NOTE = "note"
"""Key of a report under which stands a sentence for whoever watches the sweep."""

REPORTED_METRICS = ("val_accuracy", "val_loss", "memorization")
"""Means over a group's members that schedulers and the live view see."""

_WRITE_EVERY_S = 1.0
_BUSY_EVERY_S = 10.0  # the time of groups at work is written down as often


class AttemptWatch:
    """Tells MLflow, whoever listens and the run directory how the groups of an attempt go.

    Attributes:
        log: What was heard so far.
    """

    def __init__(
        self,
        attempt: "Attempt",
        progress: ProgressListener,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin to watch.

        Args:
            attempt: The attempt.
            progress: Whoever listens.
            clock: Seconds that groups are busy in.
        """
        self.log = AttemptLog()
        self._progress = progress
        self._clock = clock
        self._directory = attempt.job.directory.path
        self._log_path = attempt.job.directory.log_path
        self._capacity = attempt.capacity
        self._devices_per_group = attempt.resources.num_gpus or attempt.resources.num_cpus
        self._feed = attempt.feed
        self._brake = attempt.brake
        self._begun_at_ms = time.time_ns() // 1_000_000
        self._started_at: dict[str, float] = {}
        self._written: tuple[frozenset[str], int] | None = None
        self._written_at = 0.0
        self._write_every_s = _WRITE_EVERY_S * (10 if is_remote(self._directory) else 1)

    def started(self, group: Group) -> None:
        """Hear that a group is on its way, for the first time or again."""
        self.log.running.add(group.group_id)
        self._started_at[group.group_id] = self._clock()
        self._progress.on_group_start(group.group_id, len(group.trials))
        self._feed.start(group.group_id, group.trials)

    def reported(self, group_id: str, result: Mapping[str, Any]) -> None:
        """Hear a report of `trainable.GroupRun`."""
        self._feed.take(result.get(NEWS, ""))
        if NOTE in result:
            self.log.notes.append(result[NOTE])
        if "num_epochs" not in result:
            return  # the last report of a group: its counts
        metrics = {name: result[name] for name in REPORTED_METRICS if name in result}
        self._progress.on_group_progress(group_id, result["epoch"], result["num_epochs"], metrics)

    def completed(
        self, group_id: str, result: Mapping[str, Any], *, is_cut_off: bool = False
    ) -> None:
        """Hear that a group has ended, or goes on in a later attempt, with its last report."""
        counts = {status: result.get(f"num_{status}", 0) for status in STATUSES}
        ended = {status: number for status, number in counts.items() if number}
        self._end(group_id, ended, goes_on=PAUSED in result or is_cut_off)

    def interrupted(self, group_id: str) -> None:
        """Hear that a group's process was lost; it runs no more until it is started again."""
        add_line(self._log_path(group_id), "its process was lost; it is started again")
        self.log.running.discard(group_id)
        self.count_time(group_id)

    def lost(self, group_id: str, reason: str) -> None:
        """Hear that a group is given up, because its process was lost once too often."""
        self.log.lost.append(f"group {group_id} was lost: {reason}")
        add_line(self._log_path(group_id), f"its process was lost once too often: {reason}")
        self._end(group_id, {})

    def write_down(self) -> None:
        """Write down which groups are running and for how long, at most once a second."""
        standing = (frozenset(self.log.running), self._capacity.at_once)
        now = time.monotonic()
        is_due = standing != self._written or now - self._written_at >= _BUSY_EVERY_S
        if is_due and now - self._written_at >= self._write_every_s:
            at = self._clock()
            busy_s = self.log.busy_s + sum(at - begun for begun in self._started_at.values())
            with contextlib.suppress(OSError):  # no room: `status` says less, and training goes on
                write_attempt(
                    self._directory,
                    running=standing[0],
                    slots=standing[1],
                    busy_s=busy_s,
                    devices_per_group=self._devices_per_group,
                    started_at_ms=self._begun_at_ms,
                )
            self._written, self._written_at = standing, now

    def close(self) -> None:
        """Count the time of groups that were cut off, and take over why the attempt ended."""
        for name in list(self._started_at):
            self.count_time(name)
        self.log.stopped_by = self._brake.reason

    def count_time(self, group_id: str) -> None:
        """Count the time that a group has held its place."""
        begun = self._started_at.pop(group_id, None)
        if begun is not None:
            self.log.busy_s += self._clock() - begun

    def _end(self, group_id: str, counts: Mapping[str, int], *, goes_on: bool = False) -> None:
        self.log.running.discard(group_id)
        self.log.num_ended += not goes_on
        self.count_time(group_id)
        self._progress.on_group_finished(group_id, counts)

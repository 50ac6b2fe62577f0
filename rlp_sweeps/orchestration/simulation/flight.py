"""A group on a simulated machine: its epochs pass in the time that they took its trials."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from rlp_sweeps.config import TrialConfig
from rlp_sweeps.orchestration.planner import Group
from rlp_sweeps.orchestration.rows import Row
from rlp_sweeps.orchestration.simulation.clock import Clock
from rlp_sweeps.orchestration.simulation.nodes import Node
from rlp_sweeps.orchestration.simulation.report import SimulationReport
from rlp_sweeps.orchestration.simulation.results import Recording, Results
from rlp_sweeps.orchestration.trainable import GroupRun, SweepJob
from rlp_sweeps.schema import METRICS
from rlp_sweeps.training.ledger import TrialResult
from rlp_sweeps.training.part import GroupProgress


@dataclass(kw_only=True, slots=True)
class Memory:
    """What the groups of an attempt share.

    Attributes:
        job: The sweep.
        results: How its trials go.
        clock: Simulated time.
        report: Is kept up to date.
        origin_ms: When the attempt started, in ms since 1970; rows carry simulated times after it.
        checkpoints: Epoch of the last checkpoint of each group that has one.
        starts_ms: When each trial was started first.
        rows: Rows of ``epochs`` so far of trials that have not ended.
    """

    job: SweepJob
    results: Results
    clock: Clock
    report: SimulationReport
    origin_ms: int
    checkpoints: dict[str, int] = field(default_factory=dict)
    starts_ms: dict[str, int] = field(default_factory=dict)
    rows: dict[str, list[Row]] = field(default_factory=dict)

    @property
    def now_ms(self) -> int:
        """Simulated time, in ms since 1970."""
        return self.origin_ms + round(self.clock.now_s * 1e3)


@dataclass(frozen=True, slots=True)
class _Member:
    """A trial that trains."""

    config: TrialConfig
    recording: Recording
    rows_by_epoch: dict[int, Row]


class Flight:
    """One start of a group.

    Attributes:
        group: Its members as planned, without those that had ended when it was planned.
        node: Where it is.
    """

    def __init__(
        self,
        memory: Memory,
        group: Group,
        node: Node,
        *,
        on_report: Callable[[dict[str, Any]], None],
        is_to_stop: Callable[[dict[str, Any]], bool] | None,
        on_end: Callable[[dict[str, Any]], None],
    ) -> None:
        """Take a group; it trains from `begin` on.

        Args:
            memory: What groups share.
            group: What trains.
            node: Where.
            on_report: Is called with every report, as Tune is.
            is_to_stop: Says after a report whether all members shall stop; None: never.
            on_end: Is called with the last report.
        """
        self.group = group
        self.node = node
        self._memory = memory
        self._on_report = on_report
        self._is_to_stop = is_to_stop
        self._on_end = on_end
        self._last: dict[str, Any] = {}
        self._stops = False
        self._is_lost = False
        self._live: dict[str, _Member] = {}
        self._epoch = 0
        self._saved_at_s = memory.clock.now_s
        self._run = GroupRun(memory.job, group, report=self._report, hostname=node.name)

    def lose(self) -> None:
        """Let nothing of the group happen any more."""
        self._is_lost = True
        self._memory.report.lost_s += self._memory.clock.now_s - self._saved_at_s

    def begin(self) -> None:
        """Start the members that have not ended, from the group's last checkpoint."""
        if self._is_lost:
            return
        memory = self._memory
        self._epoch = memory.checkpoints.get(self.group.group_id, 0)
        self._saved_at_s = memory.clock.now_s
        for config in self._run.begin():
            recording = memory.results.of(config)
            by_epoch = {row["epoch"]: row for row in recording.epochs}
            self._live[config.trial_id] = _Member(config, recording, by_epoch)
            memory.starts_ms.setdefault(config.trial_id, memory.now_ms)
            known = memory.rows.get(config.trial_id, [])
            memory.rows[config.trial_id] = [row for row in known if row["epoch"] <= self._epoch]
        self._go_on()

    def _go_on(self) -> None:
        """Set the end of the next epoch, or of the group."""
        if not self._live:
            self._memory.checkpoints.pop(self.group.group_id, None)
            self._run.finish()
            self._on_end(self._last)
            return
        times = (m.recording.epoch_times_s[self._epoch] for m in self._live.values())
        self._memory.clock.after(sum(times), self._end_epoch)

    def _end_epoch(self) -> None:
        if self._is_lost:
            return
        self._epoch += 1
        self._memory.report.trial_epochs += len(self._live)
        new_rows = {trial_id: self._new_rows(member) for trial_id, member in self._live.items()}
        latest = {i: self._memory.rows[i][-1] for i in self._live if self._memory.rows[i]}
        num_epochs = next(iter(self._live.values())).config.num_epochs
        for trial_id, member in list(self._live.items()):
            if member.recording.num_epochs <= self._epoch:
                self._end_member(trial_id, dict(member.recording.trial))
        progress = GroupProgress(
            epoch=self._epoch,
            num_epochs=num_epochs,
            latest=latest,
            new_rows=new_rows,
            live=tuple(self._live),
        )
        stopped = set(self._run.on_epoch(progress))
        for trial_id in list(self._live):
            if self._stops or trial_id in stopped:
                self._stop_member(trial_id)
        self._save_if_due()
        self._go_on()

    def _new_rows(self, member: _Member) -> list[Row]:
        row = member.rows_by_epoch.get(self._epoch)
        if row is None:
            return []
        logged = {**row, "logged_at_ms": self._memory.now_ms}
        self._memory.rows[member.config.trial_id].append(logged)
        return [logged]

    def _stop_member(self, trial_id: str) -> None:
        """End a member as ``stopped``, with the metrics of its last evaluation."""
        recording = self._live[trial_id].recording
        rows = self._memory.rows[trial_id]
        last = rows[-1] if rows else {}
        self._memory.report.num_stopped += 1
        self._memory.report.trial_epochs_saved += recording.num_epochs - self._epoch
        self._end_member(
            trial_id,
            {
                **recording.trial,
                "status": "stopped",
                **{name: last.get(name) for name in METRICS},
                "epochs_completed": self._epoch,
                "metrics_epoch": last.get("epoch"),
                "wall_time_s": sum(recording.epoch_times_s[: self._epoch]),
                "error": None,
            },
            is_cut_short=False,
        )

    def _end_member(self, trial_id: str, trial: Row, *, is_cut_short: bool = True) -> None:
        """Write an ended member's rows, with simulated times."""
        memory = self._memory
        memory.report.num_trials += 1
        memory.report.num_cut_short += is_cut_short and trial["status"] == "stopped"
        trial["started_at_ms"] = memory.starts_ms.pop(trial_id)
        trial["finished_at_ms"] = memory.now_ms
        self._run.end(TrialResult(trial=trial, epochs=memory.rows.pop(trial_id)))
        del self._live[trial_id]

    def _save_if_due(self) -> None:
        """Take a checkpoint when the last one is old enough and members are left."""
        now_s = self._memory.clock.now_s
        if self._live and now_s - self._saved_at_s >= self._memory.job.checkpoint_interval_s:
            self._memory.checkpoints[self.group.group_id] = self._epoch
            self._saved_at_s = now_s

    def _report(self, result: dict[str, Any]) -> None:
        self._last = result
        self._on_report(result)
        if self._is_to_stop is not None and "num_epochs" in result:
            self._stops = self._stops or self._is_to_stop(result)

"""What goes into a sweep, what comes out of it, and who is told meanwhile."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from rlp_sweeps.errors import ArgumentError, ClusterError
from rlp_sweeps.orchestration.best_points import BestPoint
from rlp_sweeps.orchestration.planner import SweepPlan
from rlp_sweeps.schema import STATUSES
from rlp_sweeps.tracking.group_log import groups_with_log
from rlp_sweeps.tracking.run_directory import RunDirectory

BUDGETS = ("hours", "trials")
"""What a budget is given in."""


_LEFT_OUT = {
    "max_concurrent": "as many groups as fit",
    "cpus_per_group": "1 core",
    "gpus_per_group": "1 on cuda, 0 on cpu",
    "num_cpus": "all of the machine's",
    "checkpoint_interval_s": "30 s",
    "max_hours": "no limit",
    "max_trials": "no limit",
    "trial_timeout_s": "no limit",
}
"""What holds where an option is not given."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunOptions:
    """Where a sweep runs and how much of it at once; nothing here changes a trial's numbers.

    Attributes:
        address: ``host:port`` of a running Ray cluster, or ``auto``; None starts one of its own.
        device: One of ``planner.DEVICES``; a resumed sweep takes ``auto`` as what it began with.
        max_concurrent: Groups trained at once, which a running cluster may grow for; None: as many
            as the cluster has room for.
        cpus_per_group: CPU cores of a group, and threads of its training.
        gpus_per_group: GPUs of a group, fractions allowed; None: 0 on ``cpu``, 1 on ``cuda``.
        num_cpus: Cores of a cluster of its own; None: those of the machine.
        tracking_uri: MLflow store; None: an SQLite file beside the run directory.
        tracking_may_be_away: Begin without a store that does not answer; `sync` completes it. A
            resumed sweep always does.
        reuse: Directories of older sweeps whose finished trials are taken over.
        retry_failed: Train trials again that have failed.
        checkpoint_interval_s: Least seconds between two checkpoints of a group.
        keep_weights: Keep the trained weights of trials that end from now on, in ``weights/``; what
            is trained later in the same directory keeps them too.
        log_models: The same, and MLflow is given them as models.
        keep_samples: The same of what the networks say of every sample, in ``samples/``.
        probes: Probes of trials that end from now on, and of what is trained later in the same
            directory; empty: none, or those that the directory was asked for before.
        trusts_code: Import and call the code that a run directory names, whoever began it.
        max_hours: Hours from the start of this call after which no group starts and those at work
            pause at the end of their epoch; None: no limit.
        max_trials: Trials that this call trains at most; None: no limit.
        trial_timeout_s: Seconds without an epoch after which a group's process is ended and its
            trials have failed; None: never.
    """

    address: str | None = None
    device: str = "auto"
    max_concurrent: int | None = None
    cpus_per_group: float = 1.0
    gpus_per_group: float | None = None
    num_cpus: int | None = None
    tracking_uri: str | None = None
    tracking_may_be_away: bool = False
    reuse: tuple[Path, ...] = ()
    retry_failed: bool = False
    checkpoint_interval_s: float = 30.0
    keep_weights: bool = False
    log_models: bool = False
    keep_samples: bool = False
    probes: tuple[str, ...] = ()
    trusts_code: bool = False
    max_hours: float | None = None
    max_trials: int | None = None
    trial_timeout_s: float | None = None

    def gpus_of_group(self, device: str) -> float:
        """Return the GPUs of one group on that device, the default filled in."""
        default = 1.0 if device == "cuda" else 0.0
        return default if self.gpus_per_group is None else self.gpus_per_group

    def __post_init__(self) -> None:
        if self.address is not None and not self.address.strip():
            msg = (
                "the address of a Ray cluster must not be empty, but got address=''; give "
                "host:port, or leave --address out to start a local cluster."
            )
            raise ClusterError(msg)
        rules = {
            "1 <= max_concurrent": self.max_concurrent is None or self.max_concurrent >= 1,
            "0 < cpus_per_group < inf": 0 < self.cpus_per_group < math.inf,
            "0 <= gpus_per_group < inf": self.gpus_per_group is None
            or 0 <= self.gpus_per_group < math.inf,
            "1 <= num_cpus": self.num_cpus is None or self.num_cpus >= 1,
            "0 <= checkpoint_interval_s": self.checkpoint_interval_s >= 0,
            "0 < max_hours < inf": self.max_hours is None or 0 < self.max_hours < math.inf,
            "1 <= max_trials": self.max_trials is None or self.max_trials >= 1,
            "0 < trial_timeout_s": self.trial_timeout_s is None or self.trial_timeout_s > 0,
        }
        for rule, holds in rules.items():
            if not holds:
                name = rule.split()[2]
                msg = (
                    f"`{rule}` must hold, but got {name}={getattr(self, name)!r}; leave it out for "
                    f"{_LEFT_OUT[name]}."
                )
                raise ArgumentError(msg)


@dataclass(frozen=True, kw_only=True, slots=True)
class FailedTrial:
    """A trial that raised.

    Attributes:
        trial_id: Its id.
        arm: Its arm.
        seed: Its replicate.
        error: Last line of its trace.
        log: Path of its group's log; None without one.
    """

    trial_id: str
    arm: str
    seed: int
    error: str
    log: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class SweepOutcome:
    """How a sweep stands when its driver ends.

    Attributes:
        directory: The run directory.
        num_planned: Trials of the plan; in a search those of the points asked for so far, and the
            most that the points to come can hold.
        counts: Rows by status, all of ``schema.STATUSES``.
        failed: Trials that raised.
        missing: Ids of trials without a row: planned ones, in a search those of points asked for.
        lost: One sentence for each group whose process was lost once too often.
        num_points_left: Points of a search that are not told yet.
        best: Points of a search that no other one beats so far; several with two objectives.
        interrupted: The sweep was stopped before its end.
        stopped_by: What it was stopped by: ``hours`` or ``trials`` of its budget, ``cancel``; None:
            a signal.
        wall_time_s: Seconds from start to end of this attempt.
        device_hours: Hours of a GPU, or of a core on a CPU, that its groups held.
        unprobed: Why trials could not be probed as they ended, one sentence each.
        notes: What was found spoilt and made good, one sentence each.
        is_tracked: MLflow is told of it; not of a simulated sweep for which no store was named.
        tracking_error: What MLflow lacks, since when, why, and what completes it.
    """

    directory: Path
    num_planned: int
    counts: dict[str, int]
    failed: tuple[FailedTrial, ...] = ()
    missing: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    num_points_left: int = 0
    best: tuple[BestPoint, ...] = ()
    interrupted: bool = False
    stopped_by: str | None = None
    wall_time_s: float = 0.0
    device_hours: float = 0.0
    unprobed: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    is_tracked: bool = True
    tracking_error: str | None = None

    @property
    def is_complete(self) -> bool:
        """Whether every planned trial has a row and every point was told."""
        return not self.missing and not self.num_points_left

    @property
    def exit_status(self) -> int:
        """0: done; 1: trials failed, are missing or not probed; 3: out of budget; 130: stopped.

        The last two where trials are left.
        """
        if self.interrupted and not self.is_complete:
            return 3 if self.stopped_by in BUDGETS else 130
        return 0 if self.is_complete and not (self.failed or self.unprobed) else 1


class ProgressListener(Protocol):
    """Is told how a sweep goes, on the driver's event loop: every call must return at once."""

    def on_start(self, plan: SweepPlan, num_groups: int, finished: Mapping[str, int]) -> None:
        """Hear that a sweep begins.

        Args:
            plan: What is trained.
            num_groups: Groups to train now; in a search the most that there can be.
            finished: Rows that are there already, by status.
        """

    def on_notice(self, sentence: str) -> None:
        """Hear what is amiss with a sweep that goes on all the same, once it has begun."""

    def on_group_start(self, group_id: str, num_trials: int) -> None:
        """Hear that a group of that many trials is on its way."""

    def on_group_progress(
        self, group_id: str, epoch: int, num_epochs: int, metrics: Mapping[str, float]
    ) -> None:
        """Hear that a group has completed an epoch.

        Args:
            group_id: The group.
            epoch: Epochs completed.
            num_epochs: Epochs of its training.
            metrics: Means over its members of `val_accuracy`, `val_loss` and `memorization`, where
                there are any yet.
        """

    def on_group_finished(self, group_id: str, counts: Mapping[str, int]) -> None:
        """Hear that a group has ended.

        Args:
            group_id: The group.
            counts: Trials that ended in it, by status; empty if its process was lost.
        """

    def on_end(self, outcome: SweepOutcome) -> None:
        """Hear that the driver is done, whatever the end."""


class SilentProgress:
    """A listener that shows nothing."""

    def on_start(self, plan: SweepPlan, num_groups: int, finished: Mapping[str, int]) -> None:
        """Do nothing."""

    def on_notice(self, sentence: str) -> None:
        """Do nothing."""

    def on_group_start(self, group_id: str, num_trials: int) -> None:
        """Do nothing."""

    def on_group_progress(
        self, group_id: str, epoch: int, num_epochs: int, metrics: Mapping[str, float]
    ) -> None:
        """Do nothing."""

    def on_group_finished(self, group_id: str, counts: Mapping[str, int]) -> None:
        """Do nothing."""

    def on_end(self, outcome: SweepOutcome) -> None:
        """Do nothing."""


def count_by_status(statuses: Mapping[str, str]) -> dict[str, int]:
    """Return the number of trials in each of ``schema.STATUSES``, given status by trial id."""
    values = list(statuses.values())
    return {status: values.count(status) for status in STATUSES}


def failed_trials(rows: list[dict[str, Any]], directory: RunDirectory) -> tuple[FailedTrial, ...]:
    """Return the trials that raised, out of rows of ``trials``."""
    failed = [row for row in rows if row["status"] == "failed"]
    logged = groups_with_log(directory.path) if failed else ()
    return tuple(
        FailedTrial(
            trial_id=row["trial_id"],
            arm=row["arm"],
            seed=row["seed"],
            error=last_line(row["error"] or ""),
            log=str(directory.log_path(row["group_id"])) if row["group_id"] in logged else None,
        )
        for row in failed
    )


def last_line(trace: str) -> str:
    """Return the last line of a trace that says something."""
    lines = [line.strip() for line in trace.splitlines() if line.strip()]
    return lines[-1] if lines else "no trace was kept"


@dataclass(kw_only=True, slots=True)
class AttemptLog:
    """What one attempt has heard from its groups so far; read after it has ended.

    Attributes:
        running: Groups that were started and have not ended.
        num_ended: Groups that ended, lost ones included, those that go on later left out.
        lost: One sentence for each group whose process was lost for good.
        busy_s: Seconds that groups held their place, summed over groups.
        stopped_by: Why it ended before its groups were done; None where it did not, or by a signal.
        notes: Sentences of groups on what they found spoilt and made good.
    """

    running: set[str] = field(default_factory=set)
    num_ended: int = 0
    lost: list[str] = field(default_factory=list)
    busy_s: float = 0.0
    stopped_by: str | None = None
    notes: list[str] = field(default_factory=list)

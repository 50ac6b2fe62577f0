"""How far a sweep has come, read from its directory alone, while it runs or afterwards."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rlp_sweeps.orchestration.attempt_state import AttemptState, read_attempt
from rlp_sweeps.orchestration.attempts import FinishedAttempt, read_attempts
from rlp_sweeps.orchestration.best_points import BestPoint, best_points
from rlp_sweeps.orchestration.planner import SweepPlan, plan_from_manifest
from rlp_sweeps.orchestration.points import all_groups, planned_trials
from rlp_sweeps.orchestration.progress import FailedTrial, count_by_status, failed_trials
from rlp_sweeps.spaces import SearchSpace
from rlp_sweeps.tracking.holder import read_holder
from rlp_sweeps.tracking.mlflow_gap import read_gap
from rlp_sweeps.tracking.run_directory import RunDirectory


@dataclass(frozen=True, kw_only=True, slots=True)
class SweepStatus:
    """How a sweep stands.

    Attributes:
        name: The recipe's name.
        is_running: A driver is at work, on this machine or on one that shares the folder's locks.
        num_planned: Trials of the whole sweep; in a search the most that there can be.
        counts: Rows by status, all of ``schema.STATUSES``.
        num_running: Trials without a row in the groups being trained.
        num_remaining: Trials without a row, the running ones included.
        failed: Trials that raised.
        remaining_s: Seconds to the end at the mean pace of the finished trials, as many at once as
            the driver at work trains, or one; None where nothing has finished.
        best: Points of a search that no other one beats so far; several with two objectives.
        holder: Who is at work, or was killed at work and has left the directory as it was.
        ended_by: What ended the last attempt, see `attempts.FinishedAttempt`; None before the first
            end.
        device_hours: Hours of a GPU, or of a core on a CPU, that groups have held so far.
        wall_time_s: Seconds in which a driver trained, over all attempts that kept theirs.
        tracking_error: What MLflow lacks, since when, why, and what completes it.
    """

    name: str
    is_running: bool
    num_planned: int
    counts: dict[str, int]
    num_running: int
    num_remaining: int
    failed: tuple[FailedTrial, ...]
    remaining_s: float | None
    best: tuple[BestPoint, ...] = ()
    holder: str | None = None
    ended_by: str | None = None
    device_hours: float = 0.0
    wall_time_s: float = 0.0
    tracking_error: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the status ready for JSON."""
        return asdict(self)


def sweep_status(directory: Path) -> SweepStatus:
    """Return how a sweep stands; nothing is changed.

    Raises:
        RunDirectoryError: It is no run directory.
        SchemaError: One of its part files is corrupt.
    """
    opened = RunDirectory.open(directory)
    plan = plan_from_manifest(opened.manifest)
    rows = opened.read_trials(_columns(plan.space)).to_pylist()
    statuses = {row["trial_id"]: row["status"] for row in rows}
    planned, num_planned, num_points_left = planned_trials(plan, opened.path, statuses)
    num_remaining = max(0, num_planned - len(statuses))
    if plan.is_search and not num_points_left:
        num_remaining = sum(trial_id not in statuses for trial_id in planned)
    is_running = opened.is_held()
    written = read_attempt(opened.path)
    state = written if is_running else None
    attempts = read_attempts(opened.path)
    signed = read_holder(opened.path)
    unfinished_s = 0.0 if written is None else written.busy_s * written.devices_per_group
    device_hours = sum(a.device_hours for a in attempts) + unfinished_s / 3600
    running = set() if state is None else set(state.running)
    gap = read_gap(opened.path)
    return SweepStatus(
        name=plan.name,
        is_running=is_running,
        num_planned=num_planned,
        counts=count_by_status(statuses),
        num_running=_num_running(plan, opened.path, running, statuses),
        num_remaining=num_remaining,
        failed=failed_trials(rows, opened),
        remaining_s=_remaining_s(rows, num_remaining, 1 if state is None else state.slots),
        best=best_points(plan.space, rows),
        holder=None if signed is None else str(signed),
        ended_by=attempts[-1].ended_by if attempts else None,
        device_hours=device_hours,
        wall_time_s=_wall_time_s(attempts, written),
        tracking_error=None if gap is None else gap.sentence(opened.path),
    )


def _columns(space: SearchSpace) -> list[str]:
    """Return the columns of ``trials`` that a status is made of: few, for it is asked for often."""
    columns = ["trial_id", "group_id", "status", "arm", "seed", "error", "wall_time_s"]
    if space.search is not None:
        columns += ["point", "epochs_completed", *space.axes, *space.search.objectives]
    return columns


def _wall_time_s(attempts: Sequence[FinishedAttempt], unfinished: AttemptState | None) -> float:
    """Return the time of the attempts that ended, and of that at work until it last wrote."""
    wall_time_s = sum(attempt.wall_time_s or 0.0 for attempt in attempts)
    if unfinished is not None and unfinished.started_at_ms is not None:
        wall_time_s += (unfinished.written_at_ms - unfinished.started_at_ms) / 1000
    return wall_time_s


def _num_running(
    plan: SweepPlan, directory: Path, running: set[str], statuses: Mapping[str, str]
) -> int:
    at_work = [group for group in all_groups(plan, directory) if group.group_id in running]
    members = [trial.trial_id for group in at_work for trial in group.trials]
    return sum(trial_id not in statuses for trial_id in members)


def _remaining_s(rows: list[dict[str, Any]], num_remaining: int, slots: int) -> float | None:
    if not num_remaining:
        return 0.0
    times: list[float] = [row["wall_time_s"] for row in rows if row["wall_time_s"] is not None]
    if not times or not slots:
        return None
    return sum(times) / len(times) * num_remaining / slots

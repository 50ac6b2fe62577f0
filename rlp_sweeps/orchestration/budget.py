"""How much of a plan one call trains: until its budget is used up, or it is cancelled."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rlp_sweeps.errors import ArgumentError
from rlp_sweeps.orchestration.engine_choice import SEQUENTIAL
from rlp_sweeps.orchestration.planner import Group, SweepPlan
from rlp_sweeps.orchestration.progress import RunOptions
from rlp_sweeps.tracking.driver_process import Holder
from rlp_sweeps.tracking.holder import read_request

if TYPE_CHECKING:
    from rlp_sweeps.orchestration.brake import Brake
    from rlp_sweeps.orchestration.estimates import SweepEstimate

PATIENCE_S = 300.0
"""Longest wait for running epochs when the hours are used up or a sweep is cancelled, in s."""


def check_budget(plan: SweepPlan, options: RunOptions) -> None:
    """Refuse a number of trials that no point of a search fits into.

    Raises:
        ArgumentError: It does not.
    """
    if plan.is_search and options.max_trials is not None:
        check_fits(plan.trials_per_point, options.max_trials)


def check_fits(num_trials: int, max_trials: int) -> None:
    """Refuse a number of trials that the next group is larger than.

    Raises:
        ArgumentError: It is.
    """
    if num_trials > max_trials:
        msg = (
            f"`{num_trials} <= max_trials` must hold, because the next {num_trials} trials of this "
            f"sweep are trained together, but got max_trials={max_trials}."
        )
        raise ArgumentError(msg)


@dataclass(frozen=True, kw_only=True, slots=True)
class Reach:
    """How far one call comes with its budget.

    Attributes:
        num_trials: Trials that would have ended, about; None where no time is known.
        share: Of all trials, 0 to 1.
        num_calls: Calls with that budget to the end, about; groups that a call does not end go on
            in the next.
    """

    num_trials: int | None
    share: float | None
    num_calls: int | None


def reach(plan: SweepPlan, estimate: "SweepEstimate", options: RunOptions) -> Reach | None:
    """Return how far one call with these options comes; None where they hold no budget."""
    limits: list[float | None] = []
    calls: list[float] = []
    if options.max_hours is not None:
        budget_s = options.max_hours * 3600
        limits.append(estimate.trials_within(budget_s))
        calls.append((estimate.time_s or 0.0) / budget_s)
    if options.max_trials is not None:
        limits.append(float(options.max_trials))
        calls.append(plan.num_trials / options.max_trials)
    if not limits:
        return None
    known = [limit for limit in limits if limit is not None]
    if len(known) < len(limits):
        return Reach(num_trials=None, share=None, num_calls=None)
    num_trials = min(plan.num_trials, math.floor(min(known)))
    share = num_trials / plan.num_trials
    return Reach(num_trials=num_trials, share=share, num_calls=math.ceil(max(calls)))


def first_trials(plan: SweepPlan, groups: Sequence[Group], max_trials: int | None) -> list[Group]:
    """Return the groups that hold the first trials.

    Members that an engine trains one by one are counted one by one; others stay together, because
    the last digits of their numbers depend on how many they are.

    Args:
        plan: The sweep.
        groups: In the order they start.
        max_trials: Trials to train at most; None: all.

    Raises:
        ArgumentError: Not even the first group can be trained.
    """
    if max_trials is None:
        return list(groups)
    first: list[Group] = []
    left = max_trials
    for group in groups:
        part = group
        if left > 0 and plan.engine_of(group.trials[0]) == SEQUENTIAL:
            part = group.without({trial.trial_id for trial in group.trials[left:]})
        if len(part.trials) > left:
            break
        first.append(part)
        left -= len(part.trials)
    if groups and not first:
        check_fits(len(groups[0].trials), max_trials)
    return first


def brake_of(
    options: RunOptions, directory: Path, holder: Holder, *, started_at: float | None = None
) -> "Brake":
    """Return what ends an attempt when its hours are used up, or its holder is asked to stop.

    Args:
        options: The budget.
        directory: The run directory, where a request is left.
        holder: This process as the directory names it.
        started_at: When the call began, on the monotonic clock; None: now.
    """
    from rlp_sweeps.orchestration.brake import Brake  # imports Ray, which no plan needs

    begun = time.monotonic() if started_at is None else started_at

    def asks() -> float | None:
        request = read_request(directory, holder)
        if request is None:
            return None
        return 0.0 if request.now else PATIENCE_S

    ends_at = None if options.max_hours is None else begun + options.max_hours * 3600
    return Brake(ends_at=ends_at, asks=asks, patience_s=PATIENCE_S)

"""What a finished sweep's analysis lacks: planned, told and written, in up to two stages.

The second stage trains the controls that are matched to what the first one measured.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlp_sweeps.errors import ArgumentError

if TYPE_CHECKING:
    from rlp_sweeps.config import TrialConfig
    from rlp_sweeps.orchestration.follow_up import FollowUp
    from rlp_sweeps.orchestration.planner import SweepPlan
    from rlp_sweeps.orchestration.progress import RunOptions

Tell = Callable[[str], None]
"""Takes a sentence for the user."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FollowUpRequest:
    """What a follow-up is asked for.

    Attributes:
        matched_to: Arms whose measured κ controls are trained at; None: all that the sweep has.
        num_seeds: Replicates that the sweep shall have; None: those that it has.
        half_width: Instead, the widest half of a pooled 95 % interval, in units of test accuracy.
        replays: Train controls besides that replay κ from one evaluation to the next.
        cap: κ of a replayed interval is cut to 0 … cap; None: `follow_up.DEFAULT_CAP`.

    Raises:
        ArgumentError: There is a cap and nothing is replayed, or both seeds and a width are given.
    """

    matched_to: tuple[str, ...] | None = None
    num_seeds: int | None = None
    half_width: float | None = None
    replays: bool = False
    cap: float | None = None

    def __post_init__(self) -> None:
        if self.cap is not None and not self.replays:
            msg = (
                f"a cap is for replayed controls, but got `--cap {self.cap:g}` without `--replay`."
            )
            raise ArgumentError(msg)
        if self.half_width is not None and self.num_seeds is not None:
            msg = (
                "the number of seeds is given or follows from a width, not both, but got "
                f"`--num-seeds {self.num_seeds}` and `--half-width {self.half_width:g}`."
            )
            raise ArgumentError(msg)


@dataclass(frozen=True, kw_only=True, slots=True)
class Training:
    """What is trained next; it stands in the plan already.

    Attributes:
        options: Where it runs, with what is left of the budget.
        is_last: The follow-up ends with it.
    """

    options: "RunOptions"
    is_last: bool


class FollowUpStages:
    """The stages of a follow-up: iterating writes one into the plan after the other.

    Whoever iterates resumes the sweep with each, and leaves off where one was cut short.

    Attributes:
        found: What is lacking before anything is trained.
        is_out_of_budget: The second stage was left out, because the first one has used up all.

    Args:
        directory: The run directory.
        request: What is asked for.
        options: Where it runs; both stages share its budget.
        tell: Hears what is trained.
        warn: Hears what cannot be.

    Raises:
        ArgumentError: The sweep is not finished, or the request does not fit it.
        RunDirectoryError: It is no run directory, or not analyzed where a width is asked for.
    """

    def __init__(
        self,
        directory: Path,
        request: FollowUpRequest,
        options: "RunOptions",
        *,
        tell: Tell,
        warn: Tell,
    ) -> None:
        self._directory = directory
        self._request = request
        self._budget = _Budget(options)
        self._tell = tell
        self._warn = warn
        self.is_out_of_budget = False
        if request.half_width is not None:
            num_seeds, why = _seeds_by_stein(directory, request.half_width)
            tell(why)
            self._request = replace(request, num_seeds=num_seeds, half_width=None)
        self.found = self._plan()

    def __iter__(self) -> Iterator[Training]:
        """Yield what is trained next."""
        found, budget = self.found, self._budget
        if found.is_empty:
            return
        has_second = bool(found.num_further or found.num_retried)
        for is_last in (False, True) if has_second else (True,):
            if budget.is_used_up:
                self.is_out_of_budget = True
                return
            options = replace(budget.options, retry_failed=found.num_retried > 0)
            write_stage(self._directory, found, options)
            yield Training(options=options, is_last=is_last)
            budget.spend(len(found.trials) + found.num_retried)
            if not is_last:
                found = replace(self._plan(), num_retried=0)

    def _plan(self) -> "FollowUp":
        found = plan_stage(self._directory, self._request)
        self._tell(f"follow-up of {self._directory}: {describe_follow_up(found)}")
        for sentence in found.skipped:
            self._warn(sentence)
        return found


class _Budget:
    """What both stages of a follow-up may take together.

    Attributes:
        options: With what is left of the budget.
        is_used_up: Whether nothing is.
    """

    def __init__(self, options: "RunOptions") -> None:
        self.options = options
        self.is_used_up = False
        self._started_at = time.monotonic()

    def spend(self, num_trials: int) -> None:
        """Take off the trials of a stage, and its time."""
        now = time.monotonic()
        hours, trials = self.options.max_hours, self.options.max_trials
        hours = None if hours is None else hours - (now - self._started_at) / 3600
        trials = None if trials is None else trials - num_trials
        self._started_at = now
        self.is_used_up = any(left is not None and left <= 0 for left in (hours, trials))
        if not self.is_used_up:
            self.options = replace(self.options, max_hours=hours, max_trials=trials)


def plan_stage(directory: Path, request: FollowUpRequest) -> "FollowUp":
    """Return what is lacking now; what was not measured before makes a second stage.

    Raises:
        ArgumentError: The sweep is not finished, or the request does not fit it.
        RunDirectoryError: It is no run directory.
    """
    from rlp_sweeps.orchestration.follow_up import DEFAULT_CAP, Replay, plan_follow_up
    from rlp_sweeps.orchestration.planner import plan_from_manifest
    from rlp_sweeps.tracking.run_directory import RunDirectory

    opened = RunDirectory.open(directory)
    plan, rows = plan_from_manifest(opened.manifest), opened.read_trials().to_pylist()
    asked = _asked(directory, plan, rows)
    replay = None
    if request.replays:
        epochs = opened.read_epochs().select(Replay.COLUMNS).to_pylist()
        cap = DEFAULT_CAP if request.cap is None else request.cap
        replay = Replay(epochs=epochs, cap=cap)
    return plan_follow_up(
        plan,
        rows,
        asked=asked,
        matched_to=request.matched_to,
        num_seeds=request.num_seeds,
        replay=replay,
    )


def _asked(directory: Path, plan: "SweepPlan", rows: list[dict[str, Any]]) -> "list[TrialConfig]":
    """Return the trials of a search's points; none of a grid.

    Raises:
        ArgumentError: Not all points have been trained.
    """
    from rlp_sweeps.orchestration.points import asked_trials, planned_trials

    if not plan.is_search:
        return []
    statuses = {row["trial_id"]: row["status"] for row in rows}
    _, _, num_points_left = planned_trials(plan, directory, statuses)
    if num_points_left:
        msg = (
            f"a follow-up reads a finished sweep, but {num_points_left} of {plan.num_points} "
            f"points are not trained yet; `rlp-sweeps resume {directory}` goes on."
        )
        raise ArgumentError(msg)
    return asked_trials(plan, directory)


def write_stage(directory: Path, found: "FollowUp", options: "RunOptions") -> None:
    """Write new trials into the plan, once it is known that they can be trained here.

    Raises:
        RlpSweepsError: As `resume_sweep` raises before it starts.
    """
    from rlp_sweeps.orchestration.sweep_request import check_resume
    from rlp_sweeps.tracking.run_directory import RunDirectory

    opened = RunDirectory.open(directory)
    check_resume(opened, options, further=found.trials)
    if found.trials:
        opened.add_trials(found.trials, why=describe_follow_up(found))


def describe_follow_up(found: "FollowUp") -> str:
    """Return what is trained besides, in one line: "30 trials: 15 rescaled (κ 1.2 to 2.1), …"."""
    if found.is_empty:
        return "nothing is lacking"
    parts = []
    for arm, number in Counter(trial.arm for trial in found.trials).items():
        ends = found.multipliers.get(arm)
        parts.append(f"{number} {arm}" + (f" (κ {ends[0]:.3g} to {ends[1]:.3g})" if ends else ""))
    if found.num_retried:
        parts.append(f"{found.num_retried} that failed, once more")
    num_trials = len(found.trials) + found.num_retried
    text = f"{num_trials} trial{'s' * (num_trials != 1)}: {', '.join(parts)}"
    return text + "; then the matched controls of what these measure" * bool(
        found.num_further or found.num_retried
    )


def _seeds_by_stein(directory: Path, half_width: float) -> tuple[int, str]:
    """Return the seeds in all that Stein's two-stage rule asks for, and why so many.

    Raises:
        ArgumentError: The second stage was planned before.
        RunDirectoryError: The sweep is not analyzed, or has one seed.
    """
    from analysis.power import stein_interval, stein_num_seeds
    from analysis.sensitivity import largest_spread
    from rlp_sweeps.orchestration.planner import plan_from_manifest
    from rlp_sweeps.tracking.run_directory import RunDirectory

    plan = plan_from_manifest(RunDirectory.open(directory).manifest)
    first = range(plan.space.first_seed, plan.space.first_seed + plan.space.num_seeds)
    num_planned = len({*first, *(trial.seed for trial in plan.trials)})
    if num_planned > plan.space.num_seeds:
        msg = (
            "Stein's rule has two stages, and a third look would be peeking, but this sweep has "
            f"{num_planned} seeds, {plan.space.num_seeds} of them planned at first; say how many "
            "it shall have with `--num-seeds N`."
        )
        raise ArgumentError(msg)
    spread = largest_spread(directory)
    assert spread.num_seeds is not None  # read from a run
    needed = stein_num_seeds(spread.value, spread.num_seeds, half_width)
    _, high = stein_interval(0.0, spread.value, spread.num_seeds, needed)
    why = (
        f"Stein's two-stage rule: a seed spread of {spread} and a half-width of {half_width:g} "
        f"take {needed} seeds in all; the interval that the rule vouches for is then the mean of "
        f"all ± {high:.2g}, whatever their spread"
    )
    return max(needed, num_planned), why

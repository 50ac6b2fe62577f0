"""The command that trains what a finished sweep's analysis lacks."""

import time
from collections import Counter
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rlp_sweeps.cli import completion
from rlp_sweeps.cli import options as opt
from rlp_sweeps.cli.option_groups import Driving
from rlp_sweeps.cli.options import say
from rlp_sweeps.cli.sweeping import watch
from rlp_sweeps.errors import ArgumentError

if TYPE_CHECKING:
    from rlp_sweeps.config import TrialConfig
    from rlp_sweeps.orchestration.follow_up import FollowUp
    from rlp_sweeps.orchestration.planner import SweepPlan
    from rlp_sweeps.orchestration.progress import RunOptions, SweepOutcome
    from rlp_sweeps.views.live_view import SweepView

MatchedTo = Annotated[
    list[str] | None,
    typer.Option(
        metavar="ARM",
        autocompletion=completion.matched_arms,
        help="Train controls at the learning rate that this arm amounts to (its measured κ): full, "
        "class_term, uniform_term. Repeatable. Default: all that the sweep has.",
    ),
]


def follow_up(  # noqa: PLR0913  # one parameter an option
    directory: opt.Directory,
    *,
    matched_to: MatchedTo = None,
    num_seeds: Annotated[
        int | None,
        typer.Option(metavar="N", help="Replicates the sweep shall have. Default: those it has."),
    ] = None,
    half_width: Annotated[
        float | None,
        typer.Option(
            metavar="X",
            help="Instead of N: as many replicates as Stein's two-stage rule asks for, so that "
            "every pooled 95 % interval is at most ± X wide, in units of test accuracy.",
        ),
    ] = None,
    replay: Annotated[
        bool,
        typer.Option(
            "--replay",
            help="Besides, train controls that replay κ from one evaluation to the next, in place "
            "of one κ for the whole training.",
        ),
    ] = False,
    cap: Annotated[
        float | None,
        typer.Option(metavar="X", help="Cut a replayed κ to 0 … X. Default: 10."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what is lacking; stop.")] = False,
    json: opt.AsJson = False,
    driving: Driving,
    trust_code: opt.TrustCode = False,
    no_analyze: opt.NoAnalyze = False,
) -> int:
    """Train what the analysis lacks, in the same directory.

    Controls at the learning rate that each arm amounts to, further seeds, failed trials once more.
    """
    from rlp_sweeps.cli.printing import print_json

    if half_width is not None:
        num_seeds = _seeds_by_stein(directory, half_width, num_seeds)
    budget = _Budget(driving.run_options(trusts_code=trust_code))
    stage = _Stage(directory, matched_to, num_seeds, _cap_of(replay, cap))
    found = stage.plan()
    if json and dry_run:
        print_json(_as_dict(found))
    if dry_run or found.is_empty:
        return opt.DONE
    for is_first in (True, False):
        if budget.is_used_up:
            say(f"the budget is used up; `rlp-sweeps follow-up {directory}` again goes on.")
            return opt.OUT_OF_BUDGET
        options = replace(budget.options, retry_failed=found.num_retried > 0)
        stage.write(found, options)
        is_last = not (is_first and (found.num_further or found.num_retried))
        status = watch(
            partial(_resume, directory, options),
            directory,
            is_analyzed=is_last and not no_analyze,
            tracking_uri=driving.tracking_uri,
        )
        budget.spend(len(found.trials) + found.num_retried)
        if is_last or status not in {opt.DONE, opt.SOME_FAILED}:
            return status
        found = replace(stage.plan(), num_retried=0)
    return status


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


def _as_dict(found: "FollowUp") -> dict[str, Any]:
    """Return what is lacking as JSON-ready values."""
    return {
        "num_trials": len(found.trials) + found.num_retried,
        "trials_by_arm": dict(Counter(trial.arm for trial in found.trials)),
        "multipliers": {arm: list(ends) for arm, ends in found.multipliers.items()},
        "num_further": found.num_further,
        "num_retried": found.num_retried,
        "skipped": list(found.skipped),
    }


def _cap_of(replay: bool, cap: float | None) -> float | None:
    """Return the largest κ to be replayed; None where nothing is."""
    from rlp_sweeps.orchestration.follow_up import DEFAULT_CAP

    if cap is not None and not replay:
        msg = f"a cap is for replayed controls, but got `--cap {cap:g}` without `--replay`."
        raise ArgumentError(msg)
    return (DEFAULT_CAP if cap is None else cap) if replay else None


def _resume(directory: Path, options: "RunOptions", progress: "SweepView") -> "SweepOutcome":
    from rlp_sweeps.orchestration.sweep import resume_sweep

    return resume_sweep(directory, options=options, progress=progress)


def _seeds_by_stein(directory: Path, half_width: float, num_seeds: int | None) -> int:
    """Return the seeds in all that Stein's two-stage rule asks for, and say why so many.

    Raises:
        ArgumentError: A number was given as well, or the second stage was planned before.
        RunDirectoryError: The sweep is not analyzed, or has one seed.
    """
    from analysis.power import stein_interval, stein_num_seeds
    from analysis.sensitivity import largest_spread
    from rlp_sweeps.orchestration.planner import plan_from_manifest
    from rlp_sweeps.tracking.run_directory import RunDirectory

    if num_seeds is not None:
        msg = (
            "the number of seeds is given or follows from a width, not both, but got "
            f"`--num-seeds {num_seeds}` and `--half-width {half_width:g}`."
        )
        raise ArgumentError(msg)
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
    print(
        f"Stein's two-stage rule: a seed spread of {spread} and a half-width of {half_width:g} "
        f"take {needed} seeds in all; the interval that the rule vouches for is then the mean of "
        f"all ± {high:.2g}, whatever their spread",
        flush=True,
    )
    return max(needed, num_planned)


@dataclass(frozen=True, slots=True)
class _Stage:
    """What a follow-up asks for; what was not measured before makes a second stage."""

    directory: Path
    matched_to: list[str] | None
    num_seeds: int | None
    cap: float | None

    def plan(self) -> "FollowUp":
        """Say what is lacking now."""
        from rlp_sweeps.orchestration.follow_up import Replay, plan_follow_up
        from rlp_sweeps.orchestration.planner import plan_from_manifest
        from rlp_sweeps.tracking.run_directory import RunDirectory

        opened = RunDirectory.open(self.directory)
        plan, rows = plan_from_manifest(opened.manifest), opened.read_trials().to_pylist()
        asked = self._asked(plan, rows)
        replay = None
        if self.cap is not None:
            epochs = opened.read_epochs().select(Replay.COLUMNS).to_pylist()
            replay = Replay(epochs=epochs, cap=self.cap)
        found = plan_follow_up(
            plan,
            rows,
            asked=asked,
            matched_to=self.matched_to,
            num_seeds=self.num_seeds,
            replay=replay,
        )
        print(f"follow-up of {self.directory}: {describe(found)}", flush=True)
        for sentence in found.skipped:
            say(sentence)
        return found

    def _asked(self, plan: "SweepPlan", rows: list[dict[str, Any]]) -> "list[TrialConfig]":
        """Return the trials of a search's points; none of a grid.

        Raises:
            ArgumentError: Not all points have been trained.
        """
        from rlp_sweeps.orchestration.points import asked_trials, planned_trials

        if not plan.is_search:
            return []
        statuses = {row["trial_id"]: row["status"] for row in rows}
        _, _, num_points_left = planned_trials(plan, self.directory, statuses)
        if num_points_left:
            msg = (
                f"a follow-up reads a finished sweep, but {num_points_left} of {plan.num_points} "
                f"points are not trained yet; `rlp-sweeps resume {self.directory}` goes on."
            )
            raise ArgumentError(msg)
        return asked_trials(plan, self.directory)

    def write(self, found: "FollowUp", options: "RunOptions") -> None:
        """Write new trials into the plan, once it is known that they can be trained here."""
        from rlp_sweeps.orchestration.sweep_request import check_resume
        from rlp_sweeps.tracking.run_directory import RunDirectory

        opened = RunDirectory.open(self.directory)
        check_resume(opened, options, further=found.trials)
        if found.trials:
            opened.add_trials(found.trials, why=describe(found))


def describe(found: "FollowUp") -> str:
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

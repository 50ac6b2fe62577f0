"""How a sweep ended, in sentences: the same for the command line and for Python."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rlp_sweeps.orchestration.progress import SweepOutcome

MOST_NAMED = 10
"""Trials that are named of those that failed alike."""

_STOPPED = {
    "hours": "the budget of hours is used up",
    "trials": "the budget of trials is used up",
    "cancel": "stopped, as `rlp-sweeps cancel` asked",
}


def count_words(outcome: "SweepOutcome") -> str:
    """Return how many trials ended in which way: ``7 completed, 1 failed``."""
    counts = ", ".join(f"{count} {status}" for status, count in outcome.counts.items() if count)
    return counts or "no trial ended"


def is_stopped(outcome: "SweepOutcome") -> bool:
    """Return whether a sweep was stopped with trials left: by its budget, a signal, a request."""
    return outcome.interrupted and not outcome.is_complete


def tell_flaws(outcome: "SweepOutcome") -> Iterator[str]:
    """Yield what is amiss with trials, one sentence each; of many that failed alike, a few."""
    alike: Counter[str] = Counter()
    for trial in outcome.failed:
        alike[trial.error] += 1
        if alike[trial.error] <= MOST_NAMED:
            yield f"trial {trial.trial_id} ({trial.arm}, seed {trial.seed}) failed: {trial.error}"
        if alike[trial.error] == 1 and trial.log is not None:
            yield (
                f"what led to it stands in {trial.log}; `rlp-sweeps show {outcome.directory} "
                f"{trial.trial_id} --log` prints it."
            )
    num_unnamed = sum(max(0, number - MOST_NAMED) for number in alike.values())
    if num_unnamed:
        yield (
            f"{num_unnamed} more trials failed alike; `rlp-sweeps query {outcome.directory} "
            "\"SELECT trial_id, error FROM trials WHERE status = 'failed'\"` lists them."
        )
    yield from (*outcome.notes, *outcome.lost, *outcome.unprobed)
    if outcome.missing and not is_stopped(outcome):
        yield f"{len(outcome.missing)} planned trial(s) have no row: {', '.join(outcome.missing)}."


def tell_interrupted(resume: str) -> str:
    """Say that a sweep was interrupted, and how it goes on.

    Args:
        resume: What goes on with it, as it is typed.
    """
    return f"interrupted; what is finished is kept, and `{resume}` goes on from there."


def tell_stopped(outcome: "SweepOutcome", resume: str) -> str:
    """Say why a sweep ended with trials left, how many, and how it goes on.

    Args:
        outcome: How it ended.
        resume: What goes on with it, as it is typed.
    """
    if outcome.stopped_by is None:
        return tell_interrupted(resume)
    num_left = outcome.num_planned - sum(outcome.counts.values())
    left = f"{num_left} of {outcome.num_planned} trials"
    if outcome.num_points_left:
        left = f"{outcome.num_points_left} points, {left} at most,"
    return (
        f"{_STOPPED[outcome.stopped_by]}; {left} are left, what is finished is kept, and "
        f"`{resume}` goes on from there."
    )


def tell_lost_driver(directory: Path) -> str | None:
    """Say that a driver was killed in this directory, where it was and nobody is at work."""
    from rlp_sweeps.tracking.files import run_path
    from rlp_sweeps.tracking.holder import lost_holder
    from rlp_sweeps.tracking.run_directory import RunDirectory

    opened = RunDirectory(run_path(directory))  # perhaps there is none yet
    lost = None if opened.is_held() else lost_holder(opened.path)
    if lost is None:
        return None
    return f"{lost} was killed while it ran this sweep; what it finished is kept."

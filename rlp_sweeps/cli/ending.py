"""What a command that trains comes to: kept while it runs, said as JSON and to hooks at its end."""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlp_sweeps.cli import options as opt
from rlp_sweeps.errors import RlpSweepsError

if TYPE_CHECKING:
    from rlp_sweeps.orchestration.progress import SweepOutcome

WORDS = {
    opt.DONE: "done",
    opt.SOME_FAILED: "failed",
    opt.WRONG_REQUEST: "failed",
    opt.OUT_OF_BUDGET: "budget",
    opt.INTERRUPTED: "interrupted",
}
"""An ending in one word, by exit status; ``failed`` means that trials did, or the driver itself."""

_COUNTED = ("completed", "failed", "diverged")


@dataclass(kw_only=True, slots=True)
class Ending:
    """What a command that trains has come to so far.

    Attributes:
        directory: The run directory; None before it is known.
        outcome: How its sweep stood when the last driver of this command ended; None before.
        counts: Rows by status, where there is no outcome.
        further: What else a command wants said as JSON, by key.
        has_started: A driver has begun to train.
    """

    directory: Path | None = None
    outcome: "SweepOutcome | None" = None
    counts: dict[str, int] = field(default_factory=dict)
    further: dict[str, Any] = field(default_factory=dict)
    has_started: bool = False

    def to_json(self, exit_status: int) -> dict[str, Any]:
        """Return it ready for JSON; times in s.

        Args:
            exit_status: That of the command.
        """
        outcome = self.outcome
        return {
            "directory": None if self.directory is None else str(self.directory),
            "status": WORDS.get(exit_status, "failed"),
            "exit_status": exit_status,
            "summary": self.summary(exit_status),
            "num_planned": None if outcome is None else outcome.num_planned,
            "counts": self.counts if outcome is None else outcome.counts,
            "failed": [] if outcome is None else [asdict(trial) for trial in outcome.failed],
            "missing": [] if outcome is None else list(outcome.missing),
            "lost": [] if outcome is None else list(outcome.lost),
            "best": [] if outcome is None else [asdict(point) for point in outcome.best],
            "stopped_by": None if outcome is None else outcome.stopped_by,
            "wall_time_s": None if outcome is None else outcome.wall_time_s,
            "device_hours": None if outcome is None else outcome.device_hours,
            "tracking_error": None if outcome is None else outcome.tracking_error,
            **self.further,
        }

    def count_rows(self) -> None:
        """Count the rows where no driver has said how the sweep stands."""
        from rlp_sweeps.orchestration.progress import count_by_status
        from rlp_sweeps.tracking.files import run_path
        from rlp_sweeps.tracking.run_directory import RunDirectory

        if self.outcome is not None or self.directory is None:
            return
        with contextlib.suppress(RlpSweepsError):  # a store that is away
            opened = RunDirectory(run_path(self.directory))  # perhaps there is none yet
            self.counts = count_by_status(opened.finished_trials())

    def count(self, status: str) -> int:
        """Return how many trials have a row of that status."""
        counts = self.counts if self.outcome is None else self.outcome.counts
        return counts.get(status, 0)

    def summary(self, exit_status: int) -> str:
        """Return a sentence: "sweep in runs/a is done: 5 completed, 0 failed, 0 diverged."."""
        said = {
            "done": "is done",
            "failed": "ended with failures",
            "budget": "has used up its budget and goes on with `rlp-sweeps resume`",
            "interrupted": "was interrupted and goes on with `rlp-sweeps resume`",
        }[WORDS.get(exit_status, "failed")]
        counts = ", ".join(f"{self.count(status)} {status}" for status in _COUNTED)
        return f"sweep in {self.directory} {said}: {counts}."


_PRESENT: ContextVar[Ending | None] = ContextVar("ending", default=None)


@contextlib.contextmanager
def kept_ending(directory: Path | None) -> Iterator[Ending]:
    """Keep what is noted of the command within the block.

    Args:
        directory: Its run directory, where its arguments name one.
    """
    ending = Ending(directory=directory)
    token = _PRESENT.set(ending)
    try:
        yield ending
    finally:
        _PRESENT.reset(token)


def note_begin(directory: Path) -> None:
    """Note in which run directory the command trains."""
    ending = _PRESENT.get()
    if ending is not None:
        ending.directory, ending.outcome = directory, None


def note_outcome(outcome: "SweepOutcome") -> None:
    """Note how the sweep stood when its driver ended."""
    ending = _PRESENT.get()
    if ending is not None:
        ending.outcome = outcome


def note_further(**values: Any) -> None:
    """Note what else is to be said as JSON."""
    ending = _PRESENT.get()
    if ending is not None:
        ending.further |= values


def note_started(has_started: bool) -> None:
    """Note that a driver has begun to train, where it has."""
    ending = _PRESENT.get()
    if ending is not None:
        ending.has_started |= has_started

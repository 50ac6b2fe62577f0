"""What is left of a sweep that was run from Python, as a value that shows itself."""

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlp_sweeps.api import reading
from rlp_sweeps.api.telling import count_words, is_stopped, tell_flaws, tell_stopped

if TYPE_CHECKING:
    import polars as pl

    from analysis.result import Analysis
    from rlp_sweeps.orchestration.best_points import BestPoint
    from rlp_sweeps.orchestration.progress import FailedTrial, SweepOutcome


@dataclass(frozen=True, slots=True, repr=False)
class SweepResult:
    """How a sweep stands, and its tables.

    Attributes:
        outcome: What the driver reported at its end.
        given: The run directory as it was given, for sentences.
    """

    outcome: "SweepOutcome"
    given: Path

    @property
    def directory(self) -> Path:
        """The run directory, an absolute path or one in a store."""
        return self.outcome.directory

    @property
    def counts(self) -> Mapping[str, int]:
        """Trials by status: completed, diverged, stopped, failed."""
        return self.outcome.counts

    @property
    def failed(self) -> tuple["FailedTrial", ...]:
        """Trials that raised, with the last line of their traces."""
        return self.outcome.failed

    @property
    def best(self) -> tuple["BestPoint", ...]:
        """Points of a search that no other one beats; empty of a grid."""
        return self.outcome.best

    @property
    def is_complete(self) -> bool:
        """Whether every planned trial has ended: nothing is left for `resume_sweep`."""
        return self.outcome.is_complete

    def trials(self) -> "pl.DataFrame":
        """Return one row a trial, see `load_trials`."""
        return reading.load_trials(self.directory)

    def epochs(self) -> "pl.DataFrame":
        """Return one row a trial and evaluation, see `load_epochs`."""
        return reading.load_epochs(self.directory)

    def analyze(self, **options: Any) -> "Analysis":
        """Separate the effects and write the report, see `analyze`."""
        return reading.analyze(self.directory, **options)

    def query(self, sql: str) -> "pl.DataFrame":
        """Return the rows of a SELECT over the sweep's tables, see `query`."""
        return reading.query(self.directory, sql)

    @property
    def sentences(self) -> tuple[str, ...]:
        """What is amiss, and how the sweep goes on if it was stopped."""
        said = [*tell_flaws(self.outcome)]
        if self.outcome.tracking_error:
            said.append(self.outcome.tracking_error)
        if is_stopped(self.outcome):
            said.append(tell_stopped(self.outcome, resume_call(self.given)))
        return tuple(said)

    def _headline(self) -> str:
        ended = sum(self.counts.values())
        words = count_words(self.outcome)
        return f"sweep {self.given}: {ended} of {self.outcome.num_planned} trials ({words})"

    def __repr__(self) -> str:
        return "\n".join([self._headline(), *self.sentences])

    def _repr_html_(self) -> str:
        """Return the same for a notebook."""
        said = "".join(f"<br>{escape(sentence)}" for sentence in self.sentences)
        return f"<p><b>{escape(self._headline())}</b>{said}</p>"


def resume_call(directory: Path) -> str:
    """Return the call that goes on with a sweep, as it is typed."""
    return f"resume_sweep({str(directory)!r})"

"""A sweep at work, seen: a live table on a terminal, timestamped lines in a log file.

Both views listen to the same events and write to stderr. They write nothing before the sweep has
started, so that a request that is refused leaves one sentence and no more.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from rlp_sweeps.schema import STATUSES
from rlp_sweeps.views.progress_state import Snapshot, SweepProgress, in_words

if TYPE_CHECKING:
    from rlp_sweeps.orchestration.planner import SweepPlan
    from rlp_sweeps.orchestration.progress import SweepOutcome

LOG_PERIOD_S = 10.0
"""Least time between two lines of the log view, s; beginning and end are always written."""

_BAR_WIDTH = 16  # characters


class SweepView(ABC):
    """Listen to a sweep and show it; a context manager that leaves the terminal as it was.

    Args:
        console: Where to write.
        directory: The run directory, named in the first line.
        clock: Seconds, monotonic.

    Attributes:
        has_started: The sweep has begun.
    """

    has_started = False

    def __init__(
        self, console: Console, *, directory: Path, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._console = console
        self._directory = directory
        self._clock = clock
        self._progress = SweepProgress(clock)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close()

    def on_start(self, plan: "SweepPlan", num_groups: int, finished: Mapping[str, int]) -> None:
        """Show the plan, and what earlier attempts have finished."""
        self.has_started = True
        self._progress.start(plan, finished)
        self._open(_headline(plan, num_groups, finished, self._directory))

    def on_notice(self, sentence: str) -> None:
        """Show a sentence above what is redrawn."""
        self._console.print(Text(sentence))

    def on_group_start(self, group_id: str, num_trials: int) -> None:
        """Count a group's trials in once it reports."""
        self._progress.group_started(group_id, num_trials)

    def on_group_progress(
        self, group_id: str, epoch: int, num_epochs: int, metrics: Mapping[str, float]
    ) -> None:
        """Show a group's epoch and latest metrics."""
        self._progress.group_progress(group_id, epoch, num_epochs, metrics)
        self._refresh()

    def on_group_finished(self, group_id: str, counts: Mapping[str, int]) -> None:
        """Show the trials of a group that ended, by status."""
        self._progress.group_finished(group_id, counts)
        self._refresh()

    def on_end(self, outcome: "SweepOutcome") -> None:  # printed by the command
        """Show the last state."""
        self._close()

    @abstractmethod
    def _open(self, headline: str) -> None: ...

    @abstractmethod
    def _refresh(self) -> None: ...

    @abstractmethod
    def _close(self) -> None: ...


class TerminalView(SweepView):
    """A table that is redrawn a few times a second."""

    _live: Live | None = None

    def _open(self, headline: str) -> None:
        self._console.print(Text(headline))
        self._live = Live(
            console=self._console,
            get_renderable=lambda: progress_table(self._progress.snapshot()),
            refresh_per_second=4,
        )
        self._live.start()

    def _refresh(self) -> None:
        """Do nothing: the table redraws itself."""

    def _close(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None


class LogView(SweepView):
    """One line now and then, with the time of day."""

    _written_at: float | None = None
    _last_line = ""

    def on_notice(self, sentence: str) -> None:
        """Write a sentence as a line of its own."""
        self._write(sentence)

    def _open(self, headline: str) -> None:
        self._write(headline)

    def _refresh(self) -> None:
        if self._written_at is not None and self._clock() - self._written_at >= LOG_PERIOD_S:
            self._write(progress_line(self._progress.snapshot()))

    def _close(self) -> None:
        if self._written_at is not None:
            self._write(progress_line(self._progress.snapshot()))
            self._written_at = None

    def _write(self, line: str) -> None:
        self._written_at = self._clock()
        stamped = f"{datetime.now():%H:%M:%S}  {line}"
        print(stamped, file=self._console.file, flush=True)


def open_view(console: Console, *, directory: Path) -> SweepView:
    """Return the live table where the console is a terminal, lines of a log where it is not."""
    is_terminal = console.file.isatty() and not console.is_dumb_terminal
    return (TerminalView if is_terminal else LogView)(console, directory=directory)


def progress_line(state: Snapshot) -> str:
    """Return one line that says where the sweep stands."""
    parts = [
        f"trials {state.num_ended} of {state.num_trials} done ({_counts_in_words(state)})",
        f"epochs {state.epochs_done} of {state.epochs_total}",
    ]
    if state.best_val_accuracy is not None:
        parts.append(f"best val_accuracy {state.best_val_accuracy:.4f}")
    return "; ".join([*parts, _time_in_words(state)])


def progress_table(state: Snapshot) -> Table:
    """Return the live table."""
    table = Table.grid(padding=(0, 2))
    table.add_row("trials", _bar(state.num_ended, state.num_trials), _trials_in_words(state))
    table.add_row("epochs", _bar(state.epochs_done, state.epochs_total), _epochs_in_words(state))
    best = state.best_val_accuracy
    table.add_row("best", "–" if best is None else f"val_accuracy {best:.4f}", "")
    table.add_row("time", in_words(state.elapsed_s), _time_in_words(state))
    return table


def _headline(
    plan: "SweepPlan", num_groups: int, finished: Mapping[str, int], directory: Path
) -> str:
    num_finished = sum(finished.values())
    done = f", {num_finished} of them finished before" if num_finished else ""
    return (
        f"sweep {plan.name}: {plan.num_trials} trials{done}; {num_groups} groups to train on "
        f"{plan.device}; results in {directory}"
    )


def _bar(completed: int, total: int) -> ProgressBar:
    return ProgressBar(total=max(total, 1), completed=completed, width=_BAR_WIDTH)


def _trials_in_words(state: Snapshot) -> str:
    return f"{state.num_ended} of {state.num_trials} ({_counts_in_words(state)})"


def _epochs_in_words(state: Snapshot) -> str:
    return f"{state.epochs_done} of {state.epochs_total}"


def _counts_in_words(state: Snapshot) -> str:
    always = ("diverged", "failed")
    shown = [s for s in STATUSES if state.counts.get(s, 0) or s in always]
    counts = [f"{state.counts.get(status, 0)} {status}" for status in shown]
    return ", ".join([f"{state.num_running} running", *counts])


def _time_in_words(state: Snapshot) -> str:
    if state.epochs_per_s is None or state.remaining_s is None:
        return f"{in_words(state.elapsed_s)} so far"
    speed = f"{state.epochs_per_s:.3g} epochs/s"
    return f"{speed}, {in_words(state.remaining_s)} left"

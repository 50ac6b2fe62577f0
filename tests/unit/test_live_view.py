import io
import re
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from rlp_sweeps.config import TrialConfig
from rlp_sweeps.orchestration.planner import Group, SweepPlan
from rlp_sweeps.orchestration.progress import SweepOutcome
from rlp_sweeps.spaces import ChoiceAxis, Search, SearchSpace
from rlp_sweeps.views.live_view import (
    LogView,
    SweepView,
    TerminalView,
    open_view,
    progress_line,
    progress_table,
)
from rlp_sweeps.views.progress_state import SweepProgress, in_words


class Clock:
    """Seconds that pass when a test says so."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def make_space(**changes: Any) -> SearchSpace:
    axes = {"lr": ChoiceAxis(choices=(0.1,)), "rlp_lambda": ChoiceAxis(choices=(1.0,), control=0)}
    return SearchSpace(axes=axes, num_seeds=2, fixed={"num_epochs": 10}, **changes)


def make_plan(space: SearchSpace | None = None) -> SweepPlan:
    """Ten trials in five groups of two, or a search."""
    space = space or make_space()
    is_grid = space.search is None
    trials = tuple(map(TrialConfig.from_dict, space.grid())) if is_grid else ()
    groups = tuple(
        Group(group_id=f"group{i}", trials=trials[i : i + 2]) for i in range(0, len(trials), 2)
    )
    return SweepPlan(
        name="quickstart",
        space=space,
        trials=trials,
        groups=groups,
        plan_id="0",
        group_size=2,
        engine="sequential",
        device="cpu",
        data_dir="data",
    )


def make_search_plan() -> SweepPlan:
    return make_plan(make_space(arms=("control", "full"), search=Search(num_points=3)))


def play(view: SweepView, clock: Clock) -> None:
    """Let one group of five train and end; the next one is under way."""
    view.on_start(make_plan(), 5, {})
    for epoch in range(1, 11):
        clock.now += 2
        view.on_group_progress("group0", epoch, 10, {"val_accuracy": 0.5 + epoch / 100})
    view.on_group_finished("group0", {"completed": 1, "diverged": 1})
    view.on_group_progress("group2", 5, 10, {"val_accuracy": 0.4})


def test_progress_counts_trials_epochs_speed_and_time_left() -> None:
    clock = Clock()
    progress = SweepProgress(clock)
    progress.start(make_plan(), {})
    clock.now += 60  # until the first process is there

    progress.group_progress("group0", 1, 10, {})
    clock.now += 14
    progress.group_progress("group0", 10, 10, {"val_accuracy": 0.9})
    progress.group_finished("group0", {"completed": 2})
    progress.group_progress("group2", 5, 10, {"val_accuracy": 0.7})
    state = progress.snapshot()

    assert (state.num_ended, state.num_trials, state.num_running) == (2, 10, 2)
    assert (state.epochs_done, state.epochs_total) == (30, 100)
    assert state.best_val_accuracy == 0.9
    assert (state.elapsed_s, state.epochs_per_s, state.remaining_s) == (74.0, 2.0, 35.0)


def test_progress_leaves_out_epochs_of_trials_that_finished_before() -> None:
    progress = SweepProgress(Clock())

    progress.start(make_plan(), {"completed": 3, "diverged": 1})
    state = progress.snapshot()

    assert state.num_ended == 4
    assert state.epochs_total == 60


def test_progress_of_a_search_knows_its_trials_before_its_points() -> None:
    progress = SweepProgress(Clock())

    progress.start(make_search_plan(), {})
    progress.group_started("two points", 8)
    progress.group_progress("two points", 5, 10, {})
    state = progress.snapshot()

    assert (state.num_trials, state.num_running) == (12, 8)  # two arms over two seeds a point
    assert (state.epochs_done, state.epochs_total) == (40, 120)


def test_progress_ignores_an_accuracy_that_is_no_number() -> None:
    progress = SweepProgress(Clock())
    progress.start(make_plan(), {})

    progress.group_progress("group0", 1, 10, {"val_accuracy": float("nan")})

    assert progress.snapshot().best_val_accuracy is None


@pytest.mark.parametrize("num_reports", [0, 1])
def test_progress_says_no_time_left_before_the_second_report(num_reports: int) -> None:
    progress = SweepProgress(Clock())
    progress.start(make_plan(), {})

    for _ in range(num_reports):
        progress.group_progress("group0", 1, 10, {})
    state = progress.snapshot()

    assert (state.epochs_per_s, state.remaining_s) == (None, None)
    assert progress_line(state).endswith("; 0 s so far")


def test_line_says_where_the_sweep_stands() -> None:
    clock = Clock()
    progress = SweepProgress(clock)
    progress.start(make_plan(), {"failed": 1})
    progress.group_progress("group2", 1, 10, {})
    clock.now += 4
    progress.group_progress("group2", 6, 10, {"val_accuracy": 0.75})

    assert progress_line(progress.snapshot()) == (
        "trials 1 of 10 done (2 running, 0 diverged, 1 failed); epochs 12 of 90; "
        "best val_accuracy 0.7500; 2.5 epochs/s, 31 s left"
    )


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "0 s"),
        (59.4, "59 s"),
        (60, "1 min 0 s"),
        (185, "3 min 5 s"),
        (7800, "2 h 10 min"),
        (273_600, "3 d 4 h"),
    ],
)
def test_durations_read_as_people_say_them(seconds: float, words: str) -> None:
    assert in_words(seconds) == words


def test_log_view_writes_a_line_at_most_every_ten_seconds(tmp_path: Path) -> None:
    stream, clock = io.StringIO(), Clock()

    with LogView(Console(file=stream), directory=tmp_path, clock=clock) as view:
        play(view, clock)
    lines = stream.getvalue().splitlines()

    assert len(lines) == 1 + 2 + 1  # beginning, 20 seconds, end
    assert all(re.match(r"\d\d:\d\d:\d\d  (sweep|trials) ", line) for line in lines)
    assert f"10 trials; 5 groups to train on cpu; results in {tmp_path}" in lines[0]
    assert "trials 2 of 10 done (2 running, 1 completed, 1 diverged, 0 failed)" in lines[-1]
    assert "best val_accuracy 0.6000" in lines[-1]


def test_log_view_says_what_an_earlier_attempt_finished(tmp_path: Path) -> None:
    stream = io.StringIO()

    with LogView(Console(file=stream), directory=tmp_path) as view:
        view.on_start(make_plan(), 3, {"completed": 4})

    assert "10 trials, 4 of them finished before; 3 groups to train" in stream.getvalue()


def test_log_view_writes_no_escape_codes(tmp_path: Path) -> None:
    stream, clock = io.StringIO(), Clock()

    with LogView(Console(file=stream), directory=tmp_path, clock=clock) as view:
        play(view, clock)

    assert "\x1b" not in stream.getvalue()


def test_log_view_writes_its_end_once(tmp_path: Path) -> None:
    stream, clock = io.StringIO(), Clock()

    with LogView(Console(file=stream), directory=tmp_path, clock=clock) as view:
        play(view, clock)
        before = len(stream.getvalue().splitlines())
        view.on_end(SweepOutcome(directory=tmp_path, num_planned=10, counts={}))

    assert len(stream.getvalue().splitlines()) == before + 1


@pytest.mark.parametrize("kind", [LogView, TerminalView])
def test_a_view_shows_what_is_amiss(kind: type[LogView | TerminalView], tmp_path: Path) -> None:
    stream, clock = io.StringIO(), Clock()

    with kind(Console(file=stream, width=200), directory=tmp_path, clock=clock) as view:
        view.on_start(make_plan(), 5, {})
        view.on_notice("MLflow lacks a part of this sweep.")

    assert "MLflow lacks a part of this sweep." in stream.getvalue()


@pytest.mark.parametrize("kind", [LogView, TerminalView])
def test_a_view_writes_nothing_before_the_sweep_starts(
    kind: type[LogView | TerminalView], tmp_path: Path
) -> None:
    stream = io.StringIO()

    with (
        pytest.raises(ValueError, match="refused"),
        kind(Console(file=stream, force_terminal=True), directory=tmp_path),
    ):
        raise ValueError("refused")

    assert stream.getvalue() == ""


def test_terminal_view_draws_a_table_and_gives_the_cursor_back(tmp_path: Path) -> None:
    stream, clock = io.StringIO(), Clock()
    console = Console(file=stream, force_terminal=True, width=100, color_system=None)

    with TerminalView(console, directory=tmp_path, clock=clock) as view:
        play(view, clock)
    drawn = stream.getvalue()

    assert "2 of 10 (2 running, 1 completed, 1 diverged, 0 failed)" in drawn
    assert "30 of 100" in drawn
    assert "val_accuracy 0.6000" in drawn
    assert drawn.rindex("\x1b[?25h") > drawn.rindex("\x1b[?25l")


def test_table_fits_a_narrow_terminal() -> None:
    progress = SweepProgress(Clock())
    progress.start(make_plan(), {})
    stream = io.StringIO()

    Console(file=stream, width=60).print(progress_table(progress.snapshot()))

    assert max(map(len, stream.getvalue().splitlines())) <= 60


def test_open_view_draws_on_a_terminal_and_logs_elsewhere(tmp_path: Path) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Console(file=Terminal(), force_terminal=True)
    log = Console(file=io.StringIO())

    assert isinstance(open_view(terminal, directory=tmp_path), TerminalView)
    assert isinstance(open_view(log, directory=tmp_path), LogView)

"""Search spaces as Tune and Optuna take them, and a search that is rebuilt from finished rows."""

import hashlib
from collections import deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import TrialState, create_trial
from ray import tune
from ray.tune.search import Searcher
from ray.tune.search.optuna import OptunaSearch

from rlp_sweeps.config import TrialConfig
from rlp_sweeps.orchestration.planner import Group
from rlp_sweeps.orchestration.points import (
    AskedPoint,
    PointLog,
    PointOutcome,
    SizeOf,
    form_groups,
    point_members,
    point_outcome,
)
from rlp_sweeps.spaces import OBJECTIVES, ChoiceAxis, LogAxis, Search, SearchSpace

Row = Mapping[str, Any]
RowReader = Callable[[Collection[str]], Mapping[str, Row]]
"""Returns the rows of those trials that have one, by trial id."""

_STATES = {
    "complete": TrialState.COMPLETE,
    "stopped": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}


def tune_grid(space: SearchSpace | Collection[Group]) -> dict[str, Any]:
    """Return the `param_space` that walks a grid's groups, in their order.

    Args:
        space: A space, whose trials then are groups of one, or the groups that are left of it.
    """
    if isinstance(space, SearchSpace):
        trials = space.grid_configs()
        return tune_grid([Group.of((trial,)) for trial in trials])
    return {"group_id": tune.grid_search([group.group_id for group in space])}


def optuna_distributions(space: SearchSpace) -> dict[str, BaseDistribution]:
    """Return each axis as Optuna samples it: log, linear, or one of the listed values."""
    distributions: dict[str, BaseDistribution] = {}
    for name, axis in space.axes.items():
        if isinstance(axis, ChoiceAxis):
            values = axis.values()
            extra = () if axis.control is None or name == "rlp_lambda" else (axis.control,)
            distributions[name] = CategoricalDistribution([*dict.fromkeys((*extra, *values))])
        else:
            is_log = isinstance(axis, LogAxis)
            distributions[name] = FloatDistribution(axis.low, axis.high, log=is_log)
    return distributions


def point_sampler(search: Search, number: int) -> BaseSampler:
    """Return the sampler of one point.

    Its seed follows from the search's seed and the point's number, so that a resumed search neither
    repeats its first draws nor, with one group at a time, differs from an undisturbed one. Points
    that are not told yet count as bad ones, so that points asked together keep apart.
    """
    key = f"rlp-sweeps:{search.sampler_seed}:sampler:{number}".encode()
    seed = int.from_bytes(hashlib.sha256(key).digest()[:4], "big")
    if search.sampler == "random":
        return RandomSampler(seed=seed)
    return TPESampler(seed=seed, constant_liar=True)


@dataclass(frozen=True, slots=True)
class _OpenPoint:
    """A point that was asked in this attempt and is not told yet."""

    trial: optuna.Trial
    members: tuple[TrialConfig, ...]


class SweepOptunaSearch(OptunaSearch):
    """Optuna behind Tune, with the run directory as its memory.

    The study is built anew at every start: points with all their rows are told, points without are
    asked again first, under their old numbers and together with those they were asked with. While
    it runs, `points_per_group` points are asked at a time; they are written down before they are
    trained, form one group (one for each `group_key` among them, several where one is too small),
    and are told from their rows when no trial of theirs is left. Of a point, only trials that
    nobody has trained or is training are in its group; a point without such trials is told without
    one.

    With one group at a time, a search that was killed asks the very points that it would have asked
    undisturbed: those of the group in flight are in the record, and no other is asked before they
    are told. With several at once the order of their ends decides, disturbed or not.

    Attributes:
        points_per_group: Points asked at a time from now on.
        trials_left: Trials that may still be started; None: all. A group starts whole or not at
            all, and points are asked only where all their trials may start, so that the points of
            a search do not depend on how often it was stopped.
        is_out_of_trials: Whether a group was left for a later attempt because of that.
    """

    def __init__(
        self, space: SearchSpace, *, log: PointLog, read_rows: RowReader, size_of: SizeOf
    ) -> None:
        """Rebuild the search.

        Args:
            space: With its `search`.
            log: The points asked so far.
            read_rows: Reads finished trials.
            size_of: Returns the most trials in a group of a trial's kind; the same at every start.

        Raises:
            RunDirectoryError: The log is broken.
        """
        search = space.search
        assert search is not None
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        modes = [OBJECTIVES[name] for name in search.objectives]
        is_single = len(modes) == 1
        self._distributions = optuna_distributions(space)
        super().__init__(
            space=self._distributions,
            metric=search.objectives[0] if is_single else list(search.objectives),
            mode=modes[0] if is_single else modes,
            sampler=point_sampler(search, 0),
        )
        self.points_per_group = 1
        self.trials_left: int | None = None
        self.is_out_of_trials = False
        self._sweep_space = space
        self._search = search
        self._log = log
        self._read_rows = read_rows
        self._size_of = size_of
        self._rows: dict[str, Row] = {}
        self._open: dict[int, _OpenPoint] = {}
        self._ready: deque[Group] = deque()
        self._running: dict[str, Group] = {}
        self._asked = log.read()
        for point in self._asked:
            self._restore_point(point)

    @property
    def study(self) -> optuna.Study:
        """The study; its trials are numbered as the points are."""
        study: Any = self._ot_study  # made by Ray's constructor, which types it as None
        return study  # type: ignore[no-any-return]  # see above

    @property
    def num_left(self) -> int:
        """Points that are not told yet, those never asked included."""
        told = self.study.get_trials(deepcopy=False, states=tuple(_STATES.values()))
        return self._search.num_points - len(told)

    def _restore_point(self, point: AskedPoint) -> None:
        members = self._members(point.params, point.number)
        if not self._has_rows(members):
            self.study.enqueue_trial(point.params)
            return
        outcome = self._outcome(members)
        intermediate = {outcome.epoch: outcome.values[0]} if outcome.state == "stopped" else None
        self.study.add_trial(
            create_trial(
                state=_STATES[outcome.state],
                values=list(outcome.values) or None,
                params=point.params,
                distributions=self._distributions,
                intermediate_values=intermediate,
            )
        )

    def suggest(self, trial_id: str) -> dict[str, Any] | str:  # type: ignore[override]  # untyped
        """Return the next group to train, as the trainable's `config`; Tune calls this.

        Raises:
            OSError: The points cannot be written down.
        """
        while True:
            while self._ready:
                group = self._ready.popleft().without(self._pending() | set(self._rows))
                if group.trials:
                    return self._start(trial_id, group)
            self._settle()
            if not self._next_numbers() or not self._may_start(self._num_new_trials()):
                return Searcher.FINISHED
            points = self._ask()
            self._ready.extend(form_groups(points, size_of=self._size_of))

    def _start(self, trial_id: str, group: Group) -> dict[str, Any] | str:
        """Return a group as the trainable's `config`, unless it is more than may still start."""
        if not self._may_start(len(group.trials)):
            self._ready.appendleft(group)
            return Searcher.FINISHED
        if self.trials_left is not None:
            self.trials_left -= len(group.trials)
        self._running[trial_id] = group
        return {"group": group.to_text()}

    def _may_start(self, num_trials: int) -> bool:
        if self.trials_left is not None and num_trials > self.trials_left:
            self.is_out_of_trials = True
        return not self.is_out_of_trials

    def _num_new_trials(self) -> int:
        """Return the most trials of the points that are asked next, where nobody has asked them."""
        num_new = sum(number >= len(self._asked) for number in self._next_numbers())
        return num_new * len(self._sweep_space.arms) * self._sweep_space.num_seeds

    def _ask(self) -> dict[int, tuple[TrialConfig, ...]]:
        """Ask for the next points and return the trials of all that were ever asked with them."""
        numbers = self._next_numbers()
        for number in numbers:
            self.study.sampler = point_sampler(self._search, number)
            trial = self.study.ask(fixed_distributions=self._distributions)
            assert trial.number == number
            self._open[number] = _OpenPoint(trial, self._members(trial.params, number))
        new = [number for number in numbers if number >= len(self._asked)]
        if new:
            first = new[0] if len(new) > 1 else None
            points = [AskedPoint(n, self._open[n].trial.params, asked_with=first) for n in new]
            self._log.extend(points)
            self._asked.extend(points)
        firsts = {self._asked[number].first for number in numbers}
        together = [point for point in self._asked if point.first in firsts]
        members = {point.number: self._members(point.params, point.number) for point in together}
        self._has_rows([config for configs in members.values() for config in configs])
        return members

    def _next_numbers(self) -> list[int]:
        """Return the waiting points of one group, else as many new numbers as a group holds."""
        waiting = self.study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
        if waiting:
            first = self._asked[waiting[0].number].first
            return [t.number for t in waiting if self._asked[t.number].first == first]
        start = len(self._asked)
        return list(range(start, min(start + self.points_per_group, self._search.num_points)))

    @property
    def next_size(self) -> int:
        """Trials of the next group; the most that it can have where its points are to be asked."""
        numbers = self._next_numbers()
        waiting = {
            n: self._members(self._asked[n].params, n) for n in numbers if n < len(self._asked)
        }
        groups = form_groups(waiting, size_of=self._size_of)
        left = [len(group.without(self._rows).trials) for group in groups]
        return next(filter(None, left), 0) if waiting else self._num_new_trials()

    def _pending(self) -> set[str]:
        """Return the trials that are being trained or wait for their group's turn."""
        groups = (*self._running.values(), *self._ready)
        return {config.trial_id for group in groups for config in group.trials}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Do nothing: the sampler is told from rows, when the point has ended."""

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Tell the sampler what the group's end has settled; Tune calls this.

        A group that ended without an error and without all rows was paused: its points stay open.
        """
        del result
        group = self._running[trial_id]
        if self._has_rows(group.trials) or error:
            del self._running[trial_id]
        self._settle()

    def _settle(self) -> None:
        """Tell every open point of which no trial is left to train."""
        pending = self._pending()
        for number, point in list(self._open.items()):
            if not pending & {config.trial_id for config in point.members}:
                del self._open[number]
                self._tell(point.trial, self._outcome(point.members))

    def _tell(self, trial: optuna.Trial, outcome: PointOutcome) -> None:
        if outcome.state == "stopped":
            trial.report(outcome.values[0], outcome.epoch)
        values = list(outcome.values) if outcome.state == "complete" else None
        self.study.tell(trial, values, state=_STATES[outcome.state])

    def _outcome(self, members: Collection[TrialConfig]) -> PointOutcome:
        arm = self._search.objective_arm
        told = [config.trial_id for config in members if config.arm == arm]
        if not all(trial_id in self._rows for trial_id in told):
            return PointOutcome("failed")
        return point_outcome(self._search, [self._rows[trial_id] for trial_id in told])

    def _has_rows(self, members: Collection[TrialConfig]) -> bool:
        """Return whether all of these trials are finished; their rows are kept."""
        unknown = [c.trial_id for c in members if c.trial_id not in self._rows]
        found = self._read_rows(unknown) if unknown else {}
        self._rows.update(found)
        return len(found) == len(unknown)

    def _members(self, params: Mapping[str, Any], number: int) -> tuple[TrialConfig, ...]:
        return point_members(self._sweep_space, params, number)

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """Do nothing: the run directory remembers."""

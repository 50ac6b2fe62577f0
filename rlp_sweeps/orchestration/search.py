"""Search spaces as Tune and Optuna take them, and a search that is rebuilt from finished rows."""

import hashlib
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
from rlp_sweeps.errors import ConfigError
from rlp_sweeps.orchestration.planner import Group, point_group
from rlp_sweeps.orchestration.points import AskedPoint, PointLog, PointOutcome, point_outcome
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
        trials = map(TrialConfig.from_dict, space.grid())
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
    repeats its first draws nor, with one point at a time, differs from an undisturbed one.
    """
    key = f"rlp-sweeps:{search.sampler_seed}:sampler:{number}".encode()
    seed = int.from_bytes(hashlib.sha256(key).digest()[:4], "big")
    return TPESampler(seed=seed) if search.sampler == "tpe" else RandomSampler(seed=seed)


@dataclass(frozen=True, slots=True)
class _OpenPoint:
    """A point that was asked in this attempt and is not told yet."""

    trial: optuna.Trial
    members: tuple[TrialConfig, ...]


class SweepOptunaSearch(OptunaSearch):
    """Optuna behind Tune, with the run directory as its memory.

    The study is built anew at every start: points with all their rows are told, points without are
    asked again first, under their old numbers. While it runs, a point is written down before it is
    trained and told from its rows. Of a point, only trials that nobody has trained or is training
    form its group; a point without such trials is told without a group.
    """

    def __init__(self, space: SearchSpace, *, log: PointLog, read_rows: RowReader) -> None:
        """Rebuild the search.

        Args:
            space: With its `search`.
            log: The points asked so far.
            read_rows: Reads finished trials.

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
        self._sweep_space = space
        self._search = search
        self._log = log
        self._read_rows = read_rows
        self._rows: dict[str, Row] = {}
        self._open: dict[int, _OpenPoint] = {}
        self._running: dict[str, Group] = {}
        for point in log.read():
            self._restore_point(point)

    @property
    def study(self) -> optuna.Study:
        """The study; its trials are numbered as the points are."""
        study: Any = self._ot_study  # made by Ray's constructor, which types it as None
        return study  # type: ignore[no-any-return]

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

    def suggest(self, trial_id: str) -> dict[str, Any] | str:  # type: ignore[override]
        """Return the next group to train, as the trainable's `config`; Tune calls this.

        Raises:
            OSError: The point cannot be written down.
        """
        while True:
            number = self._next_number()
            if number is None:
                return Searcher.FINISHED
            group = self._ask(number)
            if group.trials:
                self._running[trial_id] = group
                return {"group": group.to_text()}
            self._settle()

    def _next_number(self) -> int | None:
        waiting = self.study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
        number = waiting[0].number if waiting else len(self.study.get_trials(deepcopy=False))
        return number if number < self._search.num_points else None

    def _ask(self, number: int) -> Group:
        """Ask for a point, write it down, and return what nobody trains of it."""
        is_new = number == len(self.study.get_trials(deepcopy=False))
        self.study.sampler = point_sampler(self._search, number)
        trial = self.study.ask(fixed_distributions=self._distributions)
        assert trial.number == number
        if is_new:
            self._log.append(AskedPoint(number, trial.params))
        members = self._members(trial.params, number)
        self._open[number] = _OpenPoint(trial, members)
        self._has_rows(members)
        taken = {c.trial_id for group in self._running.values() for c in group.trials}
        return Group.of(members, point=number).without(taken | set(self._rows))

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Do nothing: the sampler is told from rows, when the point has ended."""

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Tell the sampler what the group's end has settled; Tune calls this."""
        del result, error
        group = self._running.pop(trial_id)
        self._has_rows(group.trials)
        self._settle()

    def _settle(self) -> None:
        """Tell every open point of which no trial is being trained any more."""
        running = {c.trial_id for group in self._running.values() for c in group.trials}
        for number, point in list(self._open.items()):
            if not running & {config.trial_id for config in point.members}:
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
        """Return the trials of a point; none where its values do not go together."""
        try:
            return point_group(self._sweep_space, params, point=number).trials
        except ConfigError:
            return ()

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """Do nothing: the run directory remembers."""

"""Synchronous successive halving among the points of one group.

At each rung the better points go on and the others' trials are cut out of the group, which goes on
smaller. A decision is a function of what the points had come to at that epoch, whatever the time it
took and whether the group was interrupted: trials that ended before are ranked by their rows.
Source: Jamieson and Talwalkar 2016, "Non-stochastic Best Arm Identification and Hyperparameter
Optimization", arXiv:1502.07943, Algorithm 1; here a share of one in `reduction_factor` goes on.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from rlp_sweeps.axes import ChoiceAxis
from rlp_sweeps.orchestration.planner import Group
from rlp_sweeps.orchestration.points import tellable
from rlp_sweeps.spaces import OBJECTIVES, Search, SearchSpace

Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Rung:
    """One decision.

    Attributes:
        epoch: When it is taken, after that epoch's evaluation.
        num_kept: Points that go on.
    """

    epoch: int
    num_kept: int


@dataclass(frozen=True, slots=True)
class _End:
    """A member of the group that has ended: its row, and its objective by epoch."""

    status: str
    epoch: int
    values: Mapping[int, float | None]


class GroupHalving:
    """Says which members of a group shall stop.

    A point stands at the mean over its seeds in the objective's arm; a diverged seed counts as the
    worst value, and a point with a failed seed comes last. Of equals the one asked first goes on.
    All trials of a point that falls behind stop, except controls that another point may share.
    """

    def __init__(self, space: SearchSpace, group: Group, ended: Iterable[Row] = ()) -> None:
        """Set the rungs.

        Args:
            space: With its `search`.
            group: The members that train; its `points` name those too that have ended.
            ended: Rows of ``trials`` of those members, each with its rows of ``epochs`` under
                ``epochs``; rows of other groups are passed over.
        """
        search = space.search
        assert search is not None
        self._search = search
        self._objective = search.objectives[0]
        self._live = {trial.trial_id: trial for trial in group.trials}
        self._points = group.points
        self._ended: dict[str, _End] = {}
        self._told: dict[int, list[str]] = {}
        for trial in group.trials:
            self._add_member(trial.trial_id, trial.arm)
        for row in ended:
            if row["group_id"] == group.group_id and row["trial_id"] in group.points:
                self._add_member(row["trial_id"], row["arm"])
                self.add_ended(row, row["epochs"])
        spared = "control" if _shares_controls(space) else None
        self._spared = {trial.trial_id for trial in group.trials if trial.arm == spared}
        first = group.trials[0]
        self.rungs = rungs(
            search,
            num_points=len(self._told),
            num_epochs=first.num_epochs,
            eval_every=first.eval_every,
        )

    def _add_member(self, trial_id: str, arm: str) -> None:
        if arm == self._search.objective_arm:
            self._told.setdefault(self._points[trial_id], []).append(trial_id)

    def add_ended(self, row: Row, epochs: Sequence[Row]) -> None:
        """Take in a member that has ended, by its rows of ``trials`` and ``epochs``."""
        values = {epoch_row["epoch"]: epoch_row[self._objective] for epoch_row in epochs}
        epoch = int(row["epochs_completed"] or 0)
        self._ended[row["trial_id"]] = _End(row["status"], epoch, values)
        self._live.pop(row["trial_id"], None)

    def stops(self, epoch: int, latest: Mapping[str, Row]) -> set[str]:
        """Return the members that shall stop after this epoch.

        Args:
            epoch: Epochs completed.
            latest: Newest row of ``epochs`` of the members that train, by trial id.
        """
        for rung in self.rungs:
            if rung.epoch == epoch:
                return self._decide(rung, latest)
        return set()

    def _decide(self, rung: Rung, latest: Mapping[str, Row]) -> set[str]:
        standings: dict[int, float] = {}
        for number, members in sorted(self._told.items()):
            known = [self._standing(trial_id, rung.epoch, latest) for trial_id in members]
            scores = [score for score in known if score is not None]
            if len(scores) == len(members) and not self._was_stopped(number, before=rung.epoch):
                standings[number] = fmean(scores)
        ranked = sorted(
            standings, key=lambda number: -standings[number]
        )  # stable: of equals, first
        behind = set(ranked[rung.num_kept :])
        return {i for i in self._live if self._points[i] in behind} - self._spared

    def _standing(self, trial_id: str, epoch: int, latest: Mapping[str, Row]) -> float | None:
        """Return what a trial had come to, the higher the better; None if it is not there yet."""
        sign = 1.0 if OBJECTIVES[self._objective] == "max" else -1.0
        end = self._ended.get(trial_id)
        if end is None:
            row = latest.get(trial_id)
            if row is None or row["epoch"] != epoch:
                return None
            return sign * tellable(row[self._objective], self._objective)
        if end.status == "failed" and epoch not in end.values:
            return -math.inf
        return sign * tellable(end.values.get(epoch), self._objective)

    def _was_stopped(self, number: int, *, before: int) -> bool:
        return any(
            end.status == "stopped" and end.epoch < before
            for trial_id, end in self._ended.items()
            if self._points[trial_id] == number
        )


def rungs(search: Search, *, num_points: int, num_epochs: int, eval_every: int) -> list[Rung]:
    """Return the decisions of a group, in their order.

    Rungs lie at `grace_epochs` times the powers of `reduction_factor`, put off to the next
    evaluation; those that fall on one evaluation are one. None is taken after the last epoch.

    Args:
        search: Grace period and reduction factor.
        num_points: Points that the group begins with.
        num_epochs: Epochs of a trial trained to its end.
        eval_every: Epochs between two evaluations.
    """
    decisions: list[Rung] = []
    milestone, num_kept = search.grace_epochs, num_points
    while milestone < num_epochs:
        epoch = math.ceil(milestone / eval_every) * eval_every
        if epoch < num_epochs and epoch not in {rung.epoch for rung in decisions}:
            num_kept = math.ceil(num_kept / search.reduction_factor)
            decisions.append(Rung(epoch=epoch, num_kept=num_kept))
        milestone *= search.reduction_factor
    return decisions


def _shares_controls(space: SearchSpace) -> bool:
    """Return whether points with other values of λ can have a control trial in common."""
    others = [axis for name, axis in space.axes.items() if name != "rlp_lambda"]
    return "rlp_lambda" in space.axes and all(isinstance(axis, ChoiceAxis) for axis in others)

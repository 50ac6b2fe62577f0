"""Points of a search: the record of what was asked, and what the sampler is told of each.

A point is written down before it is trained and told from its trials' rows alone, so that a search
can be rebuilt from the run directory at any time.
"""

import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

from rlp_sweeps.config import Scalar, TrialConfig
from rlp_sweeps.errors import ArgumentError, ConfigError, RunDirectoryError
from rlp_sweeps.orchestration.planner import Group, SweepPlan, point_group
from rlp_sweeps.spaces import Search, SearchSpace
from rlp_sweeps.stores import is_remote, put

SizeOf = Callable[[TrialConfig], int]
"""Returns the most trials in a group of a trial's kind."""

WORST: dict[str, float] = {"val_accuracy": 0.0, "val_loss": 1e6, "memorization": 1.0}
"""What a diverged trial is told as: a value that no trained one falls short of."""


@dataclass(frozen=True, slots=True)
class AskedPoint:
    """One sampled point.

    Attributes:
        number: Its number in the search, from 0.
        params: One value an axis.
        asked_with: Number of the first of the points that were asked together with it; None where
            it was asked alone.
    """

    number: int
    params: dict[str, Scalar]
    asked_with: int | None = None

    @property
    def first(self) -> int:
        """Number of the first of the points that were asked together, itself included."""
        return self.number if self.asked_with is None else self.asked_with


class PointLog:
    """The points asked so far, one line of JSON each, in the order of their numbers.

    Attributes:
        path: The file; absent before the first point.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def of(cls, directory: Path) -> "PointLog":
        """Return the log of a run directory."""
        return cls(directory / "search" / "points.jsonl")

    def read(self) -> list[AskedPoint]:
        """Return the points. A last line without its end is none: it was never trained.

        Raises:
            RunDirectoryError: A line is broken, or a number is missing.
        """
        if not self.path.exists():
            return []
        whole, _, _ = self.path.read_text(encoding="utf-8").rpartition("\n")
        lines = whole.splitlines()
        try:
            points = [AskedPoint(**json.loads(line)) for line in lines]
        except (ValueError, TypeError) as error:
            msg = f"every line of {self.path} must be one point as JSON, but got: {error}."
            raise RunDirectoryError(msg) from error
        if [point.number for point in points] != list(range(len(points))):
            msg = (
                f"the points of {self.path} must be numbered 0, 1, 2 …, but got "
                f"{[point.number for point in points]}."
            )
            raise RunDirectoryError(msg)
        return points

    def extend(self, points: Sequence[AskedPoint]) -> None:
        """Write points down that are asked together; they are on the disk when this returns.

        Raises:
            OSError: The folder cannot be written, or the disk is full.
        """
        lines = [json.dumps(asdict(point), allow_nan=False) + "\n" for point in points]
        if is_remote(self.path):  # by one PUT: an object cannot be written on
            before = self.path.read_bytes() if self.path.exists() else b""
            put(self.path, before + "".join(lines).encode())
            return
        self.path.parent.mkdir(exist_ok=True)
        with self.path.open("rb+" if self.path.exists() else "xb") as file:
            file.seek(_end_of_last_line(self.path))
            file.truncate()
            file.write("".join(lines).encode())
            file.flush()
            os.fsync(file.fileno())


def _end_of_last_line(path: Path) -> int:
    return path.read_bytes().rfind(b"\n") + 1


@dataclass(frozen=True, slots=True)
class PointOutcome:
    """What the sampler is told of a point.

    Attributes:
        state: ``complete``; ``stopped`` by a scheduler; ``failed``: there is no value.
        values: One mean over seeds for each objective; empty where it failed.
        epoch: Epochs that the values stand on.
    """

    state: Literal["complete", "stopped", "failed"]
    values: tuple[float, ...] = ()
    epoch: int = 0


def point_outcome(search: Search, rows: Sequence[Mapping[str, Any]]) -> PointOutcome:
    """Return what a point comes to.

    A diverged seed counts as the worst value, so that the sampler keeps away; a failed one leaves
    the point without a value, because the mean over fewer seeds is another quantity.

    Args:
        search: Names the objectives.
        rows: Rows of ``trials`` of the objective's arm, one a seed.
    """
    statuses = {row["status"] for row in rows}
    if not rows or "failed" in statuses:
        return PointOutcome("failed")
    values = tuple(fmean(_value(row, name) for row in rows) for name in search.objectives)
    epoch = max(int(row["epochs_completed"] or 0) for row in rows)
    return PointOutcome("stopped" if "stopped" in statuses else "complete", values, epoch)


def _value(row: Mapping[str, Any], objective: str) -> float:
    return tellable(None if row["status"] == "diverged" else row[objective], objective)


def tellable(value: float | None, objective: str) -> float:
    """Return a metric as the sampler is told it: the worst where there is none or none finite."""
    if value is None or not math.isfinite(value):
        return WORST[objective]
    return min(float(value), WORST["val_loss"])


def points_per_group(plan: SweepPlan, *, slots: int) -> int:
    """Return how many points a search asks for at a time.

    As many as a group has room for, but not so many that a group would have to wait while another
    holds all points. Halving inside a group needs two.

    Args:
        plan: The sweep.
        slots: Groups trained at once.
    """
    search = plan.space.search
    most = plan.group_size // _trials_per_point(plan.space)
    if search is None or most < 2:
        return 1
    fair = math.ceil(search.num_points / slots)
    return max(2 if search.early_stopping else 1, min(most, fair))


def halved_space(plan: SweepPlan, *, num_points: int) -> SearchSpace | None:
    """Return the space of a search whose points are halved inside their group; None elsewhere.

    Args:
        plan: The sweep.
        num_points: Points of a group.
    """
    search = plan.space.search
    halves = search is not None and search.early_stopping and num_points > 1
    return plan.space if halves else None


def check_early_stopping(plan: SweepPlan) -> None:
    """Refuse a search that shall stop points early, but trains them one at a time in many trials.

    Raises:
        ArgumentError: A group has no room for two points, and a point is more than one trial.
    """
    search, per_point = plan.space.search, _trials_per_point(plan.space)
    if search is None or not search.early_stopping or per_point == 1:
        return
    if plan.group_size < 2 * per_point:
        msg = (
            f"early_stopping compares points of {per_point} trials inside a group, so that "
            f"`{2 * per_point} <= group_size` must hold, but got group_size={plan.group_size!r}; "
            "raise --group-size, or search with one arm and one seed."
        )
        raise ArgumentError(msg)


def _trials_per_point(space: SearchSpace) -> int:
    return len(space.arms) * space.num_seeds


def point_members(
    space: SearchSpace, params: Mapping[str, Any], number: int
) -> tuple[TrialConfig, ...]:
    """Return the trials of a point; none where its values do not go together."""
    try:
        return point_group(space, params, point=number).trials
    except ConfigError:
        return ()


def form_groups(points: Mapping[int, Sequence[TrialConfig]], *, size_of: SizeOf) -> list[Group]:
    """Return the groups of points that were asked together: one for each `group_key`.

    Where they do not fit into one group there are several, but a point is in one alone. A trial
    that several points share belongs to the first of them.

    Args:
        points: Trials of each point, by its number.
        size_of: Returns the most trials in a group of a trial's kind.
    """
    owners: dict[str, int] = {}
    by_key: dict[str, list[list[TrialConfig]]] = {}
    for number, members in points.items():
        new = [trial for trial in members if trial.trial_id not in owners]
        owners.update({trial.trial_id: number for trial in new})
        if not new:
            continue
        groups = by_key.setdefault(new[0].group_key, [[]])
        if groups[-1] and len(groups[-1]) + len(new) > size_of(new[0]):
            groups.append([])
        groups[-1].extend(new)
    return [
        replace(Group.of(members), points={t.trial_id: owners[t.trial_id] for t in members})
        for groups in by_key.values()
        for members in groups
    ]


def asked_trials(plan: SweepPlan, directory: Path) -> list[TrialConfig]:
    """Return the trials of the points that a run directory says were asked for, each once.

    Raises:
        RunDirectoryError: The record of points is broken.
    """
    groups = asked_groups(plan, directory)
    return [trial for group in groups for trial in group.trials]


def all_groups(plan: SweepPlan, directory: Path) -> list[Group]:
    """Return a plan's groups, and in a search those of the points that were asked for.

    Raises:
        RunDirectoryError: The record of points is broken.
    """
    return [*plan.groups, *(asked_groups(plan, directory) if plan.is_search else ())]


def asked_groups(plan: SweepPlan, directory: Path) -> list[Group]:
    """Return the groups of the points that a run directory says were asked for.

    Raises:
        RunDirectoryError: The record of points is broken.
    """
    together: dict[int, dict[int, tuple[TrialConfig, ...]]] = {}
    for point in PointLog.of(directory).read():
        members = point_members(plan.space, point.params, point.number)
        together.setdefault(point.first, {})[point.number] = members
    size_of = plan.group_size_of
    return [group for points in together.values() for group in form_groups(points, size_of=size_of)]


def planned_trials(
    plan: SweepPlan, directory: Path, statuses: Mapping[str, str]
) -> tuple[list[str], int, int]:
    """Return the trials that must have a row, how many a whole sweep has, and points not told.

    Those of follow-ups are among them.

    Args:
        plan: The sweep.
        directory: Its run directory.
        statuses: Status of finished trials, by id.
    """
    if plan.num_points is None:
        planned = [trial.trial_id for trial in plan.trials]
        return planned, len(planned), 0
    asked = PointLog.of(directory).read()
    points = [
        [trial.trial_id for trial in point_members(plan.space, point.params, point.number)]
        for point in asked
    ]
    follow_up = [trial.trial_id for trial in plan.trials]
    planned = list(dict.fromkeys([i for members in (*points, follow_up) for i in members]))
    num_open = sum(not set(members) <= set(statuses) for members in points)
    num_unasked = plan.num_points - len(asked)
    most_to_come = num_unasked * _trials_per_point(plan.space)
    return planned, len(planned) + most_to_come, num_open + num_unasked

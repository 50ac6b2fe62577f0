"""Points of a search: the record of what was asked, and what the sampler is told of each.

A point is written down before it is trained and told from its trials' rows alone, so that a search
can be rebuilt from the run directory at any time.
"""

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

from rlp_sweeps.config import Scalar
from rlp_sweeps.errors import ConfigError, RunDirectoryError
from rlp_sweeps.orchestration.planner import Group, SweepPlan, point_group
from rlp_sweeps.spaces import Search, SearchSpace

WORST: dict[str, float] = {"val_accuracy": 0.0, "val_loss": 1e6, "memorization": 1.0}
"""What a diverged trial is told as: a value that no trained one falls short of."""


@dataclass(frozen=True, slots=True)
class AskedPoint:
    """One sampled point.

    Attributes:
        number: Its number in the search, from 0.
        params: One value an axis.
    """

    number: int
    params: dict[str, Scalar]


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

    def append(self, point: AskedPoint) -> None:
        """Write a point down; it is on the disk when this returns.

        Raises:
            OSError: The folder cannot be written, or the disk is full.
        """
        self.path.parent.mkdir(exist_ok=True)
        line = json.dumps({"number": point.number, "params": point.params}, allow_nan=False)
        with self.path.open("rb+" if self.path.exists() else "xb") as file:
            file.seek(_end_of_last_line(self.path))
            file.truncate()
            file.write(line.encode() + b"\n")
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
    value = row[objective]
    if row["status"] == "diverged" or value is None or not math.isfinite(value):
        return WORST[objective]
    return min(float(value), WORST["val_loss"])


def asked_groups(space: SearchSpace, directory: Path) -> list[Group]:
    """Return the groups of the points that a run directory says were asked for.

    Raises:
        RunDirectoryError: The record of points is broken.
    """
    groups = []
    for point in PointLog.of(directory).read():
        try:
            groups.append(point_group(space, point.params, point=point.number))
        except ConfigError:
            continue  # its values do not go together, so that it has no trials
    return groups


def planned_trials(
    plan: SweepPlan, directory: Path, statuses: Mapping[str, str]
) -> tuple[list[str], int, int]:
    """Return the trials that must have a row, how many a whole sweep has, and points not told.

    Args:
        plan: The sweep.
        directory: Its run directory.
        statuses: Status of finished trials, by id.
    """
    if plan.num_points is None:
        planned = [trial.trial_id for trial in plan.trials]
        return planned, len(planned), 0
    groups = asked_groups(plan.space, directory)
    points = [[trial.trial_id for trial in group.trials] for group in groups]
    num_asked = len(PointLog.of(directory).read())
    planned = list(dict.fromkeys(trial_id for members in points for trial_id in members))
    num_open = sum(not set(members) <= set(statuses) for members in points)
    num_unasked = plan.num_points - num_asked
    most_to_come = num_unasked * len(plan.space.arms) * plan.space.num_seeds
    return planned, len(planned) + most_to_come, num_open + num_unasked

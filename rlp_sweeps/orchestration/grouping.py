"""Groups: trials that are trained together, of near equal size, and how long they take."""

import hashlib
import heapq
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Self, TypeVar

from rlp_sweeps.config import FIELD_TYPES, SCALARS, TrialConfig

if TYPE_CHECKING:
    from rlp_sweeps.orchestration.engine_choice import EngineChoice

_T = TypeVar("_T")

shared_settings = attrgetter(*(name for name in FIELD_TYPES if name not in SCALARS), "is_projected")
"""Returns the values that the trials of a group share."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """What Ray schedules at a time: trials that share everything but scalars.

    Attributes:
        group_id: Hash of the members' ids as planned, kept while members finish.
        trials: Members that are to be trained.
        points: Number of the sampled point of every member as planned, by trial id; empty in a
            grid.
    """

    group_id: str
    trials: tuple[TrialConfig, ...]
    points: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, trials: Iterable[TrialConfig], *, point: int | None = None) -> Self:
        """Return the group of these trials, named after them.

        Args:
            trials: Its members.
            point: Number of the sampled point that all of them belong to; None in a grid.
        """
        members = tuple(trials)
        trial_ids = [trial.trial_id for trial in members]
        points = {} if point is None else dict.fromkeys(trial_ids, point)
        return cls(group_id=digest(sorted(trial_ids)), trials=members, points=points)

    @property
    def point(self) -> int | None:
        """Number of the sampled point that all members belong to; None without a single one."""
        numbers = set(self.points.values())
        return numbers.pop() if len(numbers) == 1 else None

    def without(self, finished: Collection[str]) -> Self:
        """Return the group under its own name with the members that are not finished."""
        left = tuple(trial for trial in self.trials if trial.trial_id not in finished)
        return replace(self, trials=left)

    def to_text(self) -> str:
        """Return the group as one line of JSON; `from_text` reads it."""
        trials = [trial.to_dict() for trial in self.trials]
        points = dict(self.points)
        return json.dumps({"group_id": self.group_id, "points": points, "trials": trials})

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Return the group that `to_text` wrote."""
        values = json.loads(text)
        trials = tuple(map(TrialConfig.from_dict, values["trials"]))
        return cls(**{**values, "trials": trials})


def grouped(trials: Sequence[TrialConfig], choices: Mapping[str, "EngineChoice"]) -> list[Group]:
    """Return groups as each kind's choice has them, whole replicates first."""
    kinds: dict[object, list[TrialConfig]] = {}
    for trial in trials:
        kinds.setdefault(shared_settings(trial), []).append(trial)
    position = {id(trial): number for number, trial in enumerate(trials)}
    groups: list[Group] = []
    for members in kinds.values():
        choice = choices[members[0].group_key]
        parts = group_by_seed(members, choice.group_size)
        groups.extend(map(Group.of, parts))
    return sorted(groups, key=lambda group: position[id(group.trials[0])])


def chunked(trials: Sequence[TrialConfig], group_size: int) -> list[Group]:
    """Return groups as sweeps had them whose manifest holds no choice for each kind."""
    by_key: dict[object, list[TrialConfig]] = {}
    for trial in trials:
        by_key.setdefault(shared_settings(trial), []).append(trial)
    if group_size == 1:
        return [Group.of((trial,)) for trial in trials]
    return [
        Group.of(members[start : start + group_size])
        for members in by_key.values()
        for start in range(0, len(members), group_size)
    ]


def split_evenly(items: Sequence[_T], size: int) -> list[Sequence[_T]]:
    """Return the items in order, in as few parts of at most `size` as there can be, all alike."""
    num_parts = -(-len(items) // size)
    bounds = [len(items) * part // num_parts for part in range(num_parts + 1)]
    return [items[start:end] for start, end in pairwise(bounds)]


def group_sizes(blocks: Sequence[int], size: int, *, is_divisible: bool) -> list[int]:
    """Return the sizes of the groups that blocks of trials are parted into.

    Args:
        blocks: Trials of each seed, or of each sampled point.
        size: Most trials in a group, but for a block that cannot be parted.
        is_divisible: Whether a block may be parted; small blocks are joined either way.
    """
    largest = max(blocks)
    if is_divisible and size < largest:
        return [len(part) for block in blocks for part in split_evenly(range(block), size)]
    joined = split_evenly(blocks, max(1, size // largest))
    return [sum(part) for part in joined]


def group_by_seed(trials: Iterable[TrialConfig], size: int) -> list[tuple[TrialConfig, ...]]:
    """Return trials in groups of at most `size`, each of one seed or of whole seeds.

    Members of one seed read the same batches. The order of trials is kept within a group.
    """
    by_seed: dict[int, list[TrialConfig]] = {}
    for trial in trials:
        by_seed.setdefault(trial.seed, []).append(trial)
    blocks = list(by_seed.values())
    largest = max(map(len, blocks))
    if size < largest:
        return [tuple(part) for block in blocks for part in split_evenly(block, size)]
    joined = split_evenly(blocks, size // largest)
    return [tuple(trial for block in part for trial in block) for part in joined]


def makespan(durations: Iterable[float], slots: int) -> float:
    """Return when the last of some groups ends, each started in turn as soon as a slot is free."""
    return max(group_ends(durations, slots), default=0.0)


def group_ends(durations: Iterable[float], slots: int) -> list[float]:
    """Return when each group ends, each started in turn as soon as a slot is free."""
    free_at = [0.0] * slots
    ends = []
    for duration in durations:
        ends.append(free_at[0] + duration)
        heapq.heapreplace(free_at, ends[-1])
    return ends


def digest(value: Any) -> str:
    """Return 16 hexadecimal digits that name a JSON value."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]

"""The points of a search that no other point beats: one at most, or a Pareto front."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rlp_sweeps.config import Scalar
from rlp_sweeps.orchestration.points import point_outcome
from rlp_sweeps.spaces import OBJECTIVES, SearchSpace

Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class BestPoint:
    """A point that no other one beats.

    Attributes:
        number: Its number in the search, from 0.
        params: One value an axis.
        values: Mean over seeds of each objective, in the objective's arm; by name.
        num_seeds: Trials that the means stand on.
    """

    number: int
    params: dict[str, Scalar]
    values: dict[str, float]
    num_seeds: int


def best_points(space: SearchSpace, rows: Sequence[Row]) -> tuple[BestPoint, ...]:
    """Return the points whose seeds are all trained and that no other such point beats.

    A point beats another where it is better in one objective and worse in none. Points that are
    alike in all objectives stand side by side. The values are those that the sampler was told;
    they choose on validation data and on few seeds, so that the best of many looks better than it
    is.

    Args:
        space: A search, or a grid, which has none.
        rows: Rows of ``trials``.

    Returns:
        Ordered by the first objective, the best first.
    """
    search = space.search
    if search is None:
        return ()
    members: defaultdict[int, list[Row]] = defaultdict(list)
    for row in rows:
        if row["arm"] == search.objective_arm and row["point"] is not None:
            members[row["point"]].append(row)
    points = []
    for number, trials in members.items():
        outcome = point_outcome(search, trials)
        if outcome.state == "complete" and len(trials) == space.num_seeds:
            points.append(
                BestPoint(
                    number=number,
                    params={name: trials[0][name] for name in space.axes},
                    values=dict(zip(search.objectives, outcome.values, strict=True)),
                    num_seeds=len(trials),
                )
            )
    best = [p for p in points if not any(_beats(other, p) for other in points)]
    return tuple(sorted(best, key=lambda p: ([-g for g in _gains(p)], p.number)))


def _beats(one: BestPoint, other: BestPoint) -> bool:
    pairs = list(zip(_gains(one), _gains(other), strict=True))
    return all(a >= b for a, b in pairs) and any(a > b for a, b in pairs)


def _gains(point: BestPoint) -> list[float]:
    """Return the objectives, each so that more is better."""
    return [v if OBJECTIVES[name] == "max" else -v for name, v in point.values.items()]

"""Which engine trains a kind of trial, and how many at a time.

On a CPU the choice rests on a stored calibration and is the same twice; on a GPU engines are timed
on the real shapes for a few seconds. Either way the choice goes into the manifest, and a resumed
sweep takes it from there.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

from rlp_sweeps.config import TrialConfig
from rlp_sweeps.errors import BackboneError, ConfigError
from rlp_sweeps.misspelling import advice
from rlp_sweeps.orchestration.calibration import SpeedUps, speed_up_at
from rlp_sweeps.orchestration.grouping import group_sizes, makespan

if TYPE_CHECKING:
    from rlp_sweeps.training.engines.probing import EngineProbe

AUTO, SEQUENTIAL = "auto", "sequential"

LEAST_SPEED_UP = 1.1
"""Expected gain below which trials are trained one by one: room for what the prediction misses."""

_CLEARLY_BETTER = 0.98
"""A larger group, or another engine, is taken where it ends before this share of the time."""

_UNMEASURED_GROUP_SIZE = 8
"""Members of a group where an engine was asked for of which nothing is known."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Room:
    """The room that a sweep has.

    Attributes:
        slots: Groups trained at once.
        gpu_share: Share of a GPU's memory that is a group's.
    """

    slots: int = 1
    gpu_share: float = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineRequest:
    """What was asked for, and the room there is.

    Attributes:
        engine: `AUTO`, or one of ``engines.ENGINES``.
        group_size: Most trials in a group; None: chosen.
        room: For groups at once.

    Raises:
        ConfigError: The group size is less than 1.
    """

    engine: str = AUTO
    group_size: int | None = None
    room: Room = field(default_factory=Room)

    def __post_init__(self) -> None:
        if self.group_size is not None and self.group_size < 1:
            msg = f"`1 <= group_size` must hold, but got group_size={self.group_size!r}."
            raise ConfigError(msg)

    @property
    def slots(self) -> int:
        """Groups trained at once."""
        return self.room.slots


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """Trials that share everything but scalars.

    Attributes:
        config: One of them.
        blocks: Trials of each seed; in a search of each point.
        is_divisible: Whether a block may be parted into several groups.
        min_group_size: Fewest trials a group is planned with.
        max_group_size: Most trials that may stand in a group; None: any number.
    """

    config: TrialConfig
    blocks: tuple[int, ...]
    is_divisible: bool = True
    min_group_size: int = 1
    max_group_size: int | None = None

    def sizes(self, group_size: int) -> list[int]:
        """Return the sizes of the groups that are made with at most that many trials."""
        return group_sizes(self.blocks, group_size, is_divisible=self.is_divisible)

    def largest_group(self, slots: int) -> int:
        """Return the most trials a group is planned with: no slot idles for want of groups."""
        balanced = -(-sum(self.blocks) // slots)
        return max(self.min_group_size, min(balanced, self.max_group_size or balanced))


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineChoice:
    """How the trials of one kind are trained.

    Attributes:
        engine: One of ``engines.ENGINES``.
        group_size: Most trials in a group.
        speed_up: Expected over training them one by one, on one slot; None where nothing is known.
        why: What the choice rests on, as the end of a sentence.
        probes: What was timed, on a GPU.
    """

    engine: str
    group_size: int
    speed_up: float | None = None
    why: str
    probes: tuple[Mapping[str, Any], ...] = field(default=(), compare=False)

    def describe(self) -> str:
        """Return the choice in words: ``grouped, 16 trials a group: 4.6× expected …``."""
        trials = "1 trial" if self.group_size == 1 else f"{self.group_size} trials"
        return f"{self.engine}, {trials} a group: {self.why}"

    def to_dict(self) -> dict[str, Any]:
        """Return the choice ready for JSON; `from_dict` reads it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Return the choice that `to_dict` wrote."""
        return cls(**{**values, "probes": tuple(values["probes"])})


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """What is known of a kind's engines.

    Attributes:
        speed_ups: Speed-up over sequential by engine and group size.
        source: Where it comes from: ``expected from the stored calibration``.
        refusal: Tells why an engine cannot train this kind; None where it can.
        probes: What was timed.
    """

    speed_ups: SpeedUps
    source: str
    refusal: Callable[[str], str | None]
    probes: tuple["EngineProbe", ...] = ()


def check_engine_name(engine: str) -> None:
    """Refuse an engine that there is not.

    Raises:
        ConfigError: It is neither `AUTO` nor the name of an engine.
    """
    from rlp_sweeps.training.engines import ENGINES

    if engine == AUTO or engine in ENGINES:
        return
    engines = [AUTO, *ENGINES]
    known = f"the engines are {engines}."
    msg = f"unknown engine {engine!r}; {advice(engine, engines, otherwise=known)}"
    raise ConfigError(msg)


def choose_engine(kind: Kind, request: EngineRequest, evidence: Evidence) -> EngineChoice:
    """Return how a kind of trial is trained.

    Raises:
        BackboneError: The engine that was asked for cannot train it.
    """
    probes = tuple(asdict(probe) for probe in evidence.probes)
    if request.engine != AUTO:
        return replace(_as_asked(kind, request, evidence), probes=probes)
    refused: dict[str, str] = {}
    while True:
        left = {e: s for e, s in evidence.speed_ups.items() if e not in refused}
        choice = _best(kind, request, left, evidence.source)
        reason = None if choice.engine == SEQUENTIAL else evidence.refusal(choice.engine)
        if reason is None:
            why = "; ".join([choice.why, *refused.values()])
            return replace(choice, why=why, probes=probes)
        refused[choice.engine] = f"{choice.engine!r} cannot: {reason.rstrip('.')}"


def _best(kind: Kind, request: EngineRequest, speed_ups: SpeedUps, source: str) -> EngineChoice:
    """Return the choice that ends first; sequential where none gains enough."""
    size = request.group_size or kind.min_group_size
    alone_s = makespan(kind.sizes(size), request.slots)
    alone = EngineChoice(
        engine=SEQUENTIAL,
        group_size=size,
        speed_up=1.0,
        why=_why_alone(speed_ups, source),
    )
    best, best_s = alone, alone_s / LEAST_SPEED_UP
    for engine, by_size in speed_ups.items():
        for size in _candidate_sizes(kind, request, by_size):
            end_s = _end_s(kind, size, by_size, request.slots)
            speed_up = speed_up_at(by_size, max(kind.sizes(size)))
            if end_s < best_s * _CLEARLY_BETTER and speed_up >= LEAST_SPEED_UP:
                best_s = end_s
                best = EngineChoice(
                    engine=engine,
                    group_size=size if request.group_size else max(kind.sizes(size)),
                    speed_up=round(speed_up, 2),
                    why=f"{speed_up:.1f}× {source}",
                )
    return best


def _why_alone(speed_ups: SpeedUps, source: str) -> str:
    if not speed_ups:
        return f"no gain from groups {source}"
    return f"less than {LEAST_SPEED_UP:g}× from groups {source}"


def _candidate_sizes(
    kind: Kind, request: EngineRequest, by_size: Mapping[int, float]
) -> Sequence[int]:
    """Return the group sizes worth a look, ascending."""
    if request.group_size is not None:
        return [request.group_size]
    most = min(kind.largest_group(request.slots), max(by_size, default=1))
    block = max(kind.blocks)
    whole_blocks = range(block, most + 1, block)
    least = max(2, kind.min_group_size)
    return sorted({size for size in (*by_size, *whole_blocks, most) if least <= size <= most})


def _end_s(kind: Kind, size: int, by_size: Mapping[int, float], slots: int) -> float:
    """Return when the last group ends, in units of one trial trained alone."""
    return makespan((n / speed_up_at(by_size, n) for n in kind.sizes(size)), slots)


def _as_asked(kind: Kind, request: EngineRequest, evidence: Evidence) -> EngineChoice:
    engine = request.engine
    reason = None if engine == SEQUENTIAL else evidence.refusal(engine)
    if reason is not None:
        raise BackboneError(reason)
    if engine == SEQUENTIAL:
        size = request.group_size or kind.min_group_size
        return EngineChoice(engine=engine, group_size=size, speed_up=1.0, why="as asked for")
    by_size = evidence.speed_ups.get(engine, {})
    if not by_size:
        largest = kind.largest_group(request.slots)
        few = max(kind.min_group_size, min(_UNMEASURED_GROUP_SIZE, largest))
        size = request.group_size or few
        return EngineChoice(engine=engine, group_size=size, why="as asked for")
    sizes = _candidate_sizes(kind, request, by_size) or [kind.min_group_size]
    size = min(sizes, key=lambda size: _end_s(kind, size, by_size, request.slots))
    if request.group_size is None:
        size = max(kind.sizes(size))
    speed_up = speed_up_at(by_size, size)
    return EngineChoice(
        engine=engine,
        group_size=size,
        speed_up=round(speed_up, 2),
        why=f"as asked for, {speed_up:.1f}× {evidence.source}",
    )

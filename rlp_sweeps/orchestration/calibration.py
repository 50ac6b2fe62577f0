"""Speed-ups measured once and stored with the package: what choosing an engine on a CPU rests on.

A prediction depends on a network's traits and on the stored table alone, neither on this machine
nor on its load, so that the same sweep is grouped in the same way twice. The table is made by
``python -m benchmarks.calibrate``.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from importlib import resources
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Self

from rlp_sweeps.config import Scalar

if TYPE_CHECKING:
    from rlp_sweeps.training.engines.traits import NetTraits

FILE = "calibration_cpu.json"

SpeedUps = Mapping[str, Mapping[int, float]]
"""Speed-up over sequential by engine and group size; a group of one is as fast as sequential."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CalibrationEntry:
    """One network, measured.

    Attributes:
        net: What it is, in words.
        config: Settings of the trials that were timed.
        kind: As in ``NetTraits``.
        precision: As in ``NetTraits``.
        work: As in ``NetTraits``.
        speed_ups: The smaller of two: of training alone, and with an evaluation every few steps.
    """

    net: str
    config: Mapping[str, Scalar]
    kind: str
    precision: str
    work: float
    speed_ups: SpeedUps


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """The stored table.

    Attributes:
        entries: One a network and batch size.
        made_with: Versions, machine and method of the measurement.
    """

    entries: tuple[CalibrationEntry, ...]
    made_with: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Return the table that `to_text` wrote."""
        values = json.loads(text)
        entries = tuple(_entry_from(entry) for entry in values["entries"])
        return cls(entries=entries, made_with=values["made_with"])

    def to_text(self) -> str:
        """Return the table as JSON."""
        entries = [asdict(entry) for entry in self.entries]
        return json.dumps({"made_with": dict(self.made_with), "entries": entries}, indent=1) + "\n"

    def speed_ups(self, traits: "NetTraits") -> dict[str, dict[int, float]]:
        """Return what each engine is expected to gain on a network.

        Between two measured networks the slower one counts; below the smallest one, where steps are
        even shorter, the smallest one. Beyond the largest one nothing is known, and nothing is
        returned, nor for engines that one of the two lacks.
        """
        like = [e for e in self.entries if (e.kind, e.precision) == (traits.kind, traits.precision)]
        below = [e for e in like if e.work <= traits.work]
        above = [e for e in like if e.work >= traits.work]
        if not above:
            return {}
        nearest = [min(above, key=lambda e: e.work)]
        if below:
            nearest.append(max(below, key=lambda e: e.work))
        return _slower_of([entry.speed_ups for entry in nearest])


@lru_cache(maxsize=1)
def stored_calibration() -> Calibration:
    """Return the table that comes with the package."""
    folder = resources.files(__package__)
    return Calibration.from_text(folder.joinpath(FILE).read_text(encoding="utf-8"))


def speed_up_at(speed_ups: Mapping[int, float], group_size: int) -> float:
    """Return the speed-up at a group size, interpolated over its logarithm.

    Beyond the largest measured group it is that of the largest.

    Args:
        speed_ups: Speed-up by group size.
        group_size: At least 1.
    """
    points = sorted({1: 1.0, **speed_ups}.items())
    for (low, low_value), (high, high_value) in pairwise(points):
        if low <= group_size <= high:
            share = math.log(group_size / low) / math.log(high / low)
            return low_value + share * (high_value - low_value)
    return points[-1][1]


def _slower_of(tables: list[SpeedUps]) -> dict[str, dict[int, float]]:
    engines = [e for e in tables[0] if all(e in table for table in tables)]
    return {
        engine: {
            size: min(table[engine][size] for table in tables)
            for size in tables[0][engine]
            if all(size in table[engine] for table in tables)
        }
        for engine in engines
    }


def _entry_from(values: Mapping[str, Any]) -> CalibrationEntry:
    speed_ups = {
        engine: {int(size): speed_up for size, speed_up in sizes.items()}
        for engine, sizes in values["speed_ups"].items()
    }
    return CalibrationEntry(**{**values, "speed_ups": speed_ups})

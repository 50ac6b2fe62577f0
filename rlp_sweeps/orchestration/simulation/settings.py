"""What a simulation is asked for: which results, on which cluster. Kept in the manifest."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from rlp_sweeps.errors import ArgumentError, RunDirectoryError


@dataclass(frozen=True, kw_only=True, slots=True)
class Simulation:
    """Where results come from, and what the simulated cluster is like.

    Attributes:
        recorded: Absolute run directories whose rows trials end with; none where `epoch_s` is set.
        is_nearest: A trial that was not recorded takes the rows of the nearest one that was.
        epoch_s: Mean seconds of an epoch of a trial whose results are made up by a stated formula
            (`results.StatedResults`); None with `recorded`.
        nodes: Machines that stay, but for failures.
        slots: Groups at once on one machine.
        failures_per_hour: Failures of one machine in an hour.
        spot_nodes: Further machines, which are taken away and come back.
        spot_hours: Mean hours until a spot machine is taken away.
        minutes_down: Minutes until a lost machine is back.
        start_s: Seconds that the driver spends on the start of a group, one after the other.
        hours: Hours after which the driver is gone; None: it stays to the end.
        seed: Of the losses.
    """

    recorded: tuple[str, ...] = ()
    is_nearest: bool = False
    epoch_s: float | None = None
    nodes: int = 1
    slots: int = 1
    failures_per_hour: float = 0.0
    spot_nodes: int = 0
    spot_hours: float = 2.0
    minutes_down: float = 5.0
    start_s: float = 0.0
    hours: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        rules = {
            "0 <= nodes": self.nodes >= 0,
            "1 <= slots": self.slots >= 1,
            "0 <= spot_nodes": self.spot_nodes >= 0,
            "0 <= failures_per_hour": _is_at_least(self.failures_per_hour, 0.0),
            "0 < spot_hours": _is_above(self.spot_hours, 0.0),
            "0 <= minutes_down": _is_at_least(self.minutes_down, 0.0),
            "0 <= start_s": _is_at_least(self.start_s, 0.0),
            "0 < epoch_s": self.epoch_s is None or _is_above(self.epoch_s, 0.0),
            "0 < hours": self.hours is None or _is_above(self.hours, 0.0),
        }
        for rule, holds in rules.items():
            if not holds:
                name = rule.split()[-1]
                msg = f"`{rule}` must hold, but got {name}={getattr(self, name)!r}."
                raise ArgumentError(msg)
        if self.nodes + self.spot_nodes < 1:
            msg = "a simulated cluster must have a machine, but got nodes=0, spot_nodes=0."
            raise ArgumentError(msg)
        if bool(self.recorded) == (self.epoch_s is not None):
            msg = (
                "a simulation takes either recorded results or made-up ones, but got recorded="
                f"{list(self.recorded)}, epoch_s={self.epoch_s!r}; give --recorded DIR or "
                "--epoch-seconds X."
            )
            raise ArgumentError(msg)

    @property
    def num_slots(self) -> int:
        """Groups at once while every machine is there."""
        return (self.nodes + self.spot_nodes) * self.slots

    def to_dict(self) -> dict[str, Any]:
        """Return the settings ready for JSON; `from_dict` reads them."""
        return {**asdict(self), "recorded": list(self.recorded)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Return the settings that `to_dict` wrote.

        Raises:
            RunDirectoryError: They are of another version.
        """
        try:
            return cls(**{**values, "recorded": tuple(values["recorded"])})
        except (KeyError, TypeError) as error:
            msg = f"a manifest's simulation must be one of this version, but it is not: {error}."
            raise RunDirectoryError(msg) from error


def _is_at_least(value: float, low: float) -> bool:
    return math.isfinite(value) and value >= low


def _is_above(value: float, low: float) -> bool:
    return math.isfinite(value) and value > low

"""Axes of a search space: one parameter each, stated once, rendered as a grid or for Optuna."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from rlp_sweeps.config import Scalar
from rlp_sweeps.errors import SearchSpaceError
from rlp_sweeps.setting_names import kind_words


def as_values(name: str, values: object) -> tuple[Any, ...]:
    """Return listed values as a tuple; a single text is no list of its letters."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        msg = f"`{name}` must be a sequence of values, for example ({values!r},), not {values!r}."
        raise SearchSpaceError(msg)
    return tuple(v.item() if hasattr(v, "dtype") and hasattr(v, "item") else v for v in values)


def _check_numbers(axis: "LogAxis | LinearAxis") -> None:
    for name in ("low", "high", "num_points"):
        value = getattr(axis, name)
        kinds = (int,) if name == "num_points" else (int, float)
        if isinstance(value, bool) or not isinstance(value, kinds):
            words = kind_words(kinds[-1:])
            msg = f"`{name}` of an axis must be {words}, but got {name}={value!r}."
            raise SearchSpaceError(msg)


def _checked_num_points(num_points: int) -> None:
    if num_points < 1:
        msg = f"`1 <= num_points` must hold on an axis, but got num_points={num_points!r}."
        raise SearchSpaceError(msg)


@dataclass(frozen=True, kw_only=True, slots=True)
class LogAxis:
    """A positive real parameter, spaced evenly in its logarithm.

    Attributes:
        low: Smallest value, > 0.
        high: Largest value.
        num_points: Values in a grid.
        control: A value apart from the range, usually 0: on `rlp_lambda` that of the control arm,
            on any other axis one more grid value.
    """

    low: float
    high: float
    num_points: int
    control: float | None = None

    def __post_init__(self) -> None:
        _check_numbers(self)
        if not (0 < self.low <= self.high < math.inf):
            hint = "" if self.low > 0 else " For an arm at 0, set `control=0.0`."
            hint = " Both must be finite." if math.inf in (self.low, self.high) else hint
            msg = (
                "`0 < low <= high` must hold on a log axis, but got "
                f"low={self.low!r}, high={self.high!r}.{hint}"
            )
            raise SearchSpaceError(msg)
        _checked_num_points(self.num_points)

    def values(self) -> tuple[float, ...]:
        """Return the grid values, ascending, without the control value."""
        if self.num_points == 1 or self.low == self.high:
            return (float(self.low),)
        ratio = math.log(self.high / self.low) / (self.num_points - 1)
        inner = [self.low * math.exp(ratio * i) for i in range(self.num_points)]
        return tuple(float(f"{value:.12g}") for value in inner)


@dataclass(frozen=True, kw_only=True, slots=True)
class LinearAxis:
    """A real parameter, spaced evenly; attributes as in `LogAxis`."""

    low: float
    high: float
    num_points: int
    control: float | None = None

    def __post_init__(self) -> None:
        _check_numbers(self)
        if not (-math.inf < self.low <= self.high < math.inf):
            msg = (
                "`low <= high` must hold on a linear axis, both finite, but got "
                f"low={self.low!r}, high={self.high!r}."
            )
            raise SearchSpaceError(msg)
        _checked_num_points(self.num_points)

    def values(self) -> tuple[float, ...]:
        """Return the grid values, ascending, without the control value."""
        if self.num_points == 1 or self.low == self.high:
            return (float(self.low),)
        width = (self.high - self.low) / (self.num_points - 1)
        return tuple(float(f"{self.low + width * i:.12g}") for i in range(self.num_points))


@dataclass(frozen=True, kw_only=True, slots=True)
class ChoiceAxis:
    """A parameter with listed values.

    Attributes:
        choices: The values, in order, no two alike.
        control: As in `LogAxis`.
    """

    choices: Sequence[Scalar]
    control: Scalar = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "choices", as_values("choices", self.choices))
        if not self.choices:
            msg = "an axis must have at least one value, but got choices=(); list some."
            raise SearchSpaceError(msg)
        listed: Sequence[object] = self.choices
        for value in listed:
            if not isinstance(value, str | float | int | None):
                msg = (
                    "the values of an axis must be numbers, texts, booleans or None, but got "
                    f"{value!r} in choices={self.choices!r}."
                )
                raise SearchSpaceError(msg)
        if len(set(self.choices)) < len(self.choices):
            msg = (
                f"no two values of an axis may be alike, but got choices={self.choices!r}; leave "
                "one out."
            )
            raise SearchSpaceError(msg)

    def values(self) -> tuple[Scalar, ...]:
        """Return the listed values, without the control value."""
        return tuple(self.choices)


Axis = LogAxis | LinearAxis | ChoiceAxis

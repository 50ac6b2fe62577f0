"""The table of ratios: what one row holds, and how the table is written as Markdown and as JSON."""

import dataclasses
import json
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

from benchmarks.timing import Ratio

Measure = Literal["times the time", "times faster", "times the memory", "share", "s", "GiB", "abs."]
HEADER = ("row", "what", "against", "n", "measured [95 % interval]", "goal", "met?", "how")


@dataclass(frozen=True, kw_only=True, slots=True)
class Goal:
    """A bound on a measured value.

    Attributes:
        rule: ``<=`` or ``>=``.
        bound: In the unit of the row's measure.
    """

    rule: Literal["<=", ">="]
    bound: float

    def is_met_by(self, value: float) -> bool:
        """Return whether the value keeps the bound."""
        return value <= self.bound if self.rule == "<=" else value >= self.bound

    def __str__(self) -> str:
        return f"{'≤' if self.rule == '<=' else '≥'} {self.bound:g}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One measured line of the table.

    Attributes:
        letter: Row of the table, ``a`` to ``i``.
        what: What was measured.
        against: What it was measured against; empty where the value stands for itself.
        value: The median, with its interval and the number of rounds.
        measure: What the value counts.
        goal: What was to be reached; None where nothing was.
        how: Both medians, sizes, what else a reader needs; one line.
    """

    letter: str
    what: str
    against: str
    value: Ratio
    measure: Measure
    goal: Goal | None = None
    how: str = ""

    @property
    def verdict(self) -> str:
        """``yes`` or ``no``; with a ``?`` where the bound lies inside the interval; or a dash."""
        if self.goal is None:
            return "–"
        median, low, high = self.value.median, self.value.low, self.value.high
        word = "yes" if self.goal.is_met_by(median) else "no"
        is_open = low is not None and high is not None and low < self.goal.bound < high
        return f"{word}?" if is_open else word

    def cells(self) -> tuple[str, ...]:
        """Return the texts of the row, one a column of `HEADER`."""
        goal = "–" if self.goal is None else str(self.goal)
        measured = f"{self.value} {self.measure}".strip()
        n = str(self.value.n)
        return (self.letter, self.what, self.against, n, measured, goal, self.verdict, self.how)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Return the row that `dataclasses.asdict` wrote."""
        goal = None if values["goal"] is None else Goal(**values["goal"])
        return cls(**{**values, "value": Ratio(**values["value"]), "goal": goal})


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """Rows measured by one command, and where.

    Attributes:
        machine: Facts of machine, versions and date, by name.
        rows: In the order they were measured.
    """

    machine: Mapping[str, str]
    rows: Sequence[Row]

    def to_markdown(self) -> str:
        """Return machine and rows as Markdown, ending with a newline."""
        lines = [f"- {name}: {fact}" for name, fact in self.machine.items()]
        lines += ["", _line(HEADER), _line(["---"] * len(HEADER))]
        lines += [_line(row.cells()) for row in self.rows]
        return "\n".join(lines) + "\n"

    def to_json(self) -> str:
        """Return the same as JSON; `from_json` reads it."""
        rows = [dataclasses.asdict(row) for row in self.rows]
        content = {"machine": dict(self.machine), "rows": rows}
        return json.dumps(content, ensure_ascii=False, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return the table that `to_json` wrote."""
        values = json.loads(text)
        return cls(machine=values["machine"], rows=[Row.from_dict(row) for row in values["rows"]])


def rows_of(parts: Iterable[Callable[[], Iterable[Row]]]) -> Iterator[Row]:
    """Yield the rows of every part; after one that raises, whose trace is printed, the next begins.

    Raises:
        RuntimeError: At the end: a part raised.
    """
    num_failed = 0
    for part in parts:
        try:
            yield from part()
        except Exception:  # noqa: BLE001  an hour's other figures are worth having
            traceback.print_exc(file=sys.stderr)
            num_failed += 1
    if num_failed:
        msg = f"{num_failed} part(s) could not be measured; their traces are above."
        raise RuntimeError(msg)


def _line(cells: Sequence[str]) -> str:
    escaped = (" ".join(cell.replace("|", "\\|").split()) for cell in cells)
    return f"| {' | '.join(escaped)} |"

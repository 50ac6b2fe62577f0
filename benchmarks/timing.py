"""Interleaved timing: every round runs each alternative once, ratios are paired within a round."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import comb

Clock = Callable[[], float]

CONFIDENCE = 0.95
"""Least coverage of an interval of a median."""


@dataclass(frozen=True, slots=True)
class Ratio:
    """A median over rounds, with the order-statistic interval of the median.

    Attributes:
        median: Median over rounds.
        low: Lower end, or None where so few rounds give no 95 % interval.
        high: Upper end, likewise.
        n: Rounds.
    """

    median: float
    low: float | None
    high: float | None
    n: int

    def __str__(self) -> str:
        if self.low is None or self.high is None:
            return f"{self.median:.3g}"
        return f"{self.median:.3g} [{self.low:.3g}, {self.high:.3g}]"


def interleave(
    alternatives: Mapping[str, Callable[[], object]],
    *,
    num_rounds: int,
    calls_per_round: int = 1,
    clock: Clock = time.process_time,
    budget_s: float = float("inf"),
) -> dict[str, list[float]]:
    """Return seconds a call of every alternative, one number a round.

    Odd rounds run in reverse order, so that a drift of the machine favours nobody. Process CPU time
    by default, which other processes on a shared machine disturb least.

    Args:
        alternatives: What is timed, by name; each is called once before the first round.
        num_rounds: Most rounds.
        calls_per_round: Calls of an alternative that one number is the mean of.
        clock: Seconds.
        budget_s: No round starts after this many seconds of wall time, but the first does; what
            the calls before it cost (compiling, capturing, starting workers) is not counted.
    """
    seconds: dict[str, list[float]] = {name: [] for name in alternatives}
    for call in alternatives.values():
        call()
    started = time.perf_counter()
    for round_number in range(num_rounds):
        if round_number and time.perf_counter() - started > budget_s:
            break
        names = list(alternatives)
        for name in names if round_number % 2 == 0 else reversed(names):
            start = clock()
            for _ in range(calls_per_round):
                alternatives[name]()
            seconds[name].append((clock() - start) / calls_per_round)
    return seconds


def median_of(values: Sequence[float]) -> Ratio:
    """Return the median of independent values with its interval.

    The interval goes from the k-th smallest to the k-th largest value, for the largest k that keeps
    the coverage `CONFIDENCE` whatever the distribution is: 1 − 2·P(Binomial(n, ½) < k). Fewer than
    six values have none.
    """
    ordered = sorted(values)
    k = _rank(len(ordered))
    low, high = (ordered[k - 1], ordered[-k]) if k else (None, None)
    return Ratio(statistics.median(ordered), low, high, len(ordered))


def paired_ratio(seconds: Mapping[str, Sequence[float]], name: str, base: str) -> Ratio:
    """Return the ratio of two alternatives, paired within a round."""
    return median_of([a / b for a, b in zip(seconds[name], seconds[base], strict=True)])


def medians(seconds: Mapping[str, Sequence[float]]) -> str:
    """Return "name 12.3 ms, other 45.6 ms": the median of every alternative."""
    return ", ".join(f"{name} {_duration(statistics.median(s))}" for name, s in seconds.items())


def _duration(seconds: float) -> str:
    return f"{seconds:.3g} s" if seconds >= 1 else f"{seconds * 1e3:.3g} ms"


def _rank(n: int) -> int:
    """Return the largest k with 2·P(Binomial(n, ½) < k) ≤ 1 − `CONFIDENCE`; 0 where none has."""
    tail, k = 0.0, 0
    while k < n // 2:
        tail += comb(n, k) / 2**n
        if 2 * tail > 1 - CONFIDENCE:
            break
        k += 1
    return k

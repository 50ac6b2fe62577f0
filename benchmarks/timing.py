"""Interleaved timing: every round runs each alternative once, ratios are paired within a round."""

import statistics
import time
from collections.abc import Callable, Mapping

Clock = Callable[[], float]


def interleave(
    alternatives: Mapping[str, Callable[[], object]],
    *,
    num_rounds: int,
    calls_per_round: int = 1,
    clock: Clock = time.process_time,
) -> dict[str, list[float]]:
    """Return seconds a call of every alternative, one number a round.

    Odd rounds run in reverse order, so that a drift of the machine favours nobody. Process CPU time
    by default, which other processes on a shared machine disturb least.
    """
    seconds: dict[str, list[float]] = {name: [] for name in alternatives}
    for call in alternatives.values():
        call()
    for round_number in range(num_rounds):
        names = list(alternatives)
        for name in names if round_number % 2 == 0 else reversed(names):
            start = clock()
            for _ in range(calls_per_round):
                alternatives[name]()
            seconds[name].append((clock() - start) / calls_per_round)
    return seconds


def paired_ratio(seconds: Mapping[str, list[float]], name: str, base: str) -> tuple[float, ...]:
    """Return median and quartiles of the ratio of two alternatives, paired within a round."""
    ratios = sorted(a / b for a, b in zip(seconds[name], seconds[base], strict=True))
    low, _, high = statistics.quantiles(ratios, n=4)
    return statistics.median(ratios), low, high

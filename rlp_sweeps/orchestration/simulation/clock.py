"""Simulated time: events in their order, and nothing between them."""

import heapq
from collections.abc import Callable

Action = Callable[[], None]


class Clock:
    """Events by time; of those at one time, the one that was set first comes first.

    Attributes:
        now_s: Simulated seconds since the start.
    """

    def __init__(self) -> None:
        self.now_s = 0.0
        self._events: list[tuple[float, int, Action]] = []
        self._num_set = 0

    @property
    def next_s(self) -> float:
        """When the next event comes; there must be one."""
        return self._events[0][0]

    def after(self, delay_s: float, action: Action) -> None:
        """Let something happen in that many seconds."""
        heapq.heappush(self._events, (self.now_s + delay_s, self._num_set, action))
        self._num_set += 1

    def step(self) -> None:
        """Go to the next event and let it happen; there must be one."""
        self.now_s, _, action = heapq.heappop(self._events)
        action()

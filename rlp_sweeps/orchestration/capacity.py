"""How many groups run at once, while machines of the cluster come and go."""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ray.tune.search import ConcurrencyLimiter, Searcher
from ray.tune.search.basic_variant import BasicVariantGenerator

from rlp_sweeps.orchestration.resources import GroupResources, alive_nodes

MAX_LOST_PROCESSES = 2
"""Times that a group is started again after its process was lost on a machine that lives on."""

MAX_LOST_NODES = 20
"""Times that a group is started again after its machine was lost: spot machines come and go."""

LOOK_EVERY_S = 2.0
"""Least seconds between two looks at the cluster's machines."""

_NODE_LOSSES = (
    "because its node has died",
    "node was preempted",
    "node was terminated",
    "actor is temporarily unavailable",
)
"""What Ray says; the last where it lost touch and within a second no machine reported a death, as
the machine of a process that is killed does."""


@dataclass(kw_only=True, slots=True)
class Capacity:
    """The groups that a cluster has room for, followed while the sweep runs.

    Attributes:
        resources: What a group holds.
        slots: Groups that fit at once, at the last look; 0 while every machine is away.
        most: Most groups at once; None: as many as fit.
        is_own: The cluster was started for this sweep, so that it keeps its size.
    """

    resources: GroupResources
    slots: int
    most: int | None
    is_own: bool
    _looked_at: float = field(default=float("-inf"), init=False)
    _limited: list[Any] = field(default_factory=list, init=False)

    @property
    def at_once(self) -> int:
        """Groups that run at once."""
        return min(self.slots, self.slots if self.most is None else self.most)

    @property
    def asked(self) -> int:
        """Groups that are asked for at once, at least one.

        A running cluster may grow to hold what it is asked for, so that it is asked for all that
        the user allows; where the user sets no limit, for what it has room for.
        """
        if self.most is not None and not self.is_own:
            return self.most
        return max(1, self.at_once)

    def limit(self, searcher: Searcher | None) -> BasicVariantGenerator | ConcurrencyLimiter:
        """Return what gives Tune its groups, never more at once than `asked`, as it changes.

        Args:
            searcher: Samples points; None: a grid.
        """
        limited = (
            BasicVariantGenerator(max_concurrent=self.asked)
            if searcher is None
            else ConcurrencyLimiter(searcher, max_concurrent=self.asked)
        )
        self._limited.append(limited)
        return limited

    def follow(self) -> bool:
        """Look at the cluster, if the last look is long ago; return whether its room has changed.

        Must be called while connected to it.
        """
        now = time.monotonic()
        if self.is_own or now - self._looked_at < LOOK_EVERY_S:
            return False
        self._looked_at = now
        slots = self.resources.count_slots(*alive_nodes())
        if slots == self.slots:
            return False
        self.slots = slots
        for limited in self._limited:
            limited.max_concurrent = self.asked
        return True


def allow_for_lost_node(trial: Any) -> bool:
    """Give a Tune trial one more start if its machine was lost; return whether it was.

    Must be called for every loss, before the next one.
    """
    if not is_node_loss(last_error(trial)):
        return False
    trial.max_failures = min(trial.max_failures + 1, MAX_LOST_PROCESSES + MAX_LOST_NODES)
    return True


def is_node_loss(error: str) -> bool:
    """Return whether a worker was lost with its machine, by what Ray says of its end."""
    return any(text in error for text in _NODE_LOSSES)


def last_error(trial: Any) -> str:
    """Return the text of a Tune trial's last error, which Tune appends to a file; "" before one."""
    if trial.error_file is None or not Path(trial.error_file).exists():
        return ""
    return Path(trial.error_file).read_text(encoding="utf-8").rpartition("Failure # ")[2]

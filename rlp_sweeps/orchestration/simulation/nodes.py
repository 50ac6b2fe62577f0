"""Machines of a simulated cluster, which are lost and come back."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from rlp_sweeps.orchestration.simulation.clock import Clock
from rlp_sweeps.orchestration.simulation.settings import Simulation
from rlp_sweeps.schema import SIMULATED_HOST
from rlp_sweeps.seeding import stream_seed

_HOUR_S = 3600.0


@dataclass(kw_only=True, slots=True)
class Node:
    """One machine.

    Attributes:
        name: What rows name as their host.
        num_free: Groups that it has room for now.
        losses_per_hour: Rate at which it is lost while it is there.
        is_up: It is there.
    """

    name: str
    num_free: int
    losses_per_hour: float
    is_up: bool = True
    chance: random.Random = field(repr=False)


class Nodes:
    """The machines, each with its own chance: one more of them never shifts another's losses.

    The time to the next loss is exponential, so that losses are a Poisson process while a machine
    is there.

    Attributes:
        num_losses: Machines lost so far.
    """

    def __init__(
        self,
        simulation: Simulation,
        clock: Clock,
        *,
        on_loss: Callable[[Node], None],
        on_return: Callable[[], None],
    ) -> None:
        """Set up the machines; nothing is lost before `start`.

        Args:
            simulation: Their numbers and rates.
            clock: Simulated time.
            on_loss: Called with a machine that was lost, all its room taken.
            on_return: Called when a machine is back.
        """
        self.num_losses = 0
        self._simulation = simulation
        self._clock = clock
        self._on_loss = on_loss
        self._on_return = on_return
        rates = [("node", simulation.failures_per_hour)] * simulation.nodes
        rates += [("spot", 1.0 / simulation.spot_hours)] * simulation.spot_nodes
        self._nodes = [
            Node(
                name=f"{SIMULATED_HOST}{kind}-{number}",
                num_free=simulation.slots,
                losses_per_hour=rate,
                chance=random.Random(stream_seed(simulation.seed, "node_loss", number)),
            )
            for number, (kind, rate) in enumerate(rates)
        ]

    def start(self) -> None:
        """Let losses happen from now on."""
        for node in self._nodes:
            self._set_loss(node)

    def free_node(self) -> Node | None:
        """Return the machine with the most room, the first of several; None where all are full."""
        best = max(self._nodes, key=lambda node: node.num_free if node.is_up else 0)
        return best if best.is_up and best.num_free else None

    def _set_loss(self, node: Node) -> None:
        if node.losses_per_hour:
            wait_s = node.chance.expovariate(node.losses_per_hour) * _HOUR_S
            self._clock.after(wait_s, lambda: self._lose(node))

    def _lose(self, node: Node) -> None:
        node.is_up, node.num_free = False, 0
        self.num_losses += 1
        self._clock.after(self._simulation.minutes_down * 60.0, lambda: self._bring_back(node))
        self._on_loss(node)

    def _bring_back(self, node: Node) -> None:
        node.is_up, node.num_free = True, self._simulation.slots
        self._set_loss(node)
        self._on_return()

"""One simulated attempt: starts groups where there is room, and starts lost ones again."""

import time
from collections import Counter, deque
from types import SimpleNamespace
from typing import Any

from ray.tune.search import Searcher

from rlp_sweeps.orchestration.attempt import Attempt, attempt_scheduler
from rlp_sweeps.orchestration.attempt_watch import AttemptWatch
from rlp_sweeps.orchestration.capacity import MAX_LOST_NODES, MAX_LOST_PROCESSES
from rlp_sweeps.orchestration.early_stopping import PoliteASHA
from rlp_sweeps.orchestration.planner import Group
from rlp_sweeps.orchestration.progress import AttemptLog, ProgressListener
from rlp_sweeps.orchestration.simulation.clock import Clock
from rlp_sweeps.orchestration.simulation.flight import Flight, Memory
from rlp_sweeps.orchestration.simulation.nodes import Node, Nodes
from rlp_sweeps.orchestration.simulation.report import SimulationReport, add_report
from rlp_sweeps.orchestration.simulation.results import Results
from rlp_sweeps.orchestration.simulation.settings import Simulation

_LOST = "its simulated machine was lost"
_MOST_LOSSES = MAX_LOST_PROCESSES + MAX_LOST_NODES  # after which Tune starts a group no more


class SimulatedAttempt:
    """Does with an attempt what Tune does with it: same order, same retries, same searcher.

    Planned groups start in their order; a lost one waits behind all others, and is given up when
    it was lost once too often. A search is asked for a group whenever one has room.
    """

    def __init__(
        self,
        attempt: Attempt,
        progress: ProgressListener,
        simulation: Simulation,
        results: Results,
    ) -> None:
        self._attempt = attempt
        self._simulation = simulation
        self._clock = Clock()
        self._watch = AttemptWatch(attempt, progress, clock=lambda: self._clock.now_s)
        scheduler = attempt_scheduler(attempt)
        self._asha = scheduler if isinstance(scheduler, PoliteASHA) else None
        self._nodes = Nodes(
            simulation, self._clock, on_loss=self._lose_flights, on_return=self._fill
        )
        self._report = SimulationReport(num_slots=simulation.num_slots)
        self._memory = Memory(
            job=attempt.job,
            results=results,
            clock=self._clock,
            report=self._report,
            origin_ms=time.time_ns() // 1_000_000,
        )
        self._waiting: deque[tuple[str, Group]] = deque(
            (group.group_id, group) for group in attempt.groups
        )
        self._flights: dict[str, Flight] = {}
        self._losses: Counter[str] = Counter()
        self._num_asked = 0
        self._is_exhausted = attempt.searcher is None
        self._driver_free_s = 0.0

    def run(self) -> AttemptLog:
        """Let time pass until nothing is left, the driver is gone, or Ctrl-C."""
        hours = self._simulation.hours
        until_s = float("inf") if hours is None else hours * 3600.0
        try:
            self._nodes.start()
            self._fill()
            while self._flights or self._waiting:
                if self._clock.next_s > until_s:
                    self._clock.now_s = until_s
                    break
                if self._attempt.brake.look() is not None:
                    break
                self._clock.step()
                self._watch.write_down()
        except KeyboardInterrupt:
            pass  # as Tune does: what is left is seen by whoever counts
        self._watch.close()
        self._close_report()
        return self._watch.log

    def _fill(self) -> None:
        """Start groups as long as there are some, and room for them."""
        while len(self._flights) < self._attempt.capacity.at_once:
            node = self._nodes.free_node()
            named = None if node is None else self._next_group()
            if node is None or named is None:
                return
            self._start(*named, node)

    def _next_group(self) -> tuple[str, Group] | None:
        if self._waiting:
            return self._waiting.popleft()
        if self._is_exhausted:
            return None
        assert self._attempt.searcher is not None
        name = f"group-{self._num_asked}"
        suggestion = self._attempt.searcher.suggest(name)
        if suggestion == Searcher.FINISHED:
            self._is_exhausted = True
            return None
        assert isinstance(suggestion, dict)
        self._num_asked += 1
        return name, self._attempt.job.group_of(suggestion)

    def _start(self, name: str, group: Group, node: Node) -> None:
        node.num_free -= 1
        now_s = self._clock.now_s
        self._driver_free_s = max(now_s, self._driver_free_s) + self._simulation.start_s
        stopper = None if self._asha is None else self._stopper(name)
        flight = Flight(
            self._memory,
            group,
            node,
            on_report=lambda result: self._watch.reported(group.group_id, result),
            is_to_stop=stopper,
            on_end=lambda result: self._end(name, flight, result),
        )
        self._flights[name] = flight
        self._watch.started(group)
        self._clock.after(self._driver_free_s - now_s, flight.begin)

    def _stopper(self, name: str) -> Any:
        assert self._asha is not None
        asha = self._asha
        nobody: Any = None
        trial: Any = SimpleNamespace(trial_id=name)
        asha.on_trial_add(nobody, trial)
        return lambda result: asha.is_to_stop(trial, result)

    def _end(self, name: str, flight: Flight, result: dict[str, Any]) -> None:
        del self._flights[name]
        flight.node.num_free += 1
        self._watch.completed(flight.group.group_id, result)
        self._tell(name, result)
        self._fill()

    def _tell(self, name: str, result: dict[str, Any] | None) -> None:
        if self._attempt.searcher is not None:
            self._attempt.searcher.on_trial_complete(name, result, error=result is None)

    def _lose_flights(self, node: Node) -> None:
        lost = [(name, flight) for name, flight in self._flights.items() if flight.node is node]
        for name, flight in lost:
            flight.lose()
            del self._flights[name]
            self._watch.count_time(flight.group.group_id)
            self._losses[name] += 1
            if self._losses[name] <= _MOST_LOSSES:
                self._report.num_groups_lost += 1
                self._waiting.append((name, flight.group))
            else:
                self._report.num_groups_given_up += 1
                self._watch.lost(flight.group.group_id, _LOST)
                self._tell(name, None)
        self._fill()

    def _close_report(self) -> None:
        self._report.busy_s = self._watch.log.busy_s
        self._report.time_s = self._clock.now_s
        self._report.num_groups = self._watch.log.num_ended
        self._report.num_nodes_lost = self._nodes.num_losses
        add_report(self._attempt.job.directory.path, self._report)

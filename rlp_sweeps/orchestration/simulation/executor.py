"""The simulated cluster as a sweep sees it: an `Executor` that trains nothing."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

from rlp_sweeps.orchestration.executor import Sent
from rlp_sweeps.orchestration.planner import SweepPlan
from rlp_sweeps.orchestration.progress import AttemptLog, ProgressListener, RunOptions
from rlp_sweeps.orchestration.resources import GroupResources
from rlp_sweeps.orchestration.simulation.results import Results, results_of
from rlp_sweeps.orchestration.simulation.settings import Simulation
from rlp_sweeps.tracking.run_directory import RunDirectory

if TYPE_CHECKING:
    from rlp_sweeps.orchestration.attempt import Attempt


class SimulatedExecutor:
    """Lets groups take their recorded time on a simulated cluster."""

    def __init__(self, simulation: Simulation) -> None:
        self.simulation = simulation

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> Self:
        """Return the executor of a manifest's settings.

        Raises:
            RunDirectoryError: They are of another version.
        """
        return cls(Simulation.from_dict(settings["simulation"]))

    @cached_property
    def results(self) -> Results:
        """How trials go."""
        return results_of(self.simulation)

    def prepared(self, plan: SweepPlan, options: RunOptions) -> SweepPlan:
        """Return the plan: no data, network or device is needed."""
        del options
        return plan

    def check_place(self, plan: SweepPlan, options: RunOptions) -> None:
        """Refuse trials of a grid whose results are not known."""
        del options
        self.results.check(plan.trials)

    def check_data(self, plan: SweepPlan) -> None:
        """Do nothing: no data are read."""

    def sent(self, plan: SweepPlan, options: RunOptions, directory: RunDirectory) -> Sent:
        """Return nothing: nobody trains."""
        del plan, options, directory
        return Sent()

    def data_of(self, plan: SweepPlan) -> dict[str, str]:
        """Return nothing: no data are read."""
        del plan
        return {}

    def settings(self) -> Mapping[str, Any]:
        """Return the simulation, which `resume` goes on with."""
        return {"simulation": self.simulation.to_dict()}

    def is_tracked(self, options: RunOptions) -> bool:
        """Return whether a store was asked for."""
        return options.tracking_uri is not None

    @contextmanager
    def session(
        self, options: RunOptions, resources: GroupResources, directory: RunDirectory
    ) -> Iterator[int]:
        """Yield the cluster's room."""
        del options, resources, directory
        yield self.simulation.num_slots

    def run(self, attempt: "Attempt", progress: ProgressListener) -> AttemptLog:
        """Let the groups' time pass."""
        from rlp_sweeps.orchestration.simulation.attempt import SimulatedAttempt

        return SimulatedAttempt(attempt, progress, self.simulation, self.results).run()

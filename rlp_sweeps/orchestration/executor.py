"""Who carries out the groups of a sweep: Ray, or a simulated cluster. The rest does not know."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from rlp_sweeps.errors import ArgumentError
from rlp_sweeps.orchestration.data_identity import data_fingerprints
from rlp_sweeps.orchestration.farewell import farewell
from rlp_sweeps.orchestration.planner import SweepPlan, check_plan, resolve_device
from rlp_sweeps.orchestration.progress import AttemptLog, ProgressListener, RunOptions
from rlp_sweeps.orchestration.resources import GroupResources, check_cluster, ray_session
from rlp_sweeps.orchestration.shared_data import SharedData, check_readable, datasets_of
from rlp_sweeps.tracking.run_directory import RunDirectory

if TYPE_CHECKING:
    from rlp_sweeps.orchestration.attempt import Attempt
    from rlp_sweeps.orchestration.user_code import UserCode


@dataclass(frozen=True, kw_only=True, slots=True)
class Sent:
    """What groups get from the driver.

    Attributes:
        data: The data sets; None: every worker reads the files.
        code: A user's own modules; None: they are imported where they lie.
    """

    data: SharedData | None = None
    code: "UserCode | None" = None


class Executor(Protocol):
    """Carries out the groups of an attempt; plan, search, rows and MLflow are not its matter."""

    def check_place(self, plan: SweepPlan, options: RunOptions) -> None:
        """Refuse a place that does not answer or has no room for a group.

        Raises:
            RlpSweepsError: Why nothing can be started there.
        """
        ...

    def prepared(self, plan: SweepPlan, options: RunOptions) -> SweepPlan:
        """Return a plan that was read from a manifest as it is carried out here.

        Raises:
            RlpSweepsError: A device, data, a backbone or an engine cannot be had.
        """
        ...

    def check_data(self, plan: SweepPlan) -> None:
        """Refuse data that cannot be read.

        Raises:
            DatasetError: Which.
        """
        ...

    def data_of(self, plan: SweepPlan) -> dict[str, str]:
        """Return the fingerprints of the data that are trained on; see `data_fingerprints`."""
        ...

    def sent(self, plan: SweepPlan, options: RunOptions, directory: RunDirectory) -> Sent:
        """Return what groups get from the driver, which holds the place.

        Raises:
            ClusterError: A machine cannot train.
        """
        ...

    def settings(self) -> Mapping[str, Any]:
        """Return what a manifest's settings hold besides the plan's, ready for JSON."""
        ...

    def is_tracked(self, options: RunOptions) -> bool:
        """Return whether MLflow is told of the trials."""
        ...

    def session(
        self, options: RunOptions, resources: GroupResources, directory: RunDirectory
    ) -> AbstractContextManager[int]:
        """Hold the place for the length of a block that is given the number of groups at once.

        Raises:
            ClusterError: It refuses, or a group does not fit into it.
        """
        ...

    def run(self, attempt: "Attempt", progress: ProgressListener) -> AttemptLog:
        """Carry out the groups that are left, and return what was heard of them.

        Returns normally whatever becomes of the groups, and after Ctrl-C.
        """
        ...


class RayExecutor:
    """Trains groups on a Ray cluster, the sweep's own or one that runs already."""

    def check_place(self, plan: SweepPlan, options: RunOptions) -> None:
        """Refuse a cluster that does not answer or that has no room for a group."""
        check_cluster(options, GroupResources.of(options, device=plan.device))

    def prepared(self, plan: SweepPlan, options: RunOptions) -> SweepPlan:
        """Return the plan on the device that there is; its data and backbones are here."""
        device = resolve_device(plan.device if options.device == "auto" else options.device)
        plan = replace(plan, device=device)
        check_plan(plan)
        return plan

    def check_data(self, plan: SweepPlan) -> None:
        """Read the data sets."""
        check_readable(plan)

    def data_of(self, plan: SweepPlan) -> dict[str, str]:
        """Return the fingerprints of the plan's data."""
        return data_fingerprints(plan)

    def sent(self, plan: SweepPlan, options: RunOptions, directory: RunDirectory) -> Sent:
        """Put the data sets into the object store, and look at the machines of a cluster."""
        from rlp_sweeps.orchestration.nodes import code_for

        data = SharedData.put(datasets_of(plan), data_dir=plan.data_dir)
        return Sent(data=data, code=code_for(plan, directory, address=options.address))

    def settings(self) -> Mapping[str, Any]:
        """Return nothing: where a sweep runs is not part of it."""
        return {}

    def is_tracked(self, options: RunOptions) -> bool:
        """Return True."""
        return True

    @contextmanager
    def session(
        self, options: RunOptions, resources: GroupResources, directory: RunDirectory
    ) -> Iterator[int]:
        """Connect to the cluster or start one; should it go away, say how to resume."""
        with (
            farewell(directory.path, address=options.address) as watch,
            ray_session(options, resources) as slots,
        ):
            watch()
            yield slots

    def run(self, attempt: "Attempt", progress: ProgressListener) -> AttemptLog:
        """Run the groups as a Tune experiment."""
        from rlp_sweeps.orchestration.attempt import run_attempt

        return run_attempt(attempt, progress)


def executor_of(directory: RunDirectory) -> Executor:
    """Return who carries out what is left of a sweep: whoever its manifest names, or Ray.

    Raises:
        RunDirectoryError: The manifest names a simulation that this version does not know.
    """
    settings = directory.manifest.get("settings", {})
    if "simulation" not in settings:
        return RayExecutor()
    from rlp_sweeps.orchestration.simulation import SimulatedExecutor

    return SimulatedExecutor.from_settings(settings)


def check_trained(directory: RunDirectory) -> None:
    """Refuse to take rows of a simulated sweep for trained ones.

    Raises:
        ArgumentError: The directory was simulated.
    """
    if "simulation" in directory.manifest.get("settings", {}):
        msg = f"rows must come of training, but those of {directory.path} were simulated."
        raise ArgumentError(msg)

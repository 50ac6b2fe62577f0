"""Where probe tasks are worked on: in this process, or side by side on a Ray cluster."""

import time
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from rlp_sweeps.orchestration.probe_tasks import Bench, Found, ProbeJob, ProbeTask
from rlp_sweeps.orchestration.progress import RunOptions
from rlp_sweeps.orchestration.resources import (
    GroupResources,
    alive_nodes,
    local_resources,
    ray_session,
)
from rlp_sweeps.orchestration.shared_data import SharedData
from rlp_sweeps.orchestration.user_code import UserCode

CLUSTER_START_S = 15.0
"""What a cluster of its own takes until its workers have imported torch; it must save more."""

MAX_LOST_PROCESSES = 2
"""Times that a task is started again after its process was lost."""

Finding = tuple[ProbeTask, Found]


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where tasks are worked on.

    Attributes:
        options: Address of a cluster, and most tasks at once.
        resources: What a task holds.
    """

    options: RunOptions
    resources: GroupResources

    def at_once(self, slots: int) -> int:
        """Return how many tasks run side by side where there is room for so many."""
        return min(slots, self.options.max_concurrent or slots)


def work_on(
    tasks: Iterable[ProbeTask], *, num_tasks: int, job: ProbeJob, place: Place
) -> Generator[Finding, None, None]:
    """Yield each task with what it found, in the order in which they end.

    Where a cluster is named, all tasks go there. Else this process begins, and as soon as a network
    is probed goes on with a cluster of its own, if the time that the rest would take here tells
    that it saves more than its start costs.

    Args:
        tasks: Made one by one, when there is room for them.
        num_tasks: How many there are.
        job: What every task needs.
        place: Where.

    Raises:
        ClusterError: The cluster refuses, or a task does not fit into it.
    """
    left = iter(tasks)
    if place.options.address is None:
        slots = place.resources.slots(local_resources(place.options, place.resources))
        bench, started = Bench(job), time.monotonic()
        for number, task in enumerate(left, start=1):
            yield task, bench.work(task)
            time_left_s = (time.monotonic() - started) / number * (num_tasks - number)
            saved_s = time_left_s * (1 - 1 / place.at_once(slots))
            if task.weights is not None and saved_s > CLUSTER_START_S:
                break
        else:
            return
    yield from _work_on_cluster(left, job=job, place=place)


def _work_on_cluster(
    tasks: Iterator[ProbeTask], *, job: ProbeJob, place: Place
) -> Generator[Finding, None, None]:
    """Yield findings of Ray tasks, as many at once as there is room for."""
    import ray
    from ray.exceptions import RayError

    is_own = place.options.address is None
    with ray_session(place.options, place.resources) as first_slots:
        supplies = _Supplies(job, is_own_cluster=is_own)
        remote: Any = ray.remote(_work).options(
            num_cpus=place.resources.num_cpus,
            num_gpus=place.resources.num_gpus,
            max_retries=MAX_LOST_PROCESSES,
        )
        running: dict[Any, ProbeTask] = {}
        while True:
            slots = first_slots if is_own else place.resources.count_slots(*alive_nodes())
            room = max(1, place.at_once(slots))
            while len(running) < room and (task := next(tasks, None)) is not None:
                running[remote.remote(task, job, *supplies.of(task))] = task
            if not running:
                return
            (done,), _ = ray.wait(list(running), num_returns=1)
            try:
                found: Found = ray.get(done)
            except RayError as error:
                reason = " ".join(str(error).split())
                found = Found((), error=f"its process was lost: {reason[:300]}")
            yield running.pop(done), found


class _Supplies:
    """What tasks need besides their job, put together once for tasks that are alike."""

    def __init__(self, job: ProbeJob, *, is_own_cluster: bool) -> None:
        self._job = job
        self._is_own_cluster = is_own_cluster
        self._data: dict[str, SharedData] = {}
        self._code: dict[str, UserCode] = {}

    def of(self, task: ProbeTask) -> tuple[SharedData, UserCode]:
        """Return the data set of a task and, on a running cluster, the user's modules.

        Where they cannot be had here, the worker looks for them itself; what it raises then is what
        the task has found.
        """
        config = task.config
        if config.dataset not in self._data:
            try:
                data = SharedData.put((config.dataset,), data_dir=self._job.data_dir)
            except Exception:  # noqa: BLE001  the trial boundary: the worker says why
                data = SharedData(self._job.data_dir)
            self._data[config.dataset] = data
        if config.backbone not in self._code:
            try:
                code = UserCode.of(() if self._is_own_cluster else (config,))
            except ImportError:
                code = UserCode({}, ())
            self._code[config.backbone] = code
        return self._data[config.dataset], self._code[config.backbone]


def _work(task: ProbeTask, job: ProbeJob, data: SharedData, code: UserCode) -> Found:
    """Work on a task in a worker of the cluster, whose process serves many."""
    code.install()
    data.take()
    return _bench_of(job).work(task)


@lru_cache(maxsize=1)
def _bench_of(job: ProbeJob) -> Bench:
    return Bench(job)

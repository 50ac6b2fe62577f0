"""What every machine of a running cluster must have, and the sentence where one lacks it."""

import importlib
import platform
import time
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from rlp_sweeps.errors import ClusterError, RunDirectoryError
from rlp_sweeps.orchestration.planner import SweepPlan, group_representatives
from rlp_sweeps.orchestration.user_code import UserCode
from rlp_sweeps.stores import check_store
from rlp_sweeps.tracking.run_directory import RunDirectory, code_version

ANSWER_TIMEOUT_S = 120.0
"""Longest wait for a machine to say what it has; its first worker imports for seconds."""

DIRECTORY_TIMEOUT_S = 120.0
"""Longest wait of a worker for the run directory, on a machine that has come later."""

_LOOK_EVERY_S = 2.0


def code_for(plan: SweepPlan, directory: RunDirectory, *, address: str | None) -> UserCode | None:
    """Return the user's modules for a running cluster, whose machines are looked at beforehand.

    Args:
        plan: The sweep.
        directory: Its run directory, whose manifest is written.
        address: The connected cluster's; None: one of the sweep's own, which needs nothing.

    Raises:
        ClusterError: A machine cannot train.
    """
    if address is None:
        return None
    code = UserCode.of(group_representatives(plan))
    check_nodes(directory, code)
    return code


def check_nodes(directory: RunDirectory, code: UserCode) -> None:
    """Refuse a connected cluster of which a machine cannot train.

    Every machine must reach the run directory, have this version of the package, and be able to
    import the user's modules. Those without a core or GPU are not asked: nothing trains there.

    Args:
        directory: The run directory, whose manifest is written.
        code: The user's modules.

    Raises:
        ClusterError: A machine lacks something, or does not answer.
    """
    import ray
    from ray.exceptions import GetTimeoutError, RayError

    nodes = ray.nodes()  # type: ignore[no-untyped-call]  # Ray gives no types
    answers = [
        (node["NodeManagerAddress"], _ask(node["NodeID"], directory, code))
        for node in nodes
        if node["Alive"] and (node["Resources"].get("CPU") or node["Resources"].get("GPU"))
    ]
    deadline = time.monotonic() + ANSWER_TIMEOUT_S
    for address, answer in answers:
        try:
            lacks = ray.get(answer, timeout=max(1.0, deadline - time.monotonic()))
        except GetTimeoutError:
            lacks = f"must answer, but did not within {ANSWER_TIMEOUT_S:g} s"
        except RayError as error:
            lacks = _reason_of(error)
        if lacks is not None:
            msg = f"every machine of the cluster must be able to train, but {address} {lacks}."
            raise ClusterError(msg)


def _ask(node_id: str, directory: RunDirectory, code: UserCode) -> Any:
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    there = NodeAffinitySchedulingStrategy(node_id=node_id, soft=False)
    remote: Any = ray.remote(_look).options(num_cpus=0, scheduling_strategy=there, max_retries=0)
    return remote.remote(directory, code, _versions())


def _versions() -> dict[str, str]:
    """Return the versions that decide about numbers; the commit where the package has one."""
    number, _, commit = code_version().removesuffix(".dirty").partition("+")
    torch = version("torch").partition("+")[0]  # behind the plus stands the build: CPU or CUDA
    return {"rlp-sweeps": number, "commit": commit, "torch": torch}


def _look(directory: RunDirectory, code: UserCode, versions: Mapping[str, str]) -> str | None:
    """Return what this machine lacks, as the end of a sentence; None if it can train."""
    try:
        check_store(directory.path)
    except RunDirectoryError as error:
        return f"cannot use the run directory's store: {str(error).rstrip('.')}"
    if not _is_reached(directory):
        return (
            f"does not reach the run directory {directory.path}; put --output on storage that all "
            "machines share"
        )
    for name, here in _versions().items():
        if here and versions[name] and here != versions[name]:
            return (
                f"has {name} {here} and the driver has {versions[name]}; install one version on "
                "all machines"
            )
    code.install()
    for name in code.wanted:
        try:
            importlib.import_module(name)
        except Exception as error:  # noqa: BLE001  a user's module may raise anything
            return (
                f"cannot import {name!r} ({type(error).__name__}: {' '.join(str(error).split())}); "
                "install what it needs on every machine"
            )
    return None


def _reason_of(error: Exception) -> str:
    if "No module named 'rlp_sweeps'" in str(error):
        return "lacks rlp-sweeps; install it on every machine"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"cannot be asked what it has ({(lines or [type(error).__name__])[-1].rstrip('.')})"


def wait_for_directory(directory: RunDirectory, *, timeout_s: float = DIRECTORY_TIMEOUT_S) -> None:
    """Return when this machine reaches the run directory; at once where it does.

    A machine that comes while the sweep runs was not asked, and its folders may come after it. One
    that never reaches the directory waits here, so that it does not use up the groups' retries.

    Args:
        directory: The run directory.
        timeout_s: Longest wait, in seconds.

    Raises:
        ClusterError: It does not in time.
    """
    deadline = time.monotonic() + timeout_s
    while not _is_reached(directory):
        if time.monotonic() > deadline:
            msg = (
                f"every machine of the cluster must reach the run directory {directory.path}, but "
                f"{platform.node()} does not; take it out of the cluster, or mount the folder "
                "there, and resume."
            )
            raise ClusterError(msg)
        time.sleep(_LOOK_EVERY_S)


def _is_reached(directory: RunDirectory) -> bool:
    return (directory.path / "manifest.json").is_file()

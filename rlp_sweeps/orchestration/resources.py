"""Where groups run: a Ray cluster of the sweep's own, or one that runs already."""

import contextlib
import gc
import json
import logging
import math
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from rlp_sweeps.errors import ClusterError
from rlp_sweeps.orchestration.loopback import LOOPBACK, on_loopback
from rlp_sweeps.orchestration.progress import RunOptions
from rlp_sweeps.orchestration.worker_environment import TUNE_ENVIRONMENT

CONNECT_TIMEOUT_S = 45.0
"""Longest wait for a cluster to answer; its refusal is there within a minute."""

WORKER_ENVIRONMENT = {
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # relative paths of a user's loader mean what they mean here
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # the device is named, not guessed from a variable
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # 7 block a trial for four minutes
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",  # seconds
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MALLOC_ARENA_MAX": "1",  # a group trains in a thread of its own, whose heap would be kept
}
"""Set for every process that trains."""

_DRIVER_ENVIRONMENT = {
    **WORKER_ENVIRONMENT,
    **TUNE_ENVIRONMENT,
    "RAY_AIR_NEW_OUTPUT": "0",  # the other one prints boxes at any verbosity
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # rows go to part files
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # an epoch without evaluation has no metric
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",  # a lost group is said in a sentence
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000000",  # its snapshots are never read
    "TUNE_WARN_THRESHOLD_S": "60",
    "TUNE_MAX_PENDING_TRIALS_PG": "16",  # placement groups asked for ahead
}

_SESSION_PREFIX = "rlp-ray-"
_OPEN_FOLDER = "r"
"""Ray opens its folder, with the sockets by which it is told what to run, to all users of the
machine; the folder around it is closed to them. Short, because the path of a socket must be."""

_ANSWER = "nodes: "
_QUESTION = f"""
import json, sys, ray
ray.init(address=sys.argv[1], log_to_driver=False, logging_level="ERROR")
print({_ANSWER!r} + json.dumps([node["Resources"] for node in ray.nodes() if node["Alive"]]))
ray.shutdown()
"""
_ROUNDING = 1e-9  # ten tenths are one


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupResources:
    """What one group holds while it trains.

    Attributes:
        num_cpus: CPU cores.
        num_gpus: GPUs; a fraction shares one.
    """

    num_cpus: float
    num_gpus: float

    @classmethod
    def of(cls, options: RunOptions, *, device: str) -> "GroupResources":
        """Return what the options give a group on this device."""
        return cls(num_cpus=options.cpus_per_group, num_gpus=options.gpus_of_group(device))

    @property
    def num_threads(self) -> int:
        """Threads of training."""
        return max(1, int(self.num_cpus))

    def to_tune(self) -> dict[str, float]:
        """Return the request as Tune takes it."""
        gpus = {"gpu": self.num_gpus} if self.num_gpus else {}
        return {"cpu": self.num_cpus, **gpus}

    def slots(self, *nodes: Mapping[str, float]) -> int:
        """Return how many groups fit into a cluster at once; none is spread over nodes or GPUs.

        Args:
            nodes: What each node holds, ``CPU`` and ``GPU``.

        Raises:
            ClusterError: None does.
        """
        slots = self.count_slots(*nodes)
        if slots < 1:
            held = "; ".join(f"CPU={n.get('CPU', 0):g}, GPU={n.get('GPU', 0):g}" for n in nodes)
            msg = (
                f"a group needs {self.to_tune()} on one machine, but the cluster holds only "
                f"{held or 'no machine'}; ask for less with --cpus-per-group or --gpus-per-group."
            )
            raise ClusterError(msg)
        return slots

    def count_slots(self, *nodes: Mapping[str, float]) -> int:
        """Return the same; 0 where no group fits."""
        return sum(map(self._slots_of, nodes))

    def _slots_of(self, node: Mapping[str, float]) -> int:
        by_cpu = math.floor(node.get("CPU", 0.0) / self.num_cpus + _ROUNDING)
        if not self.num_gpus:
            return by_cpu
        num_gpus = node.get("GPU", 0.0)
        if self.num_gpus < 1:
            return min(by_cpu, int(num_gpus) * math.floor(1 / self.num_gpus + _ROUNDING))
        return min(by_cpu, math.floor(num_gpus / self.num_gpus))


@contextlib.contextmanager
def ray_session(options: RunOptions, resources: GroupResources) -> Iterator[int]:
    """Connect to the cluster, or start one, and yield how many groups fit into it at once.

    A cluster of its own ends with the block, and its files under the temporary folder go.

    Raises:
        ClusterError: The cluster refuses, or a group does not fit into it.
    """
    with _environment(_DRIVER_ENVIRONMENT):
        import ray

        remove_stale_sessions()
        folder = scratch_folder()
        try:
            _init_ray(options, folder)
            gc.freeze()  # what was imported holds no reference of Ray's, and is long to search
            yield resources.slots(*alive_nodes())
        finally:
            gc.collect()  # a reference of Ray's that goes after its end would end this process
            gc.unfreeze()
            with _kept_sigterm():
                ray.shutdown()
            shutil.rmtree(folder, ignore_errors=True)


def alive_nodes() -> list[dict[str, float]]:
    """Return what each machine of the connected cluster holds."""
    import ray

    nodes = ray.nodes()  # type: ignore[no-untyped-call]  # Ray gives no types
    return [node["Resources"] for node in nodes if node["Alive"]]


def _init_ray(options: RunOptions, folder: Path) -> None:
    with _kept_sigterm():
        _connect(options, folder)


@contextlib.contextmanager
def _kept_sigterm() -> Iterator[None]:
    """Keep what the caller does on SIGTERM.

    As it is connected to, Ray replaces it by an exit; as it ends, by the system's default, unseen
    by Python.
    """
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    except SystemExit as ended:
        if callable(before) and ended.code == signal.SIGTERM:
            raise KeyboardInterrupt from ended  # as the caller would have it
        raise
    finally:
        if callable(before) and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def _connect(options: RunOptions, folder: Path) -> None:
    import ray

    if options.address is None:
        _start_here(options, folder)
        return
    try:
        ray.init(
            address=options.address,
            runtime_env={"env_vars": dict(WORKER_ENVIRONMENT)},
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except (ray.exceptions.RayError, RuntimeError, ValueError, OSError) as error:
        raise _no_answer(options.address, str(error)) from error


def _start_here(options: RunOptions, folder: Path) -> None:
    import ray

    try:
        with on_loopback():
            ray.init(
                address="local",
                num_cpus=options.num_cpus or os.cpu_count() or 1,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                _temp_dir=str(folder / _OPEN_FOLDER),
                _node_ip_address=LOOPBACK,
            )
    except Exception as error:  # Ray waits 30 s for its parts, then raises a bare `Exception`
        known = (ray.exceptions.RayError, ConnectionError, RuntimeError)
        if not (type(error) is Exception or isinstance(error, known)):
            raise
        msg = (
            "Ray must start on this machine, but it did not "
            f"({' '.join(str(error).split())}); `rlp-sweeps resume DIR` goes on when the machine "
            "has less to do."
        )
        raise ClusterError(msg) from error


def check_cluster(options: RunOptions, resources: GroupResources) -> None:
    """Refuse a cluster that does not answer or that has no room for a group.

    Raises:
        ClusterError: Nothing answers at the address within a minute, or a group does not fit there,
            or not here; or this process is connected to a cluster already.
    """
    ray = sys.modules.get("ray")
    if ray is not None and ray.is_initialized():
        msg = (
            "a sweep must start Ray, or connect to it, by itself, but this process is connected to "
            "a Ray cluster already; call `ray.shutdown()` first, or wait for the other sweep."
        )
        raise ClusterError(msg)
    if options.address is None:
        resources.slots(local_resources(options, resources))
    else:
        resources.slots(*check_address(options.address))


def local_resources(options: RunOptions, resources: GroupResources) -> dict[str, float]:
    """Return what a cluster of the sweep's own would hold."""
    num_cpus = options.num_cpus or os.cpu_count() or 1
    if not resources.num_gpus:
        return {"CPU": float(num_cpus)}
    import torch

    return {"CPU": float(num_cpus), "GPU": float(torch.cuda.device_count())}


def check_address(address: str, *, timeout_s: float = CONNECT_TIMEOUT_S) -> list[dict[str, float]]:
    """Return what each node of a cluster holds, and refuse one that does not answer.

    Ray's own client waits for minutes and may then end the process, so that a process of its own
    asks first.

    Args:
        address: ``host:port`` or ``auto``.
        timeout_s: Longest wait, in seconds.

    Raises:
        ClusterError: The address is malformed, no Ray cluster answers there in time, or it asks for
            another token.
    """
    if address != "auto":
        _check_port(address)
    try:
        done = subprocess.run(
            [sys.executable, "-c", _QUESTION, address],
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
            env={"RAY_NUM_REDIS_GET_RETRIES": "5", **os.environ},  # 20 take half a minute
        )
    except subprocess.TimeoutExpired as error:
        raise _no_answer(address, f"no answer within {timeout_s:g} s") from error
    answers = [line for line in done.stdout.splitlines() if line.startswith(_ANSWER)]
    if answers:
        nodes: list[dict[str, float]] = json.loads(answers[-1].removeprefix(_ANSWER))
        return nodes
    if "InvalidAuthToken" in done.stderr or "AuthenticationError" in done.stderr:
        raise ClusterError(
            f"the Ray cluster at address={address!r} answers only to its token, which this process "
            "lacks; set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN_PATH if the token is not in "
            "~/.ray/auth_token."
        )
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    raise _no_answer(address, lines[-1].strip() if lines else f"exit {done.returncode}")


def _check_port(address: str) -> None:
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or "/" in host:
        msg = (
            f"the address of a Ray cluster must be host:port or 'auto', but got {address!r}; "
            "`ray status` on its head node shows it."
        )
        raise ClusterError(msg)
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=5.0):
            return
    except (OSError, OverflowError) as error:
        raise _no_answer(address, str(error)) from error


def _no_answer(address: str, reason: str) -> ClusterError:
    return ClusterError(
        f"a Ray cluster must answer at address={address!r}, but it does not ({reason}); start one "
        "with `ray start --head`, or leave --address out to run on this machine."
    )


def scratch_folder() -> Path:
    """Create a temporary folder of this driver, which a later one removes should it be killed."""
    return Path(tempfile.mkdtemp(prefix=f"{_SESSION_PREFIX}{os.getpid()}-"))


def remove_stale_sessions() -> int:
    """Remove the temporary folders of drivers that were killed, and return how many."""
    num_removed = 0
    for folder in Path(tempfile.gettempdir()).glob(f"{_SESSION_PREFIX}*-*"):
        owner = folder.name.removeprefix(_SESSION_PREFIX).split("-")[0]
        if owner.isdigit() and not _is_alive(int(owner)):
            shutil.rmtree(folder, ignore_errors=True)
            num_removed += 1
    return num_removed


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # another user's
    return True


@contextlib.contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set variables that the user has not set, for the length of the block."""
    added = {name: value for name, value in values.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)

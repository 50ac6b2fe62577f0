"""What sweeps stand in: a folder, a file system of a few megabytes, a server, a cluster of two."""

import contextlib
import os
import secrets
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.faults.processes import in_session
from benchmarks.faults.sweep import Sweep

_SMALL_DISK_BYTES = 64 * 2**20

SERVER_TIMEOUT_S = 120.0
"""Longest wait for a server's answer, before it is started anew."""

SYNC_TRIES = 3
"""How often `sync` is called at a sweep's end before it is given up."""


class BrokenPlaceError(RuntimeError):
    """What a sweep stands in cannot be mended."""


class Surroundings:
    """A folder on a disk; sweeps start Ray clusters of their own, MLflow is a file beside them.

    Attributes:
        folder: Run directories stand in it.
        logs: A folder beside it, for what drivers say.
        store: MLflow's SQLite file.
    """

    def __init__(self, folder: Path, store: Path | None = None) -> None:
        """Make the folder.

        Args:
            folder: It.
            store: An MLflow store to begin with where there is none: making one takes seconds.
        """
        self.folder = folder
        self.store = folder / "mlflow.db"
        self.logs = folder.with_name(f"{folder.name}-logs")
        for one in (folder, self.logs):
            one.mkdir(parents=True, exist_ok=True)
        self._open()
        if store is not None and not self.store.exists():
            _copy_store(store, self.store)
        self._begin()

    def _open(self) -> None:
        """Make room."""

    def _begin(self) -> None:
        """Start what has to run."""

    def options(self) -> list[str]:
        """Return what drivers are started with."""
        return []

    def environment(self) -> dict[str, str]:
        """Return variables of drivers."""
        return {}

    def mend(self) -> None:
        """Make whole what a fault has broken, before the next driver starts."""

    def complete(self, sweep: Sweep) -> list[str]:
        """Do what a sweep's user is told to do at its end; return what was said in vain."""
        return []

    def close(self) -> None:
        """End what was started."""

    def _sync(self, sweep: Sweep) -> str:
        """Give the command that a sweep's end asks for; return what it said where it gave up."""
        command = [sys.executable, "-m", "rlp_sweeps", "sync", str(sweep.directory)]
        done = subprocess.run(
            [*command, *self.options()], check=False, capture_output=True, text=True
        )
        return "" if done.returncode == 0 else f"exit {done.returncode}: {done.stderr.strip()}"


class SmallDisk(Surroundings):
    """A file system that can be filled."""

    def _open(self) -> None:
        size = f"size={_SMALL_DISK_BYTES}"
        command = ["mount", "-t", "tmpfs", "-o", size, "rlp-faults", str(self.folder)]
        subprocess.run(command, check=True, capture_output=True)

    def complete(self, sweep: Sweep) -> list[str]:
        """Bring to MLflow what it could not be told."""
        return synced(lambda: self._sync(sweep))

    def close(self) -> None:
        """Give the file system back."""
        subprocess.run(["umount", "-l", str(self.folder)], check=False, capture_output=True)


class Served(Surroundings):
    """A server in front of MLflow's file."""

    def _begin(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = int(probe.getsockname()[1])
        self._server: subprocess.Popen[bytes] | None = None
        self.mend()

    @property
    def pid(self) -> int:
        """Process of the server."""
        return 0 if self._server is None else self._server.pid

    def options(self) -> list[str]:
        """Return the server's address."""
        return ["--tracking-uri", f"http://127.0.0.1:{self._port}"]

    def kill(self) -> None:
        """Kill the server and its workers."""
        if self._server is not None:
            for process in in_session(self._server.pid):
                process.kill()
            self._server.wait()

    def mend(self) -> None:
        """Start the server where it does not run, and wait until it answers.

        Raises:
            BrokenPlaceError: Two servers in turn do not.
        """
        for _ in range(2):
            if self._server is None or self._server.poll() is not None:
                self._server = self._started()
            if self._answers():
                return
            self.kill()
        msg = f"the MLflow server must answer, but it does not: {self.folder / 'server.log'}"
        raise BrokenPlaceError(msg)

    def _answers(self) -> bool:
        deadline = time.monotonic() + SERVER_TIMEOUT_S
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{self._port}/health", timeout=2).close()
                return True
            time.sleep(0.2)
        return False

    def complete(self, sweep: Sweep) -> list[str]:
        """Bring to MLflow what it lacks."""

        def mend_and_sync() -> str:
            self.mend()
            return self._sync(sweep)

        return synced(mend_and_sync)

    def _started(self) -> "subprocess.Popen[bytes]":
        with (self.folder / "server.log").open("ab") as log:
            return subprocess.Popen(
                [
                    *(sys.executable, "-m", "mlflow", "server", "--workers", "1"),
                    *("--host", "127.0.0.1", "--port", str(self._port)),
                ],
                env={
                    **os.environ,
                    "MLFLOW_BACKEND_STORE_URI": f"sqlite:///{self.store}",
                    "MLFLOW_ARTIFACTS_DESTINATION": str(self.folder / "mlartifacts"),
                    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
                    "MLFLOW_DISABLE_TELEMETRY": "true",
                },
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def close(self) -> None:
        """End the server."""
        self.kill()


class TwoNodes(Surroundings):
    """A Ray cluster of a head and a second node, with a core each."""

    _cluster: Any = None

    def mend(self) -> None:
        """Start the cluster, or what it lacks.

        Raises:
            BrokenPlaceError: It does not start.
        """
        from tests.integration.ray_clusters import RayCluster

        try:
            if self._cluster is None:
                self._cluster = RayCluster()
                self._cluster.start_head(num_cpus=1)
                self._second = self._cluster.add_node(num_cpus=1)
            elif not in_session(self._second):
                self._second = self._cluster.add_node(num_cpus=1)
        except (AssertionError, OSError, subprocess.TimeoutExpired) as error:
            self.close()
            msg = f"the cluster must start, but it does not: {error}"
            raise BrokenPlaceError(msg) from error

    def options(self) -> list[str]:
        """Return the cluster's address."""
        self.mend()
        return ["--address", self._cluster.address]

    def environment(self) -> dict[str, str]:
        """Return the cluster's token and folder."""
        self.mend()
        names = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH", "RAY_TMPDIR", "RAY_USAGE_STATS_ENABLED")
        return {name: self._cluster.environment[name] for name in names}

    def kill(self, kind: str) -> int | None:
        """Kill the second node's raylet, or the head; return its process, None where there is none.

        Args:
            kind: ``node`` or ``head``.
        """
        session = self._second if kind == "node" else self._cluster._sessions[0]
        wanted = "raylet" if kind == "node" else "gcs"
        for target in in_session(session):
            if target.kind == wanted:
                target.kill()
                return target.pid
        return None

    def has_settled(self, kind: str) -> None:
        """Clear away what a dead node or head leaves."""
        if kind == "node":
            self._cluster.stop_node(self._second, sent=signal.SIGKILL)
        else:
            self.close()

    def close(self) -> None:
        """End the cluster."""
        if self._cluster is not None:
            self._cluster.close()
            self._cluster = None


def fresh_name() -> str:
    """Return a name that no other sweep of the log has."""
    return f"sweep-{secrets.token_hex(4)}"


def synced(sync: Callable[[], str]) -> list[str]:
    """Call `sync` until it has nothing to say, and return what it said before; gives up in time."""
    said: list[str] = []
    while len(said) < SYNC_TRIES:
        try:
            sentence = sync()
        except BrokenPlaceError as error:
            sentence = str(error)
        if not sentence:
            break
        said.append(sentence)
    return said


def _copy_store(store: Path, copy: Path) -> None:
    """Copy an SQLite file with what stands in its log still."""
    with (
        contextlib.closing(sqlite3.connect(store)) as source,
        contextlib.closing(sqlite3.connect(copy)) as target,
    ):
        source.backup(target)

"""Ray clusters for tests, each with a folder, a token and processes of its own.

`ray stop` ends every Ray process of the machine. Here the processes of a node form a session of
their own, so that exactly these can be found and ended.
"""

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

START_TIMEOUT_S = 120


class RayCluster:
    """Nodes started by `ray start` on this machine; `environment` is that of its users."""

    def __init__(self) -> None:
        # sockets have short paths, shorter than those of pytest's folders
        self._folder = Path(tempfile.mkdtemp(prefix="rlp-cluster-", dir="/tmp"))
        token = self._folder / "token"
        token.write_text(secrets.token_hex(32))
        foreign = {"RAY_ADDRESS", "RAY_AUTH_TOKEN"}
        self.environment = {
            **{name: value for name, value in os.environ.items() if name not in foreign},
            "OMP_NUM_THREADS": "1",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(token),
            "RAY_TMPDIR": str(self._folder),
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        self._sessions: list[int] = []

    @property
    def address(self) -> str:
        return (self._folder / "ray" / "ray_current_cluster").read_text().strip()

    def start_head(self, *, num_cpus: int, num_gpus: int = 0) -> None:
        resources = [f"--num-cpus={num_cpus}", f"--num-gpus={num_gpus}"]
        self._start("--head", "--port=0", "--include-dashboard=false", *resources)

    def add_node(
        self, *, num_cpus: int, hidden: Path | None = None, variables: dict[str, str] | None = None
    ) -> int:
        """Join a further node, and return its session.

        Args:
            num_cpus: Its cores.
            hidden: A folder that is empty there, as on another machine; needs root.
            variables: Its environment besides.
        """
        options = (f"--address={self.address}", f"--num-cpus={num_cpus}")
        return self._start(*options, hidden=hidden, variables=variables)

    def _start(
        self, *options: str, hidden: Path | None = None, variables: dict[str, str] | None = None
    ) -> int:
        ray: list[str] = [str(Path(sys.executable).with_name("ray"))]
        if hidden is not None:
            mount = 'mount -t tmpfs none "$0" && exec "$@"'
            ray = ["unshare", "--mount", "sh", "-c", mount, str(hidden), *ray]
        log = self._folder / f"start-{len(self._sessions)}.log"
        with log.open("w") as out:
            process = subprocess.Popen(
                [*ray, "start", "--object-store-memory=100000000", *options],
                env=self.environment | (variables or {}),
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            self._sessions.append(process.pid)
            status = process.wait(timeout=START_TIMEOUT_S)
        assert status == 0, log.read_text()
        return process.pid

    def stop_node(self, session: int, *, sent: int = signal.SIGKILL) -> None:
        """Send all processes of a node a signal, and wait until they are gone."""
        started = time.monotonic()
        while pids := _processes_of(session):
            waited_s = time.monotonic() - started
            assert waited_s < 30, f"{pids} outlive their node"
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL if waited_s > 10 else sent)
            time.sleep(0.2)

    def stop(self, *, sent: int = signal.SIGKILL) -> None:
        for session in self._sessions:
            self.stop_node(session, sent=sent)

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def is_up(self) -> bool:
        return all(_processes_of(session) for session in self._sessions)

    def ask(self, question: str) -> str:
        """Return what a few lines of Python print that is connected to the cluster."""
        connect = f"import ray; ray.init(address={self.address!r}, log_to_driver=False)\n"
        done = subprocess.run(
            [sys.executable, "-c", connect + question],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        return done.stdout


@contextlib.contextmanager
def ray_cluster(*, num_cpus: int, num_gpus: int = 0):
    """A cluster with one node for the length of a block."""
    cluster = RayCluster()
    try:
        cluster.start_head(num_cpus=num_cpus, num_gpus=num_gpus)
        yield cluster
    finally:
        cluster.close()


def can_hide_folders() -> bool:
    """Return whether a node can be given a view of the disk of its own."""
    try:
        tried = ["unshare", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"]
        return subprocess.run(tried, capture_output=True, timeout=10, check=False).returncode == 0
    except OSError:
        return False


def _processes_of(session: int) -> list[int]:
    return [int(p.name) for p in Path("/proc").glob("[0-9]*") if _session_of(p) == session]


def _session_of(process: Path) -> int | None:
    """Return the session of a process; None where it has ended."""
    try:
        state, _, _, session = (process / "stat").read_text().rpartition(")")[2].split()[:4]
    except OSError:
        return None
    return None if state == "Z" else int(session)

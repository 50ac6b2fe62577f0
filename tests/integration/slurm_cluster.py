"""A Slurm cluster for tests: daemons on this machine, one of them for each pretended node."""

import contextlib
import os
import platform
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch", "srun", "scontrol", "scancel")
_CONFIGURATION = """ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CryptoType=crypto/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
ReturnToService=2
SlurmdParameters=config_overrides
{nodes}
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
_NODE = "NodeName={name} NodeAddr=127.0.0.1 NodeHostname={host} Port={port} CPUs=4 State=UNKNOWN"


def why_not() -> str | None:
    """Return why no Slurm cluster can be had here; None if one can."""
    absent = [name for name in PROGRAMS if not _program(name)]
    if absent:
        return f"needs Slurm (Debian: slurm-wlm, munge), but {', '.join(absent)} is absent"
    return None if os.geteuid() == 0 else "needs root, which Slurm's daemons run as"


class SlurmCluster:
    """Daemons of `num_nodes` nodes in a folder of their own; `environment` is that of its users."""

    def __init__(self, folder: Path, *, num_nodes: int) -> None:
        self._folder = folder
        folder.chmod(0o755)
        self.environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}
        self._daemons: list[subprocess.Popen[bytes]] = []
        ports = _free_ports(num_nodes + 1)
        names = [f"node{number}" for number in range(1, num_nodes + 1)]
        host = platform.node()
        nodes = [
            _NODE.format(name=name, host=host, port=port)
            for name, port in zip(names, ports[1:], strict=True)
        ]
        (folder / "slurm.conf").write_text(
            _CONFIGURATION.format(
                host=host, folder=folder, controller_port=ports[0], nodes="\n".join(nodes)
            )
        )
        for name in ("state", "spool"):
            (folder / name).mkdir()
        self._start_munge()
        self._start("slurmctld", "-D")
        self._wait_for("sinfo")
        for name in names:
            self._start("slurmd", "-D", "-N", name)
        self._wait_for("srun", f"--nodes={num_nodes}", "true")

    def _start_munge(self) -> None:
        key = self._folder / "munge.key"
        key.touch(mode=0o600)
        key.write_bytes(secrets.token_bytes(128))
        files = {"key-file": key.name, "socket": "munge.socket", "pid-file": "munged.pid"}
        files |= {"seed-file": "munged.seed", "log-file": "munged.log"}
        options = [f"--{option}={self._folder / name}" for option, name in files.items()]
        self._start("munged", "--foreground", "--force", "--num-threads=2", *options)

    def _start(self, *command: str) -> None:
        program = _program(command[0])
        assert program
        with (self._folder / f"{len(self._daemons)}-{command[0]}.out").open("w") as out:
            daemon = subprocess.Popen(
                [program, *command[1:]],
                env=self.environment,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._daemons.append(daemon)

    def _wait_for(self, *command: str) -> None:
        deadline = time.monotonic() + 60
        while not self.succeeds(*command):
            logs = "\n".join(path.read_text()[-500:] for path in self._folder.glob("*.out"))
            assert time.monotonic() < deadline, logs
            time.sleep(0.5)

    def succeeds(self, *command: str) -> bool:
        """Return whether a command of Slurm's ends with status 0 within ten seconds."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            done = subprocess.run(
                command, env=self.environment, capture_output=True, timeout=10, check=False
            )
            return done.returncode == 0
        return False

    def ask(self, *command: str, cwd: Path | None = None) -> str:
        """Return what a command of Slurm's prints."""
        done = subprocess.run(
            command,
            env=self.environment,
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        return done.stdout.strip()

    def state_of(self, job: str) -> str:
        """Return a job's state, as ``RUNNING`` or ``COMPLETED``."""
        return self.ask("scontrol", "show", "job", job).partition("JobState=")[2].split()[0]

    def close(self) -> None:
        """End all jobs and daemons."""
        with contextlib.suppress(subprocess.SubprocessError):
            self.ask("scancel", "--state=RUNNING", "--user=root")
            self.ask("scancel", "--user=root")
            time.sleep(3)
        for daemon in reversed(self._daemons):
            daemon.terminate()
        for daemon in reversed(self._daemons):
            with contextlib.suppress(subprocess.TimeoutExpired):
                daemon.wait(timeout=20)
            daemon.kill()
            daemon.wait()


@contextlib.contextmanager
def slurm_cluster(*, num_nodes: int) -> Iterator[SlurmCluster]:
    """A Slurm cluster for the length of a block."""
    folder = Path(tempfile.mkdtemp(prefix="rlp-slurm-", dir="/tmp"))
    cluster = None
    try:
        cluster = SlurmCluster(folder, num_nodes=num_nodes)
        yield cluster
    finally:
        if cluster is not None:
            cluster.close()
        shutil.rmtree(folder, ignore_errors=True)


def _program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]

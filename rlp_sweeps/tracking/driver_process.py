"""The process that holds a run directory: how it is named there, and whether it is gone."""

import os
import platform
import time
import uuid
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Holder:
    """A process that holds a run directory, or held it when it was killed.

    Attributes:
        token: Names this hold alone.
        pid: Its process.
        hostname: Its machine.
        since_ms: When it took hold, in ms since 1970.
        boot: Id of the machine's boot and process namespace; empty where the system has none.
        started: When the process began, in the machine's own clock ticks; pids are used again.
    """

    token: str
    pid: int
    hostname: str
    since_ms: int
    boot: str = ""
    started: str = ""

    @classmethod
    def here(cls) -> "Holder":
        """Return this process as the holder from now on."""
        return cls(
            token=uuid.uuid4().hex,
            pid=os.getpid(),
            hostname=platform.node(),
            since_ms=time.time_ns() // 1_000_000,
            boot=_boot(),
            started=_start_of(os.getpid()),
        )

    def __str__(self) -> str:
        since = datetime.fromtimestamp(self.since_ms / 1000)
        return f"process {self.pid} on {self.hostname} (since {since:%Y-%m-%d %H:%M:%S})"

    @property
    def is_here(self) -> bool:
        """Whether it is, or was, a process of this machine."""
        return self.hostname == platform.node()

    def is_gone_from_here(self) -> bool:
        """Return whether it was a process of this machine, and there is no such one any more."""
        return bool(self.boot) and self.boot == _boot() and _start_of(self.pid) != self.started


def _boot() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _start_of(pid: int) -> str:
    """Return the start of a process in clock ticks since boot; empty where there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    state, *fields = stat.rpartition(")")[2].split()
    return "" if state == "Z" else fields[18]

"""Processes of a sweep, found through /proc by whose children they are and what they inherited."""

import contextlib
import os
import signal
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Process:
    """A process; its start tells it from a later one of the same number.

    Attributes:
        pid: Its number.
        start: Clock ticks from the machine's start to its own.
        parent: Number of its parent.
        session: Number of its session.
        command: Its command line.
    """

    pid: int
    start: int
    parent: int
    session: int
    command: str

    def is_alive(self) -> bool:
        """Return whether it runs still."""
        found = _read(self.pid)
        return found is not None and found.start == self.start

    def kill(self) -> None:
        """Send SIGKILL; one that has ended is fine."""
        if self.is_alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    @property
    def kind(self) -> str:
        """What it is in a sweep."""
        if "gcs_server" in self.command.split(" ")[0]:
            return "gcs"
        if self.command.split(" ")[0].endswith("/raylet"):
            return "raylet"
        if self.command.startswith("ray::") or "default_worker.py" in self.command:
            return "worker"
        return "other"


def tree_of(pid: int) -> list[Process]:
    """Return the processes below one, its children first."""
    everything = [found for found in map(_read, _pids()) if found is not None]
    tree: list[Process] = []
    parents = {pid}
    while parents:
        children = [process for process in everything if process.parent in parents]
        tree += children
        parents = {process.pid for process in children}
    return tree


def in_session(session: int) -> list[Process]:
    """Return the processes of a session."""
    everything = [found for found in map(_read, _pids()) if found is not None]
    return [process for process in everything if process.session == session]


def holding(text: str) -> list[Process]:
    """Return the processes whose command line, environment or output names a text."""
    marked = [pid for pid in _pids() if _names(Path(f"/proc/{pid}"), text.encode())]
    return [found for found in map(_read, marked) if found is not None]


def _pids() -> list[int]:
    return [int(path.name) for path in Path("/proc").glob("[0-9]*")]


def _read(pid: int) -> Process | None:
    """Return a process; None where it has ended."""
    try:
        values = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    except (OSError, UnicodeDecodeError):
        return None
    if values[0] == "Z":
        return None
    parent, session = int(values[1]), int(values[3])
    return Process(pid, int(values[19]), parent, session, command)


def _names(process: Path, text: bytes) -> bool:
    for name in ("cmdline", "environ"):
        with contextlib.suppress(OSError):
            if text in (process / name).read_bytes():
                return True
    with contextlib.suppress(OSError):  # a title written over both leaves the output
        return text in os.fsencode(os.readlink(process / "fd" / "1"))
    return False

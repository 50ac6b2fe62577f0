"""What every row of the table is asked: where to measure, and whether only to try it."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

QUICK_BUDGET_S = 2.0
"""Seconds of wall time for one case of a dry run."""

GPU_BUDGET_S = 12.0
"""Seconds of wall time for one case on a GPU, whose rows together shall end within ten minutes."""

ROOT = Path(__file__).resolve().parent.parent
"""The checkout: processes of the benchmarks start here."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """How a table is measured.

    Attributes:
        device: ``cpu`` or ``cuda``.
        is_quick: Tiny sizes and few rounds, to see that everything runs; the figures mean nothing.
        only: Part of the names of the networks that row c measures; empty for all.
    """

    device: str = "cpu"
    is_quick: bool = False
    only: str = ""

    @property
    def clock(self) -> Callable[[], float]:
        """Process CPU time for one thread on a CPU, wall time where a GPU works beside it."""
        return time.process_time if self.device == "cpu" else time.perf_counter

    def budget_s(self, *, on_cpu: float, on_gpu: float = GPU_BUDGET_S) -> float:
        """Return the seconds after which no further round of a case starts."""
        if self.is_quick:
            return QUICK_BUDGET_S
        return on_cpu if self.device == "cpu" else on_gpu


@dataclass(frozen=True, kw_only=True, slots=True)
class ProcessResult:
    """A process that ended well.

    Attributes:
        wall_s: Seconds from its start to its end, imports and start-up included.
        peak_bytes: Largest resident memory of that process itself, without its children.
        stdout: What it printed.
    """

    wall_s: float
    peak_bytes: int
    stdout: str


def run_process(
    arguments: list[str], *, cwd: Path, environment: dict[str, str] | None = None
) -> ProcessResult:
    """Run ``python ARGUMENTS`` in a fresh process and return what it cost.

    The peak is read from ``/proc`` five times a second, because what the kernel returns at the end
    of a process also counts its children. Bytecode is kept, whatever the environment says: where it
    is not, the workers of every tool compile thousands of modules each time.

    Raises:
        RuntimeError: The process failed; with the end of what it wrote.
    """
    log = cwd / "stderr.txt"
    started = time.perf_counter()
    with log.open("w", encoding="utf-8") as stderr, (cwd / "stdout.txt").open("w") as stdout:
        process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=cwd,
            env={**_own_environment(), "PYTHONPATH": str(ROOT), **(environment or {})},
            stdout=stdout,
            stderr=stderr,
        )
        peak_bytes = 0
        while process.poll() is None:
            peak_bytes = max(peak_bytes, _resident_peak(process.pid))
            time.sleep(0.02 if time.perf_counter() - started < 2 else 0.2)
    wall_s = time.perf_counter() - started
    if process.returncode:
        tail = log.read_text(encoding="utf-8")[-2000:]
        msg = f"{arguments} must succeed, but ended with {process.returncode}: {tail}"
        raise RuntimeError(msg)
    printed = (cwd / "stdout.txt").read_text(encoding="utf-8")
    return ProcessResult(wall_s=wall_s, peak_bytes=peak_bytes, stdout=printed)


def _own_environment() -> dict[str, str]:
    return {name: v for name, v in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def _resident_peak(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return 0
    found = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(found[0]) * 1024 if found else 0

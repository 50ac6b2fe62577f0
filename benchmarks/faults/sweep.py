"""A sweep that faults are injected into: one driver after the other, its phases, its rows."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq

from benchmarks.faults.plants import FOLDER_VARIABLE
from benchmarks.faults.processes import Process, tree_of
from benchmarks.faults.space import GROUP_SIZE, NUM_TRIALS
from benchmarks.options import ROOT
from rlp_sweeps.orchestration.attempt_state import read_attempt
from rlp_sweeps.tracking.run_directory import COMPACTED_NAME

POLL_S = 0.03
"""Seconds between two looks at a sweep."""

CLOCK_TICK_S = 0.1
"""The clock of a file system runs behind by less than this."""

HOOKS = Path(__file__).parent / "hooks"
SPACE_FILE = Path(__file__).parent / "space.py"


class Attempt:
    """One driver at work.

    Attributes:
        process: The driver.
        known: Processes that were seen below it.
        started: When it was started, by the monotonic clock, in seconds,
        started_at_s: and since the epoch.
    """

    def __init__(self, command: list[str], environment: dict[str, str], errors: Path) -> None:
        """Start a driver.

        Args:
            command: Arguments of ``rlp-sweeps``.
            environment: Its own and its children's.
            errors: File for what it says on stderr.
        """
        self._errors = errors
        self.known: dict[int, Process] = {}
        self.started = time.monotonic()
        self.started_at_s = time.time()
        with errors.open("wb") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.faults.driver", *command],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=file,
                start_new_session=True,
            )

    @property
    def is_over(self) -> bool:
        """Whether the driver has ended."""
        return self.process.poll() is not None

    def processes(self, kind: str) -> list[Process]:
        """Return the processes of a kind below the driver."""
        tree = tree_of(self.process.pid)
        self.known |= {process.pid: process for process in tree}
        return [process for process in tree if process.kind == kind]

    @property
    def said(self) -> str:
        """What it has said on stderr."""
        return self._errors.read_text(errors="replace")

    @property
    def last_sentence(self) -> str:
        """Its last words."""
        lines = [line.strip() for line in self.said.splitlines() if line.strip()]
        return lines[-1] if lines else ""


class Sweep:
    """A run directory and the drivers that work at it, one at a time.

    Attributes:
        directory: The run directory.
        plants: Folder of planted faults.
        attempts: Every driver that was started.
        options: Of every driver.
        environment: Added to that of drivers.
    """

    def __init__(self, directory: Path, logs: Path) -> None:
        """Prepare a sweep; nothing is started.

        Args:
            directory: The run directory.
            logs: Folder for what drivers say, and for plants.
        """
        self.directory = directory
        self.plants = logs / f"{directory.name}.plants"
        self._logs = logs
        self.attempts: list[Attempt] = []
        self.options: list[str] = []
        self.environment: dict[str, str] = {}
        self._compacted: tuple[tuple[int, int], frozenset[str]] = ((0, 0), frozenset())

    @property
    def now(self) -> Attempt:
        """The driver that was started last."""
        return self.attempts[-1]

    def start(self, *further: str) -> Attempt:
        """Start the first driver, or the next one.

        Args:
            further: Options of this one alone.
        """
        place = ["resume", str(self.directory)]
        if not (self.directory / "manifest.json").exists():
            place = ["run", str(SPACE_FILE), "--output", str(self.directory)]
            place += ["--device", "cpu", "--group-size", str(GROUP_SIZE)]
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": f"{HOOKS}{os.pathsep}{ROOT}",
            FOLDER_VARIABLE: str(self.plants),
            **self.environment,
        }
        errors = self._logs / f"{self.directory.name}.{len(self.attempts)}.err"
        command = [*place, "--no-analyze", *self.options, *further]
        self.attempts.append(Attempt(command, environment, errors))
        return self.now

    def finished(self) -> frozenset[str]:
        """Return the trials that have a row, by the files' names as far as they tell."""
        parts = {path.stem for path in self.directory.glob("trials/[!.]*.parquet")}
        compacted = self.directory / "trials" / COMPACTED_NAME
        parts.discard(compacted.stem)
        try:
            state = compacted.stat()
            mark = (state.st_ino, state.st_mtime_ns)
            if mark != self._compacted[0]:
                ids = pq.read_table(compacted, columns=["trial_id"])["trial_id"].to_pylist()
                self._compacted = (mark, frozenset(ids))
        except OSError:
            return frozenset(parts)
        return self._compacted[1] | parts

    @property
    def num_left(self) -> int:
        """Planned trials that have no row."""
        return max(0, NUM_TRIALS - len(self.finished()))

    @property
    def is_complete(self) -> bool:
        """Whether every planned trial has a row."""
        return self.num_left == 0

    def phase(self) -> str:
        """Return what the sweep's driver is at."""
        if self.now.is_over:
            return "ended"
        temporary = self._temporary()
        if any(COMPACTED_NAME in path.name for path in temporary):
            return "compacting"
        if self.is_complete:
            return "ending"
        state = read_attempt(self.directory) if self.directory.exists() else None
        if state is None or state.pid != self.now.process.pid or not state.running:
            return "starting"
        return "writing" if temporary else "training"

    def _temporary(self) -> list[Path]:
        """Return the files that the driver of now is writing; killed ones have left others."""
        found = []
        for path in self.directory.glob("*/.*.tmp"):
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime >= self.now.started_at_s - CLOCK_TICK_S:
                    found.append(path)
        return found

    def wait(self, until: Callable[[], object], *, timeout_s: float) -> bool:
        """Wait for something, and return whether it came in time."""
        deadline = time.monotonic() + timeout_s
        while not until():
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL_S)
        return True

"""What each attempt at a sweep took: one small file each, kept beside the rows."""

import json
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from rlp_sweeps.orchestration.attempt_state import read_attempt, remove_attempt
from rlp_sweeps.tracking import files

_FOLDER = "attempts"


@dataclass(frozen=True, kw_only=True, slots=True)
class FinishedAttempt:
    """One driver's walk through what was left of a plan.

    Attributes:
        pid: Its process.
        hostname: Its machine.
        ended_at_ms: When it ended, or was last heard of, in ms since 1970.
        busy_s: Seconds that groups held their place, summed over groups.
        devices_per_group: GPUs of a group, or CPU cores where it was trained on a CPU.
        ended_by: ``done``, ``hours``, ``trials``, ``cancel``, ``signal``; ``lost``: it was killed.
        wall_time_s: Seconds from its first group's start to its end; None where that was not kept.
    """

    pid: int
    hostname: str
    ended_at_ms: int
    busy_s: float
    devices_per_group: float
    ended_by: str
    wall_time_s: float | None = None

    @property
    def device_hours(self) -> float:
        """Hours of a GPU, or of a core, that its groups held."""
        return self.busy_s * self.devices_per_group / 3600


def keep_attempt(directory: Path, *, busy_s: float, ended_by: str) -> None:
    """Keep what the attempt at work took, as it ends; without one, do nothing.

    Raises:
        OSError: The directory cannot be written.
    """
    state = read_attempt(directory)
    if state is None:
        return
    ended_at_ms = time.time_ns() // 1_000_000 if ended_by != "lost" else state.written_at_ms
    begun_at_ms = state.started_at_ms
    attempt = FinishedAttempt(
        pid=state.pid,
        hostname=state.hostname,
        ended_at_ms=ended_at_ms,
        busy_s=busy_s,
        devices_per_group=state.devices_per_group,
        ended_by=ended_by,
        wall_time_s=None if begun_at_ms is None else (ended_at_ms - begun_at_ms) / 1000,
    )
    path = directory / _FOLDER / f"{attempt.ended_at_ms}-{attempt.pid}.json"
    files.make_parent(path)
    files.write_text_atomically(path, json.dumps(asdict(attempt)))
    remove_attempt(directory)


def keep_lost_attempt(directory: Path) -> None:
    """Keep what a killed driver has written down last; to be called while this process holds it.

    Raises:
        OSError: The directory cannot be written.
    """
    state = read_attempt(directory)
    if state is not None:
        keep_attempt(directory, busy_s=state.busy_s, ended_by="lost")


def read_attempts(directory: Path) -> list[FinishedAttempt]:
    """Return the attempts that have ended, in their order."""
    paths = sorted((directory / _FOLDER).glob("[!.]*.json"))
    return [_attempt_of(json.loads(path.read_text(encoding="utf-8"))) for path in paths]


def _attempt_of(values: dict[str, Any]) -> FinishedAttempt:
    """Return what was kept, without words that this version does not know."""
    names = {field.name for field in fields(FinishedAttempt)}
    return FinishedAttempt(**{name: value for name, value in values.items() if name in names})

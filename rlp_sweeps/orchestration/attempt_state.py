"""What the driver at work says of itself, for whoever asks how far a sweep has come."""

import json
import os
import platform
import time
from collections.abc import Collection
from dataclasses import dataclass, fields
from pathlib import Path

from rlp_sweeps.stores import is_remote, put

_ATTEMPT_NAME = "attempt.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class AttemptState:
    """What the driver at work last wrote down.

    Attributes:
        pid: Its process.
        hostname: Its machine.
        slots: Groups that it trains at once; 0 while every machine of its cluster is away.
        running: Groups being trained.
        busy_s: Seconds that groups have held their place in this attempt, summed over groups.
        devices_per_group: GPUs of a group, or CPU cores where it is trained on a CPU.
        written_at_ms: When, in ms since 1970.
        started_at_ms: When the attempt began, in ms since 1970; None where that was not kept.
    """

    pid: int
    hostname: str
    slots: int
    running: tuple[str, ...]
    written_at_ms: int
    busy_s: float = 0.0
    devices_per_group: float = 0.0
    started_at_ms: int | None = None


def write_attempt(
    directory: Path,
    *,
    running: Collection[str],
    slots: int,
    busy_s: float = 0.0,
    devices_per_group: float = 0.0,
    started_at_ms: int | None = None,
) -> None:
    """Write down what the driver trains, whole or not at all.

    It takes well below a millisecond, in a store as long as a request.

    Raises:
        OSError: The directory cannot be written.
    """
    state = {
        "pid": os.getpid(),
        "hostname": platform.node(),
        "slots": slots,
        "running": sorted(running),
        "busy_s": busy_s,
        "devices_per_group": devices_per_group,
        "started_at_ms": started_at_ms,
        "written_at_ms": time.time_ns() // 1_000_000,
    }
    if is_remote(directory):
        put(directory / _ATTEMPT_NAME, json.dumps(state).encode(), patience_s=0.0)
        return
    temporary = directory / f".{_ATTEMPT_NAME}.tmp"
    temporary.write_text(json.dumps(state))
    os.replace(temporary, directory / _ATTEMPT_NAME)


def read_attempt(directory: Path) -> AttemptState | None:
    """Return what the driver at work last wrote down; None without one."""
    try:
        values = json.loads((directory / _ATTEMPT_NAME).read_text())
    except FileNotFoundError:
        return None
    names = {field.name for field in fields(AttemptState)}
    known = {name: value for name, value in values.items() if name in names}
    return AttemptState(**{**known, "running": tuple(known["running"])})


def remove_attempt(directory: Path) -> None:
    """Forget what a driver has written down; it trains no more."""
    (directory / _ATTEMPT_NAME).unlink(missing_ok=True)

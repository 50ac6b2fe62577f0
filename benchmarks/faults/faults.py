"""The faults themselves: what is hit, how, and what it was."""

import errno
import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.faults.plants import fired, plant
from benchmarks.faults.sweep import Sweep
from rlp_sweeps.tracking.run_directory import COMPACTED_NAME

ROW = r"/trials/[^/.]+\.parquet$"
EPOCHS = r"/epochs/[^/.]+\.parquet$"
CHECKPOINT = r"/checkpoints/[^/]+\.pt$"

TRIAL_TIMEOUT_S = 6
"""Given to drivers of sweeps in which a trial hangs."""

ENDS_DRIVER = frozenset(
    (
        "driver",
        "driver_creating",
        "driver_compacting",
        "driver_syncing",
        "sigint",
        "sigterm",
        "raylet",
        "gcs",
        "head",
    )
)
"""Faults after which a driver is started anew; after the others the sweep goes on by itself."""

SPOILS = frozenset(
    ("checkpoint_truncated", "checkpoint_flipped", "part_truncated", "part_flipped", "clock_files")
)
"""Faults of files, which come after a kill of the driver."""

AT_ANY_TIME = ENDS_DRIVER - {"raylet", "gcs", "head"} | {"clock_files"}
"""Faults that can hit a sweep which has a row for every trial; the others wait for the next one."""


@dataclass(frozen=True, slots=True)
class Hit:
    """What was hit.

    Attributes:
        process: Kind of the process, or path of the file.
        pid: Of the process; 0 for a file.
        was_trial: The file held a trial's rows, which are trained again.
    """

    process: str
    pid: int = 0
    was_trial: str | None = None


def strike(kind: str, sweep: Sweep, rng: random.Random) -> Hit | None:
    """Send the signal of a fault; None where there is nothing to send it to."""
    driver = sweep.now.process
    signals = {"driver": signal.SIGKILL, "sigint": signal.SIGINT, "sigterm": signal.SIGTERM}
    targets = sweep.now.processes(kind)  # also notes what runs below the driver
    if kind in signals:
        driver.send_signal(signals[kind])
        return Hit("driver", driver.pid)
    at_work = [target for target in targets if not target.command.startswith("ray::IDLE")]
    if not at_work:
        return None
    target = rng.choice(at_work)
    target.kill()
    return Hit(kind, target.pid)


_PLANTS: dict[str, list[dict[str, object]]] = {
    "worker_writing": [
        {"role": "worker", "site": "replace", "when": "before", "path": ROW, "action": "kill"},
        {"role": "worker", "site": "replace", "when": "before", "path": EPOCHS, "action": "kill"},
        {"role": "worker", "site": "replace", "when": "after", "path": ROW, "action": "kill"},
    ],
    "worker_checkpoint": [
        {"role": "worker", "site": "fsync", "path": r"/checkpoints/\.[^/]+$", "action": "kill"},
        {"role": "worker", "site": "replace", "path": CHECKPOINT, "action": "kill"},
        {
            "role": "worker",
            "site": "replace",
            "when": "after",
            "path": CHECKPOINT,
            "action": "kill",
        },
    ],
    "driver_creating": [
        {"role": "driver", "site": "mkdir", "path": "/epochs$", "action": "kill"},
        {"role": "driver", "site": "fsync", "path": r"/\.manifest[^/]+$", "action": "kill"},
        {"role": "driver", "site": "replace", "path": r"/manifest\.json$", "action": "kill"},
        {
            "role": "driver",
            "site": "replace",
            "when": "after",
            "path": r"/manifest\.json$",
            "action": "kill",
        },
    ],
    "driver_compacting": [
        {
            "role": "driver",
            "site": "replace",
            "when": when,
            "path": rf"/{table}/0-compacted\.parquet$",
            "action": "kill",
        }
        for when in ("before", "after")
        for table in ("trials", "epochs")
    ]
    + [
        {"role": "driver", "site": "unlink", "path": path, "action": "kill"}
        for path in (ROW, EPOCHS)
    ],
    "driver_syncing": [{"role": "driver", "site": "sync", "action": "kill"}],
    "raises": [{"role": "worker", "site": "epoch", "action": "raise"}],
    "hangs": [{"role": "worker", "site": "epoch", "action": "hang"}],
    "leaks": [{"role": "worker", "site": "epoch", "action": "leak"}],
    "clock_worker": [{"role": "worker", "site": "start", "action": "clock"}],
}

_SKIPS = {
    "worker_writing": 2,
    "worker_checkpoint": 25,
    "driver_compacting": 1,
    "driver_syncing": 8,
    "raises": 25,
    "hangs": 25,
    "leaks": 25,
}
"""Most matches of a plant that are let pass."""

PLANTED = frozenset(_PLANTS)
"""Faults that fire inside a process."""


def place(kind: str, name: str, sweep: Sweep, rng: random.Random) -> None:
    """Write the plant of a fault; the driver that is started next finds it."""
    rule = rng.choice(_PLANTS[kind])
    is_single = rule["site"] in ("replace", "fsync") and rule["role"] == "driver"
    skip = 0 if is_single else rng.randint(0, _SKIPS.get(kind, 0))
    plant(sweep.plants, name, **rule, skip=skip)


def hit_of(kind: str, name: str, sweep: Sweep) -> Hit | None:
    """Return what a plant has hit; None before it has."""
    found = fired(sweep.plants, name)
    if found is None:
        return None
    return Hit("driver" if kind.startswith("driver") else "worker", found["pid"])


def take_back(name: str, sweep: Sweep) -> None:
    """Remove a plant that has not fired."""
    (sweep.plants / f"{name}.json").unlink(missing_ok=True)


def spoilable(kind: str, sweep: Sweep) -> list[Path]:
    """Return the files that a fault of files can hit: checkpoints, or rows of single trials."""
    if kind == "clock_files":
        return [path for path in sweep.directory.rglob("*") if path.is_file()]
    is_checkpoint = kind.startswith("checkpoint")
    parts = ("trials/[!.]*.parquet", "epochs/[!.]*.parquet")
    patterns = ("checkpoints/[!.]*.pt",) if is_checkpoint else parts
    found = [path for pattern in patterns for path in sorted(sweep.directory.glob(pattern))]
    return [path for path in found if path.name != COMPACTED_NAME]


def spoil(kind: str, sweep: Sweep, rng: random.Random) -> Hit | None:
    """Spoil a file, or all clocks, of a sweep whose driver has ended; None where none is there."""
    paths = spoilable(kind, sweep)
    if not paths:
        return None
    if kind == "clock_files":
        offset_s = rng.choice((-86_400, 86_400))
        for path in paths:
            os.utime(path, times=(time.time() + offset_s,) * 2)
        return Hit("files")
    path = rng.choice(paths)
    _SPOILERS[kind.partition("_")[2]](path, rng)
    is_row = path.parent.name in ("trials", "epochs")
    return Hit(str(path.relative_to(sweep.directory)), was_trial=path.stem if is_row else None)


def _truncate(path: Path, rng: random.Random) -> None:
    os.truncate(path, rng.randrange(path.stat().st_size))


def _flip(path: Path, rng: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


_SPOILERS: dict[str, Callable[[Path, random.Random], None]] = {
    "truncated": _truncate,
    "flipped": _flip,
}


def fill_disk(folder: Path) -> Path:
    """Take all room of the file system of a folder, and return the file that takes it."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        size = 2**20
        while size:
            try:
                file.write(b"\0" * size)
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                size //= 2
    return ballast

"""Who holds a run directory, and the request that its driver shall stop.

The lock alone says that somebody holds a directory. The holder signs with its process and its
machine, and renews the signature's time every few seconds, so that a refusal can name it and a
machine that does not share the lock can still tell a driver at work from one that is gone. In a
store the lock is the signature (`store_lock`).
"""

import json
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any

from rlp_sweeps.stores import is_remote
from rlp_sweeps.tracking import files
from rlp_sweeps.tracking.driver_process import Holder
from rlp_sweeps.tracking.store_lock import LOCK_NAME, read_lock

PULSE_S = 10.0
"""Seconds between two renewals of a holder's signature."""

LOST_AFTER_S = 60.0
"""A holder on another machine whose signature is older than this is taken to be gone."""

_HOLDER_NAME = "driver.json"
_REQUEST_NAME = "cancel.json"
_NEEDED = {field.name for field in fields(Holder) if field.default is MISSING}


@dataclass(frozen=True, kw_only=True, slots=True)
class CancelRequest:
    """The request that a driver shall stop.

    Attributes:
        token: The hold that is meant; a later one has another.
        now: Cut running epochs off, instead of waiting for their end.
    """

    token: str
    now: bool = False


def read_holder(directory: Path) -> Holder | None:
    """Return who has signed last and not signed off; None where nobody has."""
    if is_remote(directory):
        seen = read_lock(directory / LOCK_NAME)
        return None if seen is None or seen.is_released else seen.holder
    values = _read_json(directory / _HOLDER_NAME) or {}
    given = {field.name: values[field.name] for field in fields(Holder) if field.name in values}
    return Holder(**given) if set(given) >= _NEEDED else None


def lost_holder(directory: Path, *, now: float | None = None) -> Holder | None:
    """Return the holder that was killed before it could sign off; None without one.

    To be asked while nobody holds the lock. One on another machine that has given a sign of life
    within `LOST_AFTER_S` is not lost: that machine does not share the lock.

    Args:
        directory: The run directory.
        now: The time, s since 1970, as `time_there` gives it; None: by this machine's clock.
    """
    holder = read_holder(directory)
    if holder is None or holder.is_here or is_remote(directory):
        return holder
    try:
        renewed_at = (directory / _HOLDER_NAME).stat().st_mtime
    except FileNotFoundError:
        return None
    silent_s = (time.time() if now is None else now) - renewed_at
    return holder if silent_s > LOST_AFTER_S else None


def time_there(directory: Path) -> float:
    """Return the time by the clock that stamps the directory's files, s since 1970.

    Raises:
        OSError: The directory cannot be written.
    """
    probe = directory / f".{uuid.uuid4().hex[:12]}.tmp"
    try:
        probe.write_text("")
        return probe.stat().st_mtime
    finally:
        probe.unlink(missing_ok=True)


@contextmanager
def signed(directory: Path, lock_holder: Holder | None = None) -> Iterator[Holder]:
    """Sign as the holder for the length of the block, and renew the signature meanwhile.

    Args:
        directory: The run directory.
        lock_holder: This process, where the lock itself is its signature.

    Raises:
        OSError: The directory cannot be written.
    """
    request = directory / _REQUEST_NAME
    with _signature(directory) if lock_holder is None else nullcontext(lock_holder) as holder:
        request.unlink(missing_ok=True)  # was meant for an earlier holder
        try:
            yield holder
        finally:
            request.unlink(missing_ok=True)


@contextmanager
def _signature(directory: Path) -> Iterator[Holder]:
    holder, path = Holder.here(), directory / _HOLDER_NAME
    text = json.dumps(asdict(holder))
    files.write_text_atomically(path, text)
    is_over = threading.Event()
    pulse = threading.Thread(target=_renew, args=(path, text, is_over), daemon=True)
    pulse.start()
    try:
        yield holder
    finally:
        is_over.set()
        pulse.join()
        path.unlink(missing_ok=True)


def _renew(path: Path, text: str, is_over: threading.Event) -> None:
    while not is_over.wait(PULSE_S):
        try:
            files.write_text_atomically(path, text)
        except OSError:
            continue  # a file system that is away for a while


def ask_to_stop(directory: Path, holder: Holder, *, now: bool) -> None:
    """Ask a holder to stop; it looks about once a second while it trains.

    Raises:
        OSError: The directory cannot be written.
    """
    request = CancelRequest(token=holder.token, now=now)
    files.write_text_atomically(directory / _REQUEST_NAME, json.dumps(asdict(request)))


def read_request(directory: Path, holder: Holder) -> CancelRequest | None:
    """Return the request to this holder; None without one, or where another holder was meant."""
    values = _read_json(directory / _REQUEST_NAME)
    if values is None or values.get("token") != holder.token:
        return None
    return CancelRequest(token=holder.token, now=bool(values.get("now")))


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return values if isinstance(values, dict) else None

"""The driver's lock on a run directory in a store: one object, changed by conditional PUTs only.

It names its holder and is written again every `BEAT_S`, so that a holder that died is told from one
at work: nothing has been written for `STALE_AFTER_S` by the store's own clock, or its process is
gone from this very machine. Whoever takes it over does so on the condition that the object is still
the one it judged; of several takers one succeeds, and a holder that was only suspended finds out at
its next beat.
"""

import json
import threading
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from rlp_sweeps.errors import RunDirectoryError
from rlp_sweeps.stores import IF_ABSENT, get, if_still, put, store_of
from rlp_sweeps.tracking.driver_process import Holder

LOCK_NAME = ".driver.lock"

BEAT_S = 10.0
"""Seconds between two signs of life of a holder."""

STALE_AFTER_S = 90.0
"""Seconds without one after which the holder counts as dead."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """A lock as it was read.

    Attributes:
        holder: Who wrote it.
        etag: What tells this writing from any other.
        age_s: Seconds since, by the store's clock.
        beat: Signs of life that the holder has given.
        is_released: It has given the lock back.
    """

    holder: Holder
    etag: str
    age_s: float
    beat: int
    is_released: bool

    @property
    def is_held(self) -> bool:
        """Whether the holder is at work, as far as can be told."""
        if self.is_released or self.holder.is_gone_from_here():
            return False
        return self.age_s < STALE_AFTER_S

    def describe(self) -> str:
        """Return who holds it, for a sentence."""
        return f"process {self.holder.pid} on {self.holder.hostname}, seen {self.age_s:.0f} s ago"


def read_lock(path: Path) -> Seen | None:
    """Return a lock as it stands; None where there is none. Nothing is written.

    Raises:
        RunDirectoryError: The object is no lock.
        OSError: The store is away, or refuses.
    """
    there = get(path)
    if there is None:
        return None
    try:
        values = json.loads(there.data)
        beat, is_released = values.pop("beat"), values.pop("is_released")
        holder = Holder(**values)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        reason = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        msg = (
            f"{path} must be a driver's lock as this version writes it, but it is not ({reason}); "
            f"once no driver is at work there, `aws s3 rm {path}` removes it."
        )
        raise RunDirectoryError(msg) from error
    return Seen(
        holder=holder, etag=there.etag, age_s=there.age_s, beat=beat, is_released=is_released
    )


def check_conditions(path: Path) -> None:
    """Refuse a store that ignores conditions, by an object that is removed again.

    Args:
        path: Name for the object.

    Raises:
        RunDirectoryError: The store writes although a condition does not hold.
        OSError: The store cannot be written.
    """
    store, name = store_of(path)
    put(path, b"probe", patience_s=0.0)
    try:
        for condition in (IF_ABSENT, if_still('"0"')):
            try:
                put(path, b"changed", patience_s=0.0, condition=condition)
            except FileExistsError:
                continue
            msg = (
                f"the store of {path.parent} must honour conditional writes, but it ignores "
                f"{condition[0]}; use one that does, or a mounted folder."
            )
            raise RunDirectoryError(msg)
    finally:
        store.rm_file(name)


class StoreLock:
    """A lock that this process holds; a thread of its own writes the signs of life.

    Attributes:
        holder: This process.

    Args:
        path: The object.
        seen: The lock as it was before; None where there was none.
        on_loss: Called from the thread, once, when another process has taken it over.

    Raises:
        FileExistsError: Another process was faster.
        OSError: The store is away, or refuses.
    """

    def __init__(self, path: Path, seen: Seen | None, *, on_loss: Callable[[], None]) -> None:
        self._path = path
        self.holder = Holder.here()
        self._num_beats = 0
        self._on_loss = on_loss
        self._is_lost = False
        self._over = threading.Event()
        self._turn = threading.Lock()
        self._etag = "" if seen is None else seen.etag
        self._write()
        self._thread = threading.Thread(target=self._live, name="driver-lock", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Give a sign of life now.

        Raises:
            RunDirectoryError: Another process has taken the lock over.
            OSError: The store is away.
        """
        if not self._is_lost:
            with suppress(FileExistsError):
                self._beat()
        if self._is_lost:
            seen = read_lock(self._path)
            msg = (
                f"{self._path.parent} must stay with one driver, but another one has taken it over "
                f"({'unknown' if seen is None else seen.describe()}) after this one gave no sign "
                f"of life for {STALE_AFTER_S:g} s; leave the sweep to it."
            )
            raise RunDirectoryError(msg)

    def release(self) -> None:
        """Give the lock back; whoever wants it need not wait."""
        self._over.set()
        self._thread.join()
        if not self._is_lost:
            with suppress(OSError):  # it grows stale
                self._write(is_released=True)

    def _live(self) -> None:
        while not (self._over.wait(BEAT_S) or self._is_lost):
            try:
                self._beat()
            except FileExistsError:
                self._on_loss()
                return
            except OSError:
                continue  # the store is away; a later beat tells whether the lock is still ours

    def _beat(self) -> None:
        with self._turn:
            self._num_beats += 1
            try:
                self._write()
            except FileExistsError:
                self._is_lost = True
                raise

    def _write(self, *, is_released: bool = False) -> None:
        """Write the object on the condition that it is the one that was last seen or written."""
        condition = if_still(self._etag) if self._etag else IF_ABSENT
        state = {"beat": self._num_beats, "is_released": is_released}
        data = json.dumps(asdict(self.holder) | state).encode()
        try:
            self._etag = put(self._path, data, patience_s=0.0, condition=condition)
        except FileExistsError:
            seen = read_lock(self._path)
            if seen is None or seen.holder.token != self.holder.token:
                raise
            condition = if_still(seen.etag)  # the answer to an earlier writing of ours was lost
            self._etag = put(self._path, data, patience_s=0.0, condition=condition)


def take_lock(path: Path, *, on_loss: Callable[[], None]) -> StoreLock | Seen:
    """Return the lock where this process holds it from now on, else who does.

    Args:
        path: The object.
        on_loss: Called once, from a thread, should another process take it over later.

    Raises:
        RunDirectoryError: The store ignores conditions, or the object is no lock.
        OSError: The store is away, or refuses.
    """
    seen = read_lock(path)
    if seen is not None and seen.is_held:
        return seen
    check_conditions(path.with_name(f".probe.{uuid.uuid4().hex[:12]}.tmp"))
    try:
        return StoreLock(path, seen, on_loss=on_loss)
    except FileExistsError:
        winner = read_lock(path)
        if winner is None:
            raise
        return winner

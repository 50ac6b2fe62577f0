"""MLflow's client as this package uses it: quiet, soon at its wits' end, and bounded in time.

Every call goes through one wrapper. It asks nothing more once the deadline of its thread is over,
and it asks again where another process holds a SQLite file locked.
"""

import functools
import logging
import os
import random
import re
import sqlite3
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeVar, cast

from rlp_sweeps.errors import StoreAwayError, TrackingError
from rlp_sweeps.tracking.addresses import without_password, without_secrets
from rlp_sweeps.tracking.mlflow_address import has_known_scheme, is_server

if TYPE_CHECKING:
    from mlflow import MlflowClient

T = TypeVar("T")

_CLIENT_SETTINGS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",  # 7 block a call to a dead server for four minutes
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",  # seconds
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # one line a trial
}
_LOCKED_PAUSES_S = (0.5, 1.0, 2.0, 4.0)  # each after the 20 s that MLflow waits for a lock itself
_STOPPING_S = 1.0
_HTTP_STATUS = re.compile(r"(?:too many|failed with error code) (\d{3})\b")
_BROKEN_FILE = re.compile(r"disk image is malformed|file is not a database")  # SQLite's words
_MAX_REASON = 300  # characters


class Deadline:
    """A time after which a store is asked nothing more.

    Args:
        seconds: From now on; None: never, unless it is brought forward.
    """

    def __init__(self, seconds: float | None = None) -> None:
        self._until = None if seconds is None else time.monotonic() + seconds
        self._is_stopped = threading.Event()

    @property
    def is_over(self) -> bool:
        """Whether the time has come."""
        is_late = self._until is not None and time.monotonic() >= self._until
        return is_late or self._is_stopped.is_set()

    def stop(self) -> None:
        """Bring the deadline forward to now; any thread may."""
        self._is_stopped.set()

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Hold every call of this thread inside the block to the deadline."""
        token = _DEADLINE.set(self)
        try:
            yield
        finally:
            _DEADLINE.reset(token)


_DEADLINE: ContextVar[Deadline | None] = ContextVar("deadline", default=None)


def within(seconds: float, call: Callable[[], T], *, tracking_uri: str) -> T:
    """Return what a call to a store gives, or give up on it in time.

    The call has a thread of its own, which cannot be ended from outside: where its store hangs, it
    stays behind, and asks nothing more once the answer has come or the connection timed out.

    Args:
        seconds: Longest time to wait.
        call: Speaks to the store by clients of `connect` alone.
        tracking_uri: The store, for the sentence.

    Raises:
        StoreAwayError: The time is over.
        Exception: Whatever the call raises.
    """
    deadline = Deadline(seconds)
    results: list[T] = []
    errors: list[BaseException] = []

    def work() -> None:
        with deadline.applied():
            try:
                results.append(call())
            except BaseException as error:  # noqa: BLE001  raised again by the thread that waits
                errors.append(error)

    thread = threading.Thread(target=work, name="mlflow-within", daemon=True)
    thread.start()
    try:
        thread.join(seconds + _STOPPING_S)
    finally:
        deadline.stop()
    if errors and not deadline_passed(errors[0]):
        raise errors[0]
    if not results:
        raise slow_store(tracking_uri, seconds)
    return results[0]


class _DeadlineOverError(StoreAwayError):
    """A store was not asked, because its time was over."""


def deadline_passed(error: BaseException) -> bool:
    """Return whether an error says no more than that a deadline is over."""
    return isinstance(error, _DeadlineOverError)


def connect(tracking_uri: str) -> "MlflowClient":
    """Return a client of the store, quiet, without telemetry and with short time-outs.

    Settings that the user has made in the environment win.
    """
    for name, value in _CLIENT_SETTINGS.items():
        os.environ.setdefault(name, value)
    with warnings.catch_warnings():
        # MLflow's own models; nothing a user of this package can act on
        warnings.filterwarnings("ignore", message="The ``noload`` loader strategy")
        from mlflow import MlflowClient

        # it logs a trace of what it then raises, and what it raises becomes a sentence
        logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
        logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # a line a retry
        client = _repeated(functools.partial(MlflowClient, tracking_uri=tracking_uri))
        return cast("MlflowClient", _BoundedClient(client))


class _BoundedClient:
    """Passes every call on, as long as the deadline of its thread is not over."""

    def __init__(self, client: "MlflowClient") -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)

        @functools.wraps(method)
        def call(*args: Any, **options: Any) -> Any:
            return _repeated(functools.partial(method, *args, **options))

        return call


def _repeated(call: Callable[[], T]) -> T:
    """Make a call, again where the SQLite file was locked; no write is there by half then.

    Raises:
        TrackingError: The deadline of this thread is over.
        Exception: Whatever the call raises.
    """
    for pause_s in _LOCKED_PAUSES_S:
        _check_deadline()
        try:
            return call()
        except store_errors() as error:
            if not is_locked(error):
                raise
        time.sleep(pause_s * random.uniform(0.5, 1.5))  # others wait for the same lock
    _check_deadline()
    return call()


def _check_deadline() -> None:
    deadline = _DEADLINE.get()
    if deadline is not None and deadline.is_over:
        msg = "an MLflow store must be asked in time, but the time is over."
        raise _DeadlineOverError(msg)


def is_locked(error: BaseException) -> bool:
    """Return whether a SQLite file did not answer because another process writes to it."""
    return "database is locked" in str(error) or "database table is locked" in str(error)


def store_errors() -> tuple[type[Exception], ...]:
    """Return what a client raises when its store is away, refuses, or is no store."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    return (MlflowException, SQLAlchemyError, sqlite3.Error, OSError, ImportError, ValueError)


@contextmanager
def translated_errors(tracking_uri: str) -> Iterator[None]:
    """Turn what a client raises inside the block into one sentence.

    Raises:
        TrackingError: The store is away, or refuses.
    """
    try:
        yield
    except TrackingError:
        raise
    except store_errors() as error:
        raise store_error(tracking_uri, error) from error


def store_error(tracking_uri: str, error: BaseException) -> TrackingError:
    """Return the sentence that says why a store cannot be had, without passwords."""
    if isinstance(error, TrackingError):
        return error
    reason = without_secrets(_reason_of(error), tracking_uri)
    way_out = "check --tracking-uri, or leave it out"
    if isinstance(error, ImportError) and "psycopg2" in reason:
        way_out = "install rlp-sweeps[postgresql]"
    if _BROKEN_FILE.search(reason):
        way_out = "move its file aside; `rlp-sweeps sync DIR` tells a new one all of a sweep"
    if "unsupported URI" in reason:
        reason = "MLflow knows no such kind of address"
        way_out = "use for example sqlite:////data/mlflow.db or http://host:5000"
    msg = (
        f"the MLflow store must answer, but {without_password(tracking_uri)} does not ({reason}); "
        f"{way_out}."
    )
    return TrackingError(msg) if _is_for_good(tracking_uri, error) else StoreAwayError(msg)


def _reason_of(error: BaseException) -> str:
    """Return the first line of what an exception says; of an HTTP error its status alone."""
    lines = str(error).strip().splitlines() or [""]
    status = _HTTP_STATUS.search(lines[0])
    if status is not None:
        return f"HTTP {status.group(1)}"
    return f"{type(error).__name__}: {lines[0][:_MAX_REASON]}"


def _is_for_good(tracking_uri: str, error: BaseException) -> bool:
    """Return whether the store can never be had, however often it is tried."""
    from sqlalchemy.exc import ArgumentError as AddressError

    if is_server(tracking_uri):
        return False
    is_wrong = isinstance(error, ImportError | AddressError | ValueError)
    return is_wrong or not has_known_scheme(tracking_uri)


def slow_store(tracking_uri: str, seconds: float) -> StoreAwayError:
    """Return the sentence that says that a store was given up on."""
    msg = (
        f"the MLflow store must take what it is told within {seconds:.0f} s, but "
        f"{without_password(tracking_uri)} does not."
    )
    return StoreAwayError(msg)

"""Where MLflow keeps a sweep: checked, set up and opened.

A database is created and upgraded here, under a lock, because processes that open a fresh one
together break each other's migration: its tables are there before it is done.
"""

import fcntl
import os
import sqlite3
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from rlp_sweeps.errors import StoreAwayError, TrackingError
from rlp_sweeps.tracking.addresses import without_password
from rlp_sweeps.tracking.mlflow_address import (
    absolute_uri,
    is_postgresql,
    is_server,
    is_sqlite,
    sqlite_path,
)
from rlp_sweeps.tracking.mlflow_client import connect, store_error, translated_errors, within

START_WAIT_S = 20.0
"""Longest time that a store may take to answer before a sweep begins, seconds."""

_PROBE_TIMEOUT_S = 5.0
_SETUP_TIMEOUT_S = 60.0
_SETUP_KEY = 7_249_011_650  # of PostgreSQL's advisory lock: any number that nobody else uses


@dataclass(frozen=True, slots=True)
class MlflowTarget:
    """Where the runs of one sweep go.

    Attributes:
        tracking_uri: Absolute address of the store.
        experiment_id: The sweep's experiment.
        parent_run_id: Run that the trials' runs are children of.
        sweep_name: Written to every run as the tag `sweep`.
    """

    tracking_uri: str
    experiment_id: str
    parent_run_id: str
    sweep_name: str = ""


def check_store(tracking_uri: str, *, may_be_away: bool = False) -> str | None:
    """Refuse a store that cannot be had, and set up no SQLite file.

    A SQLite file is looked at without MLflow, whose imports take longer than a cluster's start.

    Args:
        tracking_uri: As `open_store` takes it.
        may_be_away: A store that does not answer, or not within `START_WAIT_S`, is no reason to
            refuse; an address that can never work still is.

    Returns:
        Why the store does not answer, one sentence; None where it does.

    Raises:
        TrackingError: As `open_store`, and the store is slow.
    """
    uri = absolute_uri(tracking_uri)
    try:
        if is_sqlite(uri):
            _check_sqlite(uri)
        else:
            within(START_WAIT_S, lambda: open_store(uri), tracking_uri=uri)
    except StoreAwayError as error:
        if not may_be_away:
            raise
        return str(error)
    return None


def open_store(tracking_uri: str) -> str:
    """Return the absolute address of a store that answers; a new database is set up.

    Args:
        tracking_uri: ``sqlite:///PATH``, a path that ends in ``.db``, a database URL or a server's
            ``http(s)`` address.

    Raises:
        TrackingError: The address is none of these, or nothing answers there within seconds.
    """
    uri = absolute_uri(tracking_uri)
    setting_up: AbstractContextManager[None] = nullcontext()
    if is_sqlite(uri):
        _check_folder(sqlite_path(uri))
        setting_up = _one_at_a_time(sqlite_path(uri))
    elif is_server(uri):
        _check_server(uri)
    elif is_postgresql(uri):
        setting_up = _one_session_at_a_time(uri)
    with translated_errors(uri), setting_up:
        connect(uri).search_experiments(max_results=1)
        if is_sqlite(uri):
            _set_write_ahead_log(sqlite_path(uri))
    return uri


def _check_sqlite(uri: str) -> None:
    database = sqlite_path(uri)
    _check_folder(database)
    if not database.exists():
        return
    try:
        with closing(sqlite3.connect(database, timeout=_PROBE_TIMEOUT_S)) as connection:
            connection.execute("pragma schema_version").fetchone()
    except sqlite3.Error as error:
        raise store_error(uri, error) from error


def _check_folder(database: Path) -> None:
    if not database.parent.is_dir():
        msg = (
            f"the folder of an MLflow database must exist, but {database.parent} does not; "
            "create it or choose another --tracking-uri."
        )
        raise TrackingError(msg)


def _check_server(uri: str) -> None:
    """Refuse a server that does not answer at all; any HTTP status is an answer."""
    try:
        health = f"{without_password(uri)}/health"  # urllib takes a login for a part of the host
        with urllib.request.urlopen(health, timeout=_PROBE_TIMEOUT_S):
            return
    except urllib.error.HTTPError:
        return
    except (OSError, ValueError) as error:
        if isinstance(getattr(error, "reason", None), ssl.SSLError):
            return  # it answers; MLflow has its own settings for certificates
        raise store_error(uri, error) from error


@contextmanager
def _one_at_a_time(database: Path) -> Iterator[None]:
    """Hold the lock of a SQLite file's set-up, a hidden file beside it.

    Raises:
        StoreAwayError: Another process holds it for a minute.
    """
    lock = database.with_name(f".{database.name}.lock")
    handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
    deadline = time.monotonic() + _SETUP_TIMEOUT_S
    try:
        while not _is_taken(handle):
            if time.monotonic() > deadline:
                msg = (
                    f"an MLflow database must be set up within {_SETUP_TIMEOUT_S:.0f} s, but "
                    f"another process holds {lock}; wait for its end."
                )
                raise StoreAwayError(msg)
            time.sleep(0.05)
        yield
    finally:
        os.close(handle)


def _is_taken(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def _one_session_at_a_time(uri: str) -> Iterator[None]:
    """Hold the lock of a PostgreSQL database's set-up; it ends with its session."""
    import sqlalchemy

    url = sqlalchemy.make_url(uri)
    takes_timeout = url.get_driver_name() in {"psycopg2", "psycopg"}
    options = {"connect_timeout": int(_PROBE_TIMEOUT_S)} if takes_timeout else {}
    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.pool.NullPool, connect_args=options)
    with engine.connect() as session:
        timeout = sqlalchemy.text(f"set lock_timeout = '{_SETUP_TIMEOUT_S:.0f}s'")
        session.execute(timeout)
        session.execute(sqlalchemy.text(f"select pg_advisory_lock({_SETUP_KEY})"))
        yield


def _set_write_ahead_log(database: Path) -> None:
    """Let readers go on while a trial writes; a property of the file, kept from then on."""
    with closing(sqlite3.connect(database, timeout=_PROBE_TIMEOUT_S)) as connection:
        if connection.execute("pragma journal_mode").fetchone() == ("wal",):
            return
        try:
            connection.execute("pragma journal_mode=WAL")
        except sqlite3.OperationalError:
            return  # somebody is at work in it; whoever opens it next tries again

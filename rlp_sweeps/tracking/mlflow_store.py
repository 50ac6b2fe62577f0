"""Where MLflow keeps a sweep: addresses made absolute, checked, and opened without noise.

The database is created and upgraded here, once and by the driver, because processes that open a
fresh one together break each other's migration.
"""

import logging
import os
import sqlite3
import ssl
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rlp_sweeps.errors import TrackingError
from rlp_sweeps.stores import as_path, is_remote
from rlp_sweeps.tracking.addresses import without_password, without_secrets

if TYPE_CHECKING:
    from mlflow import MlflowClient

_CLIENT_SETTINGS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # 7 block a call to a dead server for four minutes
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",  # seconds
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # one line a trial
}
_SQLITE = "sqlite:///"
_URI_VARIABLE = "MLFLOW_TRACKING_URI"
_PROBE_TIMEOUT_S = 5.0


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


def default_tracking_uri(directory: str | Path) -> str:
    """Return where MLflow keeps a run directory's sweep when nobody says where.

    The SQLite database stands in the parent folder, ``runs/mlflow.db`` for ``runs/demo``, so that
    the sweeps of one folder are compared in one UI. A directory in a store has no place for one
    beside it; there it is what MLFLOW_TRACKING_URI says.

    Raises:
        TrackingError: The directory is in a store, and the variable is not set.
    """
    if is_remote(as_path(directory)):
        uri = os.environ.get(_URI_VARIABLE)
        if uri:
            return uri
        msg = (
            f"the MLflow store of {directory} must be named, because no database can stand beside "
            f"it; give --tracking-uri or set {_URI_VARIABLE}."
        )
        raise TrackingError(msg)
    return f"{_SQLITE}{Path(directory).expanduser().absolute().parent / 'mlflow.db'}"


def check_store(tracking_uri: str) -> None:
    """Refuse a store that cannot be had, as `open_store` does, and set up nothing.

    A SQLite file is looked at without MLflow, whose imports take longer than a cluster's start.

    Raises:
        TrackingError: As `open_store`.
    """
    uri = _absolute(tracking_uri)
    if not uri.startswith(_SQLITE):
        open_store(uri)
        return
    database = sqlite_path(uri)
    _check_folder(database)
    if not database.exists():
        return
    try:
        with closing(sqlite3.connect(database, timeout=_PROBE_TIMEOUT_S)) as connection:
            connection.execute("pragma schema_version").fetchone()
    except sqlite3.Error as error:
        raise store_error(uri, error) from error


def open_store(tracking_uri: str) -> str:
    """Return the absolute address of a store that answers; a new SQLite database is set up.

    Args:
        tracking_uri: ``sqlite:///PATH``, a path that ends in ``.db``, a database URL or a server's
            ``http(s)`` address.

    Raises:
        TrackingError: The address is none of these, or nothing answers there within seconds.
    """
    uri = _absolute(tracking_uri)
    if uri.startswith(_SQLITE):
        _check_folder(sqlite_path(uri))
    elif uri.startswith(("http://", "https://")):
        _check_server(uri)
    with translated_errors(uri):
        connect(uri).search_experiments(max_results=1)
        if uri.startswith(_SQLITE):
            _set_write_ahead_log(sqlite_path(uri))
    return uri


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

        logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)
        return MlflowClient(tracking_uri=tracking_uri)


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
    """Return the sentence that says why a store does not answer, without passwords."""
    said = str(error).strip().splitlines()
    reason = without_secrets(said[0] if said else "", tracking_uri)
    msg = (
        f"the MLflow store must answer, but {without_password(tracking_uri)} does not "
        f"({type(error).__name__}: {reason}); check --tracking-uri, or leave it out."
    )
    return TrackingError(msg)


def sqlite_path(tracking_uri: str) -> Path:
    """Return the file of a SQLite store."""
    return Path(tracking_uri.removeprefix(_SQLITE))


def is_server(tracking_uri: str) -> bool:
    """Return whether the store is a server, which needs no other one to be looked at."""
    return tracking_uri.startswith(("http://", "https://"))


def _absolute(tracking_uri: str) -> str:
    if tracking_uri.startswith(_SQLITE):
        path = sqlite_path(tracking_uri)
    elif "://" in tracking_uri and not tracking_uri.startswith("file:"):
        return tracking_uri.rstrip("/") if is_server(tracking_uri) else tracking_uri
    else:
        path = Path(tracking_uri)
    is_address = tracking_uri.startswith(_SQLITE) or path.suffix in {".db", ".sqlite"}
    if tracking_uri.startswith("file:") or not is_address or "?" in str(path):
        msg = (
            "an MLflow store must be a SQLite file, a database or a server, but got "
            f"{without_password(tracking_uri)!r}; use for example sqlite:////data/mlflow.db or http://host:5000."
        )
        raise TrackingError(msg)
    return f"{_SQLITE}{path.expanduser().absolute()}"


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
        with urllib.request.urlopen(f"{uri}/health", timeout=_PROBE_TIMEOUT_S):
            return
    except urllib.error.HTTPError:
        return
    except (OSError, ValueError) as error:
        if isinstance(getattr(error, "reason", None), ssl.SSLError):
            return  # it answers; MLflow has its own settings for certificates
        raise store_error(uri, error) from error


def _set_write_ahead_log(database: Path) -> None:
    """Let readers go on while a trial writes; a property of the file, kept from then on."""
    with closing(sqlite3.connect(database, timeout=20)) as connection:
        connection.execute("pragma journal_mode=WAL")

"""Addresses of MLflow stores: made absolute, and told apart."""

import os
import re
from pathlib import Path

from rlp_sweeps.errors import TrackingError
from rlp_sweeps.misspelling import nearest
from rlp_sweeps.stores import as_path, is_remote
from rlp_sweeps.tracking.addresses import without_password

_SQLITE = "sqlite:///"
_URI_VARIABLE = "MLFLOW_TRACKING_URI"
_SCHEMES = ("http", "https", "sqlite", "postgresql", "mysql", "mssql")
_HOST_AND_PORT = re.compile(r"[\w.-]+:\d+")


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


def absolute_uri(tracking_uri: str) -> str:
    """Return the address of a store as it means the same from every folder.

    Args:
        tracking_uri: ``sqlite:///PATH``, a path that ends in ``.db``, a database URL or a server's
            ``http(s)`` address.

    Raises:
        TrackingError: The address is none of these.
    """
    near = _near_address(tracking_uri)
    if near:
        msg = (
            "an MLflow store must be a SQLite file, a database or a server, but got "
            f"{without_password(tracking_uri)!r}; did you mean {without_password(near)!r}?"
        )
        raise TrackingError(msg)
    if tracking_uri.startswith(_SQLITE):
        path = sqlite_path(tracking_uri)
    elif tracking_uri.startswith("postgresql://"):  # SQLAlchemy's own default is another driver
        return tracking_uri.replace("postgresql://", "postgresql+psycopg2://", 1)
    elif "://" in tracking_uri and not tracking_uri.startswith("file:"):
        return tracking_uri.rstrip("/") if is_server(tracking_uri) else tracking_uri
    else:
        path = Path(tracking_uri)
    is_address = tracking_uri.startswith(_SQLITE) or path.suffix in {".db", ".sqlite"}
    if tracking_uri.startswith("file:") or not is_address or "?" in str(path):
        msg = (
            "an MLflow store must be a SQLite file, a database or a server, but got "
            f"{without_password(tracking_uri)!r}; use for example sqlite:////data/mlflow.db or "
            "http://host:5000."
        )
        raise TrackingError(msg)
    return f"{_SQLITE}{path.expanduser().absolute()}"


def _near_address(tracking_uri: str) -> str:
    """Return what a misspelled address was probably meant to be; an empty text where it is none.

    A scheme that no other is like may be one of a plug-in of MLflow's.
    """
    scheme, separator, rest = tracking_uri.partition("://")
    if scheme == "sqlite" and separator and rest and not rest.startswith("/"):
        return f"{_SQLITE}{rest}"
    if not separator and _HOST_AND_PORT.fullmatch(tracking_uri):
        return f"http://{tracking_uri}"
    if not separator or scheme == "file" or has_known_scheme(tracking_uri):
        return ""
    near = nearest(scheme, _SCHEMES)
    return f"{near}{separator}{rest}" if near else ""


def is_server(tracking_uri: str) -> bool:
    """Return whether the store is a server, which needs no other one to be looked at."""
    return tracking_uri.startswith(("http://", "https://"))


def is_sqlite(tracking_uri: str) -> bool:
    """Return whether the store is a SQLite file."""
    return tracking_uri.startswith(_SQLITE)


def has_known_scheme(tracking_uri: str) -> bool:
    """Return whether the address is of a kind that MLflow comes with."""
    scheme = tracking_uri.partition(":")[0].partition("+")[0]
    return scheme in _SCHEMES


def is_postgresql(tracking_uri: str) -> bool:
    """Return whether the store is a PostgreSQL database, spoken to without a server of MLflow's."""
    return tracking_uri.startswith(("postgresql:", "postgresql+"))


def sqlite_path(tracking_uri: str) -> Path:
    """Return the file of a SQLite store."""
    return Path(tracking_uri.removeprefix(_SQLITE))

"""The MLflow UI of a store, on this machine's loopback address only."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import IO

from rlp_sweeps.errors import TrackingError
from rlp_sweeps.stores import as_path, is_remote
from rlp_sweeps.tracking.addresses import without_password
from rlp_sweeps.tracking.files import run_path
from rlp_sweeps.tracking.mlflow_address import (
    absolute_uri,
    default_tracking_uri,
    is_server,
    sqlite_path,
)
from rlp_sweeps.tracking.mlflow_store import open_store
from rlp_sweeps.tracking.mlflow_sweep import find_links
from rlp_sweeps.tracking.run_directory import RunDirectory

HOST = "127.0.0.1"
_START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 10.0


def _print_at_once(sentence: str) -> None:
    print(sentence, flush=True)


def serve_ui(
    directory: str | Path,
    *,
    tracking_uri: str | None = None,
    port: int = 5000,
    show: Callable[[str], None] = _print_at_once,
) -> None:
    """Serve the UI of a store until interrupted; its processes end with it.

    Args:
        directory: A run directory, or the folder that holds several beside their store.
        tracking_uri: Another store, as `open_store` takes it. A server has a UI already: its
            address is shown.
        port: Port on loopback; 0 takes a free one.
        show: Takes the sentences for the user.

    Raises:
        TrackingError: There is no store, it does not answer, the port is taken, or the server does
            not start.
    """
    asked = absolute_uri(tracking_uri or _store_of(as_path(directory)))
    if is_server(asked):
        uri = open_store(asked)
        show(f"MLflow UI: {without_password(uri)}")
        _show_links(_links(uri, as_path(directory)), without_password(uri), show)
        return
    chosen = _free_port(port)
    try:
        show(
            f"the MLflow UI of {without_password(asked)} starts on http://{HOST}:{chosen}; that "
            f"takes some seconds, {_START_TIMEOUT_S:.0f} at most"
        )
        uri = open_store(asked)
        links = _links(uri, as_path(directory))
        with _interrupted_by_signals(), running_ui(uri, port=chosen) as address:
            show(f"MLflow UI: {address} (Ctrl-C ends it)")
            _show_links(links, address, show)
            while True:
                signal.pause()
    except KeyboardInterrupt:
        show("MLflow UI ended.")


def _links(uri: str, directory: Path) -> dict[str, str]:
    """Return the views of a sweep; none where the folder is no run directory, but holds several."""
    path = run_path(directory)
    if not (path / "manifest.json").is_file():
        return {}
    return find_links(uri, RunDirectory.open(path))


def _show_links(links: dict[str, str], address: str, show: Callable[[str], None]) -> None:
    for name, link in links.items():
        show(f"  {name}: {address.rstrip('/')}{link}")


@contextmanager
def running_ui(tracking_uri: str, *, port: int = 0) -> Iterator[str]:
    """Run the UI's server inside the block, and yield its address.

    Args:
        tracking_uri: Absolute address of a SQLite file or a database.
        port: Port on loopback; 0 takes a free one.

    Raises:
        TrackingError: The port is taken, or the server does not start within a minute.
    """
    chosen = _free_port(port)
    command = [sys.executable, "-m", "mlflow", "server"]
    command += ["--host", HOST, "--port", str(chosen), "--workers", "1"]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command,
            env=_server_environment(tracking_uri),
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            address = f"http://{HOST}:{chosen}"
            if not _becomes_healthy(process, address):
                _stop(process)
                raise _not_started(log)
            yield address
        finally:
            _stop(process)


def _server_environment(tracking_uri: str) -> dict[str, str]:
    """Return the server's settings; the store goes here, because a command line is public."""
    settings = {
        "MLFLOW_BACKEND_STORE_URI": tracking_uri,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # seven processes and 2 GB less
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    if tracking_uri.startswith("sqlite:"):
        artifacts = sqlite_path(tracking_uri).parent / "mlartifacts"
        settings["MLFLOW_ARTIFACTS_DESTINATION"] = str(artifacts)
    return {**os.environ, **settings}


def _free_port(port: int) -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except (OSError, OverflowError) as error:
            msg = f"port {port} of {HOST} must be free, but it is not ({error}); choose another."
            raise TrackingError(msg) from error
        return int(probe.getsockname()[1])


def _becomes_healthy(process: subprocess.Popen[bytes], address: str) -> bool:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=2):
                return True
        except OSError:
            time.sleep(0.2)
    return False


def _not_started(log: IO[bytes]) -> TrackingError:
    log.seek(0)
    said = log.read().decode(errors="replace").strip().splitlines()[-1:] or ["it said nothing"]
    msg = f"the MLflow UI must start within {_START_TIMEOUT_S:.0f} s, but it did not: {said[0]}."
    return TrackingError(msg)


def _stop(process: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        try:
            process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            continue
    process.wait()


@contextmanager
def _interrupted_by_signals() -> Iterator[None]:
    """Treat SIGTERM like Ctrl-C, so that the server never outlives its owner.

    SIGINT interrupts a process in a shell's background as well, which begins by ignoring it.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {n: signal.signal(n, interrupt) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _store_of(directory: Path) -> str:
    if is_remote(directory):
        return default_tracking_uri(directory)
    return f"sqlite:///{_database_of(directory)}"


def _database_of(directory: Path) -> Path:
    folder = directory.expanduser().absolute()
    for candidate in (folder / "mlflow.db", folder.parent / "mlflow.db"):
        if candidate.is_file():
            return candidate
    msg = (
        f"{folder} or its parent must hold mlflow.db, but neither does; "
        "run `rlp-sweeps sync` first, or give --tracking-uri."
    )
    raise TrackingError(msg)

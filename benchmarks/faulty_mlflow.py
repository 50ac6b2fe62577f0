"""An MLflow server that misbehaves on request: MLflow's own handlers behind a fault.

``python -m benchmarks.faulty_mlflow FOLDER PORT`` serves the SQLite store in a folder. Before
every request it reads the fault from the file FOLDER/fault: ``none``, ``slow SECONDS``, ``status
CODE``, ``hang`` (accepts, never answers) or ``say TEXT`` (answers 200 with that text). A server
that is away is one whose process is ended.
"""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

HOST = "127.0.0.1"
_START_TIMEOUT_S = 120.0


class FaultyServer:
    """Such a server in a process of its own, with its store in a folder; a context manager.

    Attributes:
        uri: Its address, the same after every start.
        store_uri: The store behind it, for looking past the fault.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with socket.create_server((HOST, 0)) as probe:
            self._port = int(probe.getsockname()[1])
        self._process: subprocess.Popen[bytes] | None = None
        self.uri = f"http://{HOST}:{self._port}"
        self.store_uri = f"sqlite:///{folder / 'mlflow.db'}"
        self.fault("none")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def fault(self, text: str) -> None:
        """Misbehave from now on, as the module says."""
        temporary = self._folder / "fault.tmp"
        temporary.write_text(text)
        temporary.replace(self._folder / "fault")

    def start(self) -> None:
        """Serve, and return once the server answers."""
        command = [sys.executable, "-m", "benchmarks.faulty_mlflow", str(self._folder)]
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*command, str(self._port)],
                stdout=log,
                stderr=log,
                cwd=Path(__file__).parents[1],
                start_new_session=True,
            )
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                msg = (self._folder / "server.log").read_text()[-2000:]
                raise RuntimeError(msg)
            time.sleep(0.1)

    def _answers(self) -> bool:
        """Return whether the server listens, whatever its fault."""
        try:
            with socket.create_connection((HOST, self._port), timeout=1):
                return True
        except OSError:
            return False

    def stop(self) -> None:
        """End the server on the spot, as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


class FaultyApplication:
    """A WSGI application behind the fault that a file names."""

    def __init__(self, application: Callable[..., Iterable[bytes]], fault_path: Path) -> None:
        self._application = application
        self._fault_path = fault_path

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        """Answer one request, or fail to."""
        kind, _, detail = self._fault_path.read_text().partition(" ")
        if kind == "hang":
            time.sleep(3600)
        if kind == "slow":
            time.sleep(float(detail))
        if kind == "status":
            start_response(f"{detail} fault", [("Content-Type", "text/plain")])
            return [b"this server misbehaves on request"]
        if kind == "say":
            start_response("200 OK", [("Content-Type", "text/html")])
            return [detail.encode()]
        return self._application(environ, start_response)


def serve(folder: Path, port: int) -> None:
    """Serve the store of a folder until the process is ended."""
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
    os.environ["_MLFLOW_SERVER_FILE_STORE"] = f"sqlite:///{folder / 'mlflow.db'}"
    os.environ["_MLFLOW_SERVER_ARTIFACT_ROOT"] = "mlflow-artifacts:/"
    os.environ["_MLFLOW_SERVER_ARTIFACT_DESTINATION"] = str(folder / "mlartifacts")
    os.environ["_MLFLOW_SERVER_SERVE_ARTIFACTS"] = "true"
    from mlflow.server import app
    from werkzeug.serving import make_server

    from rlp_sweeps.tracking.mlflow_store import open_store

    open_store(str(folder / "mlflow.db"))
    application = FaultyApplication(app, folder / "fault")
    server = make_server(HOST, port, application, threaded=True)
    server.daemon_threads = True  # type: ignore[attr-defined]  # of the threading kind
    server.serve_forever()


if __name__ == "__main__":
    serve(Path(sys.argv[1]), int(sys.argv[2]))

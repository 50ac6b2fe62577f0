import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from rlp_sweeps.errors import TrackingError
from rlp_sweeps.tracking.mlflow_client import connect
from rlp_sweeps.tracking.mlflow_tracker import (
    default_tracking_uri,
    log_sweep_artifacts,
    open_store,
    prepare_sweep,
    running_ui,
    serve_ui,
)
from rlp_sweeps.tracking.run_directory import RunDirectory, build_manifest


@pytest.mark.slow
def test_the_ui_serves_runs_and_report_on_loopback_and_ends(tmp_path: Path) -> None:
    manifest = build_manifest(plan_id="p1", sweep_name="demo", space={}, configs=[])
    directory = RunDirectory.create(tmp_path / "demo", manifest)
    (directory.path / "analysis").mkdir()
    (directory.path / "analysis" / "report.html").write_text("<html>the verdict</html>")
    target = prepare_sweep(default_tracking_uri(directory.path), directory)
    log_sweep_artifacts(target, directory)

    with running_ui(target.tracking_uri) as address:
        names = [experiment.name for experiment in connect(address).search_experiments()]
        page = urllib.request.urlopen(f"{address}/", timeout=10).read()
        query = f"path=analysis/report.html&run_uuid={target.parent_run_id}"
        report = urllib.request.urlopen(f"{address}/get-artifact?{query}", timeout=10).read()

    assert "demo" in names
    assert b"<html" in page
    assert report == b"<html>the verdict</html>"
    assert address.startswith("http://127.0.0.1:")
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(address, timeout=5)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serve_ui_ends_its_processes_when_told_to(tmp_path: Path, number: signal.Signals) -> None:
    open_store(str(tmp_path / "mlflow.db"))
    script = f"""
from rlp_sweeps.tracking.mlflow_tracker import serve_ui
serve_ui({str(tmp_path / "demo")!r}, port=0, show=lambda text: print(text, flush=True))
"""
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout as output:
        announced = output.readline()
        address = output.readline().split()[2]
        server_ids = _children(process.pid)
        process.send_signal(number)

        assert process.wait(30) == 0
        assert output.read().strip() == "MLflow UI ended."
    assert f"mlflow.db starts on {address}; that takes some seconds" in announced
    assert address.startswith("http://127.0.0.1:")
    assert server_ids
    assert not any(Path(f"/proc/{pid}").exists() for pid in server_ids)


def _children(pid: int) -> list[int]:
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    own = [int(child) for child in listed]
    return own + [grand for child in own for grand in _children(child)]


def test_serve_ui_refuses_a_folder_without_a_store(tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match=r"must hold mlflow\.db, but neither does"):
        serve_ui(tmp_path / "demo")


def test_serve_ui_refuses_a_taken_port(tmp_path: Path) -> None:
    open_store(str(tmp_path / "mlflow.db"))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()

        with pytest.raises(TrackingError, match="must be free, but it is not"):
            serve_ui(tmp_path, port=taken.getsockname()[1])


def test_serve_ui_says_what_starts_where_before_it_opens_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mlflow.db").write_bytes(b"")
    said: list[str] = []

    def open_store(uri: str) -> str:
        said.append("opened")
        raise KeyboardInterrupt

    monkeypatch.setattr("rlp_sweeps.tracking.mlflow_ui.open_store", open_store)
    serve_ui(tmp_path, port=0, show=said.append)

    database = f"sqlite:///{tmp_path}/mlflow.db"
    assert said[0].startswith(f"the MLflow UI of {database} starts on http://127.0.0.1:")
    assert said[1:] == ["opened", "MLflow UI ended."]

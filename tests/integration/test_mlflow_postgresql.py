"""MLflow on a real PostgreSQL: by the server of deploy/mlflow, and spoken to without one."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import postgresql
import pytest
import sweep_cases as cases
from mlflow import MlflowClient
from test_mlflow_feed import CONFIGS, end

from rlp_sweeps.errors import StoreAwayError
from rlp_sweeps.orchestration.sweep import run_sweep
from rlp_sweeps.tracking.mlflow_feed import MlflowFeed
from rlp_sweeps.tracking.mlflow_store import check_store
from rlp_sweeps.tracking.mlflow_sync import sync, sync_within
from rlp_sweeps.tracking.run_directory import RunDirectory, build_manifest

SERVE = Path(__file__).parents[2] / "deploy" / "mlflow" / "serve.sh"
TEXTS = {
    "experiments": ("name", "artifact_location"),
    "experiment_tags": ("key", "value"),
    "runs": ("name", "artifact_uri", "source_name", "user_id"),
    "tags": ("key", "value"),
    "params": ("key", "value"),
}
"""Tables and columns of MLflow's that hold text of ours."""

binaries = postgresql.find_binaries()
pytestmark = [
    pytest.mark.slow,
    pytest.mark.faults,
    pytest.mark.skipif(binaries is None, reason="PostgreSQL's programs are not installed"),
]


@pytest.fixture(scope="module")
def database():
    pytest.importorskip("psycopg2", reason="rlp-sweeps[postgresql] is not installed")
    with postgresql.running_postgresql(binaries) as running:
        yield running


@pytest.fixture
def directory(tmp_path: Path) -> RunDirectory:
    manifest = build_manifest(plan_id="p", sweep_name="tiny", space={}, configs=CONFIGS)
    return RunDirectory.create(tmp_path / tmp_path.name, manifest)


@contextmanager
def served(database, folder):
    """Run deploy/mlflow/serve.sh, and yield the server's address."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    settings = {"MLFLOW_PORT": str(port), "MLFLOW_WORKERS": "1", "PYTHON": sys.executable}
    environment = {**os.environ, **database.environment(), **settings}
    with (folder / "serve.log").open("wb") as log:
        server = subprocess.Popen(
            [SERVE], env=environment, cwd=folder, stdout=log, stderr=log, start_new_session=True
        )
    address = f"http://127.0.0.1:{port}"
    try:
        wait_for_health(server, address, folder / "serve.log")
        yield address
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(30)


def wait_for_health(server, address, log):
    deadline = time.monotonic() + 120
    while True:
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=2):
                return
        except OSError:
            assert server.poll() is None, log.read_text()[-2000:]
            assert time.monotonic() < deadline, log.read_text()[-2000:]
            time.sleep(0.3)


def test_sweep_is_logged_through_the_server_of_deploy(database, tmp_path):
    output = tmp_path / "served"
    with served(database, tmp_path) as address:
        options = replace(cases.OPTIONS, tracking_uri=address)
        outcome = run_sweep(cases.plan_case("two_groups"), output=output, options=options)
        client = MlflowClient(address)
        experiment = client.get_experiment_by_name("served")
        runs = client.search_runs([experiment.experiment_id])
        trials = {r.data.tags["trial_id"]: r for r in runs if "trial_id" in r.data.tags}
        (parent,) = (run for run in runs if "trial_id" not in run.data.tags)
        artifacts = [found.path for found in client.list_artifacts(parent.info.run_id)]
        page = urllib.request.urlopen(f"{address}/", timeout=10).read()

    rows = cases.read_table(output, "trials").rows(named=True)
    assert outcome.tracking_error is None
    assert len(trials) == len(rows) == 2
    for row in rows:
        run = trials[row["trial_id"]]
        assert run.data.metrics["test_accuracy"] == pytest.approx(row["test_accuracy"], abs=1e-9)
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert run.info.status == "FINISHED"
    assert (parent.info.status, artifacts) == ("FINISHED", ["manifest.json"])
    assert b"<html" in page
    assert database.rows("select count(*) from runs where status = 'FINISHED'") == [(3,)]
    assert not is_listening(address)


def is_listening(address):
    host, port = address.removeprefix("http://").split(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


def test_a_password_in_the_address_is_written_nowhere(database, directory, capfd):
    database.create("direct")
    uri = database.uri("direct")

    with MlflowFeed(directory, uri) as feed:
        feed.start("g", CONFIGS)
        for config in CONFIGS:
            feed.take(end(directory, config))
    report = sync(directory, uri)
    gap = sync_within(20.0, directory, database.uri("direct", password="wr0ng"))

    said = "".join(capfd.readouterr()) + repr(gap) + gap.sentence(directory.path)
    written = [path.read_bytes() for path in directory.path.rglob("*") if path.is_file()]
    stored = [
        text
        for table, columns in TEXTS.items()
        for row in database.rows(f"select {', '.join(columns)} from {table}", "direct")
        for text in row
        if text is not None
    ]
    assert (report.num_runs_unchanged, report.num_runs_created) == (2, 0)
    assert len(stored) > 100
    for secret in ("s3cret", "wr0ng"):
        assert secret not in said
        assert not any(secret in text for text in stored)
        assert not any(secret.encode() in content for content in written)


def test_processes_that_open_a_fresh_database_together_all_succeed(database, tmp_path):
    database.create("fresh")
    script = """
import sys, time
from pathlib import Path
from rlp_sweeps.tracking.mlflow_client import connect
from rlp_sweeps.tracking.mlflow_store import open_store
connect(f"sqlite:///{sys.argv[2]}/{sys.argv[3]}.db")
Path(sys.argv[2], sys.argv[3] + ".ready").touch()
while not Path(sys.argv[2], "go").exists():
    time.sleep(0.001)
open_store(sys.argv[1])
"""
    command = [sys.executable, "-c", script, database.uri("fresh"), str(tmp_path)]
    openers = [
        subprocess.Popen([*command, str(i)], stderr=subprocess.PIPE, text=True) for i in range(3)
    ]
    deadline = time.monotonic() + 120
    while len(list(tmp_path.glob("*.ready"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    (tmp_path / "go").touch()

    errors = [opener.communicate(timeout=120)[1] for opener in openers]

    assert [opener.returncode for opener in openers] == [0, 0, 0], errors


def test_a_database_that_refuses_or_is_away_is_named_without_its_password(database):
    with pytest.raises(StoreAwayError, match=r"postgresql.*://127.*authentication failed") as wrong:
        check_store(database.uri(password="wr0ng"))
    away = replace_port(database.uri(), database.port, 9)
    started = time.monotonic()

    with pytest.raises(
        StoreAwayError, match=r"postgresql.*://127\.0\.0\.1:9/mlflow does"
    ) as refused:
        check_store(away)

    assert time.monotonic() - started < 10
    assert "s3cret" not in str(refused.value)
    assert "wr0ng" not in str(wrong.value)


def replace_port(uri, old, new):
    return uri.replace(f":{old}/", f":{new}/")

"""A server that is away, slow or refuses: nobody waits for it, and `sync` repairs what it lacks."""

import time
from pathlib import Path

import pytest
import sweep_cases as cases
from test_mlflow_feed import CONFIGS, end

from benchmarks.faulty_mlflow import FaultyServer
from rlp_sweeps.errors import StoreAwayError, TrackingError
from rlp_sweeps.orchestration.progress import SilentProgress
from rlp_sweeps.orchestration.status import sweep_status
from rlp_sweeps.orchestration.sweep import resume_sweep, run_sweep
from rlp_sweeps.tracking import mlflow_feed, mlflow_logger
from rlp_sweeps.tracking.mlflow_client import connect
from rlp_sweeps.tracking.mlflow_feed import MlflowFeed
from rlp_sweeps.tracking.mlflow_gap import read_gap
from rlp_sweeps.tracking.mlflow_store import check_store
from rlp_sweeps.tracking.mlflow_sync import sync, sync_within
from rlp_sweeps.tracking.run_directory import RunDirectory, build_manifest

pytestmark = pytest.mark.faults

FAULTS = {
    "away": "away",
    "slow": "slow 2",
    "broken": "status 500",
    "refusing": "status 403",
    "hanging": "hang",
    "foreign": "say <html>a login page</html>",
    "no_object": "say []",
}
AWAY = "http://127.0.0.1:9"  # nobody listens on the discard port


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with FaultyServer(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture
def healthy(server):
    """The server without a fault, before and after a test."""
    yield server
    server.fault("none")


@pytest.fixture
def directory(tmp_path: Path) -> RunDirectory:
    manifest = build_manifest(plan_id="p", sweep_name="tiny", space={}, configs=CONFIGS)
    return RunDirectory.create(tmp_path / tmp_path.name, manifest)


@pytest.fixture
def hasty(monkeypatch):
    """Bounds and pauses of seconds."""
    monkeypatch.setattr(mlflow_feed, "DRAIN_S", 3.0)
    monkeypatch.setattr(mlflow_feed, "STOP_S", 2.0)
    monkeypatch.setattr(mlflow_feed, "_CATCH_UP_EVERY_S", 0.2)
    monkeypatch.setattr(mlflow_logger, "_FIRST_PAUSE_S", 0.2)


def stored_trials(server, directory):
    """Return the trials of a sweep's runs and its number of parent runs, as the store has them."""
    client = connect(server.store_uri)
    experiment = client.get_experiment_by_name(directory.path.name)
    runs = client.search_runs([experiment.experiment_id])
    trials = [run.data.tags["trial_id"] for run in runs if "trial_id" in run.data.tags]
    return sorted(trials), len(runs) - len(trials)


def feed_all(directory, uri):
    """Feed a sweep's trials, and return the seconds of the calls and of the feed's end."""
    for config in CONFIGS:
        end(directory, config)
    with MlflowFeed(directory, uri) as feed:
        started = time.monotonic()
        feed.start("g", CONFIGS)
        for config in CONFIGS:
            feed.take(mlflow_feed.news_text(ended=[config.trial_id], running={}))
        told = time.monotonic()
    return told - started, time.monotonic() - told, feed


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_holds_nobody_up_and_sync_repairs_it(healthy, directory, hasty, fault):
    healthy.fault(FAULTS[fault])

    calls_s, end_s, feed = feed_all(directory, AWAY if fault == "away" else healthy.uri)
    healthy.fault("none")
    feed._thread.join(30)  # the answer to its last call
    report = sync(directory, healthy.uri)

    assert calls_s < 0.2
    assert end_s < 7.0
    assert stored_trials(healthy, directory) == (sorted(c.trial_id for c in CONFIGS), 1)
    assert sync(directory, healthy.uri).num_runs_unchanged == len(CONFIGS)
    assert report.num_runs_closed == 0


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["away", "refusing"])
def test_a_fault_stands_in_the_directory_until_sync(healthy, directory, hasty, fault):
    healthy.fault(FAULTS[fault])
    uri = AWAY if fault == "away" else healthy.uri
    feed_all(directory, uri)

    gap = sync_within(20.0, directory, uri)

    assert gap == read_gap(directory.path)
    assert f"`rlp-sweeps sync {directory.path} --tracking-uri {uri}`" in gap.sentence(
        directory.path
    )
    assert "must answer, but http://127.0.0.1:" in gap.reason
    if uri == healthy.uri:
        healthy.fault("none")
        assert sync_within(30.0, directory, uri) is None
        assert read_gap(directory.path) is None


@pytest.mark.slow
def test_a_store_that_comes_back_is_told_what_it_missed(healthy, directory, hasty):
    healthy.fault("status 500")
    news = [end(directory, config) for config in CONFIGS]

    with MlflowFeed(directory, healthy.uri) as feed:
        feed.start("g", CONFIGS)
        for text in news:
            feed.take(text)
        wait_for(lambda: read_gap(directory.path) is not None)
        healthy.fault("none")
        wait_for(lambda: read_gap(directory.path) is None)

    assert sync(directory, healthy.uri).num_runs_unchanged == len(CONFIGS)


@pytest.mark.slow
def test_runs_whose_answer_came_too_late_are_removed(healthy, directory, hasty, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    sync(directory, healthy.uri)  # experiment and parent run
    healthy.fault("slow 1.5")
    feed_all(directory, healthy.uri)
    with pytest.raises(TrackingError):
        sync(directory, healthy.uri)
    client = connect(healthy.store_uri)
    experiment = client.get_experiment_by_name(directory.path.name)
    (parent,) = client.search_runs([experiment.experiment_id])
    for tags in ({"trial_id": CONFIGS[0].trial_id}, parent.data.tags):  # as late answers leave them
        for _ in range(2):
            client.create_run(experiment.experiment_id, tags=tags)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    healthy.fault("none")

    report = sync(directory, healthy.uri)

    assert report.num_runs_removed >= 1
    assert stored_trials(healthy, directory) == (sorted(c.trial_id for c in CONFIGS), 1)


@pytest.mark.slow
def test_sync_gives_up_on_a_hanging_server_in_time(healthy, directory):
    healthy.fault("hang")
    started = time.monotonic()

    gap = sync_within(2.0, directory, healthy.uri)

    assert time.monotonic() - started < 4.0
    assert "within 2 s, but" in gap.reason


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["broken", "refusing", "hanging", "foreign", "no_object"])
def test_a_server_with_a_fault_is_refused_unless_it_may_be_away(healthy, fault):
    healthy.fault(FAULTS[fault])

    with pytest.raises(StoreAwayError, match=r"MLflow store must .*, but http://127"):
        check_store(healthy.uri)

    assert "MLflow store must" in check_store(healthy.uri, may_be_away=True)


@pytest.mark.parametrize(
    "uri", ["mlruns", "sqlite:////no/such/folder/a.db", "nonsense://host", "postgresql://h:port/db"]
)
def test_an_address_that_can_never_work_is_refused_all_the_same(uri):
    with pytest.raises(TrackingError, match="MLflow") as caught:
        check_store(uri, may_be_away=True)

    assert not isinstance(caught.value, StoreAwayError)


@pytest.mark.slow
def test_sweep_survives_its_servers_death_and_is_resumed_without_it(tmp_path):
    output, plan = tmp_path / "run", cases.plan_case("two_groups")
    with FaultyServer(tmp_path) as server:
        options = cases.replace(cases.OPTIONS, tracking_uri=server.uri)
        outcome = run_sweep(plan, output=output, options=options, progress=Killer(server))
    first = cases.read_table(output, "trials")
    sorted(output.glob("trials/*.parquet"))[0].unlink()
    notices = Killer(server)
    resumed = resume_sweep(output, options=options, progress=notices)

    said = sweep_status(output).tracking_error
    server.start()
    report = sync(RunDirectory.open(output), server.uri)
    server.stop()

    assert (outcome.exit_status, resumed.exit_status) == (0, 0)
    assert f"`rlp-sweeps sync {output} --tracking-uri {server.uri}`" in outcome.tracking_error
    assert said == resumed.tracking_error == notices.sentences[0]
    assert cases.read_table(output, "trials").equals(first)
    assert report.num_runs_created + report.num_runs_updated + report.num_runs_unchanged == 2
    assert sweep_status(output).tracking_error is None


class Killer(SilentProgress):
    """Ends a server with the first group, and keeps what is said."""

    def __init__(self, server):
        self.server = server
        self.sentences = []

    def on_notice(self, sentence):
        self.sentences.append(sentence)

    def on_group_finished(self, group_id, counts):
        self.server.stop()


def wait_for(condition, *, seconds=20.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.05)

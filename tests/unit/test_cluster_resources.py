import contextlib
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
from ray.exceptions import RaySystemError

from rlp_sweeps.errors import ClusterError
from rlp_sweeps.orchestration import executor, farewell, resources
from rlp_sweeps.orchestration.executor import RayExecutor
from rlp_sweeps.orchestration.progress import RunOptions
from rlp_sweeps.orchestration.resources import GroupResources


@pytest.mark.parametrize(
    ("num_cpus", "num_gpus", "nodes", "slots"),
    [
        (2.0, 0.0, [{"CPU": 3.0}, {"CPU": 3.0}], 2),
        (0.1, 0.0, [{"CPU": 1.0}], 10),
        (0.14, 0.0, [{"CPU": 7.0}], 50),
        (1.0, 0.5, [{"CPU": 8.0, "GPU": 1.0}, {"CPU": 8.0}], 2),
        (1.0, 0.6, [{"CPU": 8.0, "GPU": 2.0}], 2),
        (1.0, 0.1, [{"CPU": 64.0, "GPU": 1.0}], 10),
        (1.0, 2.0, [{"CPU": 8.0, "GPU": 3.0}, {"CPU": 8.0, "GPU": 3.0}], 2),
    ],
)
def test_slots_never_spread_a_group_over_nodes_or_a_fraction_over_gpus(
    num_cpus, num_gpus, nodes, slots
):
    assert GroupResources(num_cpus=num_cpus, num_gpus=num_gpus).slots(*nodes) == slots


@pytest.mark.parametrize("nodes", [[{"CPU": 2.0}, {"CPU": 2.0}], []])
def test_group_larger_than_every_node_is_refused(nodes):
    with pytest.raises(ClusterError, match=r"a group needs \{'cpu': 4.0\} on one machine"):
        GroupResources(num_cpus=4.0, num_gpus=0.0).slots(*nodes)


@contextlib.contextmanager
def _listening_cluster():
    """Sockets as those of a cluster: of its process on this machine, and of its head."""
    with (
        tempfile.TemporaryDirectory(dir="/tmp") as folder,
        socket.socket(socket.AF_UNIX) as raylet,
        socket.create_server(("127.0.0.1", 0)) as head,
    ):
        raylet.bind(f"{folder}/raylet")
        raylet.listen()
        yield raylet, head


def _places(raylet, head):
    return [raylet.getsockname(), f"127.0.0.1:{head.getsockname()[1]}"]


def _said(places, told=b"", *address):
    command = [sys.executable, "-I", "-S", farewell.__file__, *places, "runs/a", *address]
    done = subprocess.run(command, input=told, capture_output=True, timeout=30, check=True)
    return done.stderr.decode()


@pytest.mark.parametrize("lost", [0, 1])
def test_farewell_is_said_when_a_part_of_the_cluster_is_gone(lost):
    with _listening_cluster() as cluster:
        places = _places(*cluster)
        cluster[lost].close()

        said = _said(places, b"", "10.0.0.1:6379")

    assert said.startswith("rlp-sweeps: the Ray cluster at '10.0.0.1:6379' went away, and Ray has")
    assert said.endswith("`rlp-sweeps resume runs/a --address ADDR` goes on from there.\n")


def test_farewell_is_not_said_of_a_driver_that_was_killed_beside_its_cluster():
    with _listening_cluster() as cluster:
        assert _said(_places(*cluster)) == ""


def test_farewell_waits_for_a_cluster_that_is_being_stopped_and_keeps_listening():
    with _listening_cluster() as cluster:
        closing = threading.Timer(1.0, cluster[0].close)
        closing.start()

        said = _said(_places(*cluster), b"", "10.0.0.1:6379")

    assert "went away" in said


def test_farewell_is_not_said_of_a_driver_that_is_done():
    assert _said([str(Path("/tmp/no-raylet")), "127.0.0.1:1"], b"done") == ""


def test_farewell_to_a_cluster_of_its_own_names_no_address():
    said = _said([str(Path("/tmp/no-raylet")), "127.0.0.1:1"])

    assert said.startswith("rlp-sweeps: this sweep's driver and its own Ray cluster were ended")
    assert "`rlp-sweeps resume runs/a` goes on" in said


def test_farewell_waits_until_the_connection_to_the_cluster_has_ended(monkeypatch):
    events = []

    @contextlib.contextmanager
    def session(*_args):
        yield 1
        events.append("ray has ended")

    witness = SimpleNamespace(communicate=events.append)
    monkeypatch.setattr(executor, "ray_session", session)
    monkeypatch.setattr(farewell, "_witness", lambda *_args: witness)
    directory = SimpleNamespace(path=Path("runs/a"))

    with RayExecutor().session(RunOptions(), GroupResources(num_cpus=1, num_gpus=0), directory):
        events.append("trained")

    assert events == ["trained", "ray has ended", b"done"]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            Exception("The current node timed out\nduring startup."),  # as Ray
            r"did not \(The current node timed out during startup\.\)",
        ),
        (RaySystemError("Failed to connect to GCS."), r"did not \(System error: Failed to connect"),
    ],
)
def test_ray_that_does_not_start_here_is_told_in_a_sentence(error, told, tmp_path, monkeypatch):
    monkeypatch.setattr("ray.init", Mock(side_effect=error))

    with pytest.raises(ClusterError, match=told):
        resources._connect(RunOptions(), tmp_path)


def test_cluster_that_goes_away_as_it_is_connected_to_is_told_in_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr("ray.init", Mock(side_effect=RaySystemError("Failed to connect to GCS.")))

    with pytest.raises(ClusterError, match=r"does not \(System error: Failed to connect to GCS"):
        resources._connect(RunOptions(address="127.0.0.1:6379"), tmp_path)

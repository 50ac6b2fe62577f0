import sys
import threading

import pytest

from rlp_sweeps.errors import ClusterError
from rlp_sweeps.orchestration import nodes
from rlp_sweeps.orchestration.nodes import wait_for_directory
from rlp_sweeps.orchestration.user_code import Source, UserCode
from rlp_sweeps.tracking.run_directory import RunDirectory

NO_CODE = UserCode({}, ())


@pytest.fixture
def directory(tmp_path):
    (tmp_path / "manifest.json").write_text("{}")
    return RunDirectory(tmp_path)


@pytest.fixture
def versions():
    return nodes._versions()


def test_machine_that_has_everything_lacks_nothing(directory, versions):
    assert nodes._look(directory, NO_CODE, versions) is None


def test_machine_without_the_run_directory_is_told_to_share_it(tmp_path, versions):
    lacks = nodes._look(RunDirectory(tmp_path / "runs"), NO_CODE, versions)

    assert lacks.startswith(
        f"does not reach the run directory {tmp_path / 'runs'}; put --output on"
    )


@pytest.mark.parametrize("name", ["rlp-sweeps", "torch"])
def test_machine_with_another_version_is_named_with_both(directory, versions, name):
    lacks = nodes._look(directory, NO_CODE, {**versions, name: "9.9"})

    assert lacks.startswith(f"has {name} {versions[name]} and the driver has 9.9; install one")


def test_machine_that_knows_no_commit_is_compared_by_its_version_alone(directory, versions):
    assert nodes._look(directory, NO_CODE, {**versions, "commit": ""}) is None


def test_machine_that_cannot_import_a_users_module_says_why(directory, versions, monkeypatch):
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    source = Source(path="/study/far_net.py", text="import no_such_package", is_package=False)

    lacks = nodes._look(directory, UserCode({"far_net": source}, ("far_net",)), versions)

    assert lacks.startswith(
        "cannot import 'far_net' (ModuleNotFoundError: No module named 'no_such"
    )


def test_worker_waits_for_a_run_directory_that_comes_late(tmp_path, monkeypatch):
    monkeypatch.setattr(nodes, "_LOOK_EVERY_S", 0.01)
    coming = threading.Timer(0.1, (tmp_path / "manifest.json").write_text, ["{}"])
    coming.start()

    wait_for_directory(RunDirectory(tmp_path), timeout_s=20)

    assert (tmp_path / "manifest.json").exists()


def test_worker_that_never_reaches_the_run_directory_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(nodes, "_LOOK_EVERY_S", 0.01)

    with pytest.raises(ClusterError, match=r"must reach the run directory .* take it out of the"):
        wait_for_directory(RunDirectory(tmp_path), timeout_s=0.05)

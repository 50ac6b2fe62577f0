"""What a machine has of what a sweep needs."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from rlp_sweeps.cli import main
from rlp_sweeps.errors import ClusterError
from rlp_sweeps.orchestration import doctor

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Exception]:
    """Stands for Ray's start; raises what is put into it."""
    raised: list[Exception] = []

    @contextmanager
    def session(*_: Any) -> Iterator[int]:
        if raised:
            raise raised[0]
        yield 1

    monkeypatch.setattr(doctor, "ray_session", session)
    monkeypatch.chdir(tmp_path)
    return raised


def checks(capsys: Capture, *options: str) -> tuple[int, dict[str, dict[str, Any]]]:
    status = main(["doctor", "--json", *options])
    return status, {check["name"]: check for check in json.loads(capsys.readouterr().out)}


def test_doctor_finds_a_machine_that_can_train_well(ray: list[Exception], capsys: Capture) -> None:
    status, found = checks(capsys)

    assert status == 0, found
    assert "torch" in found["packages"]["found"]
    assert found["data sets"]["found"].startswith("found digits; not in data: ")
    assert "started in" in found["Ray"]["found"]
    assert list(Path.cwd().iterdir()) == []


def test_doctor_says_in_lines_what_is_amiss(ray: list[Exception], capsys: Capture) -> None:
    ray.append(ClusterError("the port is taken."))

    assert main(["doctor"]) == 1

    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "wrong  Ray: the port is taken."
    assert all(line.startswith("ok ") for line in lines[:-1])


def test_doctor_says_that_a_store_does_not_answer(ray: list[Exception], capsys: Capture) -> None:
    uri = "http://me:secret@127.0.0.1:1"

    status, found = checks(capsys, "--no-ray", "--tracking-uri", uri)

    assert status == 1
    assert found["MLflow store"]["is_well"] is False
    assert "secret" not in json.dumps(found)
    assert "Ray" not in found


def test_doctor_says_that_a_disk_is_full(
    ray: list[Exception], capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "MIN_FREE_BYTES", 10**18)

    status, found = checks(capsys)

    assert (status, found["disk"]["is_well"]) == (1, False)

"""Captures without a GPU: stand-ins for what torch does, as old and newer versions do it."""

import warnings
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from rlp_sweeps.training.engines import capture
from rlp_sweeps.training.engines.capture import capture_on_cuda, no_synchronization

RELEASES = {"2.11": False, "2.15": True}
"""Whether `reset` of a graph whose capture has failed releases its pool."""


class FakeCuda:
    """Streams, one memory pool and the captures that allocate from it."""

    def __init__(self, *, reset_releases: bool) -> None:
        self.stream = "outer"
        self.num_holders = 0
        self.is_recording = False
        self.is_captured = False
        self.captured_on: list[Any] = []
        self._reset_releases = reset_releases

    def pool(self) -> SimpleNamespace:
        self.num_holders += 1
        return SimpleNamespace(id=(0, 7), use_count=lambda: self.num_holders)

    def release(self, device: int, pool: tuple[int, int]) -> None:
        assert (device, pool) == (1, (0, 7))
        assert self.num_holders > 0, "torch aborts here"
        self.num_holders -= 1

    def end(self, device: int, pool: tuple[int, int]) -> None:
        if not self.is_recording:
            msg = "endAllocatePool: not currently recording to mempool_id"
            raise RuntimeError(msg)
        self.is_recording = False

    def reset(self) -> None:
        if self._reset_releases and not self.is_captured:
            self.is_recording = False
            self.num_holders -= 1

    def graph(self, graph: Any, *, pool: tuple[int, int], stream: Any) -> "FakeCapture":
        return FakeCapture(self, stream)

    def set_stream(self, stream: Any) -> None:
        self.stream = stream


class FakeCapture:
    def __init__(self, cuda: FakeCuda, stream: Any) -> None:
        self._cuda = cuda
        self._stream = stream

    def __enter__(self) -> None:
        self._cuda.captured_on.append(self._stream)
        self._outer, self._cuda.stream = self._cuda.stream, self._stream
        self._cuda.num_holders += 1
        self._cuda.is_recording = True

    def __exit__(self, kind: Any, *_: object) -> None:
        if kind is not None:
            msg = "operation failed due to a previous error during capture"
            raise RuntimeError(msg)
        self._cuda.is_recording = False
        self._cuda.is_captured = True
        self._cuda.stream = self._outer


@pytest.fixture(params=RELEASES, ids=str)
def cuda(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    fake = FakeCuda(reset_releases=RELEASES[request.param])
    replacements = {
        "current_device": lambda: 1,
        "current_stream": lambda: fake.stream,
        "set_stream": fake.set_stream,
        "synchronize": lambda: None,
        "MemPool": fake.pool,
        "CUDAGraph": lambda: SimpleNamespace(reset=fake.reset),
        "graph": fake.graph,
        "Stream": lambda device: f"a stream of device {device}",
    }
    for name, replacement in replacements.items():
        monkeypatch.setattr(torch.cuda, name, replacement)
    monkeypatch.setattr(torch._C, "_cuda_releasePool", fake.release, raising=False)
    monkeypatch.setattr(torch._C, "_cuda_endAllocateToPool", fake.end, raising=False)
    capture._capture_stream.cache_clear()
    return fake


def breaks() -> None:
    msg = "operation not permitted when stream is capturing"
    raise RuntimeError(msg)


def test_a_capture_that_breaks_gives_back_stream_allocator_and_memory(cuda: FakeCuda) -> None:
    with pytest.raises(RuntimeError, match="previous error during capture"):
        capture_on_cuda(breaks)

    assert cuda.stream == "outer"
    assert not cuda.is_recording
    assert cuda.num_holders == 1  # the pool itself, which is gone with its last reference


def test_a_capture_that_succeeds_is_left_alone(cuda: FakeCuda) -> None:
    capture_on_cuda(lambda: None)

    assert cuda.is_captured
    assert cuda.num_holders == 2


def test_captures_of_a_device_share_a_stream_of_it(cuda: FakeCuda) -> None:
    for _ in range(2):
        capture_on_cuda(lambda: None)

    assert cuda.captured_on == ["a stream of device 1"] * 2


@pytest.fixture
def modes(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The modes that are set, the first one with torch's warning, after it is set."""
    told: list[Any] = []

    def set_mode(mode: Any) -> None:
        told.append(mode)
        if len(told) == 1:
            warnings.warn("Synchronization debug mode is a prototype feature", stacklevel=1)

    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", set_mode)
    monkeypatch.setattr(torch.cuda, "get_sync_debug_mode", lambda: 0)
    return told


def test_waiting_for_the_device_is_allowed_again_afterwards(modes: list[Any]) -> None:
    with no_synchronization():
        assert modes == ["error"]

    assert modes == ["error", 0]


def test_waiting_for_the_device_is_allowed_again_after_an_error(modes: list[Any]) -> None:
    with pytest.raises(RuntimeError, match="stream is capturing"), no_synchronization():
        breaks()

    assert modes == ["error", 0]

import ctypes
from types import SimpleNamespace

import pytest

from rlp_sweeps.training.memory import keep_freed_memory


def test_freed_memory_is_kept_where_there_is_glibc(monkeypatch: pytest.MonkeyPatch) -> None:
    options: dict[int, int] = {}
    libc = SimpleNamespace(mallopt=options.__setitem__)
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: libc)

    keep_freed_memory()

    assert options == {-1: 2**28, -2: 2**26, -3: 2**25}


def test_keeping_freed_memory_does_nothing_in_another_c_library(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: SimpleNamespace())

    keep_freed_memory()

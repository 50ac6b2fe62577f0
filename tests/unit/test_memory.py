import ctypes
from types import SimpleNamespace

import pytest

from rlp_sweeps.training.memory import is_device_lost, is_out_of_memory, keep_freed_memory


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


@pytest.mark.parametrize(
    "line",
    [
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.",
        "RuntimeError: CUDA error: out of memory",
        "RuntimeError: Error: cudaErrorMemoryAllocation",
        "RuntimeError: cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "RuntimeError: GET was unable to find an engine to execute this computation",
        "RuntimeError: Unable to find a valid cuDNN algorithm to run convolution",
        "RuntimeError: CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling cublasCreate",
    ],
)
def test_what_cuda_says_where_memory_ran_out_is_known(line: str) -> None:
    assert is_out_of_memory(f"Traceback (most recent call last):\n{line}\n")
    assert not is_device_lost(line)


@pytest.mark.parametrize(
    ("line", "is_lost"),
    [
        ("torch.AcceleratorError: CUDA error: device-side assert triggered", True),
        ("RuntimeError: CUDA error: an illegal memory access was encountered", True),
        ("RuntimeError: CUDA error: unspecified launch failure", True),
        ("RuntimeError: CUDA error: invalid argument", False),
        ("AssertionError: device-side assert triggered", False),
    ],
)
def test_an_error_that_ends_cuda_in_its_process_is_known(line: str, is_lost: bool) -> None:
    assert is_device_lost(f"Traceback (most recent call last):\n{line}\n") == is_lost
    assert not is_out_of_memory(line)

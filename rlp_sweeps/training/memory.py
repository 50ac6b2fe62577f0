"""Memory: whether an error says that it ran out, how it is given back, and when it is kept.

And whether an error says that a device is lost to its process.
"""

import ctypes
import gc
import sys

import torch

_PHRASES = (
    "MemoryError",  # torch.OutOfMemoryError too
    "CUDA out of memory",
    "CUDA error: out of memory",  # outside of torch's allocator
    "cudaErrorMemoryAllocation",
    "CUDNN_STATUS_ALLOC_FAILED",
    "unable to find an engine to execute this computation",  # cuDNN, without its workspace
    "Unable to find a valid cuDNN algorithm",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUBLAS_STATUS_NOT_INITIALIZED",  # a handle takes memory
    "can't allocate memory",  # torch's allocator of host memory
)
"""What torch and the libraries below it say; not all of them raise `torch.OutOfMemoryError`."""

_STICKY = (
    "device-side assert triggered",
    "an illegal memory access was encountered",
    "an illegal instruction was encountered",
    "misaligned address",
    "operation not supported on global/shared address space",
    "invalid program counter",
    "hardware stack error",
    "the launch timed out and was terminated",
    "unspecified launch failure",
    "uncorrectable ECC error encountered",
)
"""CUDA's errors after which, by its manual, a process must end to use CUDA again."""

_KEPT_BYTES = 2**28
_MALLOC_OPTIONS = {-1: _KEPT_BYTES, -2: 2**26, -3: 2**25}
"""`M_TRIM_THRESHOLD`, `M_TOP_PAD` and `M_MMAP_THRESHOLD` of glibc's malloc.h, in bytes."""


def is_out_of_memory(trace: str) -> bool:
    """Return whether a trace, or an error's text, says that memory ran out."""
    return any(phrase in trace for phrase in _PHRASES)


def is_device_lost(trace: str) -> bool:
    """Return whether a trace says that nothing runs on CUDA any more in this process."""
    return any(f"CUDA error: {phrase}" in trace for phrase in _STICKY)


def free_memory() -> None:
    """Give back what no tensor holds any more, so that the next allocation finds it."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def keep_freed_memory() -> None:
    """Let this process keep the memory that it frees, up to `_KEPT_BYTES`, for its next use.

    glibc gives the top of its heap back to the system and asks for it again, which costs a page
    fault for every 4 KiB: a step of sixteen small networks had up to 650, an eighth of its time.
    Does nothing where there is no glibc.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for parameter, num_bytes in _MALLOC_OPTIONS.items():
            mallopt(parameter, num_bytes)

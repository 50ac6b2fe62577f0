"""Memory of a device: whether an error says that it ran out, and how it is given back."""

import gc

import torch

_PHRASES = (
    "MemoryError",  # torch.OutOfMemoryError too
    "CUDA out of memory",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "can't allocate memory",  # torch's allocator of host memory
)
"""What torch and the libraries below it say; not all of them raise `torch.OutOfMemoryError`."""


def is_out_of_memory(trace: str) -> bool:
    """Return whether a trace, or an error's text, says that memory ran out."""
    return any(phrase in trace for phrase in _PHRASES)


def free_memory() -> None:
    """Give back what no tensor holds any more, so that the next allocation finds it."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()

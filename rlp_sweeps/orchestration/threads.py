"""How many threads this process computes with.

torch has its own, and so has every BLAS that NumPy and SciPy bring. Where they are more than cores
are free, they wait for each other: on two shared cores ten times longer than they compute.
"""

import contextlib
from collections.abc import Iterator

import torch
from threadpoolctl import threadpool_limits


@contextlib.contextmanager
def limited_threads(num_threads: int) -> Iterator[None]:
    """Compute with so many threads within the block: torch, and the BLAS of NumPy and SciPy."""
    before = torch.get_num_threads()
    with threadpool_limits(limits=num_threads, user_api="blas"):
        torch.set_num_threads(num_threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)

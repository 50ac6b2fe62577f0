"""CUDA graphs of a step: how one is captured, and what becomes of a capture that fails.

In some versions of torch, 2.11 among them, a capture that fails leaves its stream the current one,
its memory held for good, and the allocator believing that it goes on: the next
`torch.cuda.empty_cache` then raises.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import Protocol

import torch


class Replayable(Protocol):
    """A captured step."""

    def replay(self) -> None:
        """Run the step once more."""
        ...


def capture_on_cuda(step: Callable[[], None]) -> Replayable:
    """Return a step as a CUDA graph on the current device; capturing runs nothing.

    Where the step raises, streams and allocator are as they were before.
    """
    device, outer = torch.cuda.current_device(), torch.cuda.current_stream()
    pool = torch.cuda.MemPool()  # the graph has its own hold on it: here it is there to be counted
    graph = torch.cuda.CUDAGraph()
    torch.cuda.synchronize()
    try:
        with torch.cuda.graph(
            graph,
            pool=pool.id,  # type: ignore[arg-type]  # not every torch takes the pool itself
            stream=_capture_stream(device),
        ):
            step()
    except BaseException:
        torch.cuda.set_stream(outer)
        _abandon(graph, pool, device)
        del pool  # no frame of the error may hold it until another capture is under way
        raise
    return graph


@contextmanager
def no_synchronization() -> Iterator[None]:
    """Let whatever waits for the device raise RuntimeError inside, in every thread."""
    before = torch.cuda.get_sync_debug_mode()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # once a process: the mode is a prototype
            torch.cuda.set_sync_debug_mode("error")
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)


@cache
def _capture_stream(device: int) -> torch.cuda.Stream:
    """Return the stream that everything on a device is captured on.

    torch's own belongs to the device of its first capture; one a capture would give each a cuBLAS
    workspace that is never freed.
    """
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # torch gives no types


def _abandon(graph: torch.cuda.CUDAGraph, pool: torch.cuda.MemPool, device: int) -> None:
    """Take back what a failed capture has begun, as far as this torch has not done so itself.

    Source:
        pytorch/pytorch#180395 and #190348: which steps the capture and `reset` leave out.
    """
    graph.reset()
    with suppress(RuntimeError):  # it has ended: "not currently recording to mempool_id"
        torch._C._cuda_endAllocateToPool(device, pool.id)
    while pool.use_count() > 1:
        torch._C._cuda_releasePool(device, pool.id)

"""The engines `graph` and `grouped_graph`: a whole step of a group as one CUDA graph.

Eager training of small networks waits for launches; a graph is launched once a step. Its members
run as parallel branches (`BranchExtractor`), or as grouped layers (`CapturedGroupedExtractor`),
whose graph has as many nodes for many members as for one. Captured are forward, backward and the
optimizer; batches, the schedule's factor and the losses pass through tensors that stay where they
are.
"""

import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import ClassVar

import torch
from torch import Tensor

from rlp_sweeps.config import TrialConfig
from rlp_sweeps.errors import BackboneError, DeviceError
from rlp_sweeps.training.engines.branch_extractor import BranchExtractor
from rlp_sweeps.training.engines.capture import Replayable, capture_on_cuda, no_synchronization
from rlp_sweeps.training.engines.captured_extractor import CapturedGroupedExtractor
from rlp_sweeps.training.engines.extractor_stack import StackedExtractor
from rlp_sweeps.training.engines.stacked import StackedEngine
from rlp_sweeps.training.engines.stacked_batch import StackedBatch
from rlp_sweeps.training.engines.stacked_group import StackedGroup
from rlp_sweeps.training.memory import is_out_of_memory

WARMUP_STEPS = 3
"""Steps before the capture, undone afterwards: libraries choose kernels and reserve memory. In the
last one nothing may wait for the device any more."""


class GraphedGroup(StackedGroup):
    """M trials whose step is captured at its first batch, and again after members have ended.

    Raises:
        BackboneError: The step cannot be captured, for example because it reads a number back.
    """

    capture: Callable[[Callable[[], None]], Replayable] = staticmethod(capture_on_cuda)
    _graph: Replayable | None = None

    def _prepare(self) -> None:
        super()._prepare()
        self._graph = None

    def _train_step(self, batch: StackedBatch) -> Tensor:
        if self._graph is None:
            self._graph = self._captured(batch)
        self._batch.copy_(batch)
        self._factor.fill_(self._lr_factor(self.step))
        self._graph.replay()
        self.step += 1
        return self._loss_M

    def _captured(self, batch: StackedBatch) -> Replayable:
        """Capture the step on tensors of its own, after a warm-up that leaves no trace."""
        self._batch = batch.clone()
        self._factor = torch.zeros((), device=self._device)
        self._loss_M = torch.zeros(self._layout.num_members, device=self._device)
        kept = [(tensor, tensor.clone()) for tensor in self._trained_tensors()]
        with self._side_stream():
            for _ in range(WARMUP_STEPS - 1):
                self._run_step()
            with self._refusing(), self._no_synchronization():
                self._run_step()
            for tensor, value in kept:
                tensor.copy_(value)
        with self._refusing(), self._current_device():
            return self.capture(self._run_step)

    @contextmanager
    def _refusing(self) -> Iterator[None]:
        """Say of what torch raises inside, other than that memory ran out, what is to be done."""
        try:
            yield
        except RuntimeError as error:
            if is_out_of_memory(traceback.format_exc()):
                raise
            msg = (
                f"engine {self._network.extractor.engine!r} takes extractors whose step can be "
                f"captured, but this one raised {_first_cause(error)!r}; use engine 'grouped', "
                "'vmap' or 'sequential'."
            )
            raise BackboneError(msg) from error

    def _no_synchronization(self) -> AbstractContextManager[None]:
        """Let a step that waits for the device raise before a capture is broken by it."""
        return no_synchronization() if self._device.type == "cuda" else nullcontext()

    def _run_step(self) -> None:
        losses_M = self._backward(self._batch)
        self._optimizer.step(self._factor)
        self._loss_M.copy_(losses_M)

    def _trained_tensors(self) -> list[Tensor]:
        """Return all that a step changes in place."""
        return [
            *(p.detach() for p in self._network.parameters()),
            *self._network.buffers(),
            *self._optimizer.tensors(),
        ]

    @contextmanager
    def _side_stream(self) -> Iterator[None]:
        """Run on a stream that waits for the current one; the capture waits for both."""
        if self._device.type != "cuda":
            yield
            return
        with self._current_device():
            stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]  # torch gives no types
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                yield

    @contextmanager
    def _current_device(self) -> Iterator[None]:
        """Make the group's device the current one: streams and graphs are made on that."""
        if self._device.type != "cuda":
            yield
            return
        with torch.cuda.device(self._device):
            yield


def _first_cause(error: BaseException) -> str:
    """Return the first line of what went wrong first: the end of a broken capture raises too."""
    while error.__context__ is not None:
        error = error.__context__
    return str(error).strip().partition("\n")[0]


class GraphEngine(StackedEngine):
    """One CUDA graph a step, members as parallel branches.

    Raises:
        DeviceError: The device is no CUDA device.
    """

    name: ClassVar[str] = "graph"
    stack: ClassVar[type[StackedExtractor]] = BranchExtractor
    group: ClassVar[type[StackedGroup]] = GraphedGroup
    devices: ClassVar[tuple[str, ...]] = ("cuda",)

    def __init__(
        self, configs: Sequence[TrialConfig], *, data_dir: str, device: torch.device
    ) -> None:
        if device.type not in self.devices:
            msg = (
                f"engine {self.name!r} needs a CUDA device, but got {device.type!r}; use engine "
                "'grouped', 'vmap' or 'sequential'."
            )
            raise DeviceError(msg)
        super().__init__(configs, data_dir=data_dir, device=device)


class GroupedGraphEngine(GraphEngine):
    """One CUDA graph a step, members in grouped layers."""

    name: ClassVar[str] = "grouped_graph"
    stack: ClassVar[type[StackedExtractor]] = CapturedGroupedExtractor

"""M extractors as parallel branches: each runs its own forward, on a CUDA stream of its own.

Streams overlap only inside a CUDA graph, where launching costs nothing; elsewhere the branches run
one after the other. M members, S seeds, N samples, C H W image, D features.
"""

from collections.abc import Sequence
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.func import functional_call

from rlp_sweeps.training.engines.captured_extractor import refuse_dropout
from rlp_sweeps.training.engines.extractor_stack import StackedExtractor
from rlp_sweeps.training.taps import Tap, tapped_forward


class BranchExtractor(StackedExtractor):
    """M extractors side by side.

    Raises:
        BackboneError: The extractor has dropout: a captured graph would draw the same masks again
            and again.
    """

    engine: ClassVar[str] = "graph"

    def convert(self, root: nn.Module, single: nn.Module) -> nn.Module:
        """Return the extractor as it is."""
        refuse_dropout(root, engine=self.engine)
        self._streams: list[torch.cuda.Stream] = []
        return root

    def run(self, images_SNCHW: Tensor, taps: Sequence[Tap]) -> tuple[Tensor, ...]:
        """Return every member's features, then what the taps read, ``[M, N, D]`` each."""
        images = self._images_by_member(images_SNCHW)
        states = {n: t.unbind(0) for n, t in self.root.named_parameters()}
        states |= {n: t.unbind(0) for n, t in self.root.named_buffers()}
        members = [
            {name: tensors[member] for name, tensors in states.items()}
            for member in range(self.layout.num_members)
        ]
        is_captured = images_SNCHW.is_cuda and torch.cuda.is_current_stream_capturing()
        if not is_captured:
            calls = zip(members, images, strict=True)
            read = [self._run_member(state, x, taps) for state, x in calls]
        else:
            read = self._fork(members, images, taps)
        return tuple(torch.stack(tensors) for tensors in zip(*read, strict=True))

    def _run_member(
        self, state: dict[str, Tensor], images_NCHW: Tensor, taps: Sequence[Tap]
    ) -> tuple[Tensor, ...]:
        """Return one member's features, then what the taps read, ``[N, D]`` each."""
        call = partial(functional_call, self.root, state, (images_NCHW,))
        return tapped_forward(self.root, taps, call)

    def _images_by_member(self, images_SNCHW: Tensor) -> list[Tensor]:
        """Return every member's images, those of one seed the same tensor, as the layout has it."""
        memory_format = self.layout.memory_format
        counts = self.layout.members_per_seed
        return [
            images_NCHW
            for one_seed_NCHW, count in zip(images_SNCHW, counts, strict=True)
            for images_NCHW in [one_seed_NCHW.contiguous(memory_format=memory_format)] * count
        ]

    def _fork(
        self, members: list[dict[str, Tensor]], images: list[Tensor], taps: Sequence[Tap]
    ) -> list[tuple[Tensor, ...]]:
        """Run every member on a stream of its own, and join them.

        The images belong to the main stream, but the branches' backward reads them too: without
        `record_stream` the main stream could reuse their memory before the last branch is done.
        """
        main = torch.cuda.current_stream()
        while len(self._streams) < len(members):
            stream = torch.cuda.Stream(images[0].device)  # type: ignore[no-untyped-call]  # torch gives no types
            self._streams.append(stream)
        read = []
        for stream, state, images_NCHW in zip(self._streams, members, images, strict=False):
            stream.wait_stream(main)
            images_NCHW.record_stream(stream)
            with torch.cuda.stream(stream):
                read.append(self._run_member(state, images_NCHW, taps))
        for stream in self._streams[: len(members)]:
            main.wait_stream(stream)
        return read

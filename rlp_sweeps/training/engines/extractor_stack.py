"""What grouped and vmapped extractors share: M networks of one architecture with stacked weights.

A stack's parameters and buffers have the names of the single extractor and its members in front:
``[M, *shape]``. Its children are those of the converted extractor, so that attach points are found
under their names. M members, S seeds, N samples, C H W image, D features.
"""

import copy
from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from rlp_sweeps.errors import BackboneError
from rlp_sweeps.training.backbones import ImageShape
from rlp_sweeps.training.dropout import replace_dropout
from rlp_sweeps.training.engines.extractor_check import verify_stack
from rlp_sweeps.training.engines.layout import StackLayout
from rlp_sweeps.training.taps import Tap


class StackedExtractor(nn.Module):
    """M extractors as one module.

    Args:
        extractors: M freshly built extractors of one architecture; their weights are copied.
        layout: Of the stack; kept and shared, never copied.
        image_shape: Channels, height, width.
        taps: Attach points that heads read beside the features.
        verify: Whether to compare a stack of two such networks with the two alone, see
            `verify_stack`.

    Raises:
        BackboneError: The extractors differ in architecture, or the engine cannot run them.
    """

    engine: ClassVar[str]

    def __init__(
        self,
        extractors: Sequence[nn.Module],
        layout: StackLayout,
        *,
        image_shape: ImageShape,
        taps: Sequence[Tap] = (),
        verify: bool = True,
    ) -> None:
        super().__init__()
        assert len(extractors) == layout.num_members, "the layout must place every member"
        _require_one_architecture(extractors)
        if verify:
            verify_stack(
                type(self),
                extractors[0],
                num_seeds=layout.num_seeds,
                image_shape=image_shape,
                taps=taps,
            )
        self.layout = layout
        self.image_shape = image_shape
        self.taps = tuple(taps)
        root = replace_dropout(copy.deepcopy(extractors[0]))
        stack_state(root, extractors)
        self._adopt(self.convert(root, extractors[0]))

    @abstractmethod
    def convert(self, root: nn.Module, single: nn.Module) -> nn.Module:
        """Return the extractor as this engine runs it.

        Args:
            root: A copy to convert in place, whose parameters and buffers are stacked already.
            single: One member's extractor, to learn from and to leave as it is.
        """

    @abstractmethod
    def run(self, images_SNCHW: Tensor, taps: Sequence[Tap]) -> tuple[Tensor, ...]:
        """Return every member's features, then what the taps read, ``[M, N, D]`` each.

        Args:
            images_SNCHW: One batch of normalized images a seed.
            taps: Where to read.
        """

    @property
    def maps_format(self) -> torch.memory_format:
        """In which memory format the maps of members in float32 are fastest."""
        return torch.contiguous_format

    def forward(self, images_SNCHW: Tensor) -> Tensor:
        """Return every member's features, ``[M, N, D]``, of one batch of images a seed."""
        return self.run(images_SNCHW, ())[0]

    def read(self, images_SNCHW: Tensor) -> tuple[Tensor, ...]:
        """Return the features, then what the stack's own taps read, ``[M, N, D]`` each."""
        return self.run(images_SNCHW, self.taps)

    def train(self, mode: bool = True) -> Self:
        """Set the mode of every module."""
        self.root.train(mode)
        return super().train(mode)

    @property
    def root(self) -> nn.Module:
        """The converted extractor; it holds the same parameters, buffers and children."""
        root: nn.Module = self.__dict__["_root"]
        return root

    def select(self, members: Sequence[int], members_per_seed: tuple[int, ...]) -> None:
        """Keep these members only, in this order, in copies of their weights; set the layout.

        Args:
            members: Indices of the kept ones.
            members_per_seed: Of the kept ones.
        """
        selected: dict[Tensor, Tensor] = {}
        for module in self.root.modules():
            for name, tensor in [*_own_state(module)]:
                if tensor not in selected:
                    kept = tensor.detach()[list(members)]
                    selected[tensor] = _like(tensor, kept)
                setattr(module, name, selected[tensor])
        self.layout.select(members, members_per_seed)

    def _adopt(self, root: nn.Module) -> None:
        """Hold the root's own dictionaries, so that names have no prefix in front."""
        self.__dict__["_root"] = root
        self._parameters = root._parameters
        self._buffers = root._buffers
        self._non_persistent_buffers_set = root._non_persistent_buffers_set
        self._modules = root._modules


def _own_state(module: nn.Module) -> list[tuple[str, Tensor]]:
    return [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]


def _like(tensor: Tensor, value: Tensor) -> Tensor:
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(value, requires_grad=tensor.requires_grad)
    return value


def stack_state(
    root: nn.Module, members: Sequence[nn.Module], *, shape: tuple[int, ...] = (-1,)
) -> None:
    """Put the members' parameters and buffers into the root, one in front of the other.

    Args:
        root: A module of their architecture; its own are replaced.
        members: What is stacked.
        shape: Of the dimensions that the members make in front.
    """
    stacked: dict[Tensor, Tensor] = {}  # a tensor that two modules share stays shared
    for path, module in root.named_modules():
        sources = [member.get_submodule(path) for member in members]
        for name, tensor in _own_state(module):
            if tensor not in stacked:
                values = torch.stack([getattr(source, name).detach() for source in sources])
                values = torch.unflatten(values, 0, shape)
                stacked[tensor] = _like(tensor, values)
            setattr(module, name, stacked[tensor])


def _require_one_architecture(extractors: Sequence[nn.Module]) -> None:
    shapes = [
        {
            name: (tuple(tensor.shape), tensor.dtype)
            for name, tensor in extractor.state_dict().items()
        }
        for extractor in extractors
    ]
    for index, other in enumerate(shapes):
        differing = sorted(dict(shapes[0].items() ^ other.items()))
        if differing:
            msg = (
                "members of a stack must have one architecture, but member 0 and member "
                f"{index} differ in {differing}; put them into separate groups."
            )
            raise BackboneError(msg)

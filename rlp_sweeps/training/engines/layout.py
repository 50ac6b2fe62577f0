"""Which members of a stack belong to which seed, and where their dropout masks come from.

M members, S seeds. Members of one seed read the same images and draw the same masks; they are
neighbours, so that a value per seed becomes one per member by repetition.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from rlp_sweeps.training.dropout import draw_mask


@dataclass(slots=True)
class StackLayout:
    """Layout of one stack, shared by all of its modules.

    Attributes:
        members_per_seed: Members of each seed, in order; their sum is M, their number S.
        generators: One a seed, on the stack's device, from which dropout draws in train mode;
            without dropout, None will do.
        memory_format: Of the maps of a grouped stack, whatever that of the images:
            ``torch.channels_last`` or ``torch.contiguous_format``.
    """

    members_per_seed: tuple[int, ...]
    generators: list[torch.Generator] | None = None
    memory_format: torch.memory_format = torch.contiguous_format
    _indices: dict[tuple[tuple[int, ...], torch.device], Tensor] = field(
        default_factory=dict, repr=False, compare=False
    )

    @property
    def num_members(self) -> int:
        """M."""
        return sum(self.members_per_seed)

    @property
    def num_seeds(self) -> int:
        """S."""
        return len(self.members_per_seed)

    def per_member(self, values_S: Tensor) -> Tensor:
        """Return ``[M, ...]`` from ``[S, ...]``: without a copy if S is 1 or M."""
        if self.num_seeds == 1:
            return values_S.expand(self.num_members, *values_S.shape[1:])
        if self.num_seeds == self.num_members:
            return values_S
        return values_S[self._seed_of_member(values_S.device)]

    def draw_masks(self, shape: torch.Size, share: float, *, like: Tensor) -> Tensor:
        """Return every member's dropout mask, ``[M, *shape]``, as its seed draws it alone.

        Args:
            shape: Of the input in one member's network.
            share: Of zeros, in [0, 1].
            like: Gives dtype and device.
        """
        assert self.generators is not None, "dropout in train mode needs `layout.generators`"
        assert len(self.generators) == self.num_seeds, "`layout.generators` must be one a seed"
        masks = [
            draw_mask(shape, share, like=like, generator=generator) for generator in self.generators
        ]
        return self.per_member(masks[0].unsqueeze(0) if len(masks) == 1 else torch.stack(masks))

    def select(self, members: Sequence[int], members_per_seed: tuple[int, ...]) -> None:
        """Keep these members only; generators of seeds without a member go.

        Args:
            members: Kept members' indices, in their new order.
            members_per_seed: Of the kept ones.
        """
        assert sum(members_per_seed) == len(members), "every kept member must have a seed"
        if self.generators is not None:
            seeds = [seed for seed, count in enumerate(self.members_per_seed) for _ in range(count)]
            kept = dict.fromkeys(seeds[member] for member in members)
            self.generators = [self.generators[seed] for seed in kept]
        self.members_per_seed = tuple(members_per_seed)

    def _seed_of_member(self, device: torch.device) -> Tensor:
        key = (self.members_per_seed, device)
        if key not in self._indices:
            counts_S = torch.tensor(self.members_per_seed)
            index_M = torch.arange(self.num_seeds).repeat_interleave(counts_S)
            self._indices = {key: index_M.to(device)}
        return self._indices[key]

"""One optimizer for all members of a group: a few operations a parameter, rates broadcast.

For networks so small that all members' parameters stay in a CPU's cache, where what counts is the
number of calls. Every operation rounds once, so that a member's bits depend on nothing but its own.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from rlp_sweeps.config import TrialConfig
from rlp_sweeps.training.engines.stacked_optimizer import (
    StackedOptimizer,
    backbone_rates,
    heads_rates,
)

LARGEST_MEMBER = 2**15
"""Most parameters of a member for which this is at least as fast as one member after the other."""


class BroadcastSGD(StackedOptimizer):
    """SGD with momentum, as ``torch.optim.SGD`` without dampening."""

    def __init__(
        self,
        configs: Sequence[TrialConfig],
        backbone: Mapping[str, nn.Parameter],
        heads: Mapping[str, nn.Parameter],
        *,
        num_steps: int = 0,
    ) -> None:
        super().__init__({**backbone, **heads})
        del num_steps  # SGD does not count
        self._nesterov = configs[0].nesterov
        self._values = [parameter.detach() for parameter in self.parameters.values()]
        self._velocities = {name: torch.zeros_like(p) for name, p in self._named_values()}
        rates = [[backbone_rates(config), heads_rates(config)] for config in configs]
        like = self._values[0]
        rates_2MG = torch.tensor(rates, dtype=torch.float64, device=like.device).permute(2, 0, 1)
        self._peak_lr_MG, decay_MG = rates_2MG
        self._lr_MG = torch.zeros_like(self._peak_lr_MG, dtype=like.dtype)
        momentum_MG = like.new_tensor([[c.momentum, c.momentum] for c in configs])
        self._lrs, self._weight_decays, self._momenta = (
            self._spread(rate_MG, backbone)
            for rate_MG in (self._lr_MG, decay_MG.to(like.dtype), momentum_MG)
        )
        self._decays = bool(decay_MG.any())

    def _named_values(self) -> list[tuple[str, Tensor]]:
        return list(zip(self.parameters, self._values, strict=True))

    def _spread(self, rate_MG: Tensor, backbone: Mapping[str, nn.Parameter]) -> list[Tensor]:
        """Return a view ``[M, 1, …]`` a parameter of rates of backbones and heads, ``[M, 2]``."""
        return [
            rate_MG[:, 0 if name in backbone else 1].view(-1, *(1,) * (value.ndim - 1))
            for name, value in self._named_values()
        ]

    def states(self) -> dict[str, dict[str, Tensor]]:
        """Return the state in place."""
        return {"momentum_buffer": self._velocities}

    @torch.no_grad()
    def step(self, lr_factor: float | Tensor) -> None:
        """Take one step."""
        self._lr_MG.copy_(self._peak_lr_MG * lr_factor)
        grads = [
            torch.zeros_like(p) if p.grad is None else p.grad for p in self.parameters.values()
        ]
        if self._decays:
            torch._foreach_add_(grads, torch._foreach_mul(self._values, self._weight_decays))
        velocities = list(self._velocities.values())
        torch._foreach_mul_(velocities, self._momenta)
        torch._foreach_add_(velocities, grads)
        updates = velocities
        if self._nesterov:
            updates = list(torch._foreach_mul(velocities, self._momenta))
            torch._foreach_add_(updates, grads)
        torch._foreach_sub_(self._values, torch._foreach_mul(updates, self._lrs))
        for parameter in self.parameters.values():
            parameter.grad = None

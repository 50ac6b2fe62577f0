"""One optimizer for all members of a group: elementwise arithmetic on one flat buffer.

Few operations whatever the number of members and parameters, which is what a GPU wants. Learning
rate, weight decay and momentum are one number a member, spread over its elements. The formulas are
those of ``torch.optim``.

Shapes: M members, P elements of the flat buffer.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from rlp_sweeps.config import TrialConfig
from rlp_sweeps.training.engines.stacked_optimizer import (
    ADAMW_BETA2,
    ADAMW_EPSILON,
    StackedOptimizer,
    backbone_rates,
    heads_rates,
)

_PADDING = 64
"""Unused elements at the buffer's end: vectorized loops end in a scalar remainder, whose rounding
may differ, and which elements fall into it depends on the number of members."""


class FlatBuffer:
    """Parameters of M members in one buffer, each ``[M, …]`` and contiguous.

    The parameters given become views of it.

    Attributes:
        values_P: All of them, one after the other, and the padding.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter]) -> None:
        self.parameters = dict(parameters)
        first = next(iter(self.parameters.values()))
        self.num_members = first.shape[0]
        sizes = [parameter.numel() for parameter in self.parameters.values()]
        self._sizes = [*sizes, _PADDING]
        self.padding = first.new_zeros(_PADDING)
        flat = [parameter.detach().reshape(-1) for parameter in self.parameters.values()]
        self.values_P = torch.cat([*flat, self.padding])
        for parameter, view in zip(
            self.parameters.values(), self.views(self.values_P).values(), strict=True
        ):
            parameter.data = view

    def views(self, buffer_P: Tensor) -> dict[str, Tensor]:
        """Return a buffer of this layout as one view ``[M, …]`` a parameter, by name."""
        parts = torch.split(buffer_P, self._sizes)[:-1]
        named = zip(self.parameters.items(), parts, strict=True)
        return {name: part.view(parameter.shape) for (name, parameter), part in named}

    def spread(self, coefficients: Mapping[str, Tensor]) -> Tensor:
        """Return one number an element from one number ``[M]`` a parameter."""
        parts = [
            coefficients[name].unsqueeze(1).expand(-1, parameter[0].numel()).reshape(-1)
            for name, parameter in self.parameters.items()
        ]
        return torch.cat([*parts, self.padding])

    def gather_gradients(self, out_P: Tensor) -> None:
        """Move the parameters' gradients into one buffer; a missing one counts as 0."""
        grads = [
            parameter.new_zeros(parameter.numel())
            if parameter.grad is None
            else parameter.grad.reshape(-1)
            for parameter in self.parameters.values()
        ]
        torch.cat([*grads, self.padding], out=out_P)
        for parameter in self.parameters.values():
            parameter.grad = None


class FlatOptimizer(StackedOptimizer):
    """What both optimizers share: coefficients and state with the layout of the parameters."""

    state_names: tuple[str, ...] = ()

    def __init__(
        self,
        configs: Sequence[TrialConfig],
        backbone: Mapping[str, nn.Parameter],
        heads: Mapping[str, nn.Parameter],
        *,
        num_steps: int = 0,
    ) -> None:
        super().__init__({**backbone, **heads})
        self._nesterov = configs[0].nesterov
        self.flat = FlatBuffer(self.parameters)
        of_backbone = [backbone_rates(config) for config in configs]
        of_heads = [heads_rates(config) for config in configs]
        self.lr_P, self.weight_decay_P = (
            self._spread(
                {
                    name: [rate[i] for rate in (of_backbone if name in backbone else of_heads)]
                    for name in self.parameters
                }
            )
            for i in (0, 1)
        )
        momenta = [config.momentum for config in configs]
        self.momentum_P = self._spread({name: momenta for name in self.parameters})
        self.decays = any(backbone_rates(c)[1] or heads_rates(c)[1] for c in configs)
        self.grad_P = torch.zeros_like(self.flat.values_P)
        self._states = {name: torch.zeros_like(self.flat.values_P) for name in self.state_names}
        like = self.flat.values_P
        self._num_steps = torch.full((), num_steps, dtype=torch.float64, device=like.device)

    def _spread(self, rates: Mapping[str, Sequence[float]]) -> Tensor:
        like = self.flat.values_P
        return self.flat.spread({name: like.new_tensor(values) for name, values in rates.items()})

    def states(self) -> dict[str, dict[str, Tensor]]:
        """Return the state in place."""
        return {name: self.flat.views(buffer_P) for name, buffer_P in self._states.items()}


class FlatSGD(FlatOptimizer):
    """SGD with momentum, as ``torch.optim.SGD`` without dampening."""

    state_names = ("momentum_buffer",)

    @torch.no_grad()
    def step(self, lr_factor: float | Tensor) -> None:
        """Take one step."""
        values_P, update_P, momentum_P = self.flat.values_P, self.grad_P, self.momentum_P
        self.flat.gather_gradients(update_P)
        if self.decays:
            update_P.addcmul_(self.weight_decay_P, values_P)
        velocity_P = self._states["momentum_buffer"].mul_(momentum_P).add_(update_P)
        if self._nesterov:
            velocity_P = update_P.addcmul_(momentum_P, velocity_P)
        values_P.addcmul_(self.lr_P * lr_factor, velocity_P, value=-1.0)


class FlatAdamW(FlatOptimizer):
    """AdamW, as ``torch.optim.AdamW``; β₁ is the member's momentum, β₂ is 0.999, ε is 1e-8."""

    state_names = ("exp_avg", "exp_avg_sq")

    def tensors(self) -> list[Tensor]:
        """Return all that a step changes in place beside the parameters."""
        return [*super().tensors(), self._num_steps]

    @torch.no_grad()
    def step(self, lr_factor: float | Tensor) -> None:
        """Take one step."""
        self._num_steps += 1
        values_P, grad_P = self.flat.values_P, self.grad_P
        self.flat.gather_gradients(grad_P)
        lr_P = self.lr_P * lr_factor
        if self.decays:
            values_P.mul_(1 - lr_P * self.weight_decay_P)
        rest_P = 1 - self.momentum_P
        exp_avg_P = self._states["exp_avg"].mul_(self.momentum_P).addcmul_(rest_P, grad_P)
        squares_P = self._states["exp_avg_sq"].mul_(ADAMW_BETA2)
        squares_P.addcmul_(grad_P, grad_P, value=1 - ADAMW_BETA2)
        correction = (1 - ADAMW_BETA2**self._num_steps).sqrt()
        scale_P = squares_P.sqrt().div_(correction).add_(ADAMW_EPSILON)
        step_P = lr_P / (1 - self.momentum_P**self._num_steps)
        values_P.addcdiv_(exp_avg_P * step_P, scale_P, value=-1.0)

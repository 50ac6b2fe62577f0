"""Optimizers that walk through the members: torch's fused kernel on one member after the other.

One member's parameters, gradients and state stay in a CPU's cache while they are updated, and every
number is the one that ``torch.optim`` gives the member alone.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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


@dataclass(frozen=True, slots=True)
class Part:
    """Parameters of one member that share their rates, and their state, as views.

    Attributes:
        member: Its index.
        positions: Of its parameters among all that the optimizer trains.
        values: The parameters.
        states: One list a state, in the order of the optimizer's `state_names`.
        lr: Peak learning rate.
        weight_decay: L2 or decoupled, as the optimizer has it.
        momentum: Or β₁.
    """

    member: int
    positions: list[int]
    values: list[Tensor]
    states: list[list[Tensor]]
    lr: float
    weight_decay: float
    momentum: float


class MemberwiseOptimizer(StackedOptimizer):
    """What both optimizers share: which parameters of which member share their rates."""

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
        some = next(iter(self.parameters.values()))
        self._num_steps = torch.full((), num_steps, dtype=torch.float32, device=some.device)
        self._states = {
            name: {key: torch.zeros_like(p.detach()) for key, p in self.parameters.items()}
            for name in self.state_names
        }
        where = {name: index for index, name in enumerate(self.parameters)}
        self._parts = []
        for member, config in enumerate(configs):
            names_of: dict[tuple[float, float], list[str]] = {}
            names_of.setdefault(backbone_rates(config), []).extend(backbone)
            names_of.setdefault(heads_rates(config), []).extend(heads)
            for (lr, weight_decay), names in names_of.items():
                values = [self.parameters[name].detach()[member] for name in names]
                states = [[s[name][member] for name in names] for s in self._states.values()]
                positions = [where[name] for name in names]
                self._parts.append(
                    Part(member, positions, values, states, lr, weight_decay, config.momentum)
                )

    def states(self) -> dict[str, dict[str, Tensor]]:
        """Return the state in place."""
        return self._states

    @torch.no_grad()
    def step(self, lr_factor: float | Tensor) -> None:
        """Take one step."""
        factor = float(lr_factor)
        grads = [
            torch.zeros_like(p).unbind(0) if p.grad is None else p.grad.unbind(0)
            for p in self.parameters.values()
        ]
        for part in self._parts:
            of_part = [grads[position][part.member] for position in part.positions]
            self.update(part, of_part, lr=part.lr * factor)
        for parameter in self.parameters.values():
            parameter.grad = None

    @abstractmethod
    def update(self, part: Part, grads: list[Tensor], *, lr: float) -> None:
        """Update one member's parameters and state."""


class MemberwiseSGD(MemberwiseOptimizer):
    """``torch.optim.SGD(fused=True)`` of every member."""

    state_names = ("momentum_buffer",)

    def update(self, part: Part, grads: list[Tensor], *, lr: float) -> None:
        """Update one member's parameters and momentum."""
        torch.ops.aten._fused_sgd_(
            part.values,
            grads,
            part.states[0] if part.momentum else [],
            weight_decay=part.weight_decay,
            momentum=part.momentum,
            lr=lr,
            dampening=0.0,
            nesterov=self._nesterov,
            maximize=False,
            is_first_step=False,
        )


class MemberwiseAdamW(MemberwiseOptimizer):
    """``torch.optim.AdamW(fused=True)`` of every member."""

    state_names = ("exp_avg", "exp_avg_sq")

    def tensors(self) -> list[Tensor]:
        """Return all that a step changes in place beside the parameters."""
        return [*super().tensors(), self._num_steps]

    def step(self, lr_factor: float | Tensor) -> None:
        """Take one step."""
        self._num_steps += 1
        super().step(lr_factor)

    def update(self, part: Part, grads: list[Tensor], *, lr: float) -> None:
        """Update one member's parameters and moments."""
        torch.ops.aten._fused_adamw_(
            part.values,
            grads,
            *part.states,
            [],
            [self._num_steps] * len(grads),
            lr=lr,
            beta1=part.momentum,
            beta2=ADAMW_BETA2,
            weight_decay=part.weight_decay,
            eps=ADAMW_EPSILON,
            amsgrad=False,
            maximize=False,
        )

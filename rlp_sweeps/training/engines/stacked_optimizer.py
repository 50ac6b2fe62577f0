"""What trains the parameters of all members of a group, each ``[M, …]`` with its member's rates."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from rlp_sweeps.config import TrialConfig

ADAMW_BETA2, ADAMW_EPSILON = 0.999, 1e-8

States = dict[str, dict[str, Tensor]]
"""One member's optimizer state: by the state's name, a tensor a parameter."""


class StackedOptimizer(ABC):
    """Trains stacked parameters; no operation of it joins two members.

    Attributes:
        parameters: By name, each ``[M, …]``.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter]) -> None:
        self.parameters = dict(parameters)

    @abstractmethod
    def step(self, lr_factor: float | Tensor) -> None:
        """Take one step with every member's peak learning rate times `lr_factor`.

        Uses up the parameters' gradients; a missing one counts as 0.
        """

    @abstractmethod
    def states(self) -> dict[str, dict[str, Tensor]]:
        """Return the state in place, by its name and the parameter's, each ``[M, …]``."""

    def tensors(self) -> list[Tensor]:
        """Return all that a step changes in place beside the parameters."""
        return [tensor for tensors in self.states().values() for tensor in tensors.values()]

    def member_state(self, member: int) -> States:
        """Return a copy of one member's state."""
        return {
            name: {key: tensor[member].clone() for key, tensor in tensors.items()}
            for name, tensors in self.states().items()
        }

    def load_members(self, states: Sequence[States]) -> None:
        """Take over states of all members, in their order."""
        for name, tensors in self.states().items():
            for key, tensor in tensors.items():
                for member, state in enumerate(states):
                    tensor[member].copy_(state[name][key])


def backbone_rates(config: TrialConfig) -> tuple[float, float]:
    """Return learning rate and weight decay of a trial's backbone."""
    return config.lr, config.weight_decay


def heads_rates(config: TrialConfig) -> tuple[float, float]:
    """Return learning rate and weight decay of a trial's RLP heads."""
    return config.lr if config.head_lr is None else config.head_lr, config.head_weight_decay

"""Optimizers of a group give every member what ``torch.optim`` gives it alone."""

import dataclasses

import pytest
import torch
from torch import nn

from rlp_sweeps.config import TrialConfig
from rlp_sweeps.training.engines.broadcast_optimizers import BroadcastSGD
from rlp_sweeps.training.engines.flat_optimizers import FlatAdamW, FlatSGD
from rlp_sweeps.training.engines.memberwise_optimizers import MemberwiseAdamW, MemberwiseSGD
from rlp_sweeps.training.engines.stacked_optimizer import StackedOptimizer

SGD = {"memberwise": MemberwiseSGD, "flat": FlatSGD, "broadcast": BroadcastSGD}
ADAMW = {"memberwise": MemberwiseAdamW, "flat": FlatAdamW}
FACTORS = (1.0, 0.7, 0.1)
BASE = TrialConfig(arm="control", lr=0.1, rlp_lambda=0.0, seed=0, head_lr=0.3)
CONFIGS = [
    BASE,
    dataclasses.replace(BASE, lr=0.02, weight_decay=0.1, momentum=0.5),
    dataclasses.replace(BASE, lr=0.5, momentum=0.0),
]


def stacked_parameters(num_members: int) -> tuple[dict[str, nn.Parameter], dict[str, nn.Parameter]]:
    def draw(*shape: int) -> nn.Parameter:
        generator = torch.Generator().manual_seed(len(shape))
        return nn.Parameter(torch.randn(3, *shape, generator=generator, dtype=torch.float64))

    backbone, heads = {"a": draw(4, 3), "b": draw(5)}, {"h": draw(2, 3, 4)}
    for named in (backbone, heads):
        for name, parameter in named.items():
            named[name] = nn.Parameter(parameter.detach()[:num_members].clone())
    return backbone, heads


def gradient(parameter: torch.Tensor, step: int) -> torch.Tensor:
    return parameter.detach() * 0.3 + torch.cos(parameter.detach() * step)


def train(optimizer: StackedOptimizer) -> None:
    for step, factor in enumerate(FACTORS):
        for parameter in optimizer.parameters.values():
            parameter.grad = gradient(parameter, step)
        optimizer.step(factor)


def alone(config: TrialConfig, member: int) -> list[torch.Tensor]:
    """One member trained by torch itself."""
    backbone, heads = stacked_parameters(3)
    mine = [
        [nn.Parameter(p.detach()[member]) for p in group.values()] for group in (backbone, heads)
    ]
    groups = [
        {"params": mine[0], "lr": config.lr, "weight_decay": config.weight_decay},
        {"params": mine[1], "lr": config.head_lr, "weight_decay": config.head_weight_decay},
    ]
    if config.optimizer == "adamw":
        optimizer = torch.optim.AdamW(groups, betas=(config.momentum, 0.999))
    else:
        optimizer = torch.optim.SGD(groups, momentum=config.momentum, nesterov=config.nesterov)
    peaks = [group["lr"] for group in optimizer.param_groups]
    for step, factor in enumerate(FACTORS):
        for group, peak in zip(optimizer.param_groups, peaks, strict=True):
            group["lr"] = peak * factor
            for parameter in group["params"]:
                parameter.grad = gradient(parameter, step)
        optimizer.step()
    return [*mine[0], *mine[1]]


def assert_members_are_torchs(
    optimizer: StackedOptimizer, configs: list[TrialConfig], *, tolerance: float
) -> None:
    for member, config in enumerate(configs):
        for got, wanted in zip(optimizer.parameters.values(), alone(config, member), strict=True):
            torch.testing.assert_close(
                got[member].detach(), wanted.detach(), rtol=tolerance, atol=tolerance
            )


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("kind", SGD)
def test_sgd_in_a_group_is_torchs(kind: str, nesterov: bool) -> None:
    changed = {"nesterov": True, "momentum": 0.9} if nesterov else {}
    configs = [dataclasses.replace(config, **changed) for config in CONFIGS]
    optimizer = SGD[kind](configs, *stacked_parameters(3))

    train(optimizer)

    assert_members_are_torchs(optimizer, configs, tolerance=1e-12)


@pytest.mark.parametrize("kind", ADAMW)
def test_adamw_in_a_group_is_torchs(kind: str) -> None:
    configs = [dataclasses.replace(c, optimizer="adamw", lr=c.lr / 10) for c in CONFIGS]
    optimizer = ADAMW[kind](configs, *stacked_parameters(3))

    train(optimizer)

    assert_members_are_torchs(optimizer, configs, tolerance=1e-7)


@pytest.mark.parametrize("kind", SGD)
def test_a_members_state_moves_to_another_group(kind: str) -> None:
    whole = SGD[kind](CONFIGS, *stacked_parameters(3))
    train(whole)
    two = SGD[kind](CONFIGS[:2], *stacked_parameters(2))

    two.load_members([whole.member_state(1), whole.member_state(0)])

    for key, tensor in two.states()["momentum_buffer"].items():
        assert torch.equal(tensor[0], whole.states()["momentum_buffer"][key][1])


@pytest.mark.parametrize("kind", SGD)
def test_a_step_uses_up_the_gradients_and_takes_a_missing_one_as_zero(kind: str) -> None:
    optimizer = SGD[kind]([dataclasses.replace(BASE, momentum=0.0)], *stacked_parameters(1))
    before = {name: p.detach().clone() for name, p in optimizer.parameters.items()}
    optimizer.parameters["a"].grad = torch.ones_like(optimizer.parameters["a"])

    optimizer.step(1.0)

    assert all(p.grad is None for p in optimizer.parameters.values())
    assert torch.equal(optimizer.parameters["b"].detach(), before["b"])
    assert not torch.equal(optimizer.parameters["a"].detach(), before["a"])

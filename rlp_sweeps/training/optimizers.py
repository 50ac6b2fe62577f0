"""Optimizers with two parameter groups: the backbone, and the RLP heads apart.

No state and no clipping is shared between the groups, so that heads never touch the backbone.
"""

from typing import Any

import torch
from torch.optim import SGD, AdamW, Optimizer

from rlp_sweeps.config import TrialConfig
from rlp_sweeps.training.network import RLPNetwork


def build_optimizer(config: TrialConfig, network: RLPNetwork) -> Optimizer:
    """Return the optimizer of one trial.

    Weight decay acts on every parameter of the backbone, batch norm and biases included; AdamW's β₁
    is `momentum`, its β₂ is 0.999.
    """
    groups: list[dict[str, Any]] = [
        {
            "params": list(network.backbone.parameters()),
            "weight_decay": config.weight_decay,
            "peak_lr": config.lr,
        },
        {
            "params": network.heads_parameters,
            "weight_decay": config.head_weight_decay,
            "peak_lr": config.lr if config.head_lr is None else config.head_lr,
        },
    ]
    if config.optimizer == "adamw":
        return AdamW(groups, lr=config.lr, betas=(config.momentum, 0.999), fused=True)
    return SGD(groups, lr=config.lr, momentum=config.momentum, nesterov=config.nesterov, fused=True)


def set_lr(optimizer: Optimizer, factor: float) -> None:
    """Set every parameter group to its peak learning rate times `factor`."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak_lr"] * factor


def current_lr(optimizer: Optimizer) -> float:
    """Return the learning rate of the backbone's last step."""
    lr = optimizer.param_groups[0]["lr"]
    return float(lr.item() if isinstance(lr, torch.Tensor) else lr)

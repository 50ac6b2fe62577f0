"""The study that every tool of this folder runs: does unlearning help, or a second class loss?

An MLP on scikit-learn's digits, an RLP head that is trained against (the adversary) and one that
only reads (the observer). Plain PyTorch, of which the tools know nothing; 24 trials: two learning
rates, four arms, three seeds.

Shapes: N samples, D features, K classes, R random labels.

Source:
    The regularizer and its exact split: docs/method.md.
"""

import itertools
import json
import os
from collections.abc import Callable
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F

LRS = (0.01, 0.05)
ARMS = {"control": (0, 0), "full": (1, 1), "class_term": (1, 0), "uniform_term": (0, 1)}
"""Weights of the class term and of the uniform term of the regularizer."""
SEEDS = (0, 1, 2)
NUM_EPOCHS = 10
RLP_LAMBDA = 10.0
NUM_CLASSES = NUM_RANDOM_LABELS = 10
NUM_FEATURES = 32
NUM_TRAIN = 1200
BATCH_SIZE = 64

LEDGER = "STUDY_LEDGER"
"""Environment variable: a file to which every call of `train` adds a line, for `tries`."""

Report = Callable[[int, dict[str, float]], None]
Point = dict[str, float | str | int]


def grid(lrs: tuple[float, ...] = LRS) -> list[Point]:
    """Return every point: learning rate × arm × seed."""
    return [
        {"lr": lr, "arm": arm, "seed": seed}
        for lr, arm, seed in itertools.product(lrs, ARMS, SEEDS)
    ]


def train(*, lr: float, arm: str, seed: int, report: Report, num_epochs: int = NUM_EPOCHS) -> None:
    """Train one network; `report` gets the epoch, from 1, and its metrics, shares in [0, 1].

    Equal arguments give equal numbers: all chance comes from `seed`, and torch has one thread.

    Raises:
        KeyError: There is no such arm.
        ValueError: The learning rate is negative.
    """
    if LEDGER in os.environ:
        with Path(os.environ[LEDGER]).open("a", encoding="utf-8") as ledger:
            ledger.write(json.dumps([lr, arm, seed]) + "\n")
    torch.set_num_threads(1)
    chance = torch.Generator().manual_seed(seed)
    images_ND, labels_N = _digits(chance)
    random_labels_2N = torch.randint(NUM_RANDOM_LABELS, (2, len(labels_N)), generator=chance)
    net = _network(chance)
    optimizer = torch.optim.SGD(net.parameters(), lr=lr, momentum=0.9)
    for epoch in range(1, num_epochs + 1):
        for batch in torch.randperm(NUM_TRAIN, generator=chance).split(BATCH_SIZE):
            loss = _loss(
                net, images_ND[batch], labels_N[batch], random_labels_2N[:, batch], ARMS[arm]
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        report(epoch, _evaluate(net, images_ND, labels_N, random_labels_2N[1], loss))


def _digits(chance: torch.Generator) -> tuple[Tensor, Tensor]:
    images, labels = load_digits(return_X_y=True)
    order_N = torch.randperm(len(labels), generator=chance)
    return torch.tensor(images / 16, dtype=torch.float32)[order_N], torch.tensor(labels)[order_N]


def _network(chance: torch.Generator) -> nn.ModuleDict:
    num_joint = NUM_CLASSES * NUM_RANDOM_LABELS
    net = nn.ModuleDict(
        {
            "extractor": nn.Sequential(
                nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, NUM_FEATURES), nn.ReLU()
            ),
            "class_head": nn.Linear(NUM_FEATURES, NUM_CLASSES),
            "adversary": nn.Linear(NUM_FEATURES, num_joint),
            "observer": nn.Linear(NUM_FEATURES, num_joint),
        }
    )
    for layer in net.modules():
        if isinstance(layer, nn.Linear):
            bound = layer.in_features**-0.5
            nn.init.uniform_(layer.weight, -bound, bound, generator=chance)
            nn.init.zeros_(layer.bias)
    return net


def _loss(
    net: nn.ModuleDict,
    images_ND: Tensor,
    labels_N: Tensor,
    random_labels_2N: Tensor,
    weights: tuple[int, int],
) -> Tensor:
    """Return class loss + both heads' own losses + λ times the weighted terms, in nats."""
    features_ND = net["extractor"](images_ND)
    loss: Tensor = F.cross_entropy(net["class_head"](features_ND), labels_N)
    for name, random_labels_N in zip(("adversary", "observer"), random_labels_2N, strict=True):
        joint_labels_N = labels_N * NUM_RANDOM_LABELS + random_labels_N
        loss = loss + F.cross_entropy(net[name](features_ND.detach()), joint_labels_N)
    frozen = net["adversary"]
    logits_NJ = F.linear(features_ND, frozen.weight.detach(), frozen.bias.detach())
    block_NR = logits_NJ.unflatten(1, (NUM_CLASSES, -1))[range(len(labels_N)), labels_N]
    class_term = (logits_NJ.logsumexp(1) - block_NR.logsumexp(1)).mean()
    uniform_term = -block_NR.log_softmax(1).mean()
    return loss + RLP_LAMBDA * (weights[0] * class_term + weights[1] * uniform_term)


@torch.no_grad()
def _evaluate(
    net: nn.ModuleDict,
    images_ND: Tensor,
    labels_N: Tensor,
    random_labels_N: Tensor,
    last_loss: Tensor,
) -> dict[str, float]:
    features_ND = net["extractor"](images_ND)
    right_N = net["class_head"](features_ND).argmax(1) == labels_N
    joint_NKR = net["observer"](features_ND).unflatten(1, (NUM_CLASSES, -1))
    recalled_N = joint_NKR[range(len(labels_N)), labels_N].argmax(1) == random_labels_N
    return {
        "train_loss": last_loss.item(),
        "test_accuracy": right_N[NUM_TRAIN:].float().mean().item(),
        "random_label_accuracy": recalled_N[:NUM_TRAIN].float().mean().item(),
    }

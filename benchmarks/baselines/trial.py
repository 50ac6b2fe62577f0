"""One trial in plain PyTorch, as a user of any tuner would write it; every baseline trains this.

The same as this package's trial: network, initialization scheme, two nested joint heads, SGD with
momentum under a cosine schedule per step, steps and batch size, evaluation of all three splits
after every epoch. Class loss, heads' losses and regularizer are left to autograd: one forward of
the network, the adversary evaluated once more with its weights detached. Not the same: the random
streams (so that accuracies agree in distribution only), and that the measured multipliers and half
of the metrics of this package are not computed.

Data come from a `DataLoader`, or lie in memory and are indexed.
Shapes: N samples, C H W image, D features, K classes, R random labels.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.baselines.task import Task
from rlp_sweeps.config import TrialConfig
from rlp_sweeps.training.backbones import build_backbone

NUM_CLASSES = 10
IMAGE_SHAPE = (1, 8, 8)
EVAL_BATCH_SIZE = 1024

Samples = tuple[Tensor, Tensor, Tensor]
"""Images, ``[N, C, H, W]``, float32; classes and random labels, ``[N]``, int64."""


@dataclass(frozen=True, slots=True)
class Splits:
    """One seed's samples."""

    train: Samples
    val: Samples
    test: Samples


def load_digits_arrays() -> tuple[Tensor, Tensor]:
    """Return all images, standardized, and their classes."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    images_NCHW = torch.as_tensor(images, dtype=torch.float32).view(-1, *IMAGE_SHAPE)
    images_NCHW = (images_NCHW - images_NCHW.mean()) / images_NCHW.std()
    return images_NCHW, torch.as_tensor(labels, dtype=torch.int64)


def split(arrays: tuple[Tensor, Tensor], *, seed: int, num_random_labels: int) -> Splits:
    """Return a third for test, a ninth for validation, the rest for training."""
    images_NCHW, labels_N = arrays
    generator = torch.Generator().manual_seed(seed)
    order_N = torch.randperm(len(labels_N), generator=generator)
    random_labels_N = torch.randint(num_random_labels, (len(labels_N),), generator=generator)
    num_test, num_val = len(labels_N) // 3, len(labels_N) // 9
    test_N, rest_N = order_N[:num_test], order_N[num_test:]
    val_N, train_N = rest_N[:num_val], rest_N[num_val:]

    def take(index_N: Tensor) -> Samples:
        return images_NCHW[index_N], labels_N[index_N], random_labels_N[index_N]

    return Splits(take(train_N), take(val_N), take(test_N))


class Network(nn.Module):
    """Backbone, adversary and observer."""

    def __init__(self, num_random_labels: int) -> None:
        super().__init__()
        config = TrialConfig(arm="control", lr=0.1, rlp_lambda=0.0, seed=0, backbone="small_cnn")
        self.backbone = build_backbone(config, image_shape=IMAGE_SHAPE, num_classes=NUM_CLASSES)
        outputs = NUM_CLASSES * num_random_labels
        self.adversary = nn.Linear(self.backbone.num_features, outputs)
        self.observer = nn.Linear(self.backbone.num_features, outputs)

    def forward(self, images_NCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Return class scores and features."""
        features_ND = self.backbone.features(images_NCHW)
        return self.backbone.classifier(features_ND), features_ND


def train_trial(
    point: Mapping[str, float],
    task: Task,
    *,
    arrays: tuple[Tensor, Tensor],
    uses_loader: bool,
    report: Callable[[int, dict[str, float]], None],
) -> None:
    """Train one trial and report its metrics after every epoch, from 1.

    Args:
        point: `lr`, `rlp_lambda` and `seed`.
        task: What all trials share.
        arrays: All images and classes.
        uses_loader: Batches come from a `DataLoader`; else from indexed tensors.
        report: Told epoch and metrics.
    """
    torch.manual_seed(int(point["seed"]))
    splits = split(arrays, seed=int(point["seed"]), num_random_labels=task.num_random_labels)
    network = Network(task.num_random_labels)
    optimizer = torch.optim.SGD(network.parameters(), lr=point["lr"], momentum=0.9)
    num_steps = task.num_epochs * (len(splits.train[1]) // task.batch_size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=num_steps)
    for epoch in range(1, task.num_epochs + 1):
        network.train()
        for batch in _batches(splits.train, task.batch_size, uses_loader=uses_loader):
            loss = _loss(network, batch, point["rlp_lambda"], task.num_random_labels)
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
        report(epoch, _evaluate(network, splits, task, uses_loader=uses_loader))


def _batches(samples: Samples, batch_size: int, *, uses_loader: bool) -> Iterator[Samples]:
    """Yield shuffled batches; the last, partial one is dropped."""
    if uses_loader:
        dataset = TensorDataset(*samples)
        yield from DataLoader(dataset, batch_size=batch_size, shuffle=True, drop_last=True)
        return
    order_N = torch.randperm(len(samples[1]))
    for start in range(0, len(order_N) - batch_size + 1, batch_size):
        index_N = order_N[start : start + batch_size]
        images_NCHW, labels_N, random_labels_N = (column[index_N] for column in samples)
        yield images_NCHW, labels_N, random_labels_N


def _loss(network: Network, batch: Samples, rlp_lambda: float, num_random_labels: int) -> Tensor:
    images_NCHW, labels_N, random_labels_N = batch
    logits_NK, features_ND = network(images_NCHW)
    targets_N = labels_N * num_random_labels + random_labels_N
    loss = F.cross_entropy(logits_NK, labels_N)
    for head in (network.adversary, network.observer):
        loss = loss + F.cross_entropy(head(features_ND.detach()), targets_N)
    if rlp_lambda > 0:
        head = network.adversary
        scores_NJ = F.linear(features_ND, head.weight.detach(), head.bias.detach())
        log_p_NKR = scores_NJ.log_softmax(1).view(-1, NUM_CLASSES, num_random_labels)
        loss = loss - rlp_lambda * log_p_NKR[torch.arange(len(labels_N)), labels_N].mean()
    return loss


@torch.no_grad()
def _evaluate(
    network: Network, splits: Splits, task: Task, *, uses_loader: bool
) -> dict[str, float]:
    network.eval()
    train, val, test = (
        _means(network, samples, task.num_random_labels, uses_loader=uses_loader)
        for samples in (splits.train, splits.val, splits.test)
    )
    return {
        "train_accuracy": train[0],
        "val_accuracy": val[0],
        "test_accuracy": test[0],
        "test_loss": test[1],
        "random_label_accuracy": train[2],
    }


def _means(
    network: Network, samples: Samples, num_random_labels: int, *, uses_loader: bool
) -> list[float]:
    """Return accuracy, loss and the observer's accuracy on random labels."""
    sums = torch.zeros(3)
    for images_NCHW, labels_N, random_labels_N in _in_order(samples, uses_loader=uses_loader):
        logits_NK, features_ND = network(images_NCHW)
        scores_NKR = network.observer(features_ND).view(-1, NUM_CLASSES, num_random_labels)
        recalled_N = scores_NKR[torch.arange(len(labels_N)), labels_N].argmax(1)
        sums[0] += (logits_NK.argmax(1) == labels_N).sum()
        sums[1] += F.cross_entropy(logits_NK, labels_N, reduction="sum")
        sums[2] += (recalled_N == random_labels_N).sum()
    return list((sums / len(samples[1])).tolist())


def _in_order(samples: Samples, *, uses_loader: bool) -> Iterator[Samples]:
    if uses_loader:
        yield from DataLoader(TensorDataset(*samples), batch_size=EVAL_BATCH_SIZE)
        return
    for start in range(0, len(samples[1]), EVAL_BATCH_SIZE):
        images_NCHW, labels_N, random_labels_N = (
            column[start : start + EVAL_BATCH_SIZE] for column in samples
        )
        yield images_NCHW, labels_N, random_labels_N

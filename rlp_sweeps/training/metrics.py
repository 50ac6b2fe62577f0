"""Evaluation: accuracies and losses on the three splits, and what the heads read in training.

Everything in eval mode, without augmentation, at full split size; sums stay on the device until all
of a split is done.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from rlp_sweeps.training.datasets import SplitDataset
from rlp_sweeps.training.heads import ADVERSARY, OBSERVER
from rlp_sweeps.training.losses import memorization, true_class_block
from rlp_sweeps.training.network import RLPNetwork

EVAL_BATCH_SIZE = 1024
MAX_HEAD_OUTPUTS = 2**25
"""Most numbers that both heads' outputs for one batch may hold (128 MiB in float32)."""
TRAIN_METRICS = (
    "train_accuracy",
    "train_loss",
    "random_label_accuracy",
    "adversary_random_label_accuracy",
    "head_loss",
    "regularizer_class_term",
    "regularizer_uniform_term",
)
"""What is averaged over the training samples."""


@torch.no_grad()
def evaluate(network: RLPNetwork, data: SplitDataset, random_labels_HN: Tensor) -> dict[str, float]:
    """Return the metrics of one evaluation by column name.

    Args:
        network: Left in train mode.
        data: The trial's three splits.
        random_labels_HN: Random labels of adversary and observer for the training samples, in the
            order of ``data.train_images_NCHW``, ``[2, N]``, int64.
    """
    network.eval()
    train = _train_metrics(network, data, random_labels_HN)
    val = _class_metrics(network, data.val_images_NCHW, data.val_labels_N)
    test = _class_metrics(network, data.test_images_NCHW, data.test_labels_N)
    network.train()
    return assemble_metrics(train, val, test, num_random_labels=network.heads.num_random_labels)


def assemble_metrics(
    train: Sequence[float],
    val: Sequence[float],
    test: Sequence[float],
    *,
    num_random_labels: int,
) -> dict[str, float]:
    """Return the metrics of one evaluation by column name, the derived ones included.

    Args:
        train: Means over training samples, in the order of `TRAIN_METRICS`.
        val: Accuracy and loss on the validation samples.
        test: The same on the test samples.
        num_random_labels: R.
    """
    metrics = dict(zip(TRAIN_METRICS, train, strict=True))
    return {
        **metrics,
        "regularizer_loss": metrics["regularizer_class_term"] + metrics["regularizer_uniform_term"],
        "val_accuracy": val[0],
        "val_loss": val[1],
        "test_accuracy": test[0],
        "test_loss": test[1],
        "generalization_gap": metrics["train_accuracy"] - test[0],
        "memorization": memorization(metrics["random_label_accuracy"], num_random_labels),
    }


def _class_sums(logits_NK: Tensor, labels_N: Tensor) -> list[Tensor]:
    loss = torch.nn.functional.cross_entropy(logits_NK, labels_N, reduction="none")
    return [(logits_NK.argmax(1) == labels_N).sum(), loss.sum(dtype=torch.float64)]


def _class_metrics(network: RLPNetwork, images_NCHW: Tensor, labels_N: Tensor) -> list[float]:
    sums = torch.zeros(2, dtype=torch.float64, device=labels_N.device)
    for start in range(0, len(labels_N), EVAL_BATCH_SIZE):
        batch = slice(start, start + EVAL_BATCH_SIZE)
        logits_NK, _ = network(images_NCHW[batch])
        sums += torch.stack(_class_sums(logits_NK, labels_N[batch]))
    return list((sums / len(labels_N)).tolist())


def _train_metrics(
    network: RLPNetwork, data: SplitDataset, random_labels_HN: Tensor
) -> list[float]:
    outputs = 2 * network.heads.num_classes * network.heads.num_random_labels
    batch_size = max(1, min(EVAL_BATCH_SIZE, MAX_HEAD_OUTPUTS // outputs))
    labels_N = data.train_labels_N
    sums = torch.zeros(len(TRAIN_METRICS), dtype=torch.float64, device=labels_N.device)
    for start in range(0, len(labels_N), batch_size):
        batch = slice(start, start + batch_size)
        logits_NK, features_ND = network(data.train_images_NCHW[batch])
        heads = _head_sums(network.heads(features_ND), labels_N[batch], random_labels_HN[:, batch])
        sums += torch.stack([*_class_sums(logits_NK, labels_N[batch]), *heads])
    return list((sums / len(labels_N)).tolist())


def _head_sums(
    random_logits_HNKR: Tensor, labels_N: Tensor, random_labels_HN: Tensor
) -> list[Tensor]:
    """Return sums over samples: recall of observer and adversary, observer's loss, both terms."""
    blocks_HNR = torch.stack([true_class_block(head, labels_N) for head in random_logits_HNKR])
    recalled_HN = blocks_HNR.argmax(2) == random_labels_HN
    log_norms_HN = random_logits_HNKR.flatten(2).logsumexp(2)
    truth_N1 = random_labels_HN[OBSERVER].unsqueeze(1)
    observer_loss_N = log_norms_HN[OBSERVER] - blocks_HNR[OBSERVER].gather(1, truth_N1).squeeze(1)
    log_block_N = blocks_HNR[ADVERSARY].logsumexp(1)
    class_term_N = log_norms_HN[ADVERSARY] - log_block_N
    uniform_term_N = log_block_N - blocks_HNR[ADVERSARY].mean(1)
    return [
        recalled_HN[OBSERVER].sum(),
        recalled_HN[ADVERSARY].sum(),
        *(x.sum(dtype=torch.float64) for x in (observer_loss_N, class_term_N, uniform_term_N)),
    ]

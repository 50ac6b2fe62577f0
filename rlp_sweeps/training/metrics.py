"""Evaluation: accuracies and losses on the three splits, and what the heads read in training.

Everything in eval mode, without augmentation, at full split size; sums stay on the device until all
of a split is done.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from rlp_sweeps.training.datasets import SplitDataset
from rlp_sweeps.training.heads import ADVERSARY, OBSERVER, HeadShape
from rlp_sweeps.training.losses import head_terms_per_sample, memorization, true_class_block
from rlp_sweeps.training.network import RLPNetwork
from rlp_sweeps.training.trained_samples import num_trained, trained_batch

EVAL_BATCH_SIZE = 1024
MAX_HEAD_OUTPUTS = 2**25
"""Most numbers that both heads' outputs for one batch may hold (128 MiB in float32)."""
TRAIN_METRICS = (
    "train_accuracy",
    "train_loss",
    "changed_labels",
    "true_label_accuracy",
    "changed_label_accuracy",
    "random_label_accuracy",
    "adversary_random_label_accuracy",
    "head_loss",
    "regularizer_class_term",
    "regularizer_uniform_term",
)
"""What is averaged over the training samples; `changed_label_accuracy` then by `changed_labels`."""


@torch.no_grad()
def evaluate(
    network: RLPNetwork, data: SplitDataset, random_labels_HN: Tensor
) -> dict[str, float | None]:
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
    return assemble_metrics(train, val, test, shape=network.heads.shape)


def assemble_metrics(
    train: Sequence[float],
    val: Sequence[float],
    test: Sequence[float],
    *,
    shape: HeadShape,
) -> dict[str, float | None]:
    """Return the metrics of one evaluation by column name, the derived ones included.

    Args:
        train: Means over training samples, in the order of `TRAIN_METRICS`.
        val: Accuracy and loss on the validation samples.
        test: The same on the test samples.
        shape: Of the heads. A single head's regularizer has no terms.
    """
    metrics = dict(zip(TRAIN_METRICS, train, strict=True))
    changed = metrics["changed_labels"]
    recalled = metrics["changed_label_accuracy"] / changed if changed else None
    terms = ("regularizer_class_term", "regularizer_uniform_term")
    return {
        **metrics,
        **(dict.fromkeys(terms) if shape.kind == "single" else {}),
        "changed_label_accuracy": recalled,
        "regularizer_loss": sum(metrics[term] for term in terms),
        "val_accuracy": val[0],
        "val_loss": val[1],
        "test_accuracy": test[0],
        "test_loss": test[1],
        "generalization_gap": metrics["train_accuracy"] - test[0],
        "memorization": memorization(metrics["random_label_accuracy"], shape.num_random_labels),
    }


def label_sums(logits_NK: Tensor, labels_N: Tensor, true_labels_N: Tensor) -> list[Tensor]:
    """Return sums over samples: changed labels, hits of true labels, hits of changed labels.

    Args:
        logits_NK: Class scores, ``[…, N, K]``.
        labels_N: Labels trained on, ``[…, N]``.
        true_labels_N: True classes, ``[…, N]``.
    """
    predicted_N = logits_NK.argmax(-1)
    is_changed_N = labels_N != true_labels_N
    hits = (predicted_N == true_labels_N, (predicted_N == labels_N) & is_changed_N)
    return [is_changed_N.sum(-1), *(hit_N.sum(-1) for hit_N in hits)]


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
    shape = network.heads.shape
    outputs = 2 * shape.num_outputs
    batch_size = max(1, min(EVAL_BATCH_SIZE, MAX_HEAD_OUTPUTS // outputs))
    num_samples, device = num_trained(data), data.train_labels_N.device
    sums = torch.zeros(len(TRAIN_METRICS), dtype=torch.float64, device=device)
    for start in range(0, num_samples, batch_size):
        images_NCHW, labels_N, true_labels_N, positions = trained_batch(
            data, slice(start, start + batch_size)
        )
        readings = network.read(images_NCHW)
        logits_NK = network.classify(readings.features_ND)
        _, main_heads, read_ND = next(network.stacks(*readings))
        blocks_N = shape.blocks(labels_N)
        random_logits = main_heads(read_ND)
        heads = _head_sums(random_logits, blocks_N, random_labels_HN[:, positions], kind=shape.kind)
        labels = label_sums(logits_NK, labels_N, true_labels_N)
        sums += torch.stack([*_class_sums(logits_NK, labels_N), *labels, *heads])
    return list((sums / num_samples).tolist())


def _head_sums(
    random_logits_HNBR: Tensor, blocks_N: Tensor, random_labels_HN: Tensor, *, kind: str
) -> list[Tensor]:
    """Return sums over samples: recall of observer and adversary, observer's loss, both terms."""
    blocks_HNR = torch.stack([true_class_block(head, blocks_N) for head in random_logits_HNBR])
    recalled_HN = blocks_HNR.argmax(2) == random_labels_HN
    observed_NR = blocks_HNR[OBSERVER]
    normed_NJ = observed_NR if kind == "nested_per_class" else random_logits_HNBR[OBSERVER]
    truth_N1 = random_labels_HN[OBSERVER].unsqueeze(1)
    observer_loss_N = normed_NJ.flatten(1).logsumexp(1) - observed_NR.gather(1, truth_N1).squeeze(1)
    terms = head_terms_per_sample(
        random_logits_HNBR[ADVERSARY], blocks_N, random_labels_HN[ADVERSARY], kind=kind
    )
    return [
        recalled_HN[OBSERVER].sum(),
        recalled_HN[ADVERSARY].sum(),
        *(x.sum(dtype=torch.float64) for x in (observer_loss_N, *terms)),
    ]

"""Evaluation of all members of a group at once: the metrics of ``metrics.py``, one row a member.

Shapes: S seeds, M members, N samples, K classes, B blocks of R random labels, H = 2 heads.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from rlp_sweeps.training.datasets import SplitDataset
from rlp_sweeps.training.engines.stacked_network import StackedNetwork
from rlp_sweeps.training.heads import ADVERSARY, OBSERVER
from rlp_sweeps.training.losses import head_terms_per_sample
from rlp_sweeps.training.metrics import TRAIN_METRICS, assemble_metrics, label_sums
from rlp_sweeps.training.trained_samples import num_trained, trained_batch

EVAL_BATCH_SIZE = 256
"""Samples of a batch in every member: fixed, so that no sum's order depends on the group."""
MAX_HEAD_OUTPUTS = 2**22
"""Most numbers that one member's heads' outputs for one batch may hold (16 MiB in float32)."""


@torch.no_grad()
def evaluate_stacked(
    network: StackedNetwork, data: Sequence[SplitDataset], random_labels_MHN: Tensor
) -> list[dict[str, float | None]]:
    """Return the metrics of one evaluation by column name, one mapping a member.

    Args:
        network: Left in train mode.
        data: Splits of each seed, in the order of the layout.
        random_labels_MHN: Random labels of the training samples, in their order, int64.
    """
    network.eval()
    val = [(d.val_images_NCHW, d.val_labels_N) for d in data]
    test = [(d.test_images_NCHW, d.test_labels_N) for d in data]
    columns = (
        _train_means(network, data, random_labels_MHN),
        _class_means(network, val),
        _class_means(network, test),
    )
    network.train()
    shape = network.heads.shape
    return [assemble_metrics(*rows, shape=shape) for rows in zip(*columns, strict=True)]


def _stacked(tensors: Sequence[Tensor], batch: slice) -> Tensor:
    return torch.stack([tensor[batch] for tensor in tensors])


def _class_means(
    network: StackedNetwork, splits: Sequence[tuple[Tensor, Tensor]]
) -> list[list[float]]:
    images, labels = ([split[i] for split in splits] for i in (0, 1))
    num_samples = len(labels[0])
    sums_2M = labels[0].new_zeros(2, network.layout.num_members, dtype=torch.float64)
    for start in range(0, num_samples, EVAL_BATCH_SIZE):
        batch = slice(start, start + EVAL_BATCH_SIZE)
        logits_MNK = network.classify(network.features(_stacked(images, batch)))
        labels_MN = network.layout.per_member(_stacked(labels, batch))
        sums_2M += torch.stack(_class_sums(logits_MNK, labels_MN))
    return list((sums_2M / num_samples).T.tolist())


def _class_sums(logits_MNK: Tensor, labels_MN: Tensor) -> list[Tensor]:
    losses_N = F.cross_entropy(
        logits_MNK.contiguous().flatten(0, 1), labels_MN.flatten(), reduction="none"
    )
    hits_MN = logits_MNK.argmax(2) == labels_MN
    return [hits_MN.sum(1), losses_N.view_as(labels_MN).sum(1, dtype=torch.float64)]


def _train_means(
    network: StackedNetwork, data: Sequence[SplitDataset], random_labels_MHN: Tensor
) -> list[list[float]]:
    num_samples, device = num_trained(data[0]), random_labels_MHN.device
    heads_shape = network.heads.shape
    batch_size = max(1, min(EVAL_BATCH_SIZE, MAX_HEAD_OUTPUTS // (2 * heads_shape.num_outputs)))
    shape = (len(TRAIN_METRICS), network.layout.num_members)
    sums_BM = torch.zeros(shape, dtype=torch.float64, device=device)
    for start in range(0, num_samples, batch_size):
        batch = slice(start, start + batch_size)
        images, labels, truths, positions = zip(
            *(trained_batch(d, batch) for d in data), strict=True
        )
        readings = network.read(torch.stack(images))
        labels_MN = network.layout.per_member(torch.stack(labels))
        truths_MN = network.layout.per_member(torch.stack(truths))
        logits_MNK = network.classify(readings.features_MND)
        class_sums = _class_sums(logits_MNK, labels_MN)
        class_sums += label_sums(logits_MNK, labels_MN, truths_MN)
        _, main_heads, read_MND = next(network.stacks(*readings))
        random_logits = main_heads(read_MND)
        blocks_MN = heads_shape.blocks(labels_MN)
        random_labels = random_labels_MHN[:, :, positions[0]]
        heads = _head_sums(random_logits, blocks_MN, random_labels, kind=heads_shape.kind)
        sums_BM += torch.stack([*class_sums, *heads])
    return list((sums_BM / num_samples).T.tolist())


def _head_sums(
    random_logits_MNHBR: Tensor, blocks_MN: Tensor, random_labels_MHN: Tensor, *, kind: str
) -> list[Tensor]:
    """Return sums over samples: recall of observer and adversary, observer's loss, both terms."""
    index_MNHBR = blocks_MN.view(*blocks_MN.shape, 1, 1, 1).expand(
        -1, -1, 2, 1, random_logits_MNHBR.shape[4]
    )
    blocks_MNHR = random_logits_MNHBR.gather(3, index_MNHBR).squeeze(3)
    random_labels_MNH = random_labels_MHN.transpose(1, 2)
    recalled_MNH = blocks_MNHR.argmax(3) == random_labels_MNH
    observed_MNR = blocks_MNHR[:, :, OBSERVER]
    is_joint = kind != "nested_per_class"
    normed_MNJ = random_logits_MNHBR[:, :, OBSERVER].flatten(2) if is_joint else observed_MNR
    truth_MN1 = random_labels_MNH[:, :, OBSERVER].unsqueeze(2)
    observed_MN = observed_MNR.gather(2, truth_MN1).squeeze(2)
    observer_loss_MN = normed_MNJ.logsumexp(2) - observed_MN
    terms = head_terms_per_sample(
        random_logits_MNHBR[:, :, ADVERSARY].contiguous().flatten(0, 1),
        blocks_MN.flatten(),
        random_labels_MHN[:, ADVERSARY].flatten(),
        kind=kind,
    )
    losses = (observer_loss_MN, *(term.view_as(blocks_MN) for term in terms))
    return [
        recalled_MNH[:, :, OBSERVER].sum(1),
        recalled_MNH[:, :, ADVERSARY].sum(1),
        *(loss_MN.sum(1, dtype=torch.float64) for loss_MN in losses),
    ]

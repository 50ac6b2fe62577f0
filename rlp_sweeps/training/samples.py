"""What a trained network says of every single sample, those that it has not seen included.

Shapes: N samples, C H W image, K classes, R random labels.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rlp_sweeps.config import TrialConfig
from rlp_sweeps.training.datasets import (
    ImageArrays,
    SplitDataset,
    load_image_arrays,
    pool_labels,
    split_dataset,
)
from rlp_sweeps.training.heads import OBSERVER
from rlp_sweeps.training.losses import true_class_block
from rlp_sweeps.training.metrics import EVAL_BATCH_SIZE, MAX_HEAD_OUTPUTS
from rlp_sweeps.training.network import RLPNetwork
from rlp_sweeps.training.random_labels import random_labels_of
from rlp_sweeps.training.splits import split_ids
from rlp_sweeps.training.weights import TrainedWeights, restore_network

KEPT_STATUSES = ("completed",)
"""Ends after which samples are read: a network stopped half-way has memorized half of it, and a
diverged one predicts nothing."""

SampleBlock = Mapping[str, NDArray[Any]]
"""Columns of ``samples`` by name, one value a sample; a column that is left out is null."""


def sample_blocks(
    weights: TrainedWeights, *, data_dir: str, device: torch.device
) -> tuple[SampleBlock, ...]:
    """Return the rows of ``samples`` of one trained network: the pool, then its own test samples.

    Args:
        weights: The network at its end.
        data_dir: Folder that data sets are read from.
        device: Where it is read; images go there batch by batch.
    """
    config, host = weights.config, torch.device("cpu")
    data = split_dataset(config, data_dir=data_dir, device=host)
    arrays = load_image_arrays(config.dataset, data_dir=data_dir)
    network = restore_network(weights, data, device).eval()
    pool = _pool_columns(config, arrays, data)
    pool |= _read(network, arrays.train_images_NCHW, pool["label"], pool["random_label"])
    if arrays.test_images_NCHW is None or arrays.test_labels_N is None:
        return (_to_arrays(pool, split="pool"),)
    test_ids_N = split_ids(config, arrays).test_N
    labels_N = arrays.test_labels_N[test_ids_N]
    test = {
        "sample_id": test_ids_N,
        "is_trained": torch.zeros(len(test_ids_N), dtype=torch.bool),
        "label": labels_N,
        "true_label": labels_N,
        **_read(network, arrays.test_images_NCHW[test_ids_N], labels_N),
    }
    return (_to_arrays(pool, split="pool"), _to_arrays(test, split="test"))


def _pool_columns(
    config: TrialConfig, arrays: ImageArrays, data: SplitDataset
) -> dict[str, Tensor]:
    """Return what is known of every sample of the pool before a network is asked."""
    is_trained_N = torch.zeros(data.pool_size, dtype=torch.bool)
    is_trained_N[data.train_ids_N] = True
    return {
        "sample_id": torch.arange(data.pool_size),
        "is_trained": is_trained_N,
        "label": pool_labels(config, arrays),
        "true_label": arrays.train_labels_N,
        "random_label": random_labels_of(config, pool_size=data.pool_size),
    }


@torch.no_grad()
def _read(
    network: RLPNetwork,
    images_NCHW: Tensor,
    labels_N: Tensor,
    random_labels_N: Tensor | None = None,
) -> dict[str, Tensor]:
    """Return predictions and confidences of samples, on the CPU.

    Args:
        network: In eval mode.
        images_NCHW: uint8, on the CPU.
        labels_N: Classes that predictions are held against, and that name the head's blocks.
        random_labels_N: Observer's; no confidence in them where missing.
    """
    shape, device = network.heads.shape, network.mean_C.device
    batch_size = max(1, min(EVAL_BATCH_SIZE, MAX_HEAD_OUTPUTS // (2 * shape.num_outputs)))
    found: dict[str, list[Tensor]] = {}
    for start in range(0, len(labels_N), batch_size):
        batch = slice(start, start + batch_size)
        truth_N = labels_N[batch].to(device)
        readings = network.read(images_NCHW[batch].to(device))
        logits_NK = network.classify(readings.features_ND)
        read = {
            "is_correct": logits_NK.argmax(1) == truth_N,
            "class_confidence": _at(logits_NK, truth_N),
        }
        if random_labels_N is not None:
            _, heads, read_ND = next(network.stacks(*readings))
            block_NR = true_class_block(heads(read_ND)[OBSERVER], shape.blocks(truth_N))
            read["rlp_confidence"] = _at(block_NR, random_labels_N[batch].to(device))
        for name, values_N in read.items():
            found.setdefault(name, []).append(values_N.cpu())
    return {name: torch.cat(parts) for name, parts in found.items()}


def _at(logits_NJ: Tensor, index_N: Tensor) -> Tensor:
    """Return the softmax of these outputs, one a sample, ``[N]``."""
    return logits_NJ.softmax(1).gather(1, index_N.unsqueeze(1)).squeeze(1)


def _to_arrays(columns: Mapping[str, Tensor], *, split: str) -> SampleBlock:
    arrays: dict[str, NDArray[Any]] = {name: values.numpy() for name, values in columns.items()}
    return {"split": np.full(len(arrays["sample_id"]), split), **arrays}

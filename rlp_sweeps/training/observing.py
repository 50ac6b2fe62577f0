"""What the observers of all places recall at the end of training: rows of the table ``probes``.

Shapes: N samples, D features.
"""

import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rlp_sweeps.config import TrialConfig
from rlp_sweeps.training.datasets import SplitDataset
from rlp_sweeps.training.heads import OBSERVER
from rlp_sweeps.training.losses import memorization, true_class_block
from rlp_sweeps.training.metrics import EVAL_BATCH_SIZE
from rlp_sweeps.training.network import RLPNetwork
from rlp_sweeps.training.places import HeadPlace
from rlp_sweeps.training.random_labels import random_labels_of
from rlp_sweeps.training.taps import in_eval_mode
from rlp_sweeps.training.trained_samples import num_trained, trained_batch


@dataclass(frozen=True, kw_only=True, slots=True)
class PlaceRecall:
    """What one place's observer recalls.

    Attributes:
        place: Where it reads.
        random_label_accuracy: Share of training samples, or of all their fixed views, [0, 1]; None
            where an output of the head is not finite.
    """

    place: HeadPlace
    random_label_accuracy: float | None


@torch.no_grad()
def recall_at_places(
    network: RLPNetwork, data: SplitDataset, random_labels_N: Tensor
) -> list[PlaceRecall]:
    """Return what the observers recall of the training samples, in forward order of the places.

    In eval mode, in one pass over what `random_label_accuracy` is a share of: the images without
    augmentation, or all their fixed views. The network is left as it was.

    Args:
        network: With its heads as they were trained.
        data: The trial's splits, on the network's device.
        random_labels_N: The observers' random labels of the training samples, int64.
    """
    hits = torch.zeros(len(network.places), dtype=torch.int64, device=random_labels_N.device)
    is_finite = torch.ones_like(hits, dtype=torch.bool)
    with in_eval_mode(network):
        for start in range(0, num_trained(data), EVAL_BATCH_SIZE):
            images_NCHW, labels_N, _, positions = trained_batch(
                data, slice(start, start + EVAL_BATCH_SIZE)
            )
            readings = network.read(images_NCHW)
            for i, (_, heads, read_ND) in enumerate(network.stacks(*readings)):
                logits_NBR = heads(read_ND)[OBSERVER]
                block_NR = true_class_block(logits_NBR, heads.shape.blocks(labels_N))
                hits[i] += (block_NR.argmax(1) == random_labels_N[positions]).sum()
                is_finite[i] &= logits_NBR.isfinite().all()
    recalls = [
        PlaceRecall(
            place=place, random_label_accuracy=count / num_trained(data) if finite else None
        )
        for place, count, finite in zip(
            network.places, hits.tolist(), is_finite.tolist(), strict=True
        )
    ]
    return sorted(recalls, key=lambda recall: recall.place.layer)


def online_rows(
    network: RLPNetwork, config: TrialConfig, data: SplitDataset
) -> list[dict[str, Any]]:
    """Return a row of the table ``probes`` for every place, of probe ``rlp_online``.

    Args:
        network: At its end.
        config: The trial's.
        data: Its splits, on the network's device.
    """
    start = time.perf_counter()
    random_labels_N = random_labels_of(config, pool_size=data.pool_size)
    random_labels_N = random_labels_N.to(data.train_ids_N.device)[data.train_ids_N]
    recalls = recall_at_places(network, data, random_labels_N)
    time_s = (time.perf_counter() - start) / len(recalls)
    return [
        {
            "trial_id": config.trial_id,
            "source": "trained",
            "attach_point": recall.place.attach_point,
            "pooling": "average",
            "probe": "rlp_online",
            "label_set": "random",
            "layer": recall.place.layer,
            "num_features": recall.place.num_features,
            "num_train_samples": num_trained(data),
            "num_val_samples": len(data.val_labels_N),
            "num_test_samples": len(data.test_labels_N),
            "chance_accuracy": 1 / config.num_random_labels,
            "train_accuracy": recall.random_label_accuracy,
            "memorization": _memorization(recall, config.num_random_labels),
            "probe_time_s": time_s,
        }
        for recall in recalls
    ]


def online_rows_of_several(
    network: RLPNetwork, config: TrialConfig, data: SplitDataset
) -> list[dict[str, Any]]:
    """Return `online_rows` of a network with heads at several places; none of one."""
    return [] if len(network.places) == 1 else online_rows(network, config, data)


def _memorization(recall: PlaceRecall, num_random_labels: int) -> float | None:
    accuracy = recall.random_label_accuracy
    return None if accuracy is None else memorization(accuracy, num_random_labels)

"""Nearest neighbours by angle: are samples of one class near each other, whatever was trained on?

Shapes: N training samples, Q queries, D features, K classes.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from rlp_sweeps.errors import ProbeError

NUM_NEIGHBOURS = 20

MAX_SIMILARITIES = 2**24
"""Most similarities that are held at once (64 MiB in float32)."""


@torch.no_grad()
def classify_by_neighbours(
    features_ND: Tensor,
    labels_N: Tensor,
    queries_QD: Tensor,
    *,
    num_classes: int,
    num_neighbours: int = NUM_NEIGHBOURS,
) -> Tensor:
    """Return the class that most of each query's nearest training samples have, ``[Q]``, int64.

    Near is a large cosine, computed in the features' dtype. Of training samples at the same cosine
    those with the lower index count; of classes with as many votes the lower one is returned. A
    feature vector of 0 has the cosine 0 with everything.

    Args:
        features_ND: Of the training samples.
        labels_N: Their classes, int64.
        queries_QD: Of the samples to classify.
        num_classes: K.
        num_neighbours: Neighbours that vote, each with one vote.

    Raises:
        ProbeError: There are fewer training samples than neighbours.

    Source:
        Anagnostidis et al. 2023, arXiv:2210.14019: kNN with 20 neighbours on L2-normalized
        features. How ties are broken is ours.
    """
    check_neighbours(len(features_ND), num_neighbours)
    directions_ND = F.normalize(features_ND)
    votes_NK = F.one_hot(labels_N, num_classes).to(directions_ND.dtype)
    size = max(1, MAX_SIMILARITIES // len(features_ND))
    parts_QD = torch.split(F.normalize(queries_QD), size)
    nearest = (_nearest(part_QD @ directions_ND.T, num_neighbours) for part_QD in parts_QD)
    return torch.cat([(chosen_QN.to(votes_NK.dtype) @ votes_NK).argmax(1) for chosen_QN in nearest])


def check_neighbours(num_samples: int, num_neighbours: int) -> None:
    """Refuse more neighbours than there are training samples.

    Raises:
        ProbeError: There are fewer.
    """
    if num_samples < num_neighbours:
        msg = (
            "`neighbours <= training samples` must hold for the probe 'knn', but got "
            f"{num_neighbours} neighbours of {num_samples} training samples; leave 'knn' out."
        )
        raise ProbeError(msg)


def _nearest(cosines_QN: Tensor, num_neighbours: int) -> Tensor:
    """Return which training samples are each query's nearest, ``[Q, N]``, bool."""
    least_Q1 = cosines_QN.topk(num_neighbours, dim=1).values[:, -1:]
    is_nearer_QN = cosines_QN > least_Q1
    is_level_QN = cosines_QN == least_Q1
    num_left_Q1 = num_neighbours - is_nearer_QN.sum(1, keepdim=True)
    return is_nearer_QN | (is_level_QN & (is_level_QN.cumsum(1) <= num_left_Q1))

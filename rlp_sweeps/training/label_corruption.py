"""Corrupted class labels: with some probability a label is redrawn, the true one included.

Shapes: N samples of the training pool.
"""

import torch
from torch import Tensor

from rlp_sweeps.config import TrialConfig
from rlp_sweeps.seeding import stream_seed


def corrupt_labels(
    true_labels_N: Tensor,
    *,
    label_corruption: float,
    num_classes: int,
    seed: int,
    view: int | None = None,
) -> Tensor:
    """Return the labels of a training pool after corruption.

    Whether a label is redrawn and what it becomes are fixed by the seed and the sample's id in the
    pool: a higher probability redraws the same labels in the same way, and more.

    Args:
        true_labels_N: Labels of the whole pool by sample id, int64, on the CPU.
        label_corruption: Probability p that a label is redrawn uniformly over all K classes; a
            share of p (K − 1) / K is changed on average.
        num_classes: K.
        seed: The replicate's number.
        view: Draw for this view of every sample, apart from all others; one draw for all where
            missing.

    Returns:
        The same tensor where p is 0.

    Source:
        Zhang et al., ICLR 2017, arXiv:1611.03530, section 2 (partially corrupted labels); Ketha and
        Ramaswamy, arXiv:2501.14687.
    """
    if label_corruption == 0:
        return true_labels_N
    counters = () if view is None else (view,)
    generator = torch.Generator().manual_seed(stream_seed(seed, "corruption", *counters))
    chance_N = torch.rand(len(true_labels_N), dtype=torch.float64, generator=generator)
    redrawn_N = torch.randint(num_classes, true_labels_N.shape, generator=generator)
    return torch.where(chance_N < label_corruption, redrawn_N, true_labels_N)


def seed_of_corruption(config: TrialConfig) -> int:
    """Return the number that a trial's corrupted labels hang on: its seed, or one for all seeds."""
    return config.seed if config.corruption_seed is None else config.corruption_seed

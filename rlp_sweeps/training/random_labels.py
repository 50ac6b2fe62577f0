"""Random labels: one a sample, drawn uniformly, independent of the class, keyed by sample id."""

import torch
from torch import Tensor

from rlp_sweeps.config import TrialConfig
from rlp_sweeps.seeding import stream_seed


def random_labels_of(config: TrialConfig, *, pool_size: int, epoch: int | None = None) -> Tensor:
    """Return a trial's random label of every sample id of the pool; see `draw_random_labels`."""
    return draw_random_labels(
        seed=config.seed,
        pool_size=pool_size,
        num_random_labels=config.num_random_labels,
        draw=config.random_label_draw,
        epoch=epoch,
    )


def draw_random_labels(
    *, seed: int, pool_size: int, num_random_labels: int, draw: int = 0, epoch: int | None = None
) -> Tensor:
    """Return the random label of every sample id of the pool.

    Args:
        seed: The replicate's number.
        pool_size: Samples of the loader's training pool; a label's index is its sample's id there,
            so that it does not depend on the split, the order or the augmentation.
        num_random_labels: R.
        draw: Number of the draw; others give the same seed other labels.
        epoch: Redraw for this epoch (arm `sham`); the fixed labels where missing.

    Returns:
        ``[pool_size]``, int64, in ``[0, R)``, on the CPU.
    """
    counters: tuple[int, ...] = () if epoch is None else (epoch,)
    if draw:
        counters = (0 if epoch is None else epoch, draw)  # epochs are counted from 1
    generator = torch.Generator().manual_seed(stream_seed(seed, "random_labels", *counters))
    return torch.randint(num_random_labels, (pool_size,), generator=generator)

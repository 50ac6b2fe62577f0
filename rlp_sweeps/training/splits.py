"""Which samples of a data set a trial trains on, is validated on and is tested on.

Shapes: N samples, K classes.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from rlp_sweeps.config import TrialConfig
from rlp_sweeps.errors import DatasetError
from rlp_sweeps.seeding import stream_seed
from rlp_sweeps.training.image_arrays import DatasetInfo, ImageArrays

_POOL_PERMUTATION, _TEST_PERMUTATION = 0, 1


class SplitIds(NamedTuple):
    """Samples of the three parts by index, int64, on the CPU.

    Those for testing point into the data set's own test images where it has some, all others into
    its training pool.
    """

    train_N: Tensor
    val_N: Tensor
    test_N: Tensor


def split_ids(config: TrialConfig, arrays: ImageArrays) -> SplitIds:
    """Return the samples of a trial's parts; see `datasets.split_dataset`.

    Raises:
        DatasetError: They do not fit, a class keeps no training sample, or a batch is larger than
            what is left.
    """
    num_train, num_val, num_test = sizes_of_split(config, arrays.info)
    ids_N = _permutation(config.seed, _POOL_PERMUTATION, len(arrays.train_labels_N))
    if arrays.test_labels_N is None:
        test_ids_N, ids_N = ids_N[:num_test], ids_N[num_test:]
    else:
        num_own = len(arrays.test_labels_N)
        test_ids_N = _permutation(config.seed, _TEST_PERMUTATION, num_own)[:num_test]
    val_ids_N, train_ids_N = ids_N[:num_val], ids_N[num_val : num_val + num_train]
    train_ids_N = _subset(config, _thinned(config, train_ids_N, arrays))
    return SplitIds(train_ids_N, val_ids_N, test_ids_N)


def num_train_samples(
    config: TrialConfig, info: DatasetInfo, *, pool_labels_N: Tensor | None
) -> int:
    """Return how many samples `split_ids` gives a trial to train on; the same for all seeds.

    Args:
        config: The trial's.
        info: Its data set.
        pool_labels_N: Classes of the training pool, int64; needed where the trial `thins`.

    Raises:
        DatasetError: The parts do not fit.
    """
    num_train, _, _ = sizes_of_split(config, info)
    if pool_labels_N is not None:
        num_train = _num_thinned(config, num_train, pool_labels_N, info.num_classes)
    return _num_shown(config, num_train)


def thins(config: TrialConfig) -> bool:
    """Tell whether a trial trains on less than its training part."""
    return config.train_fraction < 1 or config.imbalance_factor > 1


def kept_of_classes(labels_N: Tensor, weights_K: Tensor, *, num_kept: int) -> Tensor:
    """Return the samples that are kept where class k keeps a share in proportion to w_k.

    Sample j of the n_k of its class, from 0 and in order, stands at (j + 1/2) / (n_k w_k), and the
    `num_kept` samples that stand first are kept: Webster's method of apportionment. Fewer samples
    are therefore always a subset of more, and the number does not depend on the labels.

    Args:
        labels_N: Classes, int64, in random order.
        weights_K: w_k > 0, float64.
        num_kept: Samples to keep.

    Returns:
        Indices, ascending, int64.
    """
    counts_K = labels_N.bincount(minlength=len(weights_K))
    order_N = labels_N.argsort(stable=True)
    first_K = counts_K.cumsum(0) - counts_K
    rank_N = torch.empty_like(labels_N)
    rank_N[order_N] = torch.arange(len(labels_N)) - first_K[labels_N[order_N]]
    place_N = (rank_N.double() + 0.5) / (counts_K * weights_K)[labels_N]
    return place_N.argsort(stable=True)[:num_kept].sort().values


def long_tail(num_classes: int, imbalance_factor: float) -> Tensor:
    r"""Return the share of its samples that each class keeps, ``[K]``, float64.

    .. math:: w_k = \text{factor}^{-k / (K - 1)}

    Source:
        Cui et al. 2019, arXiv:1901.05555, section 5.1, and the code they published.
    """
    exponents_K = -torch.arange(num_classes, dtype=torch.float64) / max(1, num_classes - 1)
    return torch.as_tensor(imbalance_factor, dtype=torch.float64) ** exponents_K


def sizes_of_split(config: TrialConfig, info: DatasetInfo) -> tuple[int, int, int]:
    """Return the numbers of training, validation and test samples before training's are thinned.

    Raises:
        DatasetError: They do not fit, or a batch is larger than the training part.
    """
    name, pool = config.dataset, info.num_train
    num_test = config.test_samples or info.num_test or max(1, pool // 3)
    if info.num_test and num_test > info.num_test:
        msg = (
            f"`test_samples <= {info.num_test}` must hold for data set {name!r}, but got "
            f"test_samples={num_test!r}."
        )
        raise DatasetError(msg)
    num_val = config.val_samples or max(1, pool // (10 if info.num_test else 9))
    taken = num_val + (0 if info.num_test else num_test)
    num_train = config.train_samples or pool - taken
    if num_train < 1 or taken + num_train > pool:
        parts = f"train_samples={config.train_samples!r}, val_samples={num_val!r}"
        parts += "" if info.num_test else f", test_samples={num_test!r}"
        msg = (
            f"the parts of data set {name!r} must fit into its pool of {pool} samples with at "
            f"least one for training, but got {parts}; ask for fewer."
        )
        raise DatasetError(msg)
    num_shown = _num_shown(config, num_train)
    if config.batch_size > num_shown:
        further = "" if config.subset_share == 1 else " or subset_share"
        msg = (
            "`batch_size <= number of training samples` must hold, but got "
            f"batch_size={config.batch_size!r} with {num_shown} training samples of {name!r}; "
            f"lower batch_size or raise train_samples{further}."
        )
        raise DatasetError(msg)
    return num_train, num_val, num_test


def _permutation(seed: int, counter: int, num_samples: int) -> Tensor:
    generator = torch.Generator().manual_seed(stream_seed(seed, "split", counter))
    return torch.randperm(num_samples, generator=generator)


def _thinned(config: TrialConfig, train_ids_N: Tensor, arrays: ImageArrays) -> Tensor:
    """Return the training samples that `train_fraction` and `imbalance_factor` leave."""
    if not thins(config):
        return train_ids_N
    weights_K = long_tail(arrays.num_classes, config.imbalance_factor)
    pool_N = arrays.train_labels_N
    num_kept = _num_thinned(config, len(train_ids_N), pool_N, arrays.num_classes)
    labels_N = arrays.train_labels_N[train_ids_N]
    kept_N = kept_of_classes(labels_N, weights_K, num_kept=num_kept)
    _check_thinned(config, labels_N, kept_N)
    return train_ids_N[kept_N]


def _num_thinned(
    config: TrialConfig, num_train: int, pool_labels_N: Tensor, num_classes: int
) -> int:
    """Return how many training samples `train_fraction` and `imbalance_factor` leave.

    That is told from the whole pool's classes, so that it is the same for all seeds.
    """
    weights_K = long_tail(num_classes, config.imbalance_factor)
    pool_K = pool_labels_N.bincount(minlength=num_classes).double()
    share = config.train_fraction * float((pool_K * weights_K).sum() / pool_K.sum())
    return round(share * num_train)


def _check_thinned(config: TrialConfig, labels_N: Tensor, kept_N: Tensor) -> None:
    settings = (
        f"train_fraction={config.train_fraction!r}, imbalance_factor={config.imbalance_factor!r}"
    )
    lost = sorted(set(labels_N.tolist()) - set(labels_N[kept_N].tolist()))
    if lost:
        msg = (
            "every class must keep at least one training sample, but with "
            f"{settings} class(es) {lost} of data set {config.dataset!r} keep none of "
            f"{len(labels_N)} at seed={config.seed}; raise train_fraction, lower imbalance_factor "
            "or raise train_samples."
        )
        raise DatasetError(msg)
    if config.batch_size > len(kept_N):
        msg = (
            "`batch_size <= number of training samples` must hold, but got "
            f"batch_size={config.batch_size!r} with {len(kept_N)} training samples of "
            f"{config.dataset!r} left by {settings}; lower batch_size."
        )
        raise DatasetError(msg)


def _subset(config: TrialConfig, train_ids_N: Tensor) -> Tensor:
    """Return the training samples that a trial is shown, in their order; all at a share of 1."""
    if config.subset_share == 1:
        return train_ids_N
    num_shown = _num_shown(config, len(train_ids_N))
    if config.batch_size > num_shown:
        msg = (
            "`batch_size <= number of training samples` must hold, but got "
            f"batch_size={config.batch_size!r} with {num_shown} training samples of "
            f"{config.dataset!r} left by subset_share={config.subset_share!r}; lower batch_size."
        )
        raise DatasetError(msg)
    generator = torch.Generator().manual_seed(stream_seed(config.seed, "subset"))
    drawn_N = torch.randperm(len(train_ids_N), generator=generator)[:num_shown]
    return train_ids_N[drawn_N.sort().values]


def _num_shown(config: TrialConfig, num_train: int) -> int:
    return max(1, round(config.subset_share * num_train))

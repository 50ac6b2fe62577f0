"""Fewer training samples, class by class: how many are kept, and which."""

from typing import Any

import pytest
import torch

from rlp_sweeps.config import TrialConfig
from rlp_sweeps.errors import DatasetError
from rlp_sweeps.training.datasets import SplitDataset, split_dataset
from rlp_sweeps.training.splits import kept_of_classes, long_tail

CPU = torch.device("cpu")
ONES_K = torch.ones(10, dtype=torch.float64)


def split(**settings: Any) -> SplitDataset:
    base = {"arm": "control", "lr": 0.1, "rlp_lambda": 0.0, "seed": 0, "batch_size": 8}
    return split_dataset(TrialConfig(**{**base, **settings}), data_dir="", device=CPU)


def shuffled(*counts: int) -> torch.Tensor:
    labels_N = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    return labels_N[torch.randperm(len(labels_N), generator=torch.Generator().manual_seed(0))]


@pytest.mark.parametrize("num_kept", [10, 13, 250, 999])
def test_classes_of_one_size_keep_equally_many_up_to_one(num_kept: int) -> None:
    labels_N = shuffled(*[100] * 10)

    kept_K = labels_N[kept_of_classes(labels_N, ONES_K, num_kept=num_kept)].bincount()

    assert kept_K.sum() == num_kept
    assert kept_K.max() - kept_K.min() <= 1


def test_classes_of_several_sizes_keep_their_share() -> None:
    labels_N = shuffled(400, 200, 100)

    kept_N = kept_of_classes(labels_N, ONES_K[:3], num_kept=350)

    assert labels_N[kept_N].bincount().tolist() == [200, 100, 50]


def test_a_smaller_fraction_is_a_subset_of_a_larger_one() -> None:
    parts = [split(train_fraction=f, train_samples=900) for f in (0.03, 0.1, 0.34, 1.0)]

    ids = [set(part.train_ids_N.tolist()) for part in parts]
    assert [len(part) for part in ids] == [27, 90, 306, 900]
    assert ids[0] < ids[1] < ids[2] < ids[3]


def test_a_long_tail_keeps_the_counts_of_its_exponential_profile() -> None:
    labels_N, weights_K = shuffled(*[1000] * 10), long_tail(10, 100.0)

    kept_N = kept_of_classes(labels_N, weights_K, num_kept=round(1000 * float(weights_K.sum())))

    expected_K = 1000 * 100.0 ** (-torch.arange(10) / 9)
    assert (labels_N[kept_N].bincount() - expected_K).abs().max() < 1
    assert len(kept_N) == round(float(expected_K.sum()))
    assert (expected_K[0], expected_K[9]) == (1000, pytest.approx(10))


def test_seeds_keep_other_samples_but_equally_many() -> None:
    settings = {"train_fraction": 0.7, "imbalance_factor": 9.0}

    parts = [split(seed=seed, **settings) for seed in range(6)]

    assert len({len(part.train_labels_N) for part in parts}) == 1
    assert len({tuple(part.train_ids_N.tolist()) for part in parts}) == 6
    counts_K = torch.stack([part.train_labels_N.bincount() for part in parts]).double().mean(0)
    assert 7 < counts_K[0] / counts_K[9] < 11


@pytest.mark.parametrize("settings", [{"train_fraction": 0.2}, {"imbalance_factor": 10.0}], ids=str)
def test_thinning_leaves_validation_and_test_alone(settings: dict[str, Any]) -> None:
    whole, part = split(), split(**settings)

    assert len(part.train_labels_N) < len(whole.train_labels_N)
    for name in ("val_images_NCHW", "val_labels_N", "test_images_NCHW", "test_labels_N", "mean_C"):
        assert torch.equal(getattr(whole, name), getattr(part, name))


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"train_fraction": 0.008}, r"every class must keep .* train_fraction=0.008.* keep none"),
        ({"imbalance_factor": 1e6}, r"imbalance_factor=1000000.0 class\(es\) \[.*9\] of .*digits"),
        ({"train_fraction": 0.1, "batch_size": 128}, r"batch_size=128 with 100 training samples"),
    ],
    ids=str,
)
def test_too_few_samples_are_refused(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(DatasetError, match=sentence):
        split(**settings)

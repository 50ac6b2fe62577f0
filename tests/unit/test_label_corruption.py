"""Corrupted training labels: how many change, which, and what stays true."""

import math
from typing import Any

import pytest
import torch

from rlp_sweeps.config import TrialConfig
from rlp_sweeps.training.datasets import SplitDataset, load_image_arrays, split_dataset
from rlp_sweeps.training.label_corruption import corrupt_labels
from rlp_sweeps.training.random_labels import draw_random_labels

CPU = torch.device("cpu")
TRUE_LABELS_N = torch.arange(20_000) % 10


def corrupted(p: float, *, seed: int = 0) -> torch.Tensor:
    return corrupt_labels(TRUE_LABELS_N, label_corruption=p, num_classes=10, seed=seed)


def split(**settings: Any) -> SplitDataset:
    base: dict[str, Any] = {"arm": "control", "lr": 0.1, "rlp_lambda": 0.0, "seed": 0}
    return split_dataset(TrialConfig(**base, **settings), data_dir="", device=CPU)


@pytest.mark.parametrize(("p", "changed"), [(0.2, 0.18), (0.8, 0.72), (1.0, 0.9)])
def test_corruption_changes_the_share_that_redrawing_all_classes_gives(
    p: float, changed: float
) -> None:
    share = float((corrupted(p) != TRUE_LABELS_N).double().mean())

    assert abs(share - changed) < 4 * math.sqrt(changed * (1 - changed) / len(TRUE_LABELS_N))


def test_redrawn_labels_are_uniform_and_independent_of_the_true_ones() -> None:
    pairs_KK = torch.zeros(10, 10).index_put_(
        (TRUE_LABELS_N, corrupted(1.0)), torch.ones(()), accumulate=True
    )

    chi_squared = float(((pairs_KK - 200) ** 2 / 200).sum())
    assert 50 < chi_squared < 145  # 90 degrees of freedom, four standard deviations


def test_more_corruption_redraws_the_same_labels_alike_and_more() -> None:
    few_N, many_N = corrupted(0.3), corrupted(0.6)

    was_redrawn_N = few_N != TRUE_LABELS_N
    assert torch.equal(few_N[was_redrawn_N], many_N[was_redrawn_N])
    assert (many_N != TRUE_LABELS_N).sum() > was_redrawn_N.sum()
    assert not torch.equal(corrupted(0.3, seed=1), few_N)


def test_a_samples_label_does_not_depend_on_which_others_are_trained_on() -> None:
    whole = split(label_corruption=0.5)

    for fewer in ({"train_samples": 200}, {"train_fraction": 0.3}, {"imbalance_factor": 4.0}):
        part = split(label_corruption=0.5, **fewer)
        where_N = torch.tensor([whole.train_ids_N.tolist().index(i) for i in part.train_ids_N])
        assert torch.equal(whole.train_labels_N[where_N], part.train_labels_N)


def test_corruption_leaves_validation_test_and_true_labels_alone() -> None:
    plain, changed = split(), split(label_corruption=1.0)

    assert (changed.train_labels_N != plain.train_labels_N).double().mean() > 0.8
    for name in ("true_labels_N", "train_images_NCHW", "val_labels_N", "test_labels_N"):
        assert torch.equal(getattr(plain, name), getattr(changed, name))
    pool = load_image_arrays("digits", data_dir="")
    assert torch.equal(changed.true_labels_N, pool.train_labels_N[changed.train_ids_N])


def test_random_labels_tell_nothing_of_corrupted_ones() -> None:
    random_labels_N = draw_random_labels(seed=0, pool_size=20_000, num_random_labels=10)

    is_same_N = corrupted(1.0) == random_labels_N

    assert abs(float(is_same_N.double().mean()) - 0.1) < 4 * math.sqrt(0.09 / 20_000)


def test_a_corruption_seed_plants_the_same_labels_in_all_seeds() -> None:
    def planted(seed: int, **settings: Any) -> dict[int, int]:
        config = TrialConfig(
            arm="control", lr=0.1, rlp_lambda=0.0, seed=seed, label_corruption=0.5, **settings
        )
        data = split_dataset(config, data_dir="", device=CPU)
        return dict(zip(data.train_ids_N.tolist(), data.train_labels_N.tolist(), strict=True))

    fixed, again, own = planted(0, corruption_seed=3), planted(1, corruption_seed=3), planted(1)

    both = fixed.keys() & again.keys()
    assert len(both) > 400
    assert all(fixed[i] == again[i] for i in both)
    assert any(own[i] != again[i] for i in both)
    assert own == planted(1, corruption_seed=1)

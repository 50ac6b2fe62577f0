"""Names, splits and normalization of data sets."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from rlp_sweeps.config import TrialConfig
from rlp_sweeps.errors import DatasetError
from rlp_sweeps.training import datasets
from rlp_sweeps.training.datasets import (
    DatasetInfo,
    ImageArrays,
    check_dataset,
    check_split,
    describe_dataset,
    load_image_arrays,
    normalize,
    split_dataset,
)
from rlp_sweeps.training.normalization import channel_statistics

CPU = torch.device("cpu")
TINY = "synthetic:1,4,4,2,40"


def make_config(**settings: Any) -> TrialConfig:
    return TrialConfig(
        **{"arm": "control", "lr": 0.1, "rlp_lambda": 0.0, "seed": 0, "batch_size": 2, **settings}
    )


def split(**settings: Any) -> datasets.SplitDataset:
    return split_dataset(make_config(**settings), data_dir=".", device=CPU)


@pytest.fixture
def user_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = """
import torch
from rlp_sweeps.training.datasets import ImageArrays

def load(data_dir):
    pool = torch.arange(9, dtype=torch.uint8).view(9, 1, 1, 1).expand(9, 2, 3, 3)
    labels = torch.arange(9) % 3
    return ImageArrays(train_images_NCHW=pool, train_labels_N=labels, test_images_NCHW=None,
                       test_labels_N=None, num_classes=3)

def load_list(data_dir):
    return [data_dir]
"""
    (tmp_path / "my_images.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_images", raising=False)
    datasets._load.cache_clear()
    datasets._channel_statistics.cache_clear()


def test_digits_equal_those_that_scikit_learn_loads() -> None:
    from sklearn.datasets import load_digits

    digits = load_digits()

    arrays = load_image_arrays("digits", data_dir="")

    expected_NHW = (torch.from_numpy(digits.images) * 255 / 16).round().to(torch.uint8)
    assert torch.equal(arrays.train_images_NCHW[:, 0], expected_NHW)
    assert torch.equal(arrays.train_labels_N, torch.from_numpy(digits.target).long())


def test_digits_are_split_into_test_third_and_validation_ninth() -> None:
    data = split(dataset="digits")

    sizes = [len(labels) for labels in (data.train_labels_N, data.val_labels_N, data.test_labels_N)]
    assert sizes == [999, 199, 599]
    assert data.image_shape == (1, 8, 8)
    assert data.train_images_NCHW.dtype == torch.uint8
    assert int(data.train_images_NCHW.max()) == 255


def test_parts_of_a_pool_are_disjoint_and_cover_it(user_module: None) -> None:
    data = split(dataset="my_images.load")

    parts = (data.train_images_NCHW, data.val_images_NCHW, data.test_images_NCHW)
    pixels = torch.cat([part[:, 0, 0, 0] for part in parts])
    assert sorted(pixels.tolist()) == list(range(9))


def test_train_ids_point_into_the_pool() -> None:
    data = split(dataset=TINY, seed=3)

    pool = load_image_arrays(TINY, data_dir=".")
    assert torch.equal(pool.train_images_NCHW[data.train_ids_N], data.train_images_NCHW)
    assert torch.equal(pool.train_labels_N[data.train_ids_N], data.train_labels_N)
    assert data.pool_size == 40


def test_an_own_test_set_is_kept_whole() -> None:
    data = split(dataset=TINY)

    pool = load_image_arrays(TINY, data_dir=".")
    assert pool.test_labels_N is not None
    assert len(data.val_labels_N) == 4
    assert len(data.train_labels_N) == 36
    assert sorted(data.test_labels_N.tolist()) == sorted(pool.test_labels_N.tolist())


def test_split_keeps_validation_and_test_when_training_is_limited() -> None:
    whole = split(dataset="digits", val_samples=50, test_samples=60)

    limited = split(dataset="digits", val_samples=50, test_samples=60, train_samples=100)

    assert torch.equal(whole.val_images_NCHW, limited.val_images_NCHW)
    assert torch.equal(whole.test_images_NCHW, limited.test_images_NCHW)
    assert torch.equal(whole.train_ids_N[:100], limited.train_ids_N)


def test_a_subset_is_a_share_of_the_training_samples_drawn_by_the_seed() -> None:
    whole = [split(dataset="digits", seed=seed) for seed in (0, 1)]

    subsets = [split(dataset="digits", seed=seed, subset_share=0.7) for seed in (0, 1)]

    for all_of, some_of in zip(whole, subsets, strict=True):
        assert len(some_of.train_labels_N) == 699
        assert set(some_of.train_ids_N.tolist()) < set(all_of.train_ids_N.tolist())
        assert torch.equal(all_of.test_images_NCHW, some_of.test_images_NCHW)
        assert torch.equal(all_of.val_images_NCHW, some_of.val_images_NCHW)


def test_a_subset_is_drawn_by_a_stream_of_its_own() -> None:
    whole = [split(dataset="digits", seed=seed).train_ids_N.tolist() for seed in (0, 1)]
    subsets = [split(dataset="digits", seed=seed, subset_share=0.3) for seed in (0, 1)]

    first, second = (
        [ids.index(i) for i in subset.train_ids_N.tolist()]
        for ids, subset in zip(whole, subsets, strict=True)
    )

    assert first == sorted(first)  # in the order of the split
    assert first != list(range(len(first)))  # and not its beginning
    assert first != second


def test_subsets_leave_every_sample_out_as_often_as_another() -> None:
    shown = torch.zeros(40)
    for seed in range(400):
        shown[split(dataset=TINY, seed=seed, subset_share=0.5).train_ids_N] += 1

    expected, spread = 400 * 0.45, (400 * 0.45 * 0.55) ** 0.5
    assert ((shown - expected).abs() < 4 * spread).all()
    assert shown.std() > spread / 2  # drawn, not one and the same


def test_a_subset_smaller_than_a_batch_is_refused() -> None:
    config = make_config(dataset=TINY, subset_share=0.1, batch_size=8)

    with pytest.raises(DatasetError, match=r"with 4 training samples .* or subset_share\."):
        check_split(config, load_image_arrays(TINY, data_dir=".").info)


def test_split_depends_on_the_seed_alone() -> None:
    first, again, other = (split(dataset=TINY, seed=seed, lr=0.1 + seed) for seed in (0, 0, 1))

    assert torch.equal(first.train_ids_N, again.train_ids_N)
    assert not torch.equal(first.train_ids_N, other.train_ids_N)


def test_test_samples_limits_an_own_test_set() -> None:
    assert len(split(dataset=TINY, test_samples=3).test_labels_N) == 3


@pytest.mark.parametrize(
    ("settings", "rule"),
    [
        ({"test_samples": 11}, r"`test_samples <= 10` must hold"),
        ({"train_samples": 37}, r"must fit into its pool of 40 samples"),
        ({"val_samples": 40}, r"must fit into its pool of 40 samples"),
        ({"batch_size": 37}, r"`batch_size <= number of training samples` must hold"),
    ],
)
def test_split_refuses_more_than_the_data_has(settings: dict[str, int], rule: str) -> None:
    with pytest.raises(DatasetError, match=rule):
        split(dataset=TINY, **settings)


def test_check_split_refuses_without_reading_images() -> None:
    info = DatasetInfo(image_shape=(1, 8, 8), num_classes=10, num_train=90, num_test=0)

    check_split(make_config(batch_size=50), info)
    with pytest.raises(DatasetError, match="with 50 training samples"):
        check_split(make_config(batch_size=51), info)


def test_load_image_arrays_reads_once_a_process() -> None:
    assert load_image_arrays(TINY, data_dir=".") is load_image_arrays(TINY, data_dir=".")


def test_check_dataset_suggests_a_name_for_an_unknown_one() -> None:
    with pytest.raises(DatasetError, match=r"unknown data set 'cifar11'; did you mean 'cifar10'\?"):
        check_dataset("cifar11", data_dir=".")


def test_check_dataset_refuses_a_dotted_path_that_cannot_be_imported(user_module: None) -> None:
    check_dataset("my_images.load", data_dir=".")
    check_dataset("my_images:load", data_dir=".")
    with pytest.raises(DatasetError, match="has no 'lod'"):
        check_dataset("my_images.lod", data_dir=".")
    with pytest.raises(DatasetError, match="there is no module 'no_such_module'"):
        check_dataset("no_such_module:load", data_dir=".")


def test_a_users_loader_must_return_image_arrays(user_module: None) -> None:
    with pytest.raises(DatasetError, match=r"must return .*ImageArrays .* but returned a list"):
        load_image_arrays("my_images:load_list", data_dir=".")


def test_describe_dataset_agrees_with_the_images() -> None:
    for name in ("digits", TINY):
        info = describe_dataset(name, data_dir=".")

        assert info == load_image_arrays(name, data_dir=".").info


def test_default_synthetic_has_the_stated_sizes() -> None:
    info = describe_dataset("synthetic", data_dir=".")

    assert info == DatasetInfo(
        image_shape=(3, 32, 32), num_classes=10, num_train=2048, num_test=512
    )


def test_synthetic_classes_are_learnable_by_nearest_prototype() -> None:
    arrays = load_image_arrays("synthetic:3,8,8,4,400", data_dir=".")
    images_ND, labels_N = arrays.train_images_NCHW.float().flatten(1), arrays.train_labels_N

    means_KD = torch.stack([images_ND[labels_N == k].mean(0) for k in range(4)])

    assert arrays.test_images_NCHW is not None
    nearest_N = torch.cdist(arrays.test_images_NCHW.float().flatten(1), means_KD).argmin(1)
    assert torch.equal(nearest_N, arrays.test_labels_N)


@pytest.mark.parametrize(
    "name", ["synthetic:1,4,4,2", "synthetic:0,4,4,2,40", "synthetic:1,4,4,1,40"]
)
def test_synthetic_refuses_another_form(name: str) -> None:
    with pytest.raises(DatasetError, match=r"`synthetic:C,H,W,K,N`"):
        check_dataset(name, data_dir=".")


def test_normalize_gives_zero_mean_and_unit_variance_over_the_pool() -> None:
    images_NCHW = load_image_arrays("synthetic:3,8,8,4,400", data_dir=".").train_images_NCHW

    normalized_NCHW = normalize(images_NCHW, *channel_statistics(images_NCHW))

    assert normalized_NCHW.dtype == torch.float32
    torch.testing.assert_close(normalized_NCHW.mean((0, 2, 3)), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(
        normalized_NCHW.var((0, 2, 3), correction=0), torch.ones(3), atol=1e-4, rtol=0
    )


def test_normalize_agrees_with_torchvision_and_leaves_float_input_alone() -> None:
    from torchvision.transforms.functional import normalize as reference

    images_NCHW = torch.randint(256, (5, 3, 4, 4), dtype=torch.uint8)
    mean_C, std_C = torch.tensor([0.5, 0.4, 0.3]), torch.tensor([0.2, 0.3, 0.1])
    floats_NCHW = images_NCHW.float()

    result_NCHW = normalize(floats_NCHW, mean_C, std_C)

    expected = reference(images_NCHW / 255, mean_C.tolist(), std_C.tolist())
    torch.testing.assert_close(result_NCHW, expected)
    assert torch.equal(normalize(images_NCHW, mean_C, std_C), result_NCHW)
    assert torch.equal(floats_NCHW, images_NCHW.float())


def test_channel_statistics_refuse_a_constant_channel() -> None:
    with pytest.raises(DatasetError, match="must vary"):
        channel_statistics(torch.zeros(2, 1, 3, 3, dtype=torch.uint8))


IMAGES, LABELS = torch.zeros(4, 1, 2, 2, dtype=torch.uint8), torch.tensor([0, 1, 0, 1])


@pytest.mark.parametrize(
    ("changed", "rule"),
    [
        ({"train_images_NCHW": IMAGES.float()}, "`train_images_NCHW` must be a torch.uint8"),
        ({"train_labels_N": LABELS.int()}, "`train_labels_N` must be a torch.int64"),
        ({"train_labels_N": LABELS[:3]}, "as many train images as labels"),
        ({"train_labels_N": LABELS + 1}, "labels from 1 to 2 with num_classes=2"),
        ({"test_images_NCHW": IMAGES}, "both test images and test labels"),
        ({"test_images_NCHW": IMAGES[..., :1], "test_labels_N": LABELS}, "must have one shape"),
    ],
)
def test_image_arrays_refuse_what_breaks_their_rules(changed: dict[str, Any], rule: str) -> None:
    whole = {
        "train_images_NCHW": IMAGES,
        "train_labels_N": LABELS,
        "test_images_NCHW": None,
        "test_labels_N": None,
        "num_classes": 2,
    }

    ImageArrays(**whole)
    with pytest.raises(DatasetError, match=rule):
        ImageArrays(**{**whole, **changed})

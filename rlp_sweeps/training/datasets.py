"""Data sets by name, or by the dotted path of a user's own loader, split for one trial.

Images stay uint8 on the device and are normalized batch by batch. A user's loader takes the data
folder and returns `ImageArrays`. With this in ``my_data.py``, the setting
``dataset="my_data.load_spirals"`` trains on it::

    def load_spirals(data_dir: str) -> ImageArrays:
        images, labels = ...
        return ImageArrays(train_images_NCHW=images, train_labels_N=labels, test_images_NCHW=None,
                           test_labels_N=None, num_classes=3)

Shapes: N samples, C H W image, K classes.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from rlp_sweeps.config import TrialConfig
from rlp_sweeps.errors import DatasetError
from rlp_sweeps.misspelling import advice
from rlp_sweeps.training.dataset_sources import SOURCES
from rlp_sweeps.training.dotted_paths import import_function, is_dotted_path
from rlp_sweeps.training.given_data import given_image_arrays
from rlp_sweeps.training.image_arrays import DatasetInfo, ImageArrays, NetworkInputs
from rlp_sweeps.training.label_corruption import corrupt_labels, seed_of_corruption
from rlp_sweeps.training.normalization import channel_statistics, normalize
from rlp_sweeps.training.splits import num_train_samples, sizes_of_split, split_ids, thins
from rlp_sweeps.training.synthetic import describe_synthetic, generate_synthetic, is_synthetic
from rlp_sweeps.training.views import Views, draw_views
from rlp_sweeps.user_errors import kind_of

__all__ = [
    "DATASETS",
    "DatasetInfo",
    "ImageArrays",
    "NetworkInputs",
    "SplitDataset",
    "check_dataset",
    "check_images",
    "check_split",
    "check_thinned",
    "count_train_samples",
    "describe_dataset",
    "forget_images",
    "load_image_arrays",
    "network_inputs",
    "normalize",
    "pool_labels",
    "split_dataset",
]

DATASETS = (*SOURCES, "synthetic")
"""Names of the data sets that come with the package."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SplitDataset:
    """One trial's data, on its device. Never written to.

    Attributes:
        train_images_NCHW: uint8.
        train_labels_N: Labels trained on, int64, in [0, K); those of the first view where each view
            has its own.
        true_labels_N: True classes of the training samples, int64; the same where none is changed.
        train_ids_N: int64, each sample's index in the training pool; random labels are keyed by it.
        val_images_NCHW: uint8.
        val_labels_N: int64.
        test_images_NCHW: uint8.
        test_labels_N: int64.
        mean_C: Mean of ``pixel / 255`` over the whole training pool, float32.
        std_C: Standard deviation of the same, float32, > 0.
        num_classes: K.
        pool_size: Samples of the training pool.
        views: Fixed views of the training samples; None where augmentation is drawn anew.
    """

    train_images_NCHW: Tensor
    train_labels_N: Tensor
    true_labels_N: Tensor
    train_ids_N: Tensor
    val_images_NCHW: Tensor
    val_labels_N: Tensor
    test_images_NCHW: Tensor
    test_labels_N: Tensor
    mean_C: Tensor
    std_C: Tensor
    num_classes: int
    pool_size: int
    views: Views | None = None

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        _, channels, height, width = self.train_images_NCHW.shape
        return channels, height, width


def describe_dataset(dataset: str, *, data_dir: str) -> DatasetInfo | None:
    """Return what is known of a data set without reading its images, or None for a user's loader.

    Args:
        dataset: A name of `DATASETS`, ``synthetic:C,H,W,K,N``, or a dotted path.
        data_dir: Folder that holds the files, laid out as torchvision does.

    Raises:
        DatasetError: The name is unknown, the path cannot be imported or files are absent.
    """
    if is_synthetic(dataset):
        return describe_synthetic(dataset)
    if dataset in SOURCES:
        return SOURCES[dataset].describe(_folder(data_dir))
    if is_dotted_path(dataset):
        import_function(dataset, error=DatasetError)
        return None
    known = f"they are {list(DATASETS)}, 'synthetic:C,H,W,K,N', or the dotted path of a loader."
    msg = f"unknown data set {dataset!r}; {advice(dataset, DATASETS, otherwise=known)}"
    raise DatasetError(msg)


def check_dataset(dataset: str, *, data_dir: str) -> None:
    """Refuse a data set before a sweep starts, without reading its images.

    Raises:
        DatasetError: The name is unknown, the path cannot be imported or files are absent.
    """
    describe_dataset(dataset, data_dir=data_dir)


def check_split(config: TrialConfig, info: DatasetInfo) -> None:
    """Refuse a split or a batch that is larger than the data.

    Raises:
        DatasetError: The sizes asked for do not fit.
    """
    sizes_of_split(config, info)


def check_thinned(config: TrialConfig, *, data_dir: str) -> None:
    """Refuse `train_fraction` and `imbalance_factor` that leave too few samples; reads the labels.

    Raises:
        DatasetError: A class keeps no training sample at the trial's seed, or a batch is larger
            than what is left.
    """
    if thins(config):
        split_ids(config, load_image_arrays(config.dataset, data_dir=data_dir))


def count_train_samples(config: TrialConfig, *, data_dir: str) -> int | None:
    """Return how many samples a trial is trained on, whatever its seed; None for a user's loader.

    Labels are read where `train_fraction` or `imbalance_factor` thin them.

    Raises:
        DatasetError: The data set cannot be read, or is smaller than what is asked for.
    """
    info = describe_dataset(config.dataset, data_dir=data_dir)
    if info is None:
        return None
    if not thins(config):
        return num_train_samples(config, info, pool_labels_N=None)
    arrays = load_image_arrays(config.dataset, data_dir=data_dir)
    return num_train_samples(config, info, pool_labels_N=arrays.train_labels_N)


def load_image_arrays(dataset: str, *, data_dir: str) -> ImageArrays:
    """Return a data set's images; read once a process, and shared by its trials.

    A process that was given them (`given_data`) reads nothing.

    Args:
        dataset: A name of `DATASETS`, ``synthetic:C,H,W,K,N``, or a dotted path.
        data_dir: Folder that holds the files, laid out as torchvision does.

    Raises:
        DatasetError: The name is unknown, files are absent or broken, or a user's loader returns
            something else.
    """
    return _load(dataset, _folder(data_dir))


def network_inputs(dataset: str, *, data_dir: str) -> NetworkInputs:
    """Return what networks read that are trained on a data set; on the CPU.

    Args:
        dataset: A name of `DATASETS`, ``synthetic:C,H,W,K,N``, or a dotted path.
        data_dir: Folder that holds the files, laid out as torchvision does.

    Raises:
        DatasetError: As `load_image_arrays` raises, or a channel is constant.
    """
    info = load_image_arrays(dataset, data_dir=data_dir).info
    mean_C, std_C = _channel_statistics(dataset, _folder(data_dir))
    return NetworkInputs(
        image_shape=info.image_shape, num_classes=info.num_classes, mean_C=mean_C, std_C=std_C
    )


def split_dataset(config: TrialConfig, *, data_dir: str, device: torch.device) -> SplitDataset:
    """Return the trial's training, validation and test samples.

    The seed's ``split`` stream permutes the pool. Without a test set of the data set's own, test
    samples come first (a third of the pool unless `test_samples` says how many), then validation
    samples (a ninth). With one, validation samples (a tenth) come first, and `test_samples` of the
    test set are drawn by the same stream. The rest is for training, the first `train_samples` of
    it. A larger `train_samples` thus changes neither validation nor test. Of these
    `train_fraction` and `imbalance_factor` keep some, class by class, in the same order, of which
    the seed's ``subset`` stream draws the share `subset_share`; and `label_corruption` redraws
    labels. All of them leave validation and test alone.

    Raises:
        DatasetError: The data set cannot be read, or is smaller than what is asked for.
    """
    arrays = load_image_arrays(config.dataset, data_dir=data_dir)
    train_ids_N, val_ids_N, test_ids_N = split_ids(config, arrays)
    test_source_NCHW, test_labels_N = arrays.test_images_NCHW, arrays.test_labels_N
    if test_source_NCHW is None or test_labels_N is None:
        test_source_NCHW, test_labels_N = arrays.train_images_NCHW, arrays.train_labels_N
    views = draw_views(config, arrays, train_ids_N, device)
    train_labels_N = pool_labels(config, arrays)[train_ids_N].to(device)
    mean_C, std_C = _channel_statistics(config.dataset, _folder(data_dir))
    return SplitDataset(
        train_images_NCHW=arrays.train_images_NCHW[train_ids_N].to(device),
        train_labels_N=train_labels_N if views is None else views.first_labels(train_labels_N),
        true_labels_N=arrays.train_labels_N[train_ids_N].to(device),
        train_ids_N=train_ids_N.to(device),
        val_images_NCHW=arrays.train_images_NCHW[val_ids_N].to(device),
        val_labels_N=arrays.train_labels_N[val_ids_N].to(device),
        test_images_NCHW=test_source_NCHW[test_ids_N].to(device),
        test_labels_N=test_labels_N[test_ids_N].to(device),
        mean_C=mean_C.to(device),
        std_C=std_C.to(device),
        num_classes=arrays.num_classes,
        pool_size=len(arrays.train_labels_N),
        views=views,
    )


def pool_labels(config: TrialConfig, arrays: ImageArrays) -> Tensor:
    """Return the label of every sample of the pool that a trial trains on, or would, ``[N]``.

    Which labels are planted hangs on the seed, or on `corruption_seed`, where that is given, so
    that all seeds have the same.
    """
    return corrupt_labels(
        arrays.train_labels_N,
        label_corruption=config.label_corruption,
        num_classes=arrays.num_classes,
        seed=seed_of_corruption(config),
    )


def _folder(data_dir: str) -> Path:
    return Path(data_dir).expanduser().absolute()


def check_images(dataset: str, *, data_dir: str) -> None:
    """Refuse images that cannot be read or normalized, before a sweep starts; reads them.

    Raises:
        DatasetError: They cannot be read, or a channel is constant.
    """
    _channel_statistics(dataset, _folder(data_dir))


def forget_images() -> None:
    """Free the memory of the images that this process has read."""
    _load.cache_clear()


@lru_cache(maxsize=4)
def _load(dataset: str, folder: Path) -> ImageArrays:
    given = given_image_arrays(dataset, folder)
    if given is not None:
        return given
    describe_dataset(dataset, data_dir=str(folder))
    if is_synthetic(dataset):
        return generate_synthetic(dataset)
    if dataset in SOURCES:
        return SOURCES[dataset].load(folder)
    arrays = import_function(dataset, error=DatasetError)(str(folder))
    if not isinstance(arrays, ImageArrays):
        msg = (
            f"the loader {dataset!r} must return an ImageArrays of rlp_sweeps.training.datasets, "
            f"but returned {kind_of(arrays)}; end it with `return ImageArrays(…)`."
        )
        raise DatasetError(msg)
    return arrays


@lru_cache(maxsize=4)
def _channel_statistics(dataset: str, folder: Path) -> tuple[Tensor, Tensor]:
    return channel_statistics(_load(dataset, folder).train_images_NCHW)

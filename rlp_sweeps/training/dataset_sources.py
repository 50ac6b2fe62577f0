"""Where images come from: each data set's description, and the function that reads it.

Nothing is ever downloaded. Files are expected as torchvision lays them out below a folder.

Shapes: N samples, C H W image, K classes.
"""

import gzip
import importlib.util
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from rlp_sweeps.errors import DatasetError, DatasetFilesError
from rlp_sweeps.training.image_arrays import DatasetInfo, ImageArrays
from rlp_sweeps.training.image_folder import describe_image_folder, load_image_folder
from rlp_sweeps.user_errors import shortened

_OPENED = re.compile(r"<_io\.\w+ name='([^']*)'>")
"""How Python prints an opened file."""

_GRAY_28, _RGB_32 = (1, 28, 28), (3, 32, 32)


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetSource:
    """One named data set.

    Attributes:
        describe: Checks that the files are there and tells shapes and sizes, without reading
            images.
        load: Reads all images.
    """

    describe: Callable[[Path], DatasetInfo]
    load: Callable[[Path], ImageArrays]


@contextmanager
def reading_files(dataset: str, folder: Path) -> Iterator[None]:
    """Turn what broken or foreign files make a reader raise into a `DatasetError`.

    Raises:
        DatasetError: The files cannot be read.
    """
    broken = (RuntimeError, OSError, EOFError, ValueError, KeyError, AssertionError, zlib.error)
    try:
        yield
    except DatasetError:
        raise
    except broken as exc:
        reason = str(exc).partition(". You can use download=True")[0]
        reason = shortened(_OPENED.sub(r"\1", reason))
        msg = (
            f"the files of data set {dataset!r} in {folder} must be whole, but reading them failed "
            f"with {type(exc).__name__}: {reason}; replace them, or name another folder with "
            "`--set data_dir=FOLDER`."
        )
        raise DatasetError(msg) from exc


def _from_files(
    dataset: str,
    files: tuple[str, ...],
    info: DatasetInfo,
    load: Callable[[Path], ImageArrays],
    *,
    suffixes: tuple[str, ...] = ("",),
) -> DatasetSource:
    """Return a source whose files are known by name, relative to `data_dir`.

    A file may stand there with any of the suffixes.
    """

    def describe(data_dir: Path) -> DatasetInfo:
        if not data_dir.is_dir():
            what = "is a file" if data_dir.exists() else "does not exist"
            msg = (
                f"the files of data set {dataset!r} must stand in a folder as torchvision lays "
                f"them out, but {data_dir} {what}; name it with `--set data_dir=FOLDER`."
            )
            raise DatasetFilesError(msg)
        for name in files:
            if not any((data_dir / (name + suffix)).is_file() for suffix in suffixes):
                msg = (
                    f"data set {dataset!r} must stand in {data_dir} as torchvision lays it out, "
                    f"but {name!r} is absent; name its folder with `--set data_dir=FOLDER`."
                )
                raise DatasetFilesError(msg)
        return info

    def checked_load(data_dir: Path) -> ImageArrays:
        describe(data_dir)
        with reading_files(dataset, data_dir):
            return load(data_dir)

    return DatasetSource(describe=describe, load=checked_load)


def _digits_file() -> Path:
    package = importlib.util.find_spec("sklearn")
    if package is None or package.origin is None:
        msg = "the data set 'digits' comes with scikit-learn, which must be installed, but is not."
        raise DatasetError(msg)
    return Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"


def _load_digits(data_dir: Path) -> ImageArrays:
    """Read scikit-learn's own file, as ``load_digits`` does, without importing scikit-learn.

    Its import takes seconds in every process of a sweep. Each line holds 64 pixels in [0, 16] and
    the class.
    """
    table = torch.from_numpy(np.loadtxt(_digits_file(), delimiter=",", dtype=np.uint8))
    images_NHW = table[:, :-1].reshape(-1, 8, 8).double().mul(255 / 16).round().to(torch.uint8)
    return ImageArrays(
        train_images_NCHW=images_NHW.unsqueeze(1),
        train_labels_N=table[:, -1].long(),
        test_images_NCHW=None,
        test_labels_N=None,
        num_classes=10,
    )


def _load_fashion_mnist(data_dir: Path) -> ImageArrays:
    folder = data_dir / "FashionMNIST" / "raw"
    return ImageArrays(
        train_images_NCHW=_read_idx(folder / "train-images-idx3-ubyte").unsqueeze(1),
        train_labels_N=_read_idx(folder / "train-labels-idx1-ubyte").long(),
        test_images_NCHW=_read_idx(folder / "t10k-images-idx3-ubyte").unsqueeze(1),
        test_labels_N=_read_idx(folder / "t10k-labels-idx1-ubyte").long(),
        num_classes=10,
    )


def _read_idx(path: Path) -> Tensor:
    """Return a file of the IDX format, uint8.

    torchvision reads the unpacked file only; the packed one is read too, because a data folder
    that holds the four downloads may not be writable.
    """
    packed = path.with_name(path.name + ".gz")
    content = path.read_bytes() if path.is_file() else gzip.decompress(packed.read_bytes())
    num_dims = content[3] if content[:3] == b"\x00\x00\x08" else 0
    if num_dims == 0:
        msg = f"{path.name} is no IDX file of unsigned bytes"
        raise ValueError(msg)
    start = 4 + 4 * num_dims
    shape = [int.from_bytes(content[i : i + 4], "big") for i in range(4, start, 4)]
    body = torch.frombuffer(bytearray(content[start:]), dtype=torch.uint8)
    if body.numel() != torch.Size(shape).numel():
        msg = f"{path.name} is not whole: its head says {shape}, but {body.numel()} bytes follow"
        raise ValueError(msg)
    return body.view(shape)


def _load_cifar(class_name: str, num_classes: int) -> Callable[[Path], ImageArrays]:
    def load(data_dir: Path) -> ImageArrays:
        import torchvision.datasets

        kind = getattr(torchvision.datasets, class_name)
        train, test = (kind(data_dir, train=is_train, download=False) for is_train in (True, False))
        return ImageArrays(
            train_images_NCHW=torch.from_numpy(train.data).permute(0, 3, 1, 2).contiguous(),
            train_labels_N=torch.tensor(train.targets),
            test_images_NCHW=torch.from_numpy(test.data).permute(0, 3, 1, 2).contiguous(),
            test_labels_N=torch.tensor(test.targets),
            num_classes=num_classes,
        )

    return load


def _load_svhn(data_dir: Path) -> ImageArrays:
    from torchvision.datasets import SVHN

    train, test = (SVHN(data_dir, split=split, download=False) for split in ("train", "test"))
    return ImageArrays(
        train_images_NCHW=torch.from_numpy(train.data).contiguous(),
        train_labels_N=torch.from_numpy(train.labels),
        test_images_NCHW=torch.from_numpy(test.data).contiguous(),
        test_labels_N=torch.from_numpy(test.labels),
        num_classes=10,
    )


def _describe_image_folder(data_dir: Path) -> DatasetInfo:
    with reading_files("image_folder", data_dir):
        return describe_image_folder(data_dir)


def _load_image_folder(data_dir: Path) -> ImageArrays:
    with reading_files("image_folder", data_dir):
        return load_image_folder(data_dir)


_DIGITS = DatasetInfo(image_shape=(1, 8, 8), num_classes=10, num_train=1797, num_test=0)
_CIFAR10_FILES = (*(f"data_batch_{index}" for index in range(1, 6)), "test_batch", "batches.meta")
_IDX_FILES = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")

SOURCES: dict[str, DatasetSource] = {
    "digits": DatasetSource(describe=lambda _: _DIGITS, load=_load_digits),
    "fashion_mnist": _from_files(
        "fashion_mnist",
        tuple(f"FashionMNIST/raw/{name}-ubyte" for name in _IDX_FILES),
        DatasetInfo(image_shape=_GRAY_28, num_classes=10, num_train=60_000, num_test=10_000),
        _load_fashion_mnist,
        suffixes=("", ".gz"),
    ),
    "cifar10": _from_files(
        "cifar10",
        tuple(f"cifar-10-batches-py/{name}" for name in _CIFAR10_FILES),
        DatasetInfo(image_shape=_RGB_32, num_classes=10, num_train=50_000, num_test=10_000),
        _load_cifar("CIFAR10", 10),
    ),
    "cifar100": _from_files(
        "cifar100",
        tuple(f"cifar-100-python/{name}" for name in ("train", "test", "meta")),
        DatasetInfo(image_shape=_RGB_32, num_classes=100, num_train=50_000, num_test=10_000),
        _load_cifar("CIFAR100", 100),
    ),
    "svhn": _from_files(
        "svhn",
        ("train_32x32.mat", "test_32x32.mat"),
        DatasetInfo(image_shape=_RGB_32, num_classes=10, num_train=73_257, num_test=26_032),
        _load_svhn,
    ),
    "image_folder": DatasetSource(describe=_describe_image_folder, load=_load_image_folder),
}
"""Data sets that are read; `synthetic` is generated."""

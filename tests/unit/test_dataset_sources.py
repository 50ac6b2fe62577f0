"""Reading image files: layouts, absent and broken files. Nothing is downloaded."""

import gzip
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from rlp_sweeps.errors import DatasetError
from rlp_sweeps.training.dataset_sources import SOURCES
from rlp_sweeps.training.datasets import check_dataset, load_image_arrays

REAL_DATA = (Path(__file__).parents[2] / ".." / "shared" / "data").resolve()
CIFAR_FILES = {
    "cifar10": ("cifar-10-batches-py", "CIFAR10"),
    "cifar100": ("cifar-100-python", "CIFAR100"),
}


def write_idx(path: Path, values: np.ndarray, *, packed: bool) -> None:
    header = bytes([0, 0, 8, values.ndim]) + b"".join(n.to_bytes(4, "big") for n in values.shape)
    content = header + values.astype(np.uint8).tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    if packed:
        path.with_name(path.name + ".gz").write_bytes(gzip.compress(content))
    else:
        path.write_bytes(content)


def write_fashion_mnist(root: Path, *, packed: bool = True) -> np.ndarray:
    images = np.arange(3 * 28 * 28).reshape(3, 28, 28) % 256
    for part, count in (("train", 3), ("t10k", 2)):
        raw = root / "FashionMNIST" / "raw"
        write_idx(raw / f"{part}-images-idx3-ubyte", images[:count], packed=packed)
        write_idx(raw / f"{part}-labels-idx1-ubyte", np.array([7, 0, 9])[:count], packed=packed)
    return images


def write_image_folder(root: Path, *, size: tuple[int, int] = (5, 4), test: str = "test") -> None:
    for part in ("train", test):
        for value, name in ((10, "cat"), (200, "dog")):
            folder = root / part / name
            folder.mkdir(parents=True)
            Image.new("RGB", size, (value, 0, 255)).save(folder / "0.png")


@pytest.mark.parametrize("packed", [True, False])
def test_fashion_mnist_is_read_packed_or_unpacked(tmp_path: Path, packed: bool) -> None:
    images = write_fashion_mnist(tmp_path, packed=packed)

    check_dataset("fashion_mnist", data_dir=str(tmp_path))
    arrays = load_image_arrays("fashion_mnist", data_dir=str(tmp_path))

    assert torch.equal(arrays.train_images_NCHW[:, 0], torch.from_numpy(images).to(torch.uint8))
    assert arrays.train_labels_N.tolist() == [7, 0, 9]
    assert arrays.info.num_test == 2


def test_fashion_mnist_refuses_a_file_cut_short(tmp_path: Path) -> None:
    write_fashion_mnist(tmp_path)
    path = tmp_path / "FashionMNIST" / "raw" / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-20])

    with pytest.raises(DatasetError, match=f"in {tmp_path} must be whole"):
        load_image_arrays("fashion_mnist", data_dir=str(tmp_path))


def test_fashion_mnist_refuses_a_file_of_another_format(tmp_path: Path) -> None:
    write_fashion_mnist(tmp_path, packed=False)
    path = tmp_path / "FashionMNIST" / "raw" / "t10k-labels-idx1-ubyte"
    path.write_bytes(path.read_bytes() + b"\x00")

    with pytest.raises(DatasetError, match="is not whole: its head says"):
        load_image_arrays("fashion_mnist", data_dir=str(tmp_path))


@pytest.mark.parametrize("name", ["fashion_mnist", "cifar10", "cifar100", "svhn", "image_folder"])
def test_absent_files_are_refused_with_the_folder_and_the_way_out(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    with pytest.raises(DatasetError, match=rf"{tmp_path}/nowhere.*`--set data_dir=FOLDER`"):
        check_dataset(name, data_dir="nowhere")
    with pytest.raises(DatasetError, match=rf"{tmp_path}/nowhere.*`--set data_dir=FOLDER`"):
        load_image_arrays(name, data_dir="nowhere")


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "svhn"])
def test_corrupt_files_become_a_dataset_error(tmp_path: Path, name: str) -> None:
    files = {
        "cifar10": [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch", "batches.meta"],
        "cifar100": ["train", "test", "meta"],
        "svhn": ["train_32x32.mat", "test_32x32.mat"],
    }[name]
    folder = tmp_path / CIFAR_FILES[name][0] if name in CIFAR_FILES else tmp_path
    folder.mkdir(exist_ok=True)
    for file in files:
        (folder / file).write_bytes(b"no such data")

    check_dataset(name, data_dir=str(tmp_path))
    with pytest.raises(DatasetError, match="RuntimeError: Dataset not found or corrupted; replace"):
        load_image_arrays(name, data_dir=str(tmp_path))


def test_cifar100_is_read_channels_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torchvision.datasets

    data = np.random.default_rng(0).integers(0, 256, (4, 3072)).astype(np.uint8)
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    for part in ("train", "test"):
        content = {"data": data, "fine_labels": [99, 0, 5, 6]}
        (folder / part).write_bytes(pickle.dumps(content))
    (folder / "meta").write_bytes(b"")
    monkeypatch.setattr(torchvision.datasets.CIFAR100, "_check_integrity", lambda self: True)
    monkeypatch.setattr(torchvision.datasets.CIFAR100, "_load_meta", lambda self: None)

    arrays = load_image_arrays("cifar100", data_dir=str(tmp_path))

    assert torch.equal(arrays.train_images_NCHW.flatten(1), torch.from_numpy(data))
    assert arrays.train_labels_N.tolist() == [99, 0, 5, 6]
    assert arrays.num_classes == 100


def test_svhn_is_read_with_zero_as_class_0(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import scipy.io
    import torchvision.datasets

    data = np.random.default_rng(0).integers(0, 256, (32, 32, 3, 2)).astype(np.uint8)
    for part in ("train", "test"):
        content = {"X": data, "y": np.array([[10], [3]], dtype=np.uint8)}
        scipy.io.savemat(tmp_path / f"{part}_32x32.mat", content)
    monkeypatch.setattr(torchvision.datasets.SVHN, "_check_integrity", lambda self: True)

    arrays = load_image_arrays("svhn", data_dir=str(tmp_path))

    assert arrays.train_labels_N.tolist() == [0, 3]
    assert torch.equal(arrays.train_images_NCHW[1, 2], torch.from_numpy(data[:, :, 2, 1]))


@pytest.mark.parametrize("test", ["test", "val"])
def test_image_folder_reads_rgb_images_of_one_size(tmp_path: Path, test: str) -> None:
    write_image_folder(tmp_path, test=test)

    info = SOURCES["image_folder"].describe(tmp_path)
    arrays = load_image_arrays("image_folder", data_dir=str(tmp_path))

    assert info == arrays.info
    assert info.image_shape == (3, 4, 5)
    assert arrays.train_labels_N.tolist() == [0, 1]
    assert arrays.train_images_NCHW[1, :, 0, 0].tolist() == [200, 0, 255]


def test_image_folder_refuses_images_of_several_sizes(tmp_path: Path) -> None:
    write_image_folder(tmp_path)
    Image.new("RGB", (9, 9)).save(tmp_path / "train" / "dog" / "1.png")

    with pytest.raises(DatasetError, match=r"must have one size, 5x4 as the first, but got 9x9"):
        load_image_arrays("image_folder", data_dir=str(tmp_path))


def test_image_folder_refuses_other_classes_in_test(tmp_path: Path) -> None:
    write_image_folder(tmp_path)
    (tmp_path / "test" / "dog").rename(tmp_path / "test" / "fox")

    with pytest.raises(DatasetError, match=r"one of them only: \['dog', 'fox'\]"):
        check_dataset("image_folder", data_dir=str(tmp_path))


def test_image_folder_refuses_a_file_that_is_no_image(tmp_path: Path) -> None:
    write_image_folder(tmp_path)
    (tmp_path / "train" / "dog" / "0.png").write_bytes(b"no image")

    with pytest.raises(DatasetError, match="UnidentifiedImageError"):
        load_image_arrays("image_folder", data_dir=str(tmp_path))


@pytest.mark.skipif(not (REAL_DATA / "FashionMNIST").is_dir(), reason="no real images at hand")
def test_real_fashion_mnist_has_its_published_sizes_and_mean() -> None:
    arrays = load_image_arrays("fashion_mnist", data_dir=str(REAL_DATA))

    assert arrays.info == SOURCES["fashion_mnist"].describe(REAL_DATA)
    assert arrays.train_labels_N.bincount().tolist() == [6000] * 10
    assert float(arrays.train_images_NCHW.float().mean()) / 255 == pytest.approx(0.2860, abs=1e-4)

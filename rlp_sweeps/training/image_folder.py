"""A folder of images: ``data_dir/train/CLASS/*.png`` and ``data_dir/test`` or ``data_dir/val``.

Shapes: N samples, C H W image.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rlp_sweeps.errors import DatasetError
from rlp_sweeps.training.image_arrays import DatasetInfo, ImageArrays


def _open_image_folders(data_dir: Path) -> tuple[Any, Any]:
    """Return torchvision's view of data_dir/train and of data_dir/test, or else data_dir/val."""
    from torchvision.datasets import ImageFolder
    from torchvision.datasets.folder import IMG_EXTENSIONS

    folders = [data_dir / "train", data_dir / "test"]
    if not folders[1].is_dir():
        folders[1] = data_dir / "val"
    for folder, names in zip(folders, ("'train'", "'test' or 'val'"), strict=True):
        if not folder.is_dir():
            msg = (
                f"data set 'image_folder' must have a folder {names} in {data_dir}, with one "
                "folder of images a class, but it is absent; name its parent with "
                "`--set data_dir=FOLDER`."
            )
            raise DatasetError(msg)
    for folder in folders:
        _check_classes(folder, IMG_EXTENSIONS)
    train, test = (ImageFolder(folder) for folder in folders)
    if train.classes != test.classes:
        differing = sorted(set(train.classes) ^ set(test.classes))
        msg = (
            f"{folders[0]} and {folders[1]} must have the same classes, but these stand in one of "
            f"them only: {differing}; add or remove the folders."
        )
        raise DatasetError(msg)
    return train, test


def _check_classes(folder: Path, extensions: Sequence[str]) -> None:
    """Refuse a folder without one folder a class, or a class without an image.

    Raises:
        DatasetError: It holds none, or one holds no image.
    """
    classes = sorted(entry for entry in folder.iterdir() if entry.is_dir())
    lay_out = "lay the images out as `train/CLASS/*.png` and `test/CLASS/*.png`"
    if not classes:
        msg = f"{folder} must hold one folder of images a class, but it has no folder; {lay_out}."
        raise DatasetError(msg)
    for name in classes:
        files = (path for path in name.rglob("*") if path.suffix.lower() in extensions)
        if next(files, None) is None:
            msg = (
                f"every class of data set 'image_folder' must have an image, but {name} has none "
                f"of {list(extensions)}; {lay_out}."
            )
            raise DatasetError(msg)


def describe_image_folder(data_dir: Path) -> DatasetInfo:
    """Return shapes and sizes from the folders' names and the first image.

    Raises:
        DatasetError: A folder is absent, or the classes of training and test differ.
    """
    train, test = _open_image_folders(data_dir)
    width, height = train[0][0].size
    return DatasetInfo(
        image_shape=(3, height, width),
        num_classes=len(train.classes),
        num_train=len(train),
        num_test=len(test),
    )


def load_image_folder(data_dir: Path) -> ImageArrays:
    """Return all images as RGB.

    Raises:
        DatasetError: As in `describe_image_folder`, or images differ in size.
    """
    info = describe_image_folder(data_dir)
    train, test = _open_image_folders(data_dir)
    return ImageArrays(
        train_images_NCHW=_read_images(train, info),
        train_labels_N=torch.tensor(train.targets),
        test_images_NCHW=_read_images(test, info),
        test_labels_N=torch.tensor(test.targets),
        num_classes=info.num_classes,
    )


def _read_images(folder: Any, info: DatasetInfo) -> Tensor:
    """Return all images of a folder as RGB, ``[N, 3, H, W]`` uint8."""
    from torchvision.transforms.functional import pil_to_tensor

    images_NCHW = torch.empty(len(folder), *info.image_shape, dtype=torch.uint8)
    for index, (path, _) in enumerate(folder.samples):
        image_CHW = pil_to_tensor(folder.loader(path))
        if image_CHW.shape != info.image_shape:
            (_, height, width), (_, got_height, got_width) = info.image_shape, image_CHW.shape
            msg = (
                f"all images of data set 'image_folder' must have one size, {width}x{height} as "
                f"the first, but got {got_width}x{got_height} in {path}; resize them beforehand."
            )
            raise DatasetError(msg)
        images_NCHW[index] = image_CHW
    return images_NCHW

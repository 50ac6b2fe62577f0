"""A generated data set of any size, for tests and benchmarks.

Shapes: N samples, C H W image, K classes.
"""

import re

import torch
from torch import Tensor

from rlp_sweeps.errors import DatasetError
from rlp_sweeps.seeding import stream_seed
from rlp_sweeps.training.image_arrays import DatasetInfo, ImageArrays

NAME = "synthetic"
DEFAULT = "synthetic:3,32,32,10,2048"
_FORM = re.compile(r"synthetic:([1-9]\d*),([1-9]\d*),([1-9]\d*),([1-9]\d*),([1-9]\d*)")


def is_synthetic(dataset: str) -> bool:
    """Return whether a data set's name is ``synthetic`` or begins with ``synthetic:``."""
    return dataset == NAME or dataset.startswith(NAME + ":")


def describe_synthetic(dataset: str) -> DatasetInfo:
    """Return the shapes and sizes that a name asks for.

    Args:
        dataset: ``synthetic:C,H,W,K,N`` for C channels, H × W pixels, K classes and N training
            samples, or ``synthetic`` for 3,32,32,10,2048. A quarter of N more are test samples.

    Raises:
        DatasetError: The name has another form, or fewer than one test sample or two classes.
    """
    match = _FORM.fullmatch(DEFAULT if dataset == NAME else dataset)
    channels, height, width, num_classes, num_train = map(int, match.groups()) if match else [0] * 5
    if num_classes < 2 or num_train < 4:
        msg = (
            "a generated data set must be named `synthetic:C,H,W,K,N` with K >= 2 classes and "
            f"N >= 4 training samples, for example {DEFAULT!r}, but got {dataset!r}."
        )
        raise DatasetError(msg)
    return DatasetInfo(
        image_shape=(channels, height, width),
        num_classes=num_classes,
        num_train=num_train,
        num_test=num_train // 4,
    )


def generate_synthetic(dataset: str) -> ImageArrays:
    """Return the data set of that name; the same on every machine, whatever a trial's seed.

    Each class has a prototype of 4 × 4 flat blocks with values uniform in 64 … 191. A sample is
    its class's prototype plus noise, uniform in −64 … 63, independent for each channel and pixel.
    Classes take turns. All arithmetic is in integers.

    Raises:
        DatasetError: The name is not of the form that `describe_synthetic` states.
    """
    info = describe_synthetic(dataset)
    generator = torch.Generator().manual_seed(stream_seed(0, "dataset"))
    channels, height, width = info.image_shape
    blocks_KC44 = torch.randint(64, 192, (info.num_classes, channels, 4, 4), generator=generator)
    rows_H, columns_W = torch.arange(height) * 4 // height, torch.arange(width) * 4 // width
    prototypes_KCHW = blocks_KC44[:, :, rows_H][:, :, :, columns_W].to(torch.uint8)

    def draw(num_samples: int) -> tuple[Tensor, Tensor]:
        labels_N = torch.arange(num_samples) % info.num_classes
        shape = (num_samples, *info.image_shape)
        noise_NCHW = torch.randint(0, 128, shape, generator=generator, dtype=torch.uint8)
        return prototypes_KCHW[labels_N] + noise_NCHW - 64, labels_N

    train_images_NCHW, train_labels_N = draw(info.num_train)
    test_images_NCHW, test_labels_N = draw(info.num_test)
    return ImageArrays(
        train_images_NCHW=train_images_NCHW,
        train_labels_N=train_labels_N,
        test_images_NCHW=test_images_NCHW,
        test_labels_N=test_labels_N,
        num_classes=info.num_classes,
    )

"""What a data set is before a trial splits it: images and labels on the CPU, and their summary.

Shapes: N samples, C H W image, K classes.
"""

from dataclasses import dataclass
from numbers import Integral

import torch
from torch import Tensor

from rlp_sweeps.errors import DatasetError
from rlp_sweeps.user_errors import kind_of


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetInfo:
    """What is known of a data set without reading its images.

    Attributes:
        image_shape: Channels, height, width.
        num_classes: K.
        num_train: Samples of the training pool.
        num_test: Samples of its own test set; 0: test samples are split off the pool.
    """

    image_shape: tuple[int, int, int]
    num_classes: int
    num_train: int
    num_test: int


@dataclass(frozen=True, kw_only=True, slots=True)
class NetworkInputs:
    """What a network reads: all that has to be known of a data set to build one.

    Attributes:
        image_shape: Channels, height, width.
        num_classes: K.
        mean_C: Mean of ``pixel / 255`` over the training pool, float32.
        std_C: Standard deviation of the same, float32, > 0.
    """

    image_shape: tuple[int, int, int]
    num_classes: int
    mean_C: Tensor
    std_C: Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageArrays:
    """What a loader returns, on the CPU. Never written to: trials of one process share it.

    Attributes:
        train_images_NCHW: Training pool, uint8.
        train_labels_N: Its classes, int64, in [0, K).
        test_images_NCHW: The data set's own test images, uint8; None: split off the pool.
        test_labels_N: Their classes, or None.
        num_classes: K.

    Raises:
        DatasetError: A tensor has another dtype, shape or device, or a label is out of range.
    """

    train_images_NCHW: Tensor
    train_labels_N: Tensor
    test_images_NCHW: Tensor | None
    test_labels_N: Tensor | None
    num_classes: int

    def __post_init__(self) -> None:
        _check_num_classes(self.num_classes)
        object.__setattr__(self, "num_classes", int(self.num_classes))
        _check_pair("train", self.train_images_NCHW, self.train_labels_N, self.num_classes)
        if self.test_images_NCHW is None or self.test_labels_N is None:
            if self.test_images_NCHW is not self.test_labels_N:
                absent = "images" if self.test_images_NCHW is None else "labels"
                msg = (
                    "a loader must return both test images and test labels, or None for both, but "
                    f"got no test {absent}."
                )
                raise DatasetError(msg)
            return
        _check_pair("test", self.test_images_NCHW, self.test_labels_N, self.num_classes)
        if self.test_images_NCHW.shape[1:] != self.train_images_NCHW.shape[1:]:
            msg = (
                "training and test images must have one shape, but got "
                f"{tuple(self.train_images_NCHW.shape[1:])} and "
                f"{tuple(self.test_images_NCHW.shape[1:])}; resize them in the loader."
            )
            raise DatasetError(msg)

    @property
    def info(self) -> DatasetInfo:
        """Shapes and sizes."""
        _, channels, height, width = self.train_images_NCHW.shape
        return DatasetInfo(
            image_shape=(channels, height, width),
            num_classes=self.num_classes,
            num_train=len(self.train_images_NCHW),
            num_test=0 if self.test_images_NCHW is None else len(self.test_images_NCHW),
        )


def _check_num_classes(num_classes: object) -> None:
    if not isinstance(num_classes, Integral) or num_classes < 2:
        msg = (
            f"`2 <= num_classes` must hold, in a whole number, but got num_classes={num_classes!r}."
        )
        raise DatasetError(msg)


def _is_kind(value: object, dtype: torch.dtype, num_dims: int) -> bool:
    return isinstance(value, Tensor) and (value.dtype, value.ndim, value.device.type) == (
        dtype,
        num_dims,
        "cpu",
    )


def _got(value: object) -> str:
    if isinstance(value, Tensor):
        return f"{value.dtype} of shape {tuple(value.shape)} on {value.device}"
    shape = getattr(value, "shape", None)
    where = "" if shape is None else f" of {getattr(value, 'dtype', '')}, shape {tuple(shape)}"
    return f"{kind_of(value)}{where}"


def _way_to(value: object, dtype: torch.dtype, num_dims: int) -> str:
    """Return what a loader can do to have a tensor of that kind."""
    if not isinstance(value, Tensor):
        return "make it one with `torch.as_tensor(…)`"
    if value.ndim != num_dims:
        return "images are [N, C, H, W]" if num_dims == 4 else "labels are class indices, [N]"
    if value.dtype != dtype and dtype == torch.uint8:
        return "pixels are 0 … 255, `(255 * images).round().to(torch.uint8)` of those in 0 … 1"
    return f"convert it with `.to({dtype})`" if value.dtype != dtype else "move it with `.cpu()`"


def _check_pair(part: str, images_NCHW: Tensor, labels_N: Tensor, num_classes: int) -> None:
    wanted = [
        (f"{part}_images_NCHW", images_NCHW, torch.uint8, 4),
        (f"{part}_labels_N", labels_N, torch.int64, 1),
    ]
    for name, tensor, dtype, num_dims in wanted:
        if not _is_kind(tensor, dtype, num_dims):
            msg = (
                f"`{name}` must be a {dtype} tensor of {num_dims} dimension(s) on the CPU, but got "
                f"{_got(tensor)}; {_way_to(tensor, dtype, num_dims)}."
            )
            raise DatasetError(msg)
    if len(images_NCHW) != len(labels_N) or images_NCHW.numel() == 0:
        msg = (
            f"a data set must have as many {part} images as labels, and some, but got shapes "
            f"{tuple(images_NCHW.shape)} and {tuple(labels_N.shape)}."
        )
        raise DatasetError(msg)
    low, high = int(labels_N.min()), int(labels_N.max())
    if low < 0 or high >= num_classes:
        msg = (
            f"`0 <= label < num_classes` must hold for {part} labels, but got labels from {low} to "
            f"{high} with num_classes={num_classes!r}; count classes from 0."
        )
        raise DatasetError(msg)

"""Normalization of images by channel, applied batch by batch on the device.

Shapes: N samples, C H W image, V = 256 pixel values.
"""

import torch
from torch import Tensor

from rlp_sweeps.errors import DatasetError


def channel_statistics(images_NCHW: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation per channel of ``pixel / 255``, float32.

    They are computed from integer counts, so that they do not depend on the order of summation.

    Args:
        images_NCHW: uint8, on the CPU.

    Raises:
        DatasetError: A channel is constant.
    """
    values_V = torch.arange(256, dtype=torch.float64)
    counts_CV = torch.stack(
        [torch.bincount(channel.flatten(), minlength=256) for channel in images_NCHW.unbind(1)]
    ).double()
    num_pixels_C = counts_CV.sum(1)
    mean_C = (counts_CV * values_V).sum(1) / num_pixels_C
    squares_CV = counts_CV * (values_V - mean_C.unsqueeze(1)) ** 2
    std_C = (squares_CV.sum(1) / num_pixels_C).sqrt()
    if not bool((std_C > 0).all()):
        msg = (
            "every channel of the training images must vary, but got standard deviations "
            f"{std_C.tolist()} of {len(std_C)} channel(s) [N, C, H, W]; drop the constant channels "
            "in the loader."
        )
        raise DatasetError(msg)
    return (mean_C / 255).float(), (std_C / 255).float()


def normalize(images_NCHW: Tensor, mean_C: Tensor, std_C: Tensor) -> Tensor:
    """Return ``(pixel / 255 − mean) / std``, float32.

    Args:
        images_NCHW: uint8, or float in [0, 255]; further leading dimensions are allowed.
        mean_C: Per channel, of ``pixel / 255``.
        std_C: Per channel, of ``pixel / 255``.
    """
    mean_C11, std_C11 = (255 * mean_C).view(-1, 1, 1), (255 * std_C).view(-1, 1, 1)
    return (images_NCHW.float() - mean_C11) / std_C11

"""Training augmentation in batches, on the device that holds the images.

Parameters are drawn for each sample on the CPU, so that they are the same on every device; applying
them is tensor work without a loop over samples and without waiting for the device.

Shapes: N samples, C H W image.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from rlp_sweeps.errors import ConfigError
from rlp_sweeps.misspelling import advice
from rlp_sweeps.training.colors import ColorJitter, Grayscale
from rlp_sweeps.training.resized_crop import ResizedCrop

Draws = dict[str, Tensor]
"""Parameters by name, each ``[N, ...]``; slicing all of them selects samples."""

ImageShape = tuple[int, int, int]
"""Channels, height, width."""


class Augmentation(Protocol):
    """A random change of training images, split into drawing and applying."""

    def draw(self, num_samples: int, image_shape: ImageShape, generator: torch.Generator) -> Draws:
        """Return one set of parameters a sample, on the CPU.

        Args:
            num_samples: N.
            image_shape: Channels, height, width.
            generator: A generator on the CPU, usually of the stream ``augment``.
        """
        ...

    def apply(self, images_NCHW: Tensor, draws: Draws) -> Tensor:
        """Return the changed images; sample i depends on ``images[i]`` and ``draws[...][i]`` alone.

        Args:
            images_NCHW: uint8, or float32 in [0, 255], on any device.
            draws: Result of `draw` for N samples, on any device.

        Returns:
            Same shape and device; uint8 or float32 in [0, 255].
        """
        ...


class NoAugmentation:
    """Leaves images as they are."""

    def draw(self, num_samples: int, image_shape: ImageShape, generator: torch.Generator) -> Draws:
        """Return no parameters."""
        return {}

    def apply(self, images_NCHW: Tensor, draws: Draws) -> Tensor:
        """Return the images."""
        return images_NCHW


class Flip:
    """Mirrors left and right with probability 1/2."""

    def draw(self, num_samples: int, image_shape: ImageShape, generator: torch.Generator) -> Draws:
        """Return `flip`, bool ``[N]``."""
        return {"flip": torch.rand(num_samples, generator=generator) < 0.5}

    def apply(self, images_NCHW: Tensor, draws: Draws) -> Tensor:
        """Return the images, mirrored where `flip` is true."""
        flip_N111 = _per_sample(draws["flip"], images_NCHW)
        return torch.where(flip_N111, images_NCHW.flip(-1), images_NCHW)


class Crop:
    """Pads with black pixels and cuts a window of the image's size at a uniform place.

    The padding is an eighth of each side, rounded and at least 1: 4 pixels for 32, 1 for 8.

    Source:
        He et al. 2016, arXiv:1512.03385, section 4.2 (padding 4 on CIFAR-10).
    """

    def draw(self, num_samples: int, image_shape: ImageShape, generator: torch.Generator) -> Draws:
        """Return `crop_top` and `crop_left` in ``[0, 2 · padding]``, int64 ``[N]``."""
        _, height, width = image_shape
        return {
            name: torch.randint(2 * _eighth(side) + 1, (num_samples,), generator=generator)
            for name, side in (("crop_top", height), ("crop_left", width))
        }

    def apply(self, images_NCHW: Tensor, draws: Draws) -> Tensor:
        """Return the window at (`crop_top`, `crop_left`) of each padded image."""
        num_samples, channels, height, width = images_NCHW.shape
        pad_H, pad_W = _eighth(height), _eighth(width)
        padded_NCHW = F.pad(images_NCHW, (pad_W, pad_W, pad_H, pad_H))
        device = images_NCHW.device
        top_N11 = _per_sample(draws["crop_top"], images_NCHW).squeeze(-1)
        left_N11 = _per_sample(draws["crop_left"], images_NCHW).squeeze(-1)
        rows_N1H1 = (top_N11 + torch.arange(height, device=device)).unsqueeze(-1)
        columns_N11W = (left_N11 + torch.arange(width, device=device)).unsqueeze(-2)
        samples_N111 = torch.arange(num_samples, device=device).view(-1, 1, 1, 1)
        channels_C11 = torch.arange(channels, device=device).view(-1, 1, 1)
        return padded_NCHW[samples_N111, channels_C11, rows_N1H1, columns_N11W]


class Cutout:
    """Blackens a square around a uniform pixel; the square is cut at the image's edge.

    Its side is a quarter of the image's, rounded and at least 1: 8 pixels for 32.

    Source:
        DeVries and Taylor 2017, arXiv:1708.04552 (8 pixels on CIFAR-100). They fill with the mean
        of the normalized images; here the fill is black.
    """

    def draw(self, num_samples: int, image_shape: ImageShape, generator: torch.Generator) -> Draws:
        """Return the centre `cutout_row` and `cutout_column`, int64 ``[N]``."""
        _, height, width = image_shape
        return {
            name: torch.randint(side, (num_samples,), generator=generator)
            for name, side in (("cutout_row", height), ("cutout_column", width))
        }

    def apply(self, images_NCHW: Tensor, draws: Draws) -> Tensor:
        """Return the images with their squares blackened."""
        height, width = images_NCHW.shape[-2:]
        row_N111 = _per_sample(draws["cutout_row"], images_NCHW)
        column_N111 = _per_sample(draws["cutout_column"], images_NCHW)
        rows_N1H1 = _is_within(row_N111, height, images_NCHW.device).transpose(-1, -2)
        columns_N11W = _is_within(column_N111, width, images_NCHW.device)
        return images_NCHW.masked_fill(rows_N1H1 & columns_N11W, 0)


class Chain:
    """Several augmentations, one after the other."""

    def __init__(self, steps: Sequence[Augmentation]) -> None:
        self.steps = tuple(steps)

    def draw(self, num_samples: int, image_shape: ImageShape, generator: torch.Generator) -> Draws:
        """Return the parameters of all steps."""
        draws: Draws = {}
        for step in self.steps:
            draws.update(step.draw(num_samples, image_shape, generator))
        return draws

    def apply(self, images_NCHW: Tensor, draws: Draws) -> Tensor:
        """Return the images after the last step."""
        for step in self.steps:
            images_NCHW = step.apply(images_NCHW, draws)
        return images_NCHW


def _p3() -> Augmentation:
    """Return the set of Anagnostidis et al. 2023: resized crop, flip, colour jitter, grayscale.

    Source:
        Anagnostidis et al., ICLR 2023, arXiv:2210.14019; parameters as in the code they published
        (augmentation ``full``): torchvision's RandomResizedCrop and RandomHorizontalFlip with their
        defaults, ColorJitter(0.8, 0.8, 0.8, 0.2) with probability 0.8, RandomGrayscale with 0.2.
        Deviation: no rounding to uint8 between the steps.
    """
    return Chain([ResizedCrop(), Flip(), ColorJitter(), Grayscale()])


AUGMENTATIONS: dict[str, Callable[[], Augmentation]] = {
    "none": NoAugmentation,
    "flip": Flip,
    "crop": Crop,
    "flip_crop": lambda: Chain([Flip(), Crop()]),
    "flip_crop_cutout": lambda: Chain([Flip(), Crop(), Cutout()]),
    "p3": _p3,
}


def build_augmentation(name: str) -> Augmentation:
    """Return the augmentation of that name.

    Raises:
        ConfigError: There is no such augmentation.
    """
    if name not in AUGMENTATIONS:
        known = f"the augmentations are {list(AUGMENTATIONS)}."
        msg = f"unknown augmentation {name!r}; {advice(name, AUGMENTATIONS, otherwise=known)}"
        raise ConfigError(msg)
    return AUGMENTATIONS[name]()


def _eighth(side: int) -> int:
    return max(1, round(side / 8))


def _per_sample(draws_N: Tensor, images_NCHW: Tensor) -> Tensor:
    return draws_N.to(images_NCHW.device, non_blocking=True).view(-1, 1, 1, 1)


def _is_within(centre_N111: Tensor, side: int, device: torch.device) -> Tensor:
    """Return which pixels along one side lie in a square around the centre, ``[N, 1, 1, side]``."""
    length = max(1, round(side / 4))
    first_N111 = centre_N111 - length // 2
    pixels = torch.arange(side, device=device)
    return (pixels >= first_N111) & (pixels < first_N111 + length)

"""Colour jitter and grayscale in batches, with parameters of its own for each sample.

Shapes: N samples, C H W image.
"""

import torch
from torch import Tensor

from rlp_sweeps.errors import ConfigError

GRAY_CHANNELS, COLOR_CHANNELS = 1, 3
_BRIGHTNESS, _CONTRAST, _HUE = 0, 1, 3  # saturation, 2, is the blend that is left
_NUM_CHANGES = 4
_LUMA = (0.2989, 0.587, 0.114)


class ColorJitter:
    """Changes brightness, contrast, saturation by up to 0.8 and hue by up to 0.2 of a turn.

    A sample is changed with probability 0.8, by all four changes in a random order. Images of one
    channel have no saturation and no hue: those two changes leave them alone.

    Source:
        Rules as in torchvision's ``ColorJitter``; strengths as in Anagnostidis et al., ICLR 2023,
        arXiv:2210.14019 (their code), after Chen et al. 2020, arXiv:2002.05709, appendix A.
    """

    STRENGTH = 0.8
    HUE_TURNS = 0.2
    PROBABILITY = 0.8

    def draw(
        self, num_samples: int, image_shape: tuple[int, int, int], generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Return `jitter`, `blend_factors`, `hue_turns` and `jitter_position`.

        `jitter` is bool ``[N]``; `blend_factors` float32 ``[N, 3]`` for brightness, contrast and
        saturation; `hue_turns` float32 ``[N]``; `jitter_position` int64 ``[N, 4]``, at which
        position each of the four changes comes.

        Raises:
            ConfigError: Images have neither one nor three channels.
        """
        if image_shape[0] not in (GRAY_CHANNELS, COLOR_CHANNELS):
            msg = (
                "augmentation 'p3' changes colours of images with 1 or 3 channels, but got "
                f"{image_shape[0]} channels; use 'flip_crop'."
            )
            raise ConfigError(msg)
        factors_N3 = torch.rand(num_samples, 3, generator=generator) * 2 - 1
        turns_N = torch.rand(num_samples, generator=generator) * 2 - 1
        order_N4 = torch.rand(num_samples, _NUM_CHANGES, generator=generator)
        return {
            "jitter": torch.rand(num_samples, generator=generator) < self.PROBABILITY,
            "blend_factors": 1 + self.STRENGTH * factors_N3,
            "hue_turns": self.HUE_TURNS * turns_N,
            "jitter_position": order_N4.argsort(dim=1).argsort(dim=1),
        }

    def apply(self, images_NCHW: Tensor, draws: dict[str, Tensor]) -> Tensor:
        """Return the changed images, float32 in [0, 255].

        The three blends around the hue change need at most three rounds before it and three after
        it, whatever each sample's order, so that the costly hue change is computed once.
        """
        device = images_NCHW.device
        moved = {name: draw.to(device, non_blocking=True) for name, draw in draws.items()}
        position_N4 = moved["jitter_position"]
        hue_at_N = position_N4[:, _HUE]
        images_NCHW = images_NCHW.float()
        for round_index in range(_NUM_CHANGES - 1):
            is_on_N = moved["jitter"] & (round_index < hue_at_N)
            images_NCHW = _blend_round(images_NCHW, moved, round_index=round_index, is_on_N=is_on_N)
        if images_NCHW.shape[1] == COLOR_CHANNELS:
            turned_NCHW = turn_hue(images_NCHW, moved["hue_turns"])
            images_NCHW = torch.where(moved["jitter"].view(-1, 1, 1, 1), turned_NCHW, images_NCHW)
        for round_index in range(1, _NUM_CHANGES):
            is_on_N = moved["jitter"] & (round_index > hue_at_N)
            images_NCHW = _blend_round(images_NCHW, moved, round_index=round_index, is_on_N=is_on_N)
        return images_NCHW


class Grayscale:
    """Replaces colours by their luma with probability 1/5; the identity for one channel."""

    def draw(
        self, num_samples: int, image_shape: tuple[int, int, int], generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Return `gray`, bool ``[N]``."""
        return {"gray": torch.rand(num_samples, generator=generator) < 0.2}

    def apply(self, images_NCHW: Tensor, draws: dict[str, Tensor]) -> Tensor:
        """Return the images, without colour where `gray` is true, float32."""
        images_NCHW = images_NCHW.float()
        if images_NCHW.shape[1] == GRAY_CHANNELS:
            return images_NCHW
        gray_N111 = draws["gray"].to(images_NCHW.device, non_blocking=True).view(-1, 1, 1, 1)
        return torch.where(gray_N111, to_gray(images_NCHW), images_NCHW)


def to_gray(images_NCHW: Tensor) -> Tensor:
    """Return the luma of images with one or three channels, ``[N, 1, H, W]``.

    Source:
        ITU-R BT.601, with torchvision's rounding of the weights.
    """
    if images_NCHW.shape[1] == GRAY_CHANNELS:
        return images_NCHW
    red, green, blue = images_NCHW.unbind(1)
    return (_LUMA[0] * red + _LUMA[1] * green + _LUMA[2] * blue).unsqueeze(1)


def turn_hue(images_NCHW: Tensor, turns_N: Tensor) -> Tensor:
    """Return colour images with their hue turned, keeping HSV value and saturation.

    Args:
        images_NCHW: ``[N, 3, H, W]``, float.
        turns_N: Share of a full turn, in [-0.5, 0.5].
    """
    red, green, blue = images_NCHW.unbind(1)
    value = images_NCHW.amax(dim=1)
    chroma = value - images_NCHW.amin(dim=1)
    divisor = torch.where(chroma == 0, 1.0, chroma)
    sextant = torch.where(
        value == red,
        (green - blue) / divisor,
        torch.where(value == green, 2 + (blue - red) / divisor, 4 + (red - green) / divisor),
    )
    sextant = sextant + 6 * turns_N.view(-1, 1, 1)
    channels = []
    for offset in (5, 3, 1):
        distance = torch.remainder(offset + sextant, 6)
        channels.append(value - chroma * torch.minimum(distance, 4 - distance).clamp(0, 1))
    return torch.stack(channels, dim=1)


def _blend_round(
    images_NCHW: Tensor, draws: dict[str, Tensor], *, round_index: int, is_on_N: Tensor
) -> Tensor:
    """Return the images after the blend that comes at this position, where there is one.

    Each of the three changes is ``factor · image + (1 − factor) · base``: base black for
    brightness, the mean luma for contrast, the luma for saturation.
    """
    is_here_N3 = (draws["jitter_position"][:, :_HUE] == round_index) & is_on_N.unsqueeze(1)
    factor_N = torch.where(is_here_N3, draws["blend_factors"], 1.0).prod(dim=1)
    gray_N1HW = to_gray(images_NCHW)
    is_brightness_N111 = is_here_N3[:, _BRIGHTNESS].view(-1, 1, 1, 1)
    is_contrast_N111 = is_here_N3[:, _CONTRAST].view(-1, 1, 1, 1)
    base_N1HW = torch.where(is_contrast_N111, gray_N1HW.mean(dim=(2, 3), keepdim=True), gray_N1HW)
    base_N1HW = torch.where(is_brightness_N111, 0.0, base_N1HW)
    factor_N111 = factor_N.view(-1, 1, 1, 1)
    return (factor_N111 * images_NCHW + (1 - factor_N111) * base_N1HW).clamp(0, 255)

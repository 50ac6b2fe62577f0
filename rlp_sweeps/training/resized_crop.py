"""Random resized crop in batches.

Shapes: N samples, C H W image.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


class ResizedCrop:
    """Cuts a random rectangle and resizes it bilinearly to the image's size.

    The rectangle has a uniform share in [0.08, 1] of the area and a log-uniform aspect ratio in
    [3/4, 4/3]; the first of ten attempts that fits is taken, else the largest centred rectangle
    with an aspect ratio in that range.

    Source:
        Szegedy et al. 2015, arXiv:1409.4842, section 6; rules as in torchvision's
        ``RandomResizedCrop``.
    """

    AREA = (0.08, 1.0)
    RATIO = (3 / 4, 4 / 3)
    NUM_ATTEMPTS = 10

    def draw(
        self, num_samples: int, image_shape: tuple[int, int, int], generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Return `box`, ``[N, 4]`` int64: top, left, height and width in pixels."""
        _, height, width = image_shape
        shape = (num_samples, self.NUM_ATTEMPTS)
        area = _uniform(shape, self.AREA, generator) * height * width
        low, high = (torch.tensor(ratio).log().item() for ratio in self.RATIO)
        ratio = _uniform(shape, (low, high), generator).exp()
        heights = (area / ratio).sqrt().round().long()
        widths = (area * ratio).sqrt().round().long()
        fits = (heights >= 1) & (heights <= height) & (widths >= 1) & (widths <= width)
        first_N1 = fits.int().argmax(dim=1, keepdim=True)
        box_height = heights.gather(1, first_N1).squeeze(1)
        box_width = widths.gather(1, first_N1).squeeze(1)
        has_fit = fits.any(dim=1)
        largest_height = min(height, max(1, round(width / self.RATIO[0])))
        largest_width = min(width, max(1, round(height * self.RATIO[1])))
        box_height = torch.where(has_fit, box_height, largest_height)
        box_width = torch.where(has_fit, box_width, largest_width)
        place_2N = torch.rand(2, num_samples, generator=generator)
        place_2N = torch.where(has_fit, place_2N, 0.5)
        top = (place_2N[0] * (height - box_height + 1)).long()
        left = (place_2N[1] * (width - box_width + 1)).long()
        return {"box": torch.stack([top, left, box_height, box_width], dim=1)}

    def apply(self, images_NCHW: Tensor, draws: dict[str, Tensor]) -> Tensor:
        """Return each image's box at full size, float32."""
        height, width = images_NCHW.shape[-2:]
        box_N4 = draws["box"].to(images_NCHW.device, torch.float32, non_blocking=True)
        top_N1, left_N1, box_height_N1, box_width_N1 = box_N4.unsqueeze(-1).unbind(1)
        rows_NH = _sample_positions(top_N1, box_height_N1, num_pixels=height)
        columns_NW = _sample_positions(left_N1, box_width_N1, num_pixels=width)
        shape = (len(images_NCHW), height, width)
        grid_NHW2 = torch.stack(
            [columns_NW.unsqueeze(1).expand(shape), rows_NH.unsqueeze(2).expand(shape)], dim=-1
        )
        return F.grid_sample(
            images_NCHW.float(), grid_NHW2, padding_mode="border", align_corners=False
        )


def _uniform(
    shape: tuple[int, int], bounds: tuple[float, float], generator: torch.Generator
) -> Tensor:
    low, high = bounds
    return torch.rand(shape, generator=generator) * (high - low) + low


def _sample_positions(first_N1: Tensor, length_N1: Tensor, *, num_pixels: int) -> Tensor:
    """Return where to read a box along one side, ``[N, num_pixels]``, in grid_sample's units.

    Output pixel i reads at ``(i + 0.5) · length / num_pixels − 0.5`` pixels from the box's first
    one, kept inside the box, so that no pixel outside it is blended in.
    """
    pixels = torch.arange(num_pixels, device=first_N1.device, dtype=torch.float32)
    inside = ((pixels + 0.5) * length_N1 / num_pixels - 0.5).clamp(min=0).minimum(length_N1 - 1)
    return (2 * (first_N1 + inside) + 1) / num_pixels - 1

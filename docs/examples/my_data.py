"""A data set of one's own: noisy stripes of two directions, without a test set of its own."""

import torch

from rlp_sweeps.training.datasets import ImageArrays


def load(data_dir):
    """Return 600 images of 1 × 8 × 8 pixels in two classes; nothing is read from `data_dir`.

    A loader that reads files takes them from there, where `--set data_dir=FOLDER` points.
    """
    generator = torch.Generator().manual_seed(0)
    labels_N = torch.arange(600) % 2
    stripes_W = torch.tensor([0.0, 180.0]).repeat(4)
    clean_NCHW = torch.where(
        (labels_N == 0)[:, None, None, None], stripes_W[None, :], stripes_W[:, None]
    )
    noise_NCHW = 70 * torch.randn(600, 1, 8, 8, generator=generator)
    return ImageArrays(
        train_images_NCHW=(clean_NCHW + noise_NCHW).clamp(0, 255).to(torch.uint8),
        train_labels_N=labels_N,
        test_images_NCHW=None,
        test_labels_N=None,
        num_classes=2,
    )

"""One trial as it is usually trained on a GPU: a `DataLoader`, float32 with TF32, two passes.

The loader is what a careful user writes: worker processes that stay, torchvision's transforms on
uint8 tensors, pinned memory, copies that the host does not wait for. Normalization is left to the
network on the device, so that a quarter of the bytes is copied. Network, heads, optimizer, batches
and steps are this package's; the measured multipliers are not computed.

Shapes: N samples, C H W image.
"""

import os
from dataclasses import replace

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from benchmarks.networks import load_data, tf32, wait_for
from benchmarks.passes import two_pass_step
from rlp_sweeps.config import TrialConfig
from rlp_sweeps.training.datasets import SplitDataset
from rlp_sweeps.training.member import Member

MAX_WORKERS = 8
_PREFETCHED_BATCHES = 4


class AugmentedSamples(Dataset[tuple[Tensor, Tensor]]):
    """Training samples on the CPU, each cropped and mirrored at random when it is read."""

    def __init__(self, data: SplitDataset) -> None:
        from torchvision.transforms import v2

        _, height, width = data.image_shape
        padding = max(1, round(height / 8))
        self._images_NCHW, self._labels_N = data.train_images_NCHW, data.train_labels_N
        self._transform = v2.Compose(
            [v2.RandomCrop((height, width), padding=padding), v2.RandomHorizontalFlip()]
        )

    def __len__(self) -> int:
        return len(self._labels_N)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self._transform(self._images_NCHW[index]), self._labels_N[index]


class LoaderTraining:
    """Calls that train one model one epoch each.

    Attributes:
        num_workers: Processes that read and augment.
    """

    def __init__(self, config: TrialConfig, device: torch.device) -> None:
        self._device = device
        self._data = load_data(config, device)
        self._member = Member(config, self._data, device)
        self.num_workers = max(1, min(MAX_WORKERS, len(os.sched_getaffinity(0)) - 1))
        self._loader = DataLoader(
            AugmentedSamples(load_data(config, torch.device("cpu"))),
            batch_size=config.batch_size,
            shuffle=True,
            drop_last=True,
            num_workers=self.num_workers,
            pin_memory=device.type == "cuda",
            persistent_workers=True,
            prefetch_factor=_PREFETCHED_BATCHES,
        )

    def __call__(self) -> None:
        """Train one epoch further."""
        with tf32():
            for images_NCHW, labels_N in self._loader:
                batch = replace(
                    self._data,
                    train_images_NCHW=images_NCHW.to(self._device, non_blocking=True),
                    train_labels_N=labels_N.to(self._device, non_blocking=True),
                )
                two_pass_step(self._member, batch)
            wait_for(self._device)

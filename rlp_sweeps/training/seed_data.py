"""One seed's training samples, and the chance that orders, changes and labels them.

All chance comes from streams of (seed, name, epoch), so that trials of one seed see the same
batches whatever trains them. Shapes: N samples, C H W image.
"""

import torch
from torch import Tensor

from rlp_sweeps.config import TrialConfig
from rlp_sweeps.errors import DatasetError
from rlp_sweeps.seeding import stream_seed
from rlp_sweeps.training.augmentation import Draws, build_augmentation
from rlp_sweeps.training.datasets import SplitDataset
from rlp_sweeps.training.mixup import PROBE, TRAINING, Mix, draw_mixes
from rlp_sweeps.training.random_labels import random_labels_of


class SeedData:
    """What the trials of one seed train on, epoch by epoch.

    Attributes:
        data: The seed's splits.
        num_samples: Training samples.
        steps_per_epoch: Whole batches of an epoch; the last, partial one is dropped.

    Raises:
        DatasetError: A batch is larger than the training split.
    """

    def __init__(self, config: TrialConfig, data: SplitDataset, device: torch.device) -> None:
        self.data = data
        self.num_samples = len(data.train_labels_N)
        self.steps_per_epoch = self.num_samples // config.batch_size
        self._config = config
        self._device = device
        self._augmentation = build_augmentation(config.augmentation)
        if self.steps_per_epoch == 0:
            msg = (
                "`batch_size <= training samples` must hold, but got "
                f"batch_size={config.batch_size}, training samples={self.num_samples}."
            )
            raise DatasetError(msg)

    @property
    def samples_per_epoch(self) -> int:
        """Samples in an epoch's whole batches."""
        return self.steps_per_epoch * self._config.batch_size

    @property
    def probe_size(self) -> int:
        """Samples of one of a probe's two disjoint half-batches."""
        return min(self._config.batch_size, self.num_samples // 2)

    def order(self, stream: str, epoch: int) -> Tensor:
        """Return all training samples' indices, permuted by that stream, ``[N]``, int64."""
        generator = torch.Generator().manual_seed(stream_seed(self._config.seed, stream, epoch))
        return torch.randperm(self.num_samples, generator=generator).to(self._device)

    def draw(self, index_N: Tensor, stream: str, epoch: int) -> Draws:
        """Return augmentation parameters for these samples, the first of that stream's order.

        They are the stream's own, or those of the views that the samples show in the epoch.
        """
        views = self.data.views
        if views is not None:
            return views.draws_of(index_N, views.shown(index_N, epoch))
        seed = stream_seed(self._config.seed, stream, epoch, 1)
        generator = torch.Generator().manual_seed(seed)
        draws = self._augmentation.draw(len(index_N), self.data.image_shape, generator)
        return {name: values.to(self._device) for name, values in draws.items()}

    def labels(self, index_N: Tensor, epoch: int) -> Tensor:
        """Return the labels that these samples are trained on in an epoch, ``[N]``, int64."""
        views = self.data.views
        if views is None:
            return self.data.train_labels_N[index_N]
        return views.labels_of(index_N, views.shown(index_N, epoch), self.data.train_labels_N)

    def images(self, index_N: Tensor, draws: Draws, part: slice) -> Tensor:
        """Return augmented training images, ``[N, C, H, W]``, uint8 or float32 in [0, 255].

        Args:
            index_N: Samples by index, of which `part` is taken.
            draws: Their augmentation parameters, of which the same part is taken.
            part: Positions.
        """
        images_NCHW = self.data.train_images_NCHW[index_N[part]]
        taken = {name: values[part] for name, values in draws.items()}
        return self._augmentation.apply(images_NCHW, taken)

    def random_labels(self, epoch: int, *, redraws: bool) -> Tensor:
        """Return the training samples' random labels, adversary's and observer's, ``[2, N]``.

        Args:
            epoch: Epoch in training.
            redraws: Whether the adversary's are drawn anew in every epoch.
        """
        pools = [
            random_labels_of(self._config, pool_size=self.data.pool_size, epoch=counter)
            for counter in (epoch if redraws else None, None)
        ]
        return torch.stack(pools).to(self._device)[:, self.data.train_ids_N]

    def mixes(self, epoch: int) -> list[Mix] | None:
        """Return how the epoch's batches are mixed; None where they are not."""
        return self._mixes(epoch, TRAINING, self.steps_per_epoch, self._config.batch_size)

    def probe_mixes(self, epoch: int) -> list[Mix] | None:
        """Return how the two half-batches of the epoch's probe are mixed; None where not."""
        return self._mixes(epoch, PROBE, 2, self.probe_size)

    def _mixes(self, epoch: int, kind: int, num_batches: int, batch_size: int) -> list[Mix] | None:
        if self._config.mixup_alpha == 0:
            return None
        drawn = draw_mixes(
            alpha=self._config.mixup_alpha,
            seed=self._config.seed,
            epoch=epoch,
            kind=kind,
            num_batches=num_batches,
            batch_size=batch_size,
        )
        return [mix._replace(partner_N=mix.partner_N.to(self._device)) for mix in drawn]

    def dropout_seed(self, stream: str, epoch: int) -> int:
        """Return the seed of the generator that dropout masks are drawn from."""
        return stream_seed(self._config.seed, stream, epoch, 2)

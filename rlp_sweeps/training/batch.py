"""What one step, or one half-batch of a probe, is trained on, and the losses that follow from it.

Shapes: N samples, C H W image.
"""

from typing import NamedTuple

from torch import Tensor

from rlp_sweeps.training.heads import ExtractorWeights
from rlp_sweeps.training.mixup import Mix, blend
from rlp_sweeps.training.network import Readings, RLPNetwork, TrainingLosses


class Batch(NamedTuple):
    """Images, augmented and mixed, with the labels of the samples at their places.

    Attributes:
        images_NCHW: uint8, or float32 in [0, 255].
        labels_N: Class indices, int64.
        random_labels_HN: Random labels of adversary and observer, ``[2, N]``, int64.
        mix: How the images were blended; None where they were not.
    """

    images_NCHW: Tensor
    labels_N: Tensor
    random_labels_HN: Tensor
    mix: Mix | None = None

    def mixed(self, mix: Mix) -> "Batch":
        """Return the batch with its images blended."""
        return self._replace(images_NCHW=mix.images(self.images_NCHW), mix=mix)

    def partner(self) -> "Batch | None":
        """Return the same images with the labels of their partners; None where not mixed."""
        if self.mix is None:
            return None
        index_N = self.mix.partner_N
        return Batch(self.images_NCHW, self.labels_N[index_N], self.random_labels_HN[:, index_N])


def batch_losses(
    network: RLPNetwork,
    readings: Readings,
    batch: Batch,
    weights: ExtractorWeights,
    *,
    label_smoothing: float,
) -> TrainingLosses:
    """Return both losses of a training step on a batch, blended where its images are.

    Args:
        network: In train mode.
        readings: What it reads of the batch's images.
        batch: The batch.
        weights: What the extractor's gradient is made of.
        label_smoothing: ε of the class loss.
    """
    own = network.training_losses(
        readings.features_ND,
        batch.labels_N,
        batch.random_labels_HN,
        weights,
        label_smoothing=label_smoothing,
        taps=readings.taps,
    )
    partner = batch.partner()
    if batch.mix is None or partner is None:
        return own
    other = batch_losses(network, readings, partner, weights, label_smoothing=label_smoothing)
    return TrainingLosses(*blend(own, other, batch.mix.share))

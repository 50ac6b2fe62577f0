"""One trial's network: backbone, RLP heads and the normalization in front of them.

Shapes: N samples, C H W image, D features, K classes.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import torch
from torch import Tensor, nn

from rlp_sweeps.config import TrialConfig
from rlp_sweeps.training.backbones import Backbone, build_backbone
from rlp_sweeps.training.datasets import SplitDataset, normalize
from rlp_sweeps.training.heads import ExtractorWeights, HeadShape, RLPHeads, scale_gradient
from rlp_sweeps.training.losses import smoothed_cross_entropy
from rlp_sweeps.training.projection import TrainedParameters


class TrainingLosses(NamedTuple):
    """What a training step goes back from: their sum; each ``[]``, in nats, mean over samples."""

    class_loss: Tensor
    heads_loss: Tensor


class RLPNetwork(nn.Module):
    """Backbone and heads of one trial, on one device.

    The heads work in float32 whatever the precision of the backbone; with bf16 the backbone runs
    under autocast in channels_last layout.
    """

    def __init__(self, config: TrialConfig, data: SplitDataset, device: torch.device) -> None:
        super().__init__()
        self.backbone: Backbone = build_backbone(
            config, image_shape=data.image_shape, num_classes=data.num_classes
        )
        shape = HeadShape.of(
            config.head, num_classes=data.num_classes, num_random_labels=config.num_random_labels
        )
        num_features = self.backbone.num_features
        self.heads = RLPHeads(num_features=num_features, shape=shape, seed=config.seed)
        self.mean_C = nn.Buffer(data.mean_C, persistent=False)
        self.std_C = nn.Buffer(data.std_C, persistent=False)
        self.is_bf16 = config.precision == "bf16"
        self.to(device)
        if self.is_bf16:
            self.backbone.to(memory_format=torch.channels_last)

    def forward(self, images_NCHW: Tensor, extractor_scale: float = 1.0) -> tuple[Tensor, Tensor]:
        """Return class scores and features.

        Args:
            images_NCHW: Raw images, uint8 or float in [0, 255].
            extractor_scale: Factor on what the class loss sends back to the extractor.

        Returns:
            ``logits_NK`` and ``features_ND``, both in the heads' dtype.
        """
        features_ND = self.features(images_NCHW)
        return self.classify(features_ND, extractor_scale), features_ND

    def features(self, images_NCHW: Tensor) -> Tensor:
        """Return features of raw images, ``[N, D]``, in the heads' dtype."""
        inputs_NCHW = normalize(images_NCHW, self.mean_C, self.std_C)
        if self.is_bf16:
            inputs_NCHW = inputs_NCHW.contiguous(memory_format=torch.channels_last)
        with self._autocast(images_NCHW.device):
            features_ND: Tensor = self.backbone.features(inputs_NCHW)
        return features_ND.to(self.heads.weight_HJD.dtype)

    def classify(self, features_ND: Tensor, extractor_scale: float = 1.0) -> Tensor:
        """Return class scores of features, ``[N, K]``, in the heads' dtype."""
        with self._autocast(features_ND.device):
            logits_NK: Tensor = self.backbone.classifier(
                scale_gradient(features_ND, extractor_scale)
            )
        return logits_NK.to(self.heads.weight_HJD.dtype)

    def training_losses(
        self,
        features_ND: Tensor,
        labels_N: Tensor,
        random_labels_HN: Tensor,
        weights: ExtractorWeights,
        *,
        label_smoothing: float,
    ) -> TrainingLosses:
        """Return both losses of a training step, through which the extractor is trained.

        Args:
            features_ND: From `features`.
            labels_N: Class indices, ``[N]``, int64.
            random_labels_HN: Random labels of adversary and observer, ``[2, N]``, int64.
            weights: What the extractor's gradient is made of.
            label_smoothing: ε of the class loss.
        """
        logits_NK = self.classify(features_ND, weights.class_loss)
        return TrainingLosses(
            smoothed_cross_entropy(logits_NK, labels_N, label_smoothing),
            self.heads.one_pass_loss(features_ND, labels_N, random_labels_HN, weights),
        )

    def _autocast(self, device: torch.device) -> AbstractContextManager[object]:
        if self.is_bf16:
            return torch.autocast(device.type, dtype=torch.bfloat16)
        return nullcontext()

    @property
    def trained(self) -> TrainedParameters:
        """All parameters, by what trains them."""
        return TrainedParameters(
            self.extractor_parameters,
            list(self.backbone.classifier.parameters()),
            list(self.heads.parameters()),
        )

    @property
    def extractor_parameters(self) -> list[nn.Parameter]:
        """All of the backbone but its last layer."""
        return list(self.backbone.extractor.parameters())

"""One trial's network: backbone, RLP heads and the normalization in front of them.

Shapes: N samples, C H W image, D features, K classes.
"""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from rlp_sweeps.config import TrialConfig
from rlp_sweeps.training.backbones import Backbone, build_backbone
from rlp_sweeps.training.datasets import SplitDataset, normalize
from rlp_sweeps.training.heads import NestedJointHeads, scale_gradient


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
        self.heads = NestedJointHeads(
            num_features=self.backbone.num_features,
            num_classes=data.num_classes,
            num_random_labels=config.num_random_labels,
            seed=config.seed,
        )
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
        inputs_NCHW = normalize(images_NCHW, self.mean_C, self.std_C)
        if self.is_bf16:
            inputs_NCHW = inputs_NCHW.contiguous(memory_format=torch.channels_last)
        with self._autocast(images_NCHW.device):
            features_ND = self.backbone.features(inputs_NCHW)
            logits_NK = self.backbone.classifier(scale_gradient(features_ND, extractor_scale))
        dtype = self.heads.weight_HJD.dtype
        return logits_NK.to(dtype), features_ND.to(dtype)

    def _autocast(self, device: torch.device) -> AbstractContextManager[object]:
        if self.is_bf16:
            return torch.autocast(device.type, dtype=torch.bfloat16)
        return nullcontext()

    @property
    def extractor_parameters(self) -> list[nn.Parameter]:
        """All of the backbone but its last layer."""
        return list(self.backbone.extractor.parameters())

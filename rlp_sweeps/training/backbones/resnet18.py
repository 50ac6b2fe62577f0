"""ResNet-18 with the stem for small images: a 3×3 convolution and no max-pooling.

Shapes: N samples, C H W image, D features, K classes.
"""

from collections import OrderedDict
from typing import ClassVar

from torch import Tensor, nn

from rlp_sweeps.training.backbones.base import (
    Backbone,
    GlobalPool,
    ImageShape,
    make_dropout,
    require_depth,
)


class BasicBlock(nn.Module):
    """conv-BN-ReLU-dropout-conv-BN beside a shortcut, then ReLU."""

    composes_submodules: ClassVar[bool] = True

    def __init__(self, num_inputs: int, num_outputs: int, *, stride: int, dropout: float) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            nn.Conv2d(num_inputs, num_outputs, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(num_outputs),
            nn.ReLU(),
            make_dropout(dropout),
            nn.Conv2d(num_outputs, num_outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(num_outputs),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or num_inputs != num_outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(num_inputs, num_outputs, 1, stride=stride, bias=False),
                nn.BatchNorm2d(num_outputs),
            )
        self.activation = nn.ReLU()

    def forward(self, maps_NCHW: Tensor) -> Tensor:
        """Return the block's output, ``[N, num_outputs, H / stride, W / stride]``."""
        output_NCHW: Tensor = self.activation(self.shortcut(maps_NCHW) + self.residual(maps_NCHW))
        return output_NCHW


def build_resnet18(
    *,
    image_shape: ImageShape,
    num_classes: int,
    depth: int | None,
    width: int | None,
    dropout: float,
) -> Backbone:
    """Return a ResNet-18.

    Args:
        image_shape: Channels, height, width.
        num_classes: K.
        depth: 18 or None.
        width: Channels of the first of four layers, 64 by default; each doubles them.
        dropout: Share in [0, 1), between the convolutions of a block; the paper has none.

    Raises:
        BackboneError: `depth` is another number.

    Source:
        He et al. 2016, "Deep Residual Learning for Image Recognition", arXiv:1512.03385. Init:
        convolutions normal with variance 2 / fan-out, as in torchvision.
    """
    require_depth(depth, family="resnet18", only=18, layers="18 layers")
    stages = [(width or 64) * 2**index for index in range(4)]
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        stem=nn.Sequential(
            nn.Conv2d(image_shape[0], stages[0], 3, padding=1, bias=False),
            nn.BatchNorm2d(stages[0]),
            nn.ReLU(),
        )
    )
    num_inputs = stages[0]
    for index, num_outputs in enumerate(stages):
        layers[f"layer{index + 1}"] = nn.Sequential(
            BasicBlock(num_inputs, num_outputs, stride=2 if index else 1, dropout=dropout),
            BasicBlock(num_outputs, num_outputs, stride=1, dropout=dropout),
        )
        num_inputs = num_outputs
    layers["pool"] = GlobalPool()
    extractor = nn.Sequential(layers)
    for module in extractor.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return Backbone(
        extractor=extractor,
        classifier=nn.Linear(num_inputs, num_classes),
        attach_points=("stem", "layer1", "layer2", "layer3", "layer4"),
    )

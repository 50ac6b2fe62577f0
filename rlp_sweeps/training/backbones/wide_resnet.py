"""Wide residual networks with pre-activation (WRN-16-4 is the one of the RLP papers).

Shapes: N samples, C H W image, D features, K classes.
"""

from collections import OrderedDict
from typing import ClassVar

from torch import Tensor, nn

from rlp_sweeps.errors import BackboneError
from rlp_sweeps.training.backbones.base import (
    Backbone,
    GlobalPool,
    ImageShape,
    make_dropout,
)


class PreActivationBlock(nn.Module):
    """BN-ReLU-conv, then BN-ReLU-dropout-conv, beside a shortcut.

    Where the number of channels changes, the shortcut is a 1×1 convolution that reads the
    activated input; elsewhere it is the input itself.
    """

    composes_submodules: ClassVar[bool] = True

    def __init__(self, num_inputs: int, num_outputs: int, *, stride: int, dropout: float) -> None:
        super().__init__()
        self.activation = nn.Sequential(nn.BatchNorm2d(num_inputs), nn.ReLU())
        self.residual = nn.Sequential(
            nn.Conv2d(num_inputs, num_outputs, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(num_outputs),
            nn.ReLU(),
            make_dropout(dropout),
            nn.Conv2d(num_outputs, num_outputs, 3, padding=1, bias=False),
        )
        self.shortcut: nn.Module | None = None
        if num_inputs != num_outputs:
            self.shortcut = nn.Conv2d(num_inputs, num_outputs, 1, stride=stride, bias=False)

    def forward(self, maps_NCHW: Tensor) -> Tensor:
        """Return the block's output, ``[N, num_outputs, H / stride, W / stride]``."""
        active_NCHW = self.activation(maps_NCHW)
        shortcut_NCHW = maps_NCHW if self.shortcut is None else self.shortcut(active_NCHW)
        output_NCHW: Tensor = shortcut_NCHW + self.residual(active_NCHW)
        return output_NCHW


def build_wide_resnet(
    *,
    image_shape: ImageShape,
    num_classes: int,
    depth: int | None,
    width: int | None,
    dropout: float,
) -> Backbone:
    """Return WRN-depth-width.

    Args:
        image_shape: Channels, height, width.
        num_classes: K.
        depth: 6n + 4 for n blocks in each of three groups, 16 by default.
        width: Widening factor k, 4 by default; groups have 16k, 32k and 64k channels.
        dropout: Share in [0, 1), between the convolutions of a block.

    Raises:
        BackboneError: `depth` is not 6n + 4 with n >= 1.

    Source:
        Zagoruyko and Komodakis 2016, "Wide Residual Networks", arXiv:1605.07146, table 1; init as
        in their Lua code: convolutions normal with variance 2 / fan-out, linear bias 0.
    """
    depth, width = 16 if depth is None else depth, width or 4
    if depth < 10 or (depth - 4) % 6:
        msg = (
            "`backbone_depth = 6n + 4` with n >= 1 must hold for backbone 'wide_resnet', for "
            f"example 10, 16, 22 or 28, but got backbone_depth={depth!r}."
        )
        raise BackboneError(msg)
    stages = (16, 16 * width, 32 * width, 64 * width)
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        stem=nn.Conv2d(image_shape[0], stages[0], 3, padding=1, bias=False)
    )
    for index in range(3):
        blocks = [
            PreActivationBlock(
                stages[index] if block == 0 else stages[index + 1],
                stages[index + 1],
                stride=2 if index > 0 and block == 0 else 1,
                dropout=dropout,
            )
            for block in range((depth - 4) // 6)
        ]
        layers[f"group{index + 1}"] = nn.Sequential(*blocks)
    layers["norm"] = nn.Sequential(nn.BatchNorm2d(stages[3]), nn.ReLU())
    layers["pool"] = GlobalPool()
    extractor = nn.Sequential(layers)
    for module in extractor.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    classifier = nn.Linear(stages[3], num_classes)
    nn.init.zeros_(classifier.bias)
    attach_points = ("stem", "group1", "group2", "group3", "norm")
    return Backbone(extractor=extractor, classifier=classifier, attach_points=attach_points)

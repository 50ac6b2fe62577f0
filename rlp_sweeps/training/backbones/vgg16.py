"""VGG16 for small images: 13 convolutions and 3 linear layers, with and without BN.

Shapes: N samples, C H W image, D features, K classes.
"""

import math
from collections import OrderedDict

from torch import nn

from rlp_sweeps.training.backbones.base import (
    Backbone,
    GlobalPool,
    ImageShape,
    make_dropout,
    require_depth,
)

STAGES = ((1, 2), (2, 2), (4, 3), (8, 3), (8, 3))
"""Width factor and number of convolutions of each stage; a max-pooling follows each."""


def build_vgg16(
    *,
    image_shape: ImageShape,
    num_classes: int,
    depth: int | None,
    width: int | None,
    dropout: float,
) -> Backbone:
    """Return a VGG16 without BN; arguments, init and deviations as in `build_vgg16_bn`."""
    return _build(
        image_shape=image_shape,
        num_classes=num_classes,
        width=_checked_width(depth, width, family="vgg16"),
        dropout=dropout,
        has_bn=False,
    )


def build_vgg16_bn(
    *,
    image_shape: ImageShape,
    num_classes: int,
    depth: int | None,
    width: int | None,
    dropout: float,
) -> Backbone:
    """Return a VGG16 with BN after each convolution.

    Deviations for small images: a max-pooling is left out where a side of the map is 1 pixel
    (28×28 has four poolings, 8×8 three), maps larger than 1×1 after the last stage are averaged,
    and the two hidden linear layers are as wide as the last convolution, not 4096.

    Init: normal with variance 2 / fan-in and bias 0, where the fan-in of a convolution counts the
    taps that fall inside the map on average. Without that, the zero padding of maps of 1 to 4
    pixels a side shrinks the signal in every layer, and a deep net without BN hardly trains.

    Args:
        image_shape: Channels, height, width.
        num_classes: K.
        depth: 16 or None.
        width: Channels of the first stage, 64 by default; the last has eight times as many.
        dropout: Share in [0, 1), before each hidden linear layer.

    Raises:
        BackboneError: `depth` is another number.

    Source:
        Simonyan and Zisserman 2015, arXiv:1409.1556, table 1, column D; init after He et al. 2015,
        arXiv:1502.01852.
    """
    return _build(
        image_shape=image_shape,
        num_classes=num_classes,
        width=_checked_width(depth, width, family="vgg16_bn"),
        dropout=dropout,
        has_bn=True,
    )


def _checked_width(depth: int | None, width: int | None, *, family: str) -> int:
    require_depth(depth, family=family, only=16, layers="13 convolutions and 3 linear layers")
    return width or 64


def _build(
    *, image_shape: ImageShape, num_classes: int, width: int, dropout: float, has_bn: bool
) -> Backbone:
    channels, height, side = image_shape
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    num_convs = 0
    for stage, (factor, num_in_stage) in enumerate(STAGES):
        for _ in range(num_in_stage):
            num_convs += 1
            conv = _make_conv(channels, factor * width, map_HW=(height, side))
            channels = factor * width
            norm = [nn.BatchNorm2d(channels)] if has_bn else []
            layers[f"conv{num_convs}"] = nn.Sequential(conv, *norm, nn.ReLU())
        if min(height, side) > 1:
            layers[f"pool{stage + 1}"] = nn.MaxPool2d(2)
            height, side = height // 2, side // 2
    layers["average"] = GlobalPool()
    for index in (1, 2):
        linear = nn.Linear(channels, channels)
        nn.init.kaiming_normal_(linear.weight, nonlinearity="relu")
        nn.init.zeros_(linear.bias)
        layers[f"linear{index}"] = nn.Sequential(make_dropout(dropout), linear, nn.ReLU())
    convs = [f"conv{index + 1}" for index in range(num_convs)]
    return Backbone(
        extractor=nn.Sequential(layers),
        classifier=nn.Linear(channels, num_classes),
        attach_points=[*convs, "linear1", "linear2"],
    )


def _make_conv(num_inputs: int, num_outputs: int, *, map_HW: tuple[int, int]) -> nn.Conv2d:
    conv = nn.Conv2d(num_inputs, num_outputs, 3, padding=1)
    taps = math.prod(1.0 if side == 1 else (3 * side - 2) / side for side in map_HW)
    nn.init.normal_(conv.weight, std=math.sqrt(2.0 / (num_inputs * taps)))
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return conv

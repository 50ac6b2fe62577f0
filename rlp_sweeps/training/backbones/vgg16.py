"""VGG16 for small images: 13 convolutions and 3 linear layers, with and without BN.

Shapes: N samples, C H W image, D features, K classes.
"""

import math
from collections import OrderedDict
from functools import partial
from typing import NamedTuple

from torch import nn

from rlp_sweeps.training.backbones.base import (
    Backbone,
    GlobalPool,
    ImageShape,
    Tail,
    make_dropout,
    require_depth,
    scaled_width,
)

STAGES = ((1, 2), (2, 2), (4, 3), (8, 3), (8, 3))
"""Width factor and number of convolutions of each stage; a max-pooling follows each."""

NUM_CONVS = sum(num_in_stage for _, num_in_stage in STAGES)


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
    shape = _Shape(image_shape, width, dropout, has_bn)
    layers, num_features = _make_layers(shape)
    return Backbone(
        extractor=layers,
        classifier=nn.Linear(num_features, num_classes),
        attach_points=[*(f"conv{index + 1}" for index in range(NUM_CONVS)), "linear1", "linear2"],
        make_tail=partial(_make_tail, shape),
    )


class _Shape(NamedTuple):
    image_shape: ImageShape
    width: int
    dropout: float
    has_bn: bool


def _make_tail(shape: _Shape, num_layers: int, *, width_factor: float) -> Tail:
    return _make_layers(shape, first=NUM_CONVS + 2 - num_layers, width_factor=width_factor)


def _make_layers(shape: _Shape, *, first: int = 0, width_factor: float = 1.0) -> Tail:
    """Return the layers from one on, counted from 0, with the poolings that follow the one below.

    Args:
        shape: Of the whole network.
        first: The first layer with weights that is built.
        width_factor: Factor on the widths of those that are built.
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    channels, height, side = shape.image_shape
    num_convs = 0
    for stage, (factor, num_in_stage) in enumerate(STAGES):
        for _ in range(num_in_stage):
            num_convs += 1
            num_outputs = factor * shape.width
            if num_convs > first:
                num_outputs = scaled_width(num_outputs, width_factor)
                conv = _make_conv(channels, num_outputs, map_HW=(height, side))
                norm = [nn.BatchNorm2d(num_outputs)] if shape.has_bn else []
                layers[f"conv{num_convs}"] = nn.Sequential(conv, *norm, nn.ReLU())
            channels = num_outputs
        if min(height, side) > 1:
            if num_convs >= first:
                layers[f"pool{stage + 1}"] = nn.MaxPool2d(2)
            height, side = height // 2, side // 2
    if num_convs >= first:
        layers["average"] = GlobalPool()
    for index in range(max(1, first - NUM_CONVS + 1), 3):
        linear = nn.Linear(channels, scaled_width(STAGES[-1][0] * shape.width, width_factor))
        nn.init.kaiming_normal_(linear.weight, nonlinearity="relu")
        nn.init.zeros_(linear.bias)
        layers[f"linear{index}"] = nn.Sequential(make_dropout(shape.dropout), linear, nn.ReLU())
        channels = linear.out_features
    return Tail(nn.Sequential(layers), channels)


def _make_conv(num_inputs: int, num_outputs: int, *, map_HW: tuple[int, int]) -> nn.Conv2d:
    conv = nn.Conv2d(num_inputs, num_outputs, 3, padding=1)
    taps = math.prod(1.0 if side == 1 else (3 * side - 2) / side for side in map_HW)
    nn.init.normal_(conv.weight, std=math.sqrt(2.0 / (num_inputs * taps)))
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return conv

"""A small convolutional network for images of 8×8 to 32×32 pixels, fast on a CPU.

Shapes: N samples, C H W image, D features, K classes.
"""

from collections import OrderedDict
from functools import partial
from typing import NamedTuple

from torch import nn

from rlp_sweeps.training.backbones.base import (
    Backbone,
    ImageShape,
    Tail,
    make_dropout,
    require_depth,
    scaled_width,
)

NUM_FEATURES = 64


def build_small_cnn(
    *,
    image_shape: ImageShape,
    num_classes: int,
    depth: int | None,
    width: int | None,
    dropout: float,
) -> Backbone:
    """Return two convolutions with BN and ReLU, and a linear layer of 64 features with ReLU.

    The second convolution has stride 2. Maps larger than 4×4 are average-pooled to at most 4×4
    with windows of ``ceil(side / 4)`` pixels, the last one cut at the edge: for sides that 4
    divides this is adaptive pooling, whose gradient torch cannot compute deterministically on
    CUDA. Dropout acts before the linear layer. Convolutions are drawn as by He et al. 2015
    (arXiv:1502.01852, fan-out), linear layers as by torch's default.

    Args:
        image_shape: Channels, height, width.
        num_classes: K.
        depth: 4 (two convolutions, two linear layers) or None.
        width: Channels of the first convolution, 16 by default; the second has twice as many.
        dropout: Share in [0, 1).

    Raises:
        BackboneError: `depth` is another number.
    """
    require_depth(
        depth, family="small_cnn", only=4, layers="two convolutions and two linear layers"
    )
    width = width or 16
    shape = _Shape(image_shape, width, dropout)
    return Backbone(
        extractor=_make_layers(shape).layers,
        classifier=nn.Linear(NUM_FEATURES, num_classes),
        attach_points=_LAYERS,
        make_tail=partial(_make_tail, shape),
    )


_LAYERS = ("conv1", "conv2", "linear")


class _Shape(NamedTuple):
    image_shape: ImageShape
    width: int
    dropout: float


def _make_tail(shape: _Shape, num_layers: int, *, width_factor: float) -> Tail:
    return _make_layers(shape, first=len(_LAYERS) - num_layers, width_factor=width_factor)


def _make_layers(shape: _Shape, *, first: int = 0, width_factor: float = 1.0) -> Tail:
    """Return the layers from one on, counted from 0."""
    channels, *sides = shape.image_shape
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for index, stride in enumerate((1, 2)):
        num_outputs = shape.width * (index + 1)
        if index >= first:
            num_outputs = scaled_width(num_outputs, width_factor)
            layers[_LAYERS[index]] = _conv_bn_relu(channels, num_outputs, stride=stride)
        channels = num_outputs
    sides = [(side + 1) // 2 for side in sides]  # stride 2, padding 1
    windows = [-(-side // 4) for side in sides]
    pooled = [-(-side // window) for side, window in zip(sides, windows, strict=True)]
    pool: nn.Module = nn.Identity()  # a window of one pixel costs time and changes nothing
    if max(windows) > 1:
        window_HW = (windows[0], windows[1])
        pool = nn.AvgPool2d(window_HW, ceil_mode=True, count_include_pad=False)
    num_features = scaled_width(NUM_FEATURES, width_factor)
    layers |= {
        "pool": pool,
        "flatten": nn.Flatten(),
        "dropout": make_dropout(shape.dropout),
        "linear": nn.Sequential(
            nn.Linear(channels * pooled[0] * pooled[1], num_features), nn.ReLU()
        ),
    }
    return Tail(nn.Sequential(layers), num_features)


def _conv_bn_relu(num_inputs: int, num_outputs: int, *, stride: int) -> nn.Sequential:
    conv = nn.Conv2d(num_inputs, num_outputs, 3, stride=stride, padding=1, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return nn.Sequential(conv, nn.BatchNorm2d(num_outputs), nn.ReLU())

"""Multilayer perceptron on flattened images.

Shapes: N samples, C H W image, D features, K classes.
"""

import math
from collections import OrderedDict
from functools import partial
from typing import NamedTuple

from torch import nn

from rlp_sweeps.errors import BackboneError
from rlp_sweeps.training.backbones.base import (
    Backbone,
    ImageShape,
    Tail,
    make_dropout,
    scaled_width,
)


def build_mlp(
    *,
    image_shape: ImageShape,
    num_classes: int,
    depth: int | None,
    width: int | None,
    dropout: float,
) -> Backbone:
    """Return an MLP with ReLU after each hidden layer.

    Dropout acts between hidden layers, never on the features. Hidden weights are drawn as by He et
    al. 2015 (arXiv:1502.01852) with biases 0, the class head as by torch's default.

    Args:
        image_shape: Channels, height, width.
        num_classes: K.
        depth: Hidden layers, 2 by default; attach points are ``hidden1`` … in this number.
        width: Units of a hidden layer, 128 by default.
        dropout: Share in [0, 1).

    Raises:
        BackboneError: Dropout is asked for with one hidden layer, where it has no place.
    """
    depth, width = depth or 2, width or 128
    if dropout > 0 and depth < 2:
        msg = (
            "dropout of backbone 'mlp' acts between hidden layers, so that `backbone_depth >= 2` "
            f"must hold, but got backbone_depth={depth!r}, dropout={dropout!r}."
        )
        raise BackboneError(msg)
    shape = _Shape(math.prod(image_shape), depth, width, dropout)
    return Backbone(
        extractor=_make_layers(shape).layers,
        classifier=nn.Linear(width, num_classes),
        attach_points=[f"hidden{index + 1}" for index in range(depth)],
        make_tail=partial(_make_tail, shape),
    )


class _Shape(NamedTuple):
    num_pixels: int
    depth: int
    width: int
    dropout: float


def _make_tail(shape: _Shape, num_layers: int, *, width_factor: float) -> Tail:
    return _make_layers(shape, first=shape.depth - num_layers, width_factor=width_factor)


def _make_layers(shape: _Shape, *, first: int = 0, width_factor: float = 1.0) -> Tail:
    """Return the hidden layers from one on, counted from 0."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    num_inputs = shape.width
    if first == 0:
        layers["flatten"], num_inputs = nn.Flatten(), shape.num_pixels
    for index in range(first, shape.depth):
        linear = nn.Linear(num_inputs, scaled_width(shape.width, width_factor))
        nn.init.kaiming_normal_(linear.weight, nonlinearity="relu")
        nn.init.zeros_(linear.bias)
        between = make_dropout(shape.dropout if index > 0 else 0.0)
        layers[f"hidden{index + 1}"] = nn.Sequential(between, linear, nn.ReLU())
        num_inputs = linear.out_features
    return Tail(nn.Sequential(layers), num_inputs)

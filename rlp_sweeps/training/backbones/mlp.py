"""Multilayer perceptron on flattened images.

Shapes: N samples, C H W image, D features, K classes.
"""

import math
from collections import OrderedDict

from torch import nn

from rlp_sweeps.errors import BackboneError
from rlp_sweeps.training.backbones.base import Backbone, ImageShape, make_dropout


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
    layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
    num_inputs = math.prod(image_shape)
    for index in range(depth):
        linear = nn.Linear(num_inputs, width)
        nn.init.kaiming_normal_(linear.weight, nonlinearity="relu")
        nn.init.zeros_(linear.bias)
        between = make_dropout(dropout if index > 0 else 0.0)
        layers[f"hidden{index + 1}"] = nn.Sequential(between, linear, nn.ReLU())
        num_inputs = width
    return Backbone(
        extractor=nn.Sequential(layers),
        classifier=nn.Linear(width, num_classes),
        attach_points=[f"hidden{index + 1}" for index in range(depth)],
    )

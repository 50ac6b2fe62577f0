"""A network of one's own: three convolutions and a linear class head."""

from torch import nn

from rlp_sweeps.errors import BackboneError
from rlp_sweeps.training.backbones import Backbone


def build(*, image_shape, num_classes, depth, width, dropout):
    """Return the network with weights from torch's stream; None stands for a default."""
    if depth not in (None, 3) or dropout:
        msg = (
            "my_nets.build has three convolutions and no dropout, but got "
            f"backbone_depth={depth!r}, dropout={dropout!r}."
        )
        raise BackboneError(msg)
    channels, width = image_shape[0], width or 16
    extractor = nn.Sequential()
    for number in range(1, 4):
        layer = nn.Sequential(nn.Conv2d(channels, width, 3, padding=1), nn.ReLU())
        extractor.add_module(f"conv{number}", layer)
        channels, width = width, 2 * width
    extractor.add_module("pool", nn.AdaptiveAvgPool2d(1))
    extractor.add_module("features", nn.Flatten())
    return Backbone(
        extractor=extractor,
        classifier=nn.Linear(channels, num_classes),
        attach_points=["conv1", "conv2", "conv3", "features"],
    )

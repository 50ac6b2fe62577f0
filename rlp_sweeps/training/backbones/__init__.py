"""Backbones by name, or by the dotted path of a user's own builder.

A user's builder has the signature of `base.BackboneBuilder`. With this in ``my_nets.py``, the
setting ``backbone="my_nets.build_linear"`` trains it::

    from torch import nn
    from rlp_sweeps.training.backbones import Backbone

    def build_linear(*, image_shape, num_classes, depth, width, dropout):
        channels, height, side = image_shape
        hidden = nn.Linear(channels * height * side, width or 64)
        extractor = nn.Sequential(nn.Flatten(), hidden, nn.ReLU())
        head = nn.Linear(hidden.out_features, num_classes)
        return Backbone(extractor=extractor, classifier=head, attach_points=["2"])
"""

import difflib

import torch

from rlp_sweeps.config import TrialConfig
from rlp_sweeps.errors import BackboneError
from rlp_sweeps.seeding import stream_seed
from rlp_sweeps.training.backbones.base import (
    Backbone,
    BackboneBuilder,
    ImageShape,
    pool_features,
)
from rlp_sweeps.training.backbones.mlp import build_mlp
from rlp_sweeps.training.backbones.projector import ClassHead, ProjectedHead
from rlp_sweeps.training.backbones.resnet18 import build_resnet18
from rlp_sweeps.training.backbones.small_cnn import build_small_cnn
from rlp_sweeps.training.backbones.vgg16 import build_vgg16, build_vgg16_bn
from rlp_sweeps.training.backbones.vit import build_vit
from rlp_sweeps.training.backbones.wide_resnet import build_wide_resnet
from rlp_sweeps.training.dotted_paths import import_function, is_dotted_path
from rlp_sweeps.training.dropout import replace_dropout

__all__ = [
    "BACKBONES",
    "PLAIN",
    "Backbone",
    "BackboneBuilder",
    "ClassHead",
    "ImageShape",
    "ProjectedHead",
    "build_backbone",
    "check_backbone",
    "get_builder",
    "pool_features",
]

BACKBONES: dict[str, BackboneBuilder] = {
    "mlp": build_mlp,
    "small_cnn": build_small_cnn,
    "wide_resnet": build_wide_resnet,
    "vgg16": build_vgg16,
    "vgg16_bn": build_vgg16_bn,
    "resnet18": build_resnet18,
    "vit": build_vit,
}


PLAIN = ("mlp", "small_cnn", "vgg16", "vgg16_bn")
"""Networks whose layers follow one another, so that heads can copy the last ones."""


def get_builder(name: str) -> BackboneBuilder:
    """Return the builder of that name or dotted path.

    Raises:
        BackboneError: There is no such name, or the path cannot be imported.
    """
    if name in BACKBONES:
        return BACKBONES[name]
    if is_dotted_path(name):
        builder: BackboneBuilder = import_function(name, error=BackboneError)
        return builder
    close = difflib.get_close_matches(name, BACKBONES, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else "."
    msg = (
        f"unknown backbone {name!r}; the backbones are {list(BACKBONES)}, or the dotted path of a "
        f"builder{hint}"
    )
    raise BackboneError(msg)


def build_backbone(config: TrialConfig, *, image_shape: ImageShape, num_classes: int) -> Backbone:
    """Return the trial's backbone on the CPU, with weights from its seed's ``init`` stream.

    A projector takes the place of its class head, with weights from a stream of its own. torch's
    global stream is left as it was. Every `nn.Dropout` of a user's backbone becomes our own, whose
    masks do not depend on the memory format.

    Args:
        config: Names backbone, depth, width, dropout, projector and seed.
        image_shape: Channels, height, width.
        num_classes: K.

    Raises:
        BackboneError: The backbone is unknown or cannot be built as asked for.
    """
    builder = get_builder(config.backbone)
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.default_generator.manual_seed(stream_seed(config.seed, "init"))
        backbone: object = builder(
            image_shape=image_shape,
            num_classes=num_classes,
            depth=config.backbone_depth,
            width=config.backbone_width,
            dropout=config.dropout,
        )
    if not isinstance(backbone, Backbone):
        msg = (
            f"the builder {config.backbone!r} must return a Backbone, but returned "
            f"{type(backbone).__name__}; wrap extractor and classifier in "
            "rlp_sweeps.training.backbones.Backbone."
        )
        raise BackboneError(msg)
    replace_dropout(backbone)
    if config.projector_width:
        backbone.classifier = _projector(config, backbone.num_features, num_classes)
    return backbone


def _projector(config: TrialConfig, num_features: int, num_classes: int) -> ProjectedHead:
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.default_generator.manual_seed(stream_seed(config.seed, "projector_init"))
        return ProjectedHead(num_features, width=config.projector_width, num_classes=num_classes)


def check_backbone(config: TrialConfig, *, image_shape: ImageShape, num_classes: int) -> None:
    """Build the trial's backbone and run it on two blank images, to refuse it before a sweep.

    Args:
        config: Names backbone, depth, width and dropout.
        image_shape: Channels, height, width.
        num_classes: K.

    Raises:
        BackboneError: The backbone is unknown, cannot be built as asked for, cannot read these
            images, or returns features or scores of the wrong shape.
    """
    backbone = build_backbone(config, image_shape=image_shape, num_classes=num_classes).eval()
    wanted = [(2, backbone.num_features), (2, num_classes)]
    with torch.inference_mode():
        try:
            features_ND = backbone.features(torch.zeros(2, *image_shape))
            got = [tuple(features_ND.shape), tuple(backbone.classifier(features_ND).shape)]
        except RuntimeError as exc:
            msg = (
                f"backbone {config.backbone!r} must read images of shape {tuple(image_shape)}, "
                f"but failed: {exc}. Choose another backbone, depth or width."
            )
            raise BackboneError(msg) from exc
    if got != wanted:
        msg = (
            f"backbone {config.backbone!r} must return features and scores of shapes {wanted} for "
            f"two images, but returned {got}; match `classifier` with extractor and classes."
        )
        raise BackboneError(msg)

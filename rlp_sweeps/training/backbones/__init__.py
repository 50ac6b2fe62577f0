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

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from rlp_sweeps.config import TrialConfig
from rlp_sweeps.errors import BackboneError
from rlp_sweeps.misspelling import advice
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
from rlp_sweeps.user_errors import kind_of, place_of, words_of

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
    known = f"the backbones are {list(BACKBONES)}, or the dotted path of a builder."
    msg = f"unknown backbone {name!r}; {advice(name, BACKBONES, otherwise=known)}"
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
    builder = _checked_builder(config.backbone)
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
            f"{kind_of(backbone)}; wrap extractor and classifier in "
            "rlp_sweeps.training.backbones.Backbone."
        )
        raise BackboneError(msg)
    replace_dropout(backbone)
    if config.projector_width:
        backbone.classifier = _projector(config, backbone.num_features, num_classes)
    return backbone


_TAKES = ("image_shape", "num_classes", "depth", "width", "dropout")
"""What a builder is called with, by name."""


def _checked_builder(name: str) -> BackboneBuilder:
    """Return the builder of that name; one of a user's own says in a sentence what it raises."""
    builder = get_builder(name)
    if name in BACKBONES:
        return builder
    try:
        inspect.signature(builder).bind(**dict.fromkeys(_TAKES))
    except TypeError as exc:
        msg = (
            f"the builder {name!r} must take {', '.join(_TAKES)} by name, but {exc}; write "
            f"`def {name.replace(':', '.').rpartition('.')[2]}(*, {', '.join(_TAKES)})`."
        )
        raise BackboneError(msg) from exc

    def build(**settings: Any) -> Backbone:
        try:
            return builder(**settings)
        except BackboneError:
            raise
        except Exception as exc:
            shape = settings["image_shape"]
            msg = (
                f"the builder {name!r} must return a backbone for images of shape {tuple(shape)}, "
                f"but {place_of(exc, name)} raised {words_of(exc)}"
            )
            raise BackboneError(msg) from exc

    return build


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
    features_ND = _run(backbone.features, torch.zeros(2, *image_shape), config, image_shape)
    wanted = (2, backbone.num_features)
    if _shape_of(features_ND) != wanted:
        msg = (
            f"the extractor of backbone {config.backbone!r} must return features of shape {wanted} "
            f"for two images, as its classifier reads them, but returned {_shape_of(features_ND)}; "
            "match the extractor's end with the classifier's `in_features`."
        )
        raise BackboneError(msg)
    scores_NK = _run(backbone.classifier, features_ND, config, image_shape)
    if _shape_of(scores_NK) != (2, num_classes):
        msg = (
            f"the classifier of backbone {config.backbone!r} must return scores of shape "
            f"{(2, num_classes)} for two images of {num_classes} classes, but returned "
            f"{_shape_of(scores_NK)}; build it with `num_classes` outputs."
        )
        raise BackboneError(msg)


def _run(part: Callable[..., Any], read: Any, config: TrialConfig, image_shape: ImageShape) -> Any:
    """Return what a part of a backbone makes of two blank images.

    Raises:
        BackboneError: It raises; a built-in one only where it cannot read them.
    """
    raised = RuntimeError if config.backbone in BACKBONES else Exception
    try:
        with torch.inference_mode():
            return part(read)
    except raised as exc:
        msg = (
            f"backbone {config.backbone!r} must read images of shape {tuple(image_shape)}, but "
            f"failed with {words_of(exc)} Choose another backbone, depth or width, or mend its "
            "layers."
        )
        raise BackboneError(msg) from exc


def _shape_of(output: object) -> object:
    """Return a tensor's shape; what else it is where it is none."""
    return tuple(output.shape) if isinstance(output, Tensor) else kind_of(output)

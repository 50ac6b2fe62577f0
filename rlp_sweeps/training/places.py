"""Places: the attach points at which a trial's adversary and observer read.

At each place stands a stack of its own; the extractor is trained against the adversaries of the
regularized places alone. The first place is the main one, the deepest that regularizes: metrics and
columns are those of its heads. Source: Becker et al., ICLR 2026 [P2], linear heads on any layer.

Shapes: N samples, C H W image, D features.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch

from rlp_sweeps.arms import get_arm
from rlp_sweeps.attach_points import ALL, attach_point_names
from rlp_sweeps.config import TrialConfig
from rlp_sweeps.errors import BackboneError
from rlp_sweeps.training.backbones import PLAIN, Backbone, ImageShape, build_backbone
from rlp_sweeps.training.taps import Tap, in_eval_mode, tapped_forward

PIXELS = "pixels"
"""Attach point of layer 0: the images themselves."""


class HeadPlace(NamedTuple):
    """One place where heads read.

    Attributes:
        attach_point: Its name.
        layer: Its number in forward order, from 1.
        is_last: Whether it is the backbone's last, where heads read the class head's own input.
        is_regularized: Whether the adversary there trains the extractor.
        num_features: Numbers that the heads read of a sample: D, or all of a map below a copy.
        copies: Whether the heads copy the layers above.
    """

    attach_point: str
    layer: int
    is_last: bool
    is_regularized: bool
    num_features: int
    copies: bool = False

    @property
    def is_pixels(self) -> bool:
        """Whether heads read the images."""
        return self.layer == 0

    @property
    def tap(self) -> Tap | None:
        """How the place is read; None where it is the extractor's output, or the images."""
        if self.is_last or self.is_pixels:
            return None
        return Tap(self.attach_point, not self.is_regularized, pools=not self.copies)

    @property
    def init_counters(self) -> tuple[int, ...]:
        """Counters of the heads' init streams: none at the last attach point."""
        return () if self.is_last else (self.layer,)


def head_places(
    config: TrialConfig, backbone: Backbone, *, image_shape: ImageShape
) -> tuple[HeadPlace, ...]:
    """Return where a trial's heads read: the main place, then the others in forward order.

    Args:
        config: Names the backbone and the attach points.
        backbone: The trial's; read in eval mode on one blank image where widths are not known.
        image_shape: Channels, height, width.

    Raises:
        BackboneError: The backbone has no such attach point, its forward does not run it, what it
            gives is no map, tokens or vectors, or it has not the layers that heads shall copy.
    """
    if config.copy_depth > 1:
        check_copies(config, backbone, arms=(config.arm,))
        return (_below_copy(config, backbone, image_shape),)
    known = backbone.attach_points
    regularized = attach_point_names(config.attach_points) or known[-1:]
    observed = attach_point_names(config.observed_attach_points)
    if observed == (ALL,):
        observed = tuple(name for name in known if name not in regularized)
    unknown = [name for name in (*regularized, *observed) if name not in known]
    if unknown or set(regularized) & set(observed):
        raise _refusal(config, backbone, unknown)
    main = max(regularized, key=known.index)
    names = [main, *(n for n in known if n in (*regularized, *observed) and n != main)]
    widths = _widths(backbone, names, image_shape)
    return tuple(
        HeadPlace(
            attach_point=name,
            layer=known.index(name) + 1,
            is_last=name == known[-1],
            is_regularized=name in regularized,
            num_features=width,
        )
        for name, width in zip(names, widths, strict=True)
    )


def check_places(
    config: TrialConfig, *, arms: Sequence[str], image_shape: ImageShape, num_classes: int
) -> None:
    """Refuse places that the trial's backbone has not, before a sweep.

    Args:
        config: One trial of its kind.
        arms: Arms that are trained on it.
        image_shape: Channels, height, width.
        num_classes: K.

    Raises:
        BackboneError: As `head_places`.
    """
    places = (config.attach_points, config.observed_attach_points)
    if places == (None, None) and config.copy_depth == 1:
        return
    backbone = build_backbone(config, image_shape=image_shape, num_classes=num_classes)
    if config.copy_depth > 1:
        check_copies(config, backbone, arms=arms)
    head_places(config, backbone, image_shape=image_shape)


def check_copies(config: TrialConfig, backbone: Backbone, *, arms: Sequence[str]) -> None:
    """Refuse heads that cannot copy as many layers of this backbone.

    Raises:
        BackboneError: Its layers do not follow one another, they are fewer, or a regularizer shall
            pass a copy of all of them.
    """
    depth, num_layers = config.copy_depth, len(backbone.attach_points) + 1
    if backbone.make_tail is None:
        msg = (
            "`copy_depth > 1` needs a plain network, whose layers follow one another, such as "
            f"{list(PLAIN)}, but got backbone={config.backbone!r}, copy_depth={depth}."
        )
        raise BackboneError(msg)
    if depth > num_layers:
        msg = (
            f"`copy_depth <= {num_layers}` must hold with backbone {config.backbone!r}, which has "
            f"{num_layers} layers, but got copy_depth={depth}."
        )
        raise BackboneError(msg)
    regularized = [name for name in arms if get_arm(name).has_lambda]
    if depth == num_layers and regularized:
        msg = (
            f"`copy_depth={depth}` copies all layers of backbone {config.backbone!r}, so that λ "
            f"has no layer below to act on, but got the arm(s) {regularized}; train 'control' "
            f"alone, or copy {num_layers - 1} layers at most."
        )
        raise BackboneError(msg)


def _below_copy(config: TrialConfig, backbone: Backbone, image_shape: ImageShape) -> HeadPlace:
    """Return the place of heads that copy layers: the output of the layer below them."""
    layer = len(backbone.attach_points) + 1 - config.copy_depth
    if layer == 0:
        return HeadPlace(PIXELS, 0, False, False, math.prod(image_shape), copies=True)
    name = backbone.attach_points[layer - 1]
    (width,) = _numbers_read(backbone, [Tap(name, is_detached=True, pools=False)], image_shape)
    return HeadPlace(name, layer, False, True, width, copies=True)


def _refusal(config: TrialConfig, backbone: Backbone, unknown: list[str]) -> BackboneError:
    if not unknown:  # the default regularizes at the last one
        msg = (
            f"heads at {backbone.attach_points[-1]!r} regularize where `attach_points` is none, so "
            "that `observed_attach_points` cannot name it, but got observed_attach_points="
            f"{config.observed_attach_points!r}; one observes there as well."
        )
        return BackboneError(msg)
    points = list(backbone.attach_points)
    msg = f"backbone {config.backbone!r} has no attach point(s) {unknown}; it has {points}."
    return BackboneError(msg)


def _widths(backbone: Backbone, names: list[str], image_shape: ImageShape) -> list[int]:
    """Return D at each attach point."""
    last = backbone.attach_points[-1]
    taps = [Tap(name, is_detached=True) for name in names if name != last]
    if not taps:
        return [backbone.num_features for _ in names]
    read = _numbers_read(backbone, taps, image_shape)
    widths = {tap.attach_point: width for tap, width in zip(taps, read, strict=True)}
    return [widths.get(name, backbone.num_features) for name in names]


def _numbers_read(backbone: Backbone, taps: Sequence[Tap], image_shape: ImageShape) -> list[int]:
    """Return how many numbers of a sample each tap reads."""
    like = next(backbone.parameters())
    blank_NCHW = torch.zeros(1, *image_shape, dtype=like.dtype, device=like.device)
    with torch.no_grad(), in_eval_mode(backbone):
        _, *read = tapped_forward(backbone.extractor, taps, lambda: backbone.features(blank_NCHW))
    return [x.numel() for x in read]

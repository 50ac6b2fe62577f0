"""What every backbone is: a feature extractor, its attach points, and one linear class head.

Engine 'grouped' trains networks side by side as one network of grouped layers. A module of a
user's own joins in if its class says ``composes_submodules = True``: its forward then only calls
submodules and elementwise operations, such as the sum of a residual block, and it has no weights
of its own. It runs unchanged on maps ``[N, M*C, H, W]``, tokens ``[M*N, T, D]`` and vectors
``[M, N, D]`` of M networks at once; a stack is compared with single networks before it trains.

Shapes: N samples, C H W image, T tokens, D features, K classes.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from torch import Tensor, nn

from rlp_sweeps.errors import BackboneError
from rlp_sweeps.training.backbones.projector import ClassHead
from rlp_sweeps.training.dropout import Dropout
from rlp_sweeps.user_errors import kind_of

ImageShape = tuple[int, int, int]
"""Channels, height, width."""


class Tail(NamedTuple):
    """The last layers of an extractor, freshly drawn.

    Attributes:
        layers: What follows the output of the layer below, or the images.
        num_features: D that they end in.
    """

    layers: nn.Sequential
    num_features: int


class TailBuilder(Protocol):
    """A function that builds the last layers of a plain extractor from torch's global stream."""

    def __call__(self, num_layers: int, *, width_factor: float) -> Tail:
        """Return the last layers with weights; what they read has the extractor's own width.

        Args:
            num_layers: How many of them, 1 up to the number of attach points.
            width_factor: Factor on the widths of their outputs, rounded, 1 at least.
        """
        ...


class Backbone(nn.Module):
    """A network split where the heads read: all layers but the last, and the last.

    Attributes:
        extractor: Normalized images ``[N, C, H, W]`` to features ``[N, D]``, float.
        classifier: The class head, D → K: a linear layer, or a projector in its place.
        attach_points: Submodules of `extractor` in forward order. The last one's output, pooled by
            `pool_features`, is what `classifier` reads.
        make_tail: Builds copies of the last layers in a plain network, where layers follow one
            another and each layer with weights is an attach point; None in any other.
    """

    def __init__(
        self,
        *,
        extractor: nn.Module,
        classifier: nn.Linear,
        attach_points: Sequence[str],
        make_tail: TailBuilder | None = None,
    ) -> None:
        super().__init__()
        _check_parts(extractor, classifier, attach_points)
        self.make_tail = make_tail
        self.extractor = extractor
        self.classifier: ClassHead = classifier
        self.attach_points = tuple(attach_points)
        known = {name for name, _ in extractor.named_modules() if name}
        absent = [name for name in self.attach_points if name not in known]
        if absent or not self.attach_points:
            msg = (
                "`attach_points` must name submodules of the extractor, but got "
                f"{list(self.attach_points)}; its submodules are {sorted(known)}."
            )
            raise BackboneError(msg)

    @property
    def num_features(self) -> int:
        """D, the length of the feature vector that every head on the last layer reads."""
        return self.classifier.in_features

    def features(self, images_NCHW: Tensor) -> Tensor:
        """Return the features z, ``[N, D]``, of normalized float images."""
        features_ND: Tensor = self.extractor(images_NCHW)
        return features_ND

    def forward(self, images_NCHW: Tensor) -> Tensor:
        """Return the class scores, ``[N, K]``, of normalized float images."""
        logits_NK: Tensor = self.classifier(self.features(images_NCHW))
        return logits_NK

    def attach_point(self, name: str) -> nn.Module:
        """Return the submodule whose output a head at that attach point reads.

        Raises:
            BackboneError: There is no such attach point.
        """
        if name not in self.attach_points:
            msg = f"no attach point {name!r}; this backbone has {list(self.attach_points)}."
            raise BackboneError(msg)
        return self.extractor.get_submodule(name)


def _check_parts(extractor: object, classifier: object, attach_points: object) -> None:
    wanted = [
        ("extractor", extractor, isinstance(extractor, nn.Module), "a torch module"),
        ("classifier", classifier, isinstance(classifier, nn.Linear), "one linear layer"),
        (
            "attach_points",
            attach_points,
            isinstance(attach_points, Sequence) and not isinstance(attach_points, str),
            "a list of names",
        ),
    ]
    for name, value, is_right, words in wanted:
        if not is_right:
            got = repr(value) if isinstance(value, str) else kind_of(value)
            msg = f"`{name}` of a Backbone must be {words}, but got {got}."
            raise BackboneError(msg)


class BackboneBuilder(Protocol):
    """A function that builds a backbone with freshly drawn weights from torch's global stream."""

    def __call__(
        self,
        *,
        image_shape: ImageShape,
        num_classes: int,
        depth: int | None,
        width: int | None,
        dropout: float,
    ) -> Backbone:
        """Return the backbone; None stands for the family's default.

        Raises:
            BackboneError: The family has no such depth or width, or cannot read these images.
        """
        ...


def pool_features(output: Tensor) -> Tensor:
    """Return an attach point's output as one vector a sample, ``[N, D]``.

    Maps ``[N, D, H, W]`` are averaged over pixels, tokens ``[N, T, D]`` over tokens, vectors
    ``[N, D]`` pass through.

    Raises:
        BackboneError: The output has another number of dimensions.
    """
    if output.ndim == 4:
        return output.mean(dim=(2, 3))
    if output.ndim == 3:
        return output.mean(dim=1)
    if output.ndim == 2:
        return output
    msg = (
        "an attach point's output must have 2, 3 or 4 dimensions, but got shape "
        f"{tuple(output.shape)}; attach to another submodule."
    )
    raise BackboneError(msg)


class GlobalPool(nn.Module):
    """The last step of an extractor that ends in maps or tokens: `pool_features` as a module."""

    def forward(self, output: Tensor) -> Tensor:
        """Return ``[N, D]``."""
        return pool_features(output)


def scaled_width(width: int, factor: float) -> int:
    """Return a layer's width times a factor, rounded, 1 at least."""
    return max(1, round(width * factor))


def make_dropout(share: float) -> nn.Module:
    """Return dropout of this share, or the identity at 0, which draws no random numbers."""
    return Dropout(share) if share > 0 else nn.Identity()


def require_depth(depth: int | None, *, family: str, only: int, layers: str) -> None:
    """Refuse a depth that a family of one fixed depth does not have.

    Raises:
        BackboneError: `depth` is given and is not `only`.
    """
    if depth not in (None, only):
        msg = (
            f"backbone {family!r} has {layers}, so that `backbone_depth` must be {only} or none, "
            f"but got backbone_depth={depth!r}."
        )
        raise BackboneError(msg)

"""One trial's network: backbone, RLP heads and the normalization in front of them.

Shapes: N samples, C H W image, D features, K classes.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import reduce
from operator import add
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from rlp_sweeps.config import TrialConfig
from rlp_sweeps.head_kinds import SINGLE_OUTPUT
from rlp_sweeps.training.backbones import Backbone, build_backbone
from rlp_sweeps.training.copied_heads import CopiedHeads
from rlp_sweeps.training.datasets import NetworkInputs, SplitDataset, normalize
from rlp_sweeps.training.heads import (
    ADVERSARY,
    ExtractorWeights,
    HeadShape,
    RLPHeads,
    scale_gradient,
)
from rlp_sweeps.training.losses import (
    CLASS_LOSSES,
    RegularizerTerms,
    head_terms_per_sample,
)
from rlp_sweeps.training.places import HeadPlace, head_places
from rlp_sweeps.training.projection import TrainedParameters
from rlp_sweeps.training.taps import Tap, tapped_forward

Heads = RLPHeads | CopiedHeads
"""Adversary and observer at one place."""


class TrainingLosses(NamedTuple):
    """What a training step goes back from: their sum; each ``[]``, in nats, mean over samples."""

    class_loss: Tensor
    heads_loss: Tensor


class Readings(NamedTuple):
    """What one forward of the extractor gives.

    Attributes:
        features_ND: Its output, which the class head reads, and the heads at its last layer.
        taps: What the heads at other places read, in the order of the places: ``[N, D']`` each,
            and below a copy the output as it is, or the normalized images.
    """

    features_ND: Tensor
    taps: tuple[Tensor, ...]


class RLPNetwork(nn.Module):
    """Backbone and heads of one trial, on one device.

    The heads work in float32 whatever the precision of the backbone; with bf16 the backbone runs
    under autocast in channels_last layout.

    Attributes:
        places: Where heads read, the main place first.
        heads: The stack at the main place.
        further_heads: Those at the other places, in their order.
    """

    def __init__(
        self, config: TrialConfig, data: SplitDataset | NetworkInputs, device: torch.device
    ) -> None:
        super().__init__()
        self.backbone: Backbone = build_backbone(
            config, image_shape=data.image_shape, num_classes=data.num_classes
        )
        shape = HeadShape.of(
            config.head, num_classes=data.num_classes, num_random_labels=config.num_random_labels
        )
        self.places = head_places(config, self.backbone, image_shape=data.image_shape)
        main, *further = (self._heads_at(place, shape, config) for place in self.places)
        self.heads = main
        self.further_heads = nn.ModuleList(further)
        self.mean_C = nn.Buffer(data.mean_C, persistent=False)
        self.std_C = nn.Buffer(data.std_C, persistent=False)
        self.is_bf16 = config.precision == "bf16"
        self.loss = config.loss
        self.to(device)
        if self.is_bf16:
            self.backbone.to(memory_format=torch.channels_last)

    def forward(self, images_NCHW: Tensor, extractor_scale: float = 1.0) -> tuple[Tensor, Tensor]:
        """Return class scores and features.

        Args:
            images_NCHW: Raw images, uint8 or float in [0, 255].
            extractor_scale: Factor on what the class loss sends back to the extractor.

        Returns:
            ``logits_NK`` and ``features_ND``, both in the heads' dtype.
        """
        features_ND = self.features(images_NCHW)
        return self.classify(features_ND, extractor_scale), features_ND

    def features(self, images_NCHW: Tensor) -> Tensor:
        """Return features of raw images, ``[N, D]``, in the heads' dtype."""
        return self._features(self._inputs(images_NCHW))

    def _inputs(self, images_NCHW: Tensor) -> Tensor:
        inputs_NCHW = normalize(images_NCHW, self.mean_C, self.std_C)
        if self.is_bf16:
            inputs_NCHW = inputs_NCHW.contiguous(memory_format=torch.channels_last)
        return inputs_NCHW

    def _features(self, inputs_NCHW: Tensor) -> Tensor:
        with self._autocast(inputs_NCHW.device):
            features_ND: Tensor = self.backbone.features(inputs_NCHW)
        return features_ND.to(self.heads.dtype)

    def read(self, images_NCHW: Tensor) -> Readings:
        """Return what the class head and all RLP heads read of raw images, in the heads' dtype."""
        extractor, inputs_NCHW = self.backbone.extractor, self._inputs(images_NCHW)
        features_ND, *tapped = tapped_forward(
            extractor, self.taps, lambda: self._features(inputs_NCHW)
        )
        left = iter(tapped)
        taps = (
            inputs_NCHW if place.is_pixels else next(left)
            for place in self.places
            if not place.is_last
        )
        return Readings(features_ND, tuple(tap.to(self.heads.dtype) for tap in taps))

    @property
    def taps(self) -> tuple[Tap, ...]:
        """How the places within the extractor are read, in their order."""
        return tuple(place.tap for place in self.places if place.tap is not None)

    def stacks(
        self, features_ND: Tensor, taps: Sequence[Tensor] = ()
    ) -> Iterator[tuple[HeadPlace, Heads, Tensor]]:
        """Yield every place with its heads and what they read, the main place first.

        Args:
            features_ND: From `features` or `read`.
            taps: From `read`.
        """
        left = iter(taps)
        stacks = (self.heads, *(cast("Heads", heads) for heads in self.further_heads))
        for place, heads in zip(self.places, stacks, strict=True):
            yield place, heads, features_ND if place.is_last else next(left)

    def adversary_terms(
        self, readings: Readings, labels_N: Tensor, random_labels_HN: Tensor
    ) -> RegularizerTerms:
        """Return both parts of the regularizer, summed over the places that regularize.

        Of heads that copy the whole network they depend on nothing that the extractor has.

        Args:
            readings: From `read`.
            labels_N: Class indices, ``[N]``, int64.
            random_labels_HN: Random labels of adversary and observer, ``[2, N]``, int64.

        Returns:
            Means over the batch, ``[]``, in nats.
        """
        terms = [
            head_terms_per_sample(
                heads.adversary(read_ND),
                heads.shape.blocks(labels_N),
                random_labels_HN[ADVERSARY],
                kind=heads.shape.kind,
            )
            for place, heads, read_ND in self.stacks(*readings)
            if place.is_regularized or place.is_pixels
        ]
        return RegularizerTerms(*(reduce(add, parts).mean() for parts in zip(*terms, strict=True)))

    def classify(self, features_ND: Tensor, extractor_scale: float = 1.0) -> Tensor:
        """Return class scores of features, ``[N, K]``, in the heads' dtype.

        With `single_output` they are the adversary's: log Σ_j e^z_kj, whose softmax is Σ_j p̂_kj.
        """
        if self.is_single_output:
            return self.heads.adversary(features_ND).logsumexp(2)
        with self._autocast(features_ND.device):
            logits_NK: Tensor = self.backbone.classifier(
                scale_gradient(features_ND, extractor_scale)
            )
        return logits_NK.to(self.heads.dtype)

    def training_losses(
        self,
        features_ND: Tensor,
        labels_N: Tensor,
        random_labels_HN: Tensor,
        weights: ExtractorWeights,
        *,
        label_smoothing: float,
        taps: Sequence[Tensor] = (),
    ) -> TrainingLosses:
        """Return both losses of a training step, through which the extractor is trained.

        With `single_output` the class loss is −log P_y, to be told alone: it trains nothing.
        The heads' loss is the sum over all places; its backward sends the weighted regularizers of
        those that regularize to the extractor.

        Args:
            features_ND: From `read`.
            labels_N: Class indices, ``[N]``, int64.
            random_labels_HN: Random labels of adversary and observer, ``[2, N]``, int64.
            weights: What the extractor's gradient is made of.
            label_smoothing: ε of the class loss.
            taps: From `read`.
        """
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.is_single_output):
            logits_NK = self.classify(features_ND, weights.class_loss)
        class_loss = self.class_loss(logits_NK, labels_N, label_smoothing)
        heads_losses = [
            heads.one_pass_loss(
                read_ND,
                labels_N,
                random_labels_HN,
                weights if place.is_regularized else ExtractorWeights.none(),
            )
            for place, heads, read_ND in self.stacks(features_ND, taps)
        ]
        return TrainingLosses(class_loss, reduce(add, heads_losses))

    def _heads_at(self, place: HeadPlace, shape: HeadShape, config: TrialConfig) -> Heads:
        make_tail = self.backbone.make_tail
        if place.copies and make_tail is not None:
            return CopiedHeads(
                make_tail,
                copy_depth=config.copy_depth,
                copy_width=config.copy_width,
                shape=shape,
                seed=config.seed,
            )
        return RLPHeads(
            num_features=place.num_features,
            shape=shape,
            seed=config.seed,
            counters=place.init_counters,
        )

    @property
    def is_single_output(self) -> bool:
        """Whether the adversary is the class head."""
        return self.heads.shape.kind == SINGLE_OUTPUT

    def class_loss(self, logits_NK: Tensor, labels_N: Tensor, label_smoothing: float) -> Tensor:
        """Return L_class of class scores, mean over samples, ``[]``."""
        return CLASS_LOSSES[self.loss](logits_NK, labels_N, label_smoothing)

    def _autocast(self, device: torch.device) -> AbstractContextManager[object]:
        if self.is_bf16:
            return torch.autocast(device.type, dtype=torch.bfloat16)
        return nullcontext()

    @property
    def trained(self) -> TrainedParameters:
        """All parameters, by what trains them."""
        return TrainedParameters(
            self.extractor_parameters,
            list(self.backbone.classifier.parameters()),
            self.heads_parameters,
        )

    @property
    def heads_parameters(self) -> list[nn.Parameter]:
        """Those of the RLP heads of all places."""
        return [*self.heads.parameters(), *self.further_heads.parameters()]

    @property
    def class_parameters(self) -> list[nn.Parameter]:
        """Those of extractor and class head; of the extractor alone with `single_output`."""
        own = [] if self.is_single_output else list(self.backbone.classifier.parameters())
        return [*self.extractor_parameters, *own]

    @property
    def extractor_parameters(self) -> list[nn.Parameter]:
        """All of the backbone but its last layer."""
        return list(self.backbone.extractor.parameters())

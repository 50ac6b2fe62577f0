"""The networks of all members of a group as one: extractors, class heads and RLP heads.

Shapes: S seeds, M members, N samples, C H W image, D features, K classes, R random labels, H = 2
heads.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import reduce
from operator import add
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from rlp_sweeps.training.backbones import ImageShape
from rlp_sweeps.training.copied_heads import CopiedHeads
from rlp_sweeps.training.datasets import normalize
from rlp_sweeps.training.engines.extractor_stack import StackedExtractor
from rlp_sweeps.training.engines.layout import StackLayout
from rlp_sweeps.training.engines.stacked_copies import StackedCopies
from rlp_sweeps.training.engines.stacked_heads import (
    StackedHeads,
    StackedWeights,
    stack_class_heads,
)
from rlp_sweeps.training.heads import ADVERSARY, RLPHeads, scale_gradient
from rlp_sweeps.training.losses import RegularizerTerms, head_terms_per_sample
from rlp_sweeps.training.network import Heads, RLPNetwork
from rlp_sweeps.training.places import HeadPlace
from rlp_sweeps.training.projection import TrainedParameters


class StackedLosses(NamedTuple):
    """What a training step goes back from, one number a member, in nats, mean over samples."""

    class_loss_M: Tensor
    heads_loss_M: Tensor


class StackedReadings(NamedTuple):
    """As `network.Readings`, of M members."""

    features_MND: Tensor
    taps: tuple[Tensor, ...]


class StackedNetwork(nn.Module):
    """M trials' networks on one device.

    As in `RLPNetwork`, the heads work in float32 whatever the precision of the extractor, and the
    heads of the main place stand apart from those of the others.

    Args:
        networks: The members' own, freshly built; their weights are copied.
        layout: Which members share a seed.
        stack: Makes one extractor of M.
        image_shape: Channels, height, width.

    Raises:
        BackboneError: The extractors cannot be stacked.
    """

    def __init__(
        self,
        networks: Sequence[RLPNetwork],
        layout: StackLayout,
        *,
        stack: type[StackedExtractor],
        image_shape: ImageShape,
    ) -> None:
        super().__init__()
        first = networks[0]
        self.layout = layout
        self.is_bf16 = first.is_bf16
        self.loss = first.loss
        self.is_single_output = first.is_single_output
        self.extractor = stack(
            [n.backbone.extractor for n in networks],
            layout,
            image_shape=image_shape,
            taps=first.taps,
        )
        self.classifier = stack_class_heads([n.backbone.classifier for n in networks])
        self.places = first.places
        self.heads = _stack_heads([network.heads for network in networks])
        further = zip(*(n.further_heads for n in networks), strict=True)
        self.further_heads = nn.ModuleList(
            StackedHeads([cast("RLPHeads", heads) for heads in stacks]) for stacks in further
        )
        self.mean_C = nn.Buffer(first.mean_C, persistent=False)
        self.std_C = nn.Buffer(first.std_C, persistent=False)

    def features(self, images_SNCHW: Tensor) -> Tensor:
        """Return features of raw images, ``[M, N, D]``, in the heads' dtype."""
        inputs_SNCHW = normalize(images_SNCHW, self.mean_C, self.std_C)
        with self._autocast(images_SNCHW.device):
            features_MND: Tensor = self.extractor(inputs_SNCHW)
        return features_MND.to(self.heads.like.dtype)

    def read(self, images_SNCHW: Tensor) -> StackedReadings:
        """Return what class heads and all RLP heads read of raw images, in the heads' dtype."""
        inputs_SNCHW = normalize(images_SNCHW, self.mean_C, self.std_C)
        with self._autocast(images_SNCHW.device):
            read = self.extractor.read(inputs_SNCHW)
        dtype = self.heads.like.dtype
        features_MND, *tapped = (read_MND.to(dtype) for read_MND in read)
        left = iter(tapped)
        taps = (
            self.layout.per_member(inputs_SNCHW).to(dtype) if place.is_pixels else next(left)
            for place in self.places
            if not place.is_last
        )
        return StackedReadings(features_MND, tuple(taps))

    def stacks(
        self, features_MND: Tensor, taps: Sequence[Tensor] = ()
    ) -> Iterator[tuple[HeadPlace, StackedHeads | StackedCopies, Tensor]]:
        """Yield every place with its heads and what they read, the main place first."""
        left = iter(taps)
        further = (cast("StackedHeads", heads) for heads in self.further_heads)
        stacks: Iterator[StackedHeads | StackedCopies] = itertools.chain([self.heads], further)
        for place, heads in zip(self.places, stacks, strict=True):
            yield place, heads, features_MND if place.is_last else next(left)

    def adversary_terms(
        self, readings: StackedReadings, labels_MN: Tensor, targets_MNH: Tensor
    ) -> RegularizerTerms:
        """Return both parts of the members' regularizers, summed over places, ``[M]``, in nats."""
        terms = [
            head_terms_per_sample(
                heads.adversary(read_MND).contiguous().flatten(0, 1),
                heads.shape.blocks(labels_MN).flatten(),
                targets_MNH[:, :, ADVERSARY].flatten() % heads.shape.num_random_labels,
                kind=heads.shape.kind,
            )
            for place, heads, read_MND in self.stacks(*readings)
            if place.is_regularized or place.is_pixels
        ]
        sums = (reduce(add, parts) for parts in zip(*terms, strict=True))
        return RegularizerTerms(*(term.view_as(labels_MN).mean(1) for term in sums))

    def classify(self, features_MND: Tensor, scale_M: Tensor | None = None) -> Tensor:
        """Return class scores, ``[M, N, K]``; with `single_output` those of the adversaries.

        Args:
            features_MND: From `features`.
            scale_M: Factor on what flows back to the features.
        """
        if self.is_single_output:
            return self.heads.adversary(features_MND).logsumexp(3)
        if scale_M is not None:
            features_MND = scale_gradient(features_MND, scale_M.view(-1, 1, 1))
        with self._autocast(features_MND.device):
            logits_MNK: Tensor = self.classifier(features_MND)
        return logits_MNK.to(self.heads.like.dtype)

    def training_losses(
        self,
        features_MND: Tensor,
        labels_MN: Tensor,
        targets_MNH: Tensor,
        weights: StackedWeights,
        *,
        label_smoothing_M: Tensor | None,
        taps: Sequence[Tensor] = (),
    ) -> StackedLosses:
        """Return both losses of a training step, through which the extractors are trained.

        Args:
            features_MND: From `read`.
            labels_MN: Class indices, int64.
            targets_MNH: The RLP heads' outputs to hit, ``block · R + random label``, int64.
            weights: What the extractors' gradients are made of.
            label_smoothing_M: ε of the class losses; None where all are 0.
            taps: From `read`.
        """
        scale_M = weights.class_loss_M if weights.scales_any else None
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.is_single_output):
            logits_MNK = self.classify(features_MND, scale_M)
        class_loss_M = self.class_losses(logits_MNK, labels_MN, label_smoothing_M)
        heads_losses = [
            heads.one_pass_loss(
                read_MND,
                labels_MN,
                targets_MNH,
                weights if place.is_regularized else weights.observing(),
            )
            for place, heads, read_MND in self.stacks(features_MND, taps)
        ]
        return StackedLosses(class_loss_M, reduce(add, heads_losses))

    def class_losses(
        self, logits_MNK: Tensor, labels_MN: Tensor, label_smoothing_M: Tensor | None
    ) -> Tensor:
        """Return each member's L_class, ``[M]``; arguments as in `smoothed_cross_entropies`."""
        losses = smoothed_squared_errors if self.loss == "mse" else smoothed_cross_entropies
        return losses(logits_MNK, labels_MN, label_smoothing_M)

    def _autocast(self, device: torch.device) -> AbstractContextManager[object]:
        if self.is_bf16:
            return torch.autocast(device.type, dtype=torch.bfloat16)
        return nullcontext()

    def backbone_parameters(self) -> dict[str, nn.Parameter]:
        """Return what is trained of extractors and class heads, by name.

        With `single_output` class heads are not.
        """
        named = _named(self.extractor, "extractor")
        if not self.is_single_output:
            named += _named(self.classifier, "classifier")
        return {name: parameter for name, parameter in named if parameter.requires_grad}

    @property
    def trained(self) -> TrainedParameters:
        """All that is trained, by what trains it; members in front of every tensor."""
        extractor, classifier = (
            [p for p in part.parameters() if p.requires_grad]
            for part in (self.extractor, self.classifier)
        )
        return TrainedParameters(extractor, classifier, list(self.heads_parameters().values()))

    def heads_parameters(self) -> dict[str, nn.Parameter]:
        """Return the RLP heads' parameters by name."""
        further = _named(self.further_heads, "further_heads")
        return dict([*_named(self.heads, "heads"), *further])

    @torch.no_grad()
    def select(self, members: Sequence[int], members_per_seed: tuple[int, ...]) -> None:
        """Keep these members only, in copies of their weights; set the layout.

        Args:
            members: Indices of the kept ones.
            members_per_seed: Of the kept ones.
        """
        self.extractor.select(members, members_per_seed)
        for module in (self.classifier, self.heads, self.further_heads):
            for tensor in (*module.parameters(), *module.buffers()):
                tensor.data = tensor.data[list(members)]

    def member_state(self, member: int) -> dict[str, Tensor]:
        """Return a copy of one member's parameters and buffers."""
        return {name: tensor[member].clone() for name, tensor in self.state_dict().items()}

    def network_state(self, member: int) -> dict[str, Tensor]:
        """Return one member's parameters and buffers under the names of `RLPNetwork`."""
        named = _named(self.classifier, "classifier")
        absent = {name for name, parameter in named if not parameter.requires_grad}
        return {  # without the zeros in place of biases that the members do not have
            name_alone: own
            for name, tensor in self.member_state(member).items()
            if name not in absent
            for name_alone, own in _alone(name, tensor)
        }

    @torch.no_grad()
    def load_members(self, states: Sequence[Mapping[str, Tensor]]) -> None:
        """Take over states of all members, in their order."""
        for name, tensor in self.state_dict().items():
            tensor.copy_(torch.stack([state[name] for state in states]))


def _stack_heads(heads: Sequence[Heads]) -> StackedHeads | StackedCopies:
    copied = [one for one in heads if isinstance(one, CopiedHeads)]
    if copied:
        return StackedCopies(copied)
    return StackedHeads([one for one in heads if isinstance(one, RLPHeads)])


def _alone(name: str, tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Yield a member's tensor under the name that it has alone; one a head of stacked copies."""
    part, _, rest = name.partition(".")
    if name.startswith("heads.copies."):
        layer = rest.removeprefix("copies.")
        yield from ((f"heads.copies.{h}.{layer}", own) for h, own in enumerate(tensor))
    elif part in ("heads", "further_heads"):
        yield f"{part}.{rest.replace('_M', '_')}", tensor
    else:
        yield f"backbone.{name}", tensor


def _named(module: nn.Module, prefix: str) -> list[tuple[str, nn.Parameter]]:
    return [(f"{prefix}.{name}", parameter) for name, parameter in module.named_parameters()]


def smoothed_cross_entropies(
    logits_MNK: Tensor, labels_MN: Tensor, label_smoothing_M: Tensor | None
) -> Tensor:
    """Return each member's `losses.smoothed_cross_entropy`, ``[M]``, in nats, mean over samples.

    Args:
        logits_MNK: Class scores.
        labels_MN: Class indices, int64.
        label_smoothing_M: ε of each member; None where all are 0.
    """
    losses_M: Tensor = _CrossEntropies.apply(
        logits_MNK.transpose(1, 2), labels_MN.unsqueeze(1), label_smoothing_M
    )
    return losses_M


def smoothed_squared_errors(
    logits_MNK: Tensor, labels_MN: Tensor, label_smoothing_M: Tensor | None
) -> Tensor:
    """Return each member's `losses.smoothed_squared_error`, ``[M]``, mean over samples and classes.

    Args:
        logits_MNK: Class scores.
        labels_MN: Class indices, int64.
        label_smoothing_M: ε of each member; None where all are 0.
    """
    num_classes = logits_MNK.shape[2]
    targets_MNK = F.one_hot(labels_MN, num_classes).to(logits_MNK.dtype)
    if label_smoothing_M is not None:
        epsilon_M11 = label_smoothing_M.view(-1, 1, 1)
        targets_MNK = (1 - epsilon_M11) * targets_MNK + epsilon_M11 / num_classes
    return (logits_MNK - targets_MNK).square().flatten(1).mean(1)


class _CrossEntropies(torch.autograd.Function):
    """`smoothed_cross_entropies` of ``[M, K, N]``, in few operations."""

    @staticmethod
    def forward(
        ctx: Any, logits_MKN: Tensor, labels_M1N: Tensor, label_smoothing_M: Tensor | None
    ) -> Tensor:
        log_p_MKN = F.log_softmax(logits_MKN, dim=1)
        ctx.save_for_backward(log_p_MKN, labels_M1N, label_smoothing_M)
        loss_M = -log_p_MKN.gather(1, labels_M1N).flatten(1).mean(1)
        if label_smoothing_M is None:
            return loss_M
        uniform_M = -log_p_MKN.flatten(1).mean(1)
        return (1 - label_smoothing_M) * loss_M + label_smoothing_M * uniform_M

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_M: Tensor) -> tuple[Tensor | None, ...]:
        log_p_MKN, labels_M1N, label_smoothing_M = ctx.saved_tensors
        _, num_classes, num_samples = log_p_MKN.shape
        grad_MKN = log_p_MKN.exp()
        minus_target = grad_MKN.new_full((), -1.0)
        if label_smoothing_M is not None:
            smoothing_M11 = label_smoothing_M.view(-1, 1, 1)
            grad_MKN -= smoothing_M11 / num_classes
            minus_target = smoothing_M11 - 1
        grad_MKN.scatter_add_(1, labels_M1N, minus_target.expand(labels_M1N.shape))
        return grad_MKN.mul_((grad_M / num_samples).view(-1, 1, 1)), None, None

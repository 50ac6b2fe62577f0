"""Class heads and RLP heads of all members of a group, one batched product each.

The gradients are those of ``heads.py``; here λ, the arm's weights, ε and the planted scale are one
number a member. Samples come last, ``[M, …, N]``: a CPU's softmax over outputs that lie apart works
on many samples at once, and over ten neighbouring outputs takes fifteen times as long.

Shapes: M members, N samples, D features, K classes, B blocks of R random labels, J = B·R outputs,
H = 2 heads (adversary first, observer second).
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from rlp_sweeps.arms import Projection
from rlp_sweeps.training.backbones import ClassHead, ProjectedHead
from rlp_sweeps.training.heads import (
    ADVERSARY,
    ExtractorWeights,
    HeadShape,
    RLPHeads,
    block_outputs,
    head_softmax,
    other_labels_grad,
)
from rlp_sweeps.training.losses import next_of_class


class StackedWeights(NamedTuple):
    """What the members' extractors are trained on.

    Attributes:
        class_term_M: λ·w_c.
        uniform_term_M: λ·w_u.
        class_loss_M: Planted or matched factor on the class loss.
        class_mean_M: λ times the weight of the block-mean split's class part.
        mean_rest_M: λ times the weight of its rest.
        permutes_M: Whether the uniform term's gradient is that of the next sample of the class.
        regularizes_M: Whether the regularizer reaches the member's extractor.
        projections: How each member's gradients of class loss and regularizer meet.
        regularizes_any: Whether a member is regularized.
        regularizes_all: Whether every member is.
        scales_any: Whether a member has a factor on its class loss.
        permutes_any: Whether a member permutes.
        splits_block_means_any: Whether a member has a part of the block-mean split.
    """

    class_term_M: Tensor
    uniform_term_M: Tensor
    class_loss_M: Tensor
    class_mean_M: Tensor
    mean_rest_M: Tensor
    permutes_M: Tensor
    regularizes_M: Tensor
    projections: tuple[Projection, ...]
    regularizes_any: bool
    regularizes_all: bool
    scales_any: bool
    permutes_any: bool
    splits_block_means_any: bool

    def observing(self) -> "StackedWeights":
        """Return the same for a place where no head regularizes."""
        return self._replace(regularizes_any=False)

    @property
    def projects_any(self) -> bool:
        """Whether a member's gradients meet on its parameters."""
        return any(projection != "none" for projection in self.projections)


def stack_weights(weights: Sequence[ExtractorWeights], like: Tensor) -> StackedWeights:
    """Return the members' weights as tensors of the dtype and device of `like`."""

    def column(name: str) -> Tensor:
        return like.new_tensor([getattr(w, name) for w in weights])

    regularizes = [w.regularizes for w in weights]
    permutes = [w.permutes_uniform_term for w in weights]
    return StackedWeights(
        class_term_M=column("class_term"),
        uniform_term_M=column("uniform_term"),
        class_loss_M=column("class_loss"),
        class_mean_M=column("class_mean"),
        mean_rest_M=column("mean_rest"),
        permutes_M=torch.tensor(permutes, device=like.device),
        regularizes_M=torch.tensor(regularizes, device=like.device),
        projections=tuple(w.projection for w in weights),
        regularizes_any=any(regularizes),
        regularizes_all=all(regularizes),
        scales_any=any(w.class_loss != 1 for w in weights),
        permutes_any=any(permutes),
        splits_block_means_any=any(w.splits_block_means for w in weights),
    )


class StackedLinear(nn.Module):
    """M linear layers D → K, ``weight`` ``[M, K, D]``, ``bias`` ``[M, K]``."""

    def __init__(self, layers: Sequence[nn.Linear]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.stack([layer.weight.detach() for layer in layers]))
        self.bias = nn.Parameter(torch.stack([_bias_of(layer) for layer in layers]))
        self.bias.requires_grad_(layers[0].bias is not None)

    def forward(self, features_MND: Tensor) -> Tensor:
        """Return ``[M, N, K]``, in memory ``[M, K, N]``."""
        features_MDN = features_MND.transpose(1, 2)
        return torch.baddbmm(self.bias.unsqueeze(2), self.weight, features_MDN).transpose(1, 2)


class StackedProjectedHead(nn.Module):
    """M class heads D → W → K with a hidden layer, as `ProjectedHead`."""

    def __init__(self, heads: Sequence[ProjectedHead]) -> None:
        super().__init__()
        self.hidden = StackedLinear([head.hidden for head in heads])
        self.output = StackedLinear([head.output for head in heads])

    def forward(self, features_MND: Tensor) -> Tensor:
        """Return ``[M, N, K]``, in memory ``[M, K, N]``."""
        logits_MNK: Tensor = self.output(self.hidden(features_MND).relu())
        return logits_MNK


def stack_class_heads(heads: Sequence[ClassHead]) -> StackedLinear | StackedProjectedHead:
    """Return the members' class heads as one module; all are of one kind."""
    projected = [head for head in heads if isinstance(head, ProjectedHead)]
    if projected:
        return StackedProjectedHead(projected)
    return StackedLinear([head for head in heads if isinstance(head, nn.Linear)])


def _bias_of(layer: nn.Linear) -> Tensor:
    bias: Tensor | None = layer.bias
    return layer.weight.new_zeros(layer.out_features) if bias is None else bias.detach()


class StackedHeads(nn.Module):
    """Adversaries and observers of M members, weights ``[M, H, J, D]``, biases ``[M, H, J]``."""

    def __init__(self, heads: Sequence[RLPHeads]) -> None:
        super().__init__()
        self.shape = heads[0].shape
        self.weight_MHJD = nn.Parameter(torch.stack([h.weight_HJD.detach() for h in heads]))
        self.bias_MHJ = nn.Parameter(torch.stack([h.bias_HJ.detach() for h in heads]))

    @property
    def like(self) -> Tensor:
        """A weight, of the heads' dtype and device."""
        return self.weight_MHJD

    def forward(self, features_MND: Tensor) -> Tensor:
        """Return all outputs, ``[M, N, H, B, R]``."""
        logits_MHJN = _linear(features_MND, self.weight_MHJD, self.bias_MHJ)
        return torch.unflatten(logits_MHJN, 2, self.shape[1:]).permute(0, 4, 1, 2, 3)

    def adversary(self, features_MND: Tensor) -> Tensor:
        """Return the adversaries' outputs alone, ``[M, N, B, R]``."""
        bias_MJ1 = self.bias_MHJ[:, ADVERSARY].unsqueeze(2)
        weight_MJD = self.weight_MHJD[:, ADVERSARY]
        logits_MJN = torch.baddbmm(bias_MJ1, weight_MJD, features_MND.transpose(1, 2))
        return torch.unflatten(logits_MJN, 1, self.shape[1:]).permute(0, 3, 1, 2)

    def one_pass_loss(
        self,
        features_MND: Tensor,
        labels_MN: Tensor,
        targets_MNH: Tensor,
        weights: StackedWeights,
    ) -> Tensor:
        """Return each member's sum of both heads' losses, ``[M]``; backward has the regularizer.

        Features of members without regularizer get a gradient of exactly 0, whatever their heads
        hold.

        Args:
            features_MND: What the class heads read.
            labels_MN: Class indices, int64.
            targets_MNH: Outputs to hit, ``block · R + random label``, int64.
            weights: The regularizer's weights on the extractors.
        """
        losses_M: Tensor = _StackedOnePass.apply(
            features_MND,
            self.weight_MHJD,
            self.bias_MHJ,
            targets_MNH,
            HeadSettings(self.shape, weights, labels_MN),
        )
        return losses_M


def _linear(features_MND: Tensor, weight_MHJD: Tensor, bias_MHJ: Tensor) -> Tensor:
    """Return ``[M, H, J, N]``."""
    weight_MOD = weight_MHJD.flatten(1, 2)
    bias_MO1 = bias_MHJ.flatten(1).unsqueeze(2)
    flat_MON = torch.baddbmm(bias_MO1, weight_MOD, features_MND.transpose(1, 2))
    return flat_MON.view(*weight_MHJD.shape[:3], -1)


class HeadSettings(NamedTuple):
    """What the one pass needs beside what it differentiates.

    Attributes:
        shape: Of the heads.
        weights: The regularizer's weights on the extractors.
        labels_MN: Class indices, int64.
    """

    shape: HeadShape
    weights: StackedWeights
    labels_MN: Tensor


class _StackedOnePass(torch.autograd.Function):
    """`heads._OnePass` for M members."""

    @staticmethod
    def forward(
        ctx: Any,
        features_MND: Tensor,
        weight_MHJD: Tensor,
        bias_MHJ: Tensor,
        targets_MNH: Tensor,
        settings: HeadSettings,
    ) -> Tensor:
        logits_MHJN = _linear(features_MND, weight_MHJD, bias_MHJ)
        targets_MH1N = targets_MNH.transpose(1, 2).unsqueeze(2)
        p_MHJN, log_norms_MHN = head_softmax(logits_MHJN, targets_MH1N, settings.shape)
        ctx.save_for_backward(features_MND, weight_MHJD, logits_MHJN, p_MHJN, targets_MH1N)
        ctx.settings = settings
        hit_MHN = logits_MHJN.gather(2, targets_MH1N).squeeze(2)
        return (log_norms_MHN - hit_MHN).flatten(1).sum(1) / features_MND.shape[1]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_M: Tensor) -> tuple[Tensor | None, ...]:
        features_MND, weight_MHJD, logits_MHJN, p_MHJN, targets_MH1N = ctx.saved_tensors
        grad_M11 = (grad_M / features_MND.shape[1]).view(-1, 1, 1)
        features_grad = None
        settings: HeadSettings = ctx.settings
        if settings.weights.regularizes_any:
            logits_grad_MJN = stacked_regularizer_grad(
                p_MHJN[:, ADVERSARY],
                logits_MHJN[:, ADVERSARY],
                targets_MH1N[:, ADVERSARY],
                settings,
            )
            logits_grad_MNJ = logits_grad_MJN.transpose(1, 2)
            features_grad = (logits_grad_MNJ @ weight_MHJD[:, ADVERSARY]).mul_(grad_M11)
            if not settings.weights.regularizes_all:
                is_free_M11 = settings.weights.regularizes_M.logical_not().view(-1, 1, 1)
                features_grad.masked_fill_(is_free_M11, 0.0)
        minus_one = p_MHJN.new_full((), -1.0).expand(targets_MH1N.shape)
        head_grad_MON = p_MHJN.scatter_add(2, targets_MH1N, minus_one).flatten(1, 2)
        weight_grad = (head_grad_MON @ (features_MND * grad_M11)).view_as(weight_MHJD)
        bias_grad = (head_grad_MON.sum(2, keepdim=True) * grad_M11).view(weight_MHJD.shape[:3])
        return features_grad, weight_grad, bias_grad, None, None


def stacked_regularizer_grad(
    p_MJN: Tensor, logits_MJN: Tensor, targets_M1N: Tensor, settings: HeadSettings
) -> Tensor:
    """Return the adversaries' weighted regularizer gradients at their logits, ``[M, J, N]``.

    Args:
        p_MJN: From `head_softmax`.
        logits_MJN: What it is of.
        targets_M1N: Outputs to hit, int64.
        settings: Shape of the heads, and what the extractors are trained on.
    """
    shape, weights, labels_MN = settings
    if shape.kind == "single":
        strength_M11 = weights.class_term_M.view(-1, 1, 1)
        return strength_M11 * other_labels_grad(p_MJN, logits_MJN, targets_M1N)
    num_random_labels = shape.num_random_labels
    class_M11 = weights.class_term_M.view(-1, 1, 1)
    uniform_M11 = weights.uniform_term_M.view(-1, 1, 1)
    block_MRN = block_outputs(targets_M1N, num_random_labels)
    q_MRN = logits_MJN.gather(1, block_MRN).softmax(1)
    in_block_MRN = (uniform_M11 - class_M11) * q_MRN
    if weights.permutes_any:
        next_MRN = next_of_class(labels_MN).unsqueeze(1).expand_as(q_MRN)
        permuted_MRN = uniform_M11 * q_MRN.gather(2, next_MRN) - class_M11 * q_MRN
        in_block_MRN = permuted_MRN.where(weights.permutes_M.view(-1, 1, 1), in_block_MRN)
    class_mean_M11, rest_M11 = (
        w.view(-1, 1, 1) for w in (weights.class_mean_M, weights.mean_rest_M)
    )
    in_block_MRN = in_block_MRN - (uniform_M11 + class_mean_M11) / num_random_labels
    grad_MJN = (class_M11 + rest_M11) * p_MJN
    if weights.splits_block_means_any:
        blocks_MKRN = logits_MJN.reshape(len(logits_MJN), -1, num_random_labels, len(labels_MN[0]))
        share_MKN = blocks_MKRN.mean(2).softmax(1) / num_random_labels
        grad_MJN += ((class_mean_M11 - rest_M11) * share_MKN).repeat_interleave(
            num_random_labels, dim=1
        )
    return grad_MJN.scatter_add_(1, block_MRN, in_block_MRN)

"""RLP heads: an adversary that the extractor is trained against, and an observer that only reads.

Both are one linear layer of the same kind (``head_kinds.HEADS``): `nested_joint`, D → K·R with one
softmax over all outputs; `nested_per_class`, D → K·R with a softmax over each class's R outputs;
`single`, D → R. The outputs of a head are B blocks of R, one block a class or one for all, and a
sample reads the block that its class names. One forward and one backward a step serve the heads'
own loss and the regularizer, because the two gradients meet at the same logits and part there: the
head's goes to its weights, the regularizer's to the features. There samples come last,
``[H, J, N]``: a CPU's softmax over outputs that lie apart works on many samples at once.

Shapes: N samples, D features, K classes, B blocks (K, or 1), R random labels, J = B·R outputs, H =
2 heads (adversary first, observer second).
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from rlp_sweeps.arms import Projection
from rlp_sweeps.seeding import stream_seed
from rlp_sweeps.training.losses import next_of_class

ADVERSARY, OBSERVER = 0, 1
HEAD_STREAMS = ("head_init", "observer_init")
"""Init streams of adversary and observer."""


class ExtractorWeights(NamedTuple):
    """What the extractor's gradient is made of.

    Attributes:
        class_term: λ·w_c.
        uniform_term: λ·w_u.
        class_loss: Factor on the class loss, 1 unless planted or matched.
        class_mean: λ times the weight of the block-mean split's class part.
        mean_rest: λ times the weight of its rest.
        permutes_uniform_term: The uniform term's gradient is that of the next sample of the class.
        projection: How the gradients of class loss and regularizer meet.
    """

    class_term: float
    uniform_term: float
    class_loss: float = 1.0
    class_mean: float = 0.0
    mean_rest: float = 0.0
    permutes_uniform_term: bool = False
    projection: Projection = "none"

    @classmethod
    def none(cls) -> "ExtractorWeights":
        """Return what a head that only observes is given."""
        return cls(class_term=0.0, uniform_term=0.0)

    @property
    def regularizes(self) -> bool:
        """Whether the regularizer reaches the extractor."""
        return any((self.class_term, self.uniform_term, self.class_mean, self.mean_rest))

    @property
    def splits_block_means(self) -> bool:
        """Whether a part of the block-mean split is there."""
        return bool(self.class_mean or self.mean_rest)


class HeadShape(NamedTuple):
    """What the outputs of a head mean.

    Attributes:
        kind: One of ``head_kinds.HEADS``.
        num_blocks: B.
        num_random_labels: R.
    """

    kind: str
    num_blocks: int
    num_random_labels: int

    @classmethod
    def of(cls, kind: str, *, num_classes: int, num_random_labels: int) -> "HeadShape":
        """Return the shape of a head of this kind."""
        return cls(kind, 1 if kind == "single" else num_classes, num_random_labels)

    @property
    def num_outputs(self) -> int:
        """J."""
        return self.num_blocks * self.num_random_labels

    def blocks(self, labels: Tensor) -> Tensor:
        """Return the block that samples of these classes read; same shape, int64."""
        return torch.zeros_like(labels) if self.kind == "single" else labels


class RLPHeads(nn.Module):
    """Adversary and observer as one stack of linear layers, ``[H, J, D]``.

    Each head has its own init stream, so that neither depends on the other and the backbone's init
    depends on neither; `counters` tell the stacks of one network apart.

    Attributes:
        shape: What the outputs mean.
    """

    def __init__(
        self, *, num_features: int, shape: HeadShape, seed: int, counters: Sequence[int] = ()
    ) -> None:
        super().__init__()
        self.shape = shape
        size = (shape.num_outputs, num_features)
        layers = [_init_linear(size, stream_seed(seed, s, *counters)) for s in HEAD_STREAMS]
        self.weight_HJD = nn.Parameter(torch.stack([weight for weight, _ in layers]))
        self.bias_HJ = nn.Parameter(torch.stack([bias for _, bias in layers]))

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights."""
        return self.weight_HJD.dtype

    def forward(self, features_ND: Tensor) -> Tensor:
        """Return both heads' outputs, ``[H, N, B, R]``."""
        logits_HJN = _linear(features_ND, self.weight_HJD, self.bias_HJ)
        return torch.unflatten(logits_HJN, 1, self.shape[1:]).permute(0, 3, 1, 2)

    def adversary(self, features_ND: Tensor) -> Tensor:
        """Return the adversary's outputs alone, ``[N, B, R]``."""
        logits_NJ = F.linear(features_ND, self.weight_HJD[ADVERSARY], self.bias_HJ[ADVERSARY])
        return logits_NJ.view(-1, *self.shape[1:])

    def one_pass_loss(
        self,
        features_ND: Tensor,
        labels_N: Tensor,
        random_labels_HN: Tensor,
        weights: ExtractorWeights,
    ) -> Tensor:
        """Return the sum of both heads' losses, whose backward also carries the regularizer.

        Backward sends ∇L_head to the heads' weights and the adversary's weighted regularizer, for
        example ∇(λ w_c L_reg^class + λ w_u L_reg^uniform), to the features. Where all weights are 0
        the features get no gradient at all, so that a pure observer leaves the extractor
        bit-identical.

        Args:
            features_ND: What the class head reads, ``[N, D]``, float32 or float64.
            labels_N: Class indices, ``[N]``, int64.
            random_labels_HN: Random labels of adversary and observer, ``[2, N]``, int64.
            weights: The regularizer's weights on the extractor.

        Returns:
            L_head(adversary) + L_head(observer), ``[]``, in nats, mean over samples.
        """
        first_N1 = self.shape.blocks(labels_N).unsqueeze(1) * self.shape.num_random_labels
        targets_NH = first_N1 + random_labels_HN.T
        settings = (self.shape, weights)
        loss: Tensor = _OnePass.apply(
            features_ND, self.weight_HJD, self.bias_HJ, targets_NH, settings
        )
        return loss


def _init_linear(shape: tuple[int, int], seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    bound = 1 / math.sqrt(shape[1])
    weight = torch.empty(shape).uniform_(-bound, bound, generator=generator)
    bias = torch.empty(shape[0]).uniform_(-bound, bound, generator=generator)
    return weight, bias


def _linear(features_ND: Tensor, weight_HJD: Tensor, bias_HJ: Tensor) -> Tensor:
    """Return ``[H, J, N]``."""
    weight_OD, bias_O1 = weight_HJD.flatten(0, 1), bias_HJ.view(-1, 1)
    return torch.addmm(bias_O1, weight_OD, features_ND.T).view(*bias_HJ.shape, -1)


class _OnePass(torch.autograd.Function):
    """Both heads' losses and the adversary's regularizer from one softmax.

    With p̂ the head's softmax and q its conditional in the sample's block, the gradients at the
    logits are ``p̂ − δ_ky δ_jr`` (L_head), ``p̂ − δ_ky q_j`` (L_reg^class) and ``δ_ky (q_j − 1/R)``
    (L_reg^uniform). In a head with a softmax a class p̂ is q in the sample's block and 0 elsewhere,
    so that L_reg^class has no gradient.
    """

    @staticmethod
    def forward(
        ctx: Any,
        features_ND: Tensor,
        weight_HJD: Tensor,
        bias_HJ: Tensor,
        targets_NH: Tensor,
        settings: tuple[HeadShape, ExtractorWeights],
    ) -> Tensor:
        logits_HJN = _linear(features_ND, weight_HJD, bias_HJ)
        targets_H1N = targets_NH.T.unsqueeze(1)
        p_HJN, log_norms_HN = head_softmax(logits_HJN, targets_H1N, settings[0])
        ctx.save_for_backward(features_ND, weight_HJD, logits_HJN, p_HJN, targets_H1N)
        ctx.settings = settings
        hit_HN = logits_HJN.gather(1, targets_H1N).squeeze(1)
        return (log_norms_HN - hit_HN).sum() / features_ND.shape[0]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        features_ND, weight_HJD, logits_HJN, p_HJN, targets_H1N = ctx.saved_tensors
        settings = ctx.settings
        grad_per_sample = grad / features_ND.shape[0]
        features_grad = None
        if settings[1].regularizes:
            logits_grad_JN = regularizer_grad(
                p_HJN[ADVERSARY], logits_HJN[ADVERSARY], targets_H1N[ADVERSARY, 0], settings
            )
            features_grad = (logits_grad_JN.T @ weight_HJD[ADVERSARY]).mul_(grad_per_sample)
        minus_one = p_HJN.new_full((), -1.0).expand(targets_H1N.shape)
        head_grad_ON = p_HJN.scatter_add(1, targets_H1N, minus_one).flatten(0, 1)
        weight_grad = (head_grad_ON @ (features_ND * grad_per_sample)).view_as(weight_HJD)
        bias_grad = (head_grad_ON.sum(1) * grad_per_sample).view(weight_HJD.shape[:2])
        return features_grad, weight_grad, bias_grad, None, None


def head_softmax(logits_JN: Tensor, targets_1N: Tensor, shape: HeadShape) -> tuple[Tensor, Tensor]:
    """Return p̂, ``[…, J, N]``, and the logarithm of its norm, ``[…, N]``.

    Args:
        logits_JN: ``[…, J, N]``.
        targets_1N: Outputs to hit, ``[…, 1, N]``; they name the sample's block.
        shape: Of the head.
    """
    if shape.kind == "nested_per_class":
        block_RN = block_outputs(targets_1N, shape.num_random_labels)
        in_block_RN = logits_JN.gather(-2, block_RN)
        p_JN = torch.zeros_like(logits_JN).scatter_(-2, block_RN, in_block_RN.softmax(-2))
        return p_JN, in_block_RN.logsumexp(-2)
    if logits_JN.is_cuda:
        log_norm_N = logits_JN.logsumexp(-2)
        return _softmax_by_norm(logits_JN, log_norm_N), log_norm_N
    p_JN = logits_JN.softmax(-2)
    return p_JN, logits_JN.amax(-2) - p_JN.amax(-2).log_()  # of the largest: p̂ = e^z / Σ


def _softmax_by_norm(logits_JN: Tensor, log_norm_N: Tensor) -> Tensor:
    """Return p̂ from the logarithm of its norm.

    torch's softmax over a dimension that is not the last one walks through it with one CUDA thread
    a sample; the sum does not.
    """
    return (logits_JN - log_norm_N.unsqueeze(-2)).exp_()


def block_outputs(targets_1N: Tensor, num_random_labels: int) -> Tensor:
    """Return the outputs of the blocks that these lie in, ``[…, R, N]``."""
    within_R1 = torch.arange(num_random_labels, device=targets_1N.device).unsqueeze(1)
    return targets_1N - targets_1N % num_random_labels + within_R1


def other_labels_grad(p_RN: Tensor, logits_RN: Tensor, targets_1N: Tensor) -> Tensor:
    """Return the gradient of −log(1 − p̂_r) at the logits of a single head, ``[…, R, N]``.

    It is p̂ less the softmax over the other labels.

    Args:
        p_RN: The head's softmax.
        logits_RN: What it is of.
        targets_1N: Random labels, int64.

    Source:
        `losses.other_labels_loss`.
    """
    others_RN = logits_RN.scatter(-2, targets_1N, -math.inf)
    if others_RN.is_cuda:
        return p_RN - _softmax_by_norm(others_RN, others_RN.logsumexp(-2))
    return p_RN - others_RN.softmax(-2)


def regularizer_grad(
    p_JN: Tensor,
    logits_JN: Tensor,
    targets_N: Tensor,
    settings: tuple[HeadShape, ExtractorWeights],
) -> Tensor:
    """Return the adversary's weighted regularizer gradient at its logits, ``[J, N]``.

    With s̄ the softmax over the means of the blocks, the block-mean split has ``(s̄_k − δ_ky) / R``
    for its class part and ``p̂ − s̄_k / R`` for the rest. A single head has no split: the weight of
    its regularizer is that of the class term.

    Args:
        p_JN: From `head_softmax`.
        logits_JN: What it is of.
        targets_N: Outputs to hit, int64.
        settings: Shape of the head, and what the extractor is trained on.
    """
    shape, weights = settings
    if shape.kind == "single":
        return weights.class_term * other_labels_grad(p_JN, logits_JN, targets_N.unsqueeze(0))
    num_random_labels = shape.num_random_labels
    labels_N = targets_N // num_random_labels
    class_weight, uniform_weight = weights.class_term, weights.uniform_term
    block_RN = block_outputs(targets_N.unsqueeze(0), num_random_labels)
    q_RN = logits_JN.gather(0, block_RN).softmax(0)
    in_block_RN = (uniform_weight - class_weight) * q_RN
    if weights.permutes_uniform_term:
        in_block_RN = uniform_weight * q_RN[:, next_of_class(labels_N)] - class_weight * q_RN
    in_block_RN = in_block_RN - (uniform_weight + weights.class_mean) / num_random_labels
    grad_JN = (class_weight + weights.mean_rest) * p_JN
    if weights.splits_block_means:
        blocks_KRN = logits_JN.reshape(-1, num_random_labels, len(labels_N))
        share_KN = blocks_KRN.mean(1).softmax(0) / num_random_labels
        grad_JN += ((weights.class_mean - weights.mean_rest) * share_KN).repeat_interleave(
            num_random_labels, dim=0
        )
    return grad_JN.scatter_add_(0, block_RN, in_block_RN)


class _ScaleGradient(torch.autograd.Function):
    """Identity whose gradient is multiplied by a constant."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: float | Tensor) -> Tensor:
        ctx.scale = scale
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad * ctx.scale, None


def scale_gradient(x: Tensor, scale: float | Tensor) -> Tensor:
    """Return `x` unchanged; what flows back through it is multiplied by `scale`.

    The number 1 returns `x` itself, so that nothing changes by a bit.
    """
    if not isinstance(scale, Tensor) and scale == 1.0:
        return x
    scaled: Tensor = _ScaleGradient.apply(x, scale)
    return scaled

"""Losses of the class head and of the RLP heads, with the exact split of L_reg.

These are the plain definitions: evaluation and the measured multipliers use them, and the one-pass
head of ``heads.py`` is tested against their gradients.

Shapes: N samples, K classes, R random labels.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


class RegularizerTerms(NamedTuple):
    """The two parts of L_reg, in nats, one mean or one number a sample; their sum is L_reg."""

    class_term: Tensor
    uniform_term: Tensor


def smoothed_cross_entropy(logits_NK: Tensor, labels_N: Tensor, label_smoothing: float) -> Tensor:
    r"""Return the cross-entropy against label-smoothed targets.

    .. math:: L = -\sum_k q'(k) \log p(k), \quad q'(k) = (1 - ε)\, δ_{k,y} + ε / K

    Args:
        logits_NK: Class scores, ``[N, K]``, float.
        labels_N: Class indices, ``[N]``, int64, in ``[0, K)``.
        label_smoothing: Share ε of probability mass moved to the uniform distribution, ``[0, 1)``.

    Returns:
        Mean over the batch, ``[]``, in nats.

    Source:
        Szegedy et al. 2016, arXiv:1512.00567, section 7.
    """
    return F.cross_entropy(logits_NK, labels_N, label_smoothing=label_smoothing)


def smoothed_squared_error(logits_NK: Tensor, labels_N: Tensor, label_smoothing: float) -> Tensor:
    r"""Return the squared error of class scores on label-smoothed one-hot targets.

    .. math:: L = \tfrac1K \sum_k (z_k - q'(k))^2, \quad q'(k) = (1 - ε)\, δ_{k,y} + ε / K

    Args:
        logits_NK: Class scores, ``[N, K]``, float.
        labels_N: Class indices, ``[N]``, int64, in ``[0, K)``.
        label_smoothing: ε, ``[0, 1)``.

    Returns:
        Mean over batch and classes, ``[]``, as ``torch.nn.MSELoss``.

    Source:
        Anagnostidis et al., ICLR 2023, arXiv:2210.14019, train on one-hot targets so; that the mean
        is over classes as well is torch's convention.
    """
    targets_NK = F.one_hot(labels_N, logits_NK.shape[1]).to(logits_NK.dtype)
    smoothed_NK = (1 - label_smoothing) * targets_NK + label_smoothing / logits_NK.shape[1]
    return F.mse_loss(logits_NK, smoothed_NK)


CLASS_LOSSES = {"cross_entropy": smoothed_cross_entropy, "mse": smoothed_squared_error}
"""L_class by the setting `loss`."""


def true_class_block(random_logits_NKR: Tensor, labels_N: Tensor) -> Tensor:
    """Return the R scores of each sample's true class, ``[N, R]``."""
    index_N1R = labels_N.view(-1, 1, 1).expand(-1, 1, random_logits_NKR.shape[2])
    return random_logits_NKR.gather(1, index_N1R).squeeze(1)


def random_label_loss(
    random_logits_NKR: Tensor, labels_N: Tensor, random_labels_N: Tensor
) -> Tensor:
    r"""Return L_head, the RLP head's own loss.

    .. math:: L_{head} = -\log \hat p_{y r}, \quad \hat p = \mathrm{softmax} over all K·R outputs

    Args:
        random_logits_NKR: Head outputs, ``[N, K, R]``, float.
        labels_N: Class indices, ``[N]``, int64.
        random_labels_N: Random labels, ``[N]``, int64, in ``[0, R)``.

    Returns:
        Mean over the batch, ``[]``, in nats.

    Source:
        Becker and Risse, arXiv:2411.19640, section 3; the softmax over all outputs follows from its
        appendix A.5 (docs/method.md).
    """
    num_random_labels = random_logits_NKR.shape[2]
    targets_N = labels_N * num_random_labels + random_labels_N
    return F.cross_entropy(random_logits_NKR.flatten(1), targets_N)


def regularizer_terms(random_logits_NKR: Tensor, labels_N: Tensor) -> RegularizerTerms:
    r"""Return the exact split of the regularizer of the nested joint head.

    .. math::
        L_{reg} = -\tfrac1R \sum_j \log \hat p_{yj}
                = \underbrace{-\log P_y}_{class}
                + \underbrace{-\tfrac1R \sum_j \log q_{j|y}}_{uniform},
        \quad P_y = \sum_j \hat p_{yj}, \; q_{j|y} = \hat p_{yj} / P_y

    The class part is a second classification loss; the uniform part, never below log R, unlearns
    the random labels.

    Args:
        random_logits_NKR: Head outputs, ``[N, K, R]``, float.
        labels_N: Class indices, ``[N]``, int64.

    Source:
        The regularizer: Becker and Risse, arXiv:2411.19640, section 3. The split: docs/method.md.
    """
    class_term_N, uniform_term_N = regularizer_terms_per_sample(random_logits_NKR, labels_N)
    return RegularizerTerms(class_term_N.mean(), uniform_term_N.mean())


def regularizer_terms_per_sample(
    random_logits_NKR: Tensor, labels_N: Tensor
) -> tuple[Tensor, Tensor]:
    """Return what `regularizer_terms` averages: class and uniform part, each ``[N]``, in nats."""
    block_NR = true_class_block(random_logits_NKR, labels_N)
    log_block_N = block_NR.logsumexp(1)
    class_term_N = random_logits_NKR.flatten(1).logsumexp(1) - log_block_N
    return class_term_N, log_block_N - block_NR.mean(1)


def other_labels_loss(random_logits_NR: Tensor, random_labels_N: Tensor) -> Tensor:
    r"""Return the regularizer of a single head, per sample, ``[N]``, in nats.

    .. math:: L_{reg} = -\log(1 - \hat p_r), \quad \hat p = \mathrm{softmax} over R outputs

    Minimizing it lowers p̂_r. At chance its gradient is about 1/R of L_head's, so that its effective
    strength is λ/R. There is no exact split.

    Args:
        random_logits_NR: Head outputs, ``[N, R]``, float.
        random_labels_N: Random labels, ``[N]``, int64, in ``[0, R)``.

    Source:
        Becker et al., ICLR 2026 [P2]; the paper prints log(1 − p̂_r), whose minimum would be at
        p̂_r = 1 (docs/method.md).
    """
    others_NR = random_logits_NR.scatter(1, random_labels_N.unsqueeze(1), -torch.inf)
    return random_logits_NR.logsumexp(1) - others_NR.logsumexp(1)


def head_loss(
    random_logits_NBR: Tensor, blocks_N: Tensor, random_labels_N: Tensor, *, kind: str
) -> Tensor:
    """Return L_head of any kind of head, mean over the batch, ``[]``, in nats.

    Args:
        random_logits_NBR: Head outputs, ``[N, B, R]``, float.
        blocks_N: The block that each sample reads, ``[N]``, int64.
        random_labels_N: Random labels, ``[N]``, int64.
        kind: One of ``head_kinds.HEADS``.
    """
    if kind == "nested_per_class":
        return F.cross_entropy(true_class_block(random_logits_NBR, blocks_N), random_labels_N)
    return random_label_loss(random_logits_NBR, blocks_N, random_labels_N)


def head_terms_per_sample(
    random_logits_NBR: Tensor, blocks_N: Tensor, random_labels_N: Tensor, *, kind: str
) -> RegularizerTerms:
    """Return class and uniform part of L_reg of any kind of head, each ``[N]``, in nats.

    A softmax a class has no class part. What a single head has cannot be split; it stands in the
    first place, beside zeros.

    Args:
        random_logits_NBR: Head outputs, ``[N, B, R]``, float.
        blocks_N: The block that each sample reads, ``[N]``, int64.
        random_labels_N: Random labels, ``[N]``, int64.
        kind: One of ``head_kinds.HEADS``.
    """
    if kind == "single":
        whole_N = other_labels_loss(random_logits_NBR.flatten(1), random_labels_N)
        return RegularizerTerms(whole_N, 0 * whole_N)
    class_term_N, uniform_term_N = regularizer_terms_per_sample(random_logits_NBR, blocks_N)
    return RegularizerTerms(
        0 * class_term_N if kind == "nested_per_class" else class_term_N, uniform_term_N
    )


def block_mean_terms(random_logits_NKR: Tensor, labels_N: Tensor) -> RegularizerTerms:
    r"""Return the second exact split of the regularizer, by block means.

    .. math::
        L_{reg} = \underbrace{CE(\bar z, y)}_{class}
                + \underbrace{\mathrm{lse}_{kj}\, z_{kj} - \mathrm{lse}_k\, \bar z_k}_{rest},
        \quad \bar z_k = \tfrac1R \sum_j z_{kj}

    The class part is constant within a block and cannot move q; the rest is never below log R.

    Args:
        random_logits_NKR: Head outputs, ``[N, K, R]``, float.
        labels_N: Class indices, ``[N]``, int64.

    Source:
        docs/method.md, section 3.
    """
    means_NK = random_logits_NKR.mean(2)
    rest_N = random_logits_NKR.flatten(1).logsumexp(1) - means_NK.logsumexp(1)
    return RegularizerTerms(F.cross_entropy(means_NK, labels_N), rest_N.mean())


def next_of_class(labels_N: Tensor) -> Tensor:
    """Return for each sample the next one of its class in the batch, ``[..., N]``, int64.

    The last of a class is followed by the first; a sample alone in its class by itself.

    Args:
        labels_N: Class indices, ``[..., N]``, int64.
    """
    sorted_N, order_N = labels_N.sort(dim=-1, stable=True)
    position_N = torch.arange(labels_N.shape[-1], device=labels_N.device).expand_as(labels_N)
    start_N = torch.searchsorted(sorted_N, sorted_N)
    is_last_N = position_N + 1 == torch.searchsorted(sorted_N, sorted_N, right=True)
    following_N = torch.where(is_last_N, start_N, position_N + 1)
    return torch.empty_like(order_N).scatter_(-1, order_N, order_N.gather(-1, following_N))


def memorization(random_label_accuracy: float, num_random_labels: int) -> float:
    """Return the accuracy on random labels rescaled to 0 at chance and 1 at perfect recall."""
    chance = 1.0 / num_random_labels
    return (random_label_accuracy - chance) / (1.0 - chance)


def dot(left: Sequence[Tensor], right: Sequence[Tensor]) -> Tensor:
    """Return the inner product of two gradients, ``[]``, float64."""
    products = [(a * b).sum(dtype=torch.float64) for a, b in zip(left, right, strict=True)]
    return torch.stack(products).sum()

"""Row b: one pass for heads and regularizer against the two ways they are usually written.

*Two passes*: a forward of the network without gradients trains the heads on detached features; a
second forward trains the extractor on class loss plus regularizer, the head's weights held fixed.
*Two evaluations*: one forward of the network; the heads are evaluated once on detached features for
their own loss, and the adversary once more with its weights detached for the regularizer. Both use
the plain definitions of ``training/losses.py`` and autograd; all three have the same gradients,
which is measured too, in float64.
"""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.networks import (
    NETWORKS,
    SMALL_CNN,
    TINY_CNN,
    WRN_16_1,
    WRN_16_4,
    build_config,
    load_data,
)
from benchmarks.options import Options
from benchmarks.step_time import Step, heads_step, random_labels, time_steps
from benchmarks.table import Goal, Row
from benchmarks.timing import Ratio, medians, paired_ratio
from rlp_sweeps.training.datasets import SplitDataset
from rlp_sweeps.training.heads import ADVERSARY, RLPHeads
from rlp_sweeps.training.losses import random_label_loss, regularizer_terms, smoothed_cross_entropy
from rlp_sweeps.training.member import Member


def measure(options: Options) -> Iterator[Row]:
    """Yield two rows a network, and one on the gradients."""
    names = [SMALL_CNN] if options.is_quick else [SMALL_CNN, WRN_16_1, WRN_16_4]
    for name in names:
        seconds = time_steps(NETWORKS[name], STEPS, options=options)
        for other in ("two passes", "two evaluations"):
            yield Row(
                letter="b",
                what=f"one pass, {name}",
                against=other,
                value=paired_ratio(seconds, other, "one pass"),
                measure="times faster",
                goal=Goal(rule=">=", bound=1.0),
                how=medians(seconds),
            )
    yield Row(
        letter="b",
        what="gradients of one pass, small CNN, float64",
        against="two evaluations and two passes",
        value=Ratio(largest_difference(), None, None, 1),
        measure="abs.",
        goal=Goal(rule="<=", bound=1e-12),
        how="largest difference over all parameters after one backward",
    )


def two_pass_step(member: Member, data: SplitDataset) -> None:
    """One step with a forward for the heads and another one for the extractor."""
    two_pass_backward(member, data)
    _finish(member)


def two_evaluations_step(member: Member, data: SplitDataset) -> None:
    """One step with one forward of the network and two evaluations of the adversary."""
    two_evaluations_backward(member, data)
    _finish(member)


STEPS: dict[str, Step] = {
    "one pass": heads_step,
    "two passes": two_pass_step,
    "two evaluations": two_evaluations_step,
}


def _finish(member: Member) -> None:
    member.optimizer.step()
    member.optimizer.zero_grad(set_to_none=True)


def two_pass_backward(member: Member, data: SplitDataset) -> None:
    """Leave the gradients of class loss, heads and regularizer, from two forwards.

    The first forward puts batch norm's running statistics forward a second time.
    """
    images_NCHW, labels_N = _batch(member, data)
    with torch.no_grad():
        _, features_ND = member.network(images_NCHW)
    torch.autograd.backward(_heads_loss(member, data, features_ND))
    logits_NK, features_ND = member.network(images_NCHW)
    torch.autograd.backward(_extractor_loss(member, logits_NK, features_ND, labels_N))


def two_evaluations_backward(member: Member, data: SplitDataset) -> None:
    """Leave the same gradients, from one forward and one backward."""
    images_NCHW, labels_N = _batch(member, data)
    logits_NK, features_ND = member.network(images_NCHW)
    loss = _heads_loss(member, data, features_ND.detach())
    loss = loss + _extractor_loss(member, logits_NK, features_ND, labels_N)
    torch.autograd.backward(loss)


def _batch(member: Member, data: SplitDataset) -> tuple[Tensor, Tensor]:
    batch = slice(0, member.config.batch_size)
    return data.train_images_NCHW[batch], data.train_labels_N[batch]


def _heads_loss(member: Member, data: SplitDataset, features_ND: Tensor) -> Tensor:
    """Return the sum of both heads' own losses."""
    _, labels_N = _batch(member, data)
    losses = [
        random_label_loss(random_logits_NKR, labels_N, random_labels_N)
        for random_logits_NKR, random_labels_N in zip(
            member.network.heads(features_ND), random_labels(member, data), strict=True
        )
    ]
    return torch.stack(losses).sum()


def _extractor_loss(
    member: Member, logits_NK: Tensor, features_ND: Tensor, labels_N: Tensor
) -> Tensor:
    """Return L_class + L_reg, the adversary's weights held fixed."""
    terms = regularizer_terms(_frozen_adversary(member.network.heads, features_ND), labels_N)
    return smoothed_cross_entropy(logits_NK, labels_N, 0.0) + terms.class_term + terms.uniform_term


def _frozen_adversary(heads: RLPHeads, features_ND: Tensor) -> Tensor:
    weight_JD, bias_J = (p.detach()[ADVERSARY] for p in (heads.weight_HJD, heads.bias_HJ))
    logits_NJ = F.linear(features_ND, weight_JD, bias_J)
    return logits_NJ.view(-1, *heads.shape[1:])


def largest_difference() -> float:
    """Return the largest difference of any gradient from that of one pass, float64, on the CPU."""
    device = torch.device("cpu")
    config = build_config(NETWORKS[TINY_CNN])
    data = load_data(config, device)
    gradients = []
    for backward in (_one_pass_backward, two_pass_backward, two_evaluations_backward):
        member = Member(config, data, device)
        member.network.double()
        backward(member, data)
        flat = [p.grad.flatten() for p in member.network.parameters() if p.grad is not None]
        gradients.append(torch.cat(flat))
    return max(float((other - gradients[0]).abs().max()) for other in gradients[1:])


def _one_pass_backward(member: Member, data: SplitDataset) -> None:
    images_NCHW, labels_N = _batch(member, data)
    logits_NK, features_ND = member.network(images_NCHW)
    loss = member.network.heads.one_pass_loss(
        features_ND, labels_N, random_labels(member, data), member.weights
    )
    torch.autograd.backward(smoothed_cross_entropy(logits_NK, labels_N, 0.0) + loss)

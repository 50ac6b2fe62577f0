"""RLP heads that copy layers, of all members of a group: `copied_heads.CopiedHeads` of M members.

A copy runs vectorized over the members (`torch.func.vmap`), whatever way the extractors are run.
Shapes: M members, N samples, B blocks of R random labels, J = B·R outputs, H = 2 heads (adversary
first, observer second); what copies read has its own dimensions behind M and N.
"""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from rlp_sweeps.training.copied_heads import CopiedHeads
from rlp_sweeps.training.engines.extractor_stack import stack_state
from rlp_sweeps.training.engines.stacked_heads import (
    HeadSettings,
    StackedWeights,
    stacked_regularizer_grad,
)
from rlp_sweeps.training.heads import ADVERSARY, OBSERVER, block_outputs, head_softmax


class StackedCopies(nn.Module):
    """Adversaries and observers of M members.

    Parameters and buffers have the names that they have in one copy, and are ``[M, H, …]``.

    Attributes:
        shape: What the outputs mean.
        copies: One copy, which holds the stacked weights.
    """

    def __init__(self, heads: Sequence[CopiedHeads]) -> None:
        super().__init__()
        self.shape = heads[0].shape
        self.copies = copy.deepcopy(heads[0].copies[ADVERSARY])
        stack_state(self.copies, [one for head in heads for one in head.copies], shape=(-1, 2))

    @property
    def like(self) -> Tensor:
        """A weight, of the heads' dtype and device."""
        return next(self.parameters())

    def forward(self, below: Tensor) -> Tensor:
        """Return all outputs, ``[M, N, H, B, R]``, of what the layers below give."""
        logits_MNHJ = torch.stack([self._outputs(below, h) for h in (ADVERSARY, OBSERVER)], 2)
        return torch.unflatten(logits_MNHJ, 3, self.shape[1:])

    def adversary(self, below: Tensor) -> Tensor:
        """Return the adversaries' outputs alone, ``[M, N, B, R]``."""
        return torch.unflatten(self._outputs(below, ADVERSARY), 2, self.shape[1:])

    def one_pass_loss(
        self,
        below: Tensor,
        labels_MN: Tensor,
        targets_MNH: Tensor,
        weights: StackedWeights,
    ) -> Tensor:
        """Return each member's sum of both heads' losses, ``[M]``; backward has the regularizer.

        Members without regularizer send exactly 0 to the layer below.

        Args:
            below: What the layers below give, or the images.
            labels_MN: Class indices, int64.
            targets_MNH: Outputs to hit, ``block · R + random label``, int64.
            weights: The regularizer's weights on the extractors.
        """
        detached, targets_MHN = below.detach(), targets_MNH.transpose(1, 2)
        loss_M = self._loss(detached, ADVERSARY, targets_MHN[:, ADVERSARY])
        loss_M = loss_M + self._loss(detached, OBSERVER, targets_MHN[:, OBSERVER])
        if not weights.regularizes_any:
            return loss_M
        targets_M1N = targets_MHN[:, ADVERSARY].unsqueeze(1)
        return loss_M + self._regularizer(
            below, targets_M1N, HeadSettings(self.shape, weights, labels_MN)
        )

    def _loss(self, below: Tensor, head: int, targets_MN: Tensor) -> Tensor:
        """Return L_head of one head of every member, ``[M]``."""
        logits_MJN = self._outputs(below, head).transpose(1, 2)
        targets_M1N = targets_MN.unsqueeze(1)
        normed = logits_MJN
        if self.shape.kind == "nested_per_class":
            normed = logits_MJN.gather(1, block_outputs(targets_M1N, self.shape.num_random_labels))
        hit_MN = logits_MJN.gather(1, targets_M1N).squeeze(1)
        return (normed.logsumexp(1) - hit_MN).mean(1)

    def _regularizer(self, below: Tensor, targets_M1N: Tensor, settings: HeadSettings) -> Tensor:
        """Return 0 for every member, with the gradient of its weighted regularizer at `below`."""
        is_regularized_M = settings.weights.regularizes_M
        is_regularized = is_regularized_M.view(-1, *(1,) * (below.ndim - 1))
        below = torch.where(is_regularized, below, below.detach())
        logits_MNJ = self._outputs(below, ADVERSARY, is_frozen=True)
        logits_MJN = logits_MNJ.detach().transpose(1, 2)
        p_MJN, _ = head_softmax(logits_MJN, targets_M1N, self.shape)
        grad_MJN = stacked_regularizer_grad(p_MJN, logits_MJN, targets_M1N, settings)
        carrier_M = (logits_MNJ * grad_MJN.transpose(1, 2)).flatten(1).sum(1)
        carrier_M = carrier_M / targets_M1N.shape[2]
        return carrier_M - carrier_M.detach()

    def _outputs(self, below: Tensor, head: int, *, is_frozen: bool = False) -> Tensor:
        """Return the outputs of one head of every member, ``[M, N, J]``.

        Args:
            below: ``[M, N, …]``.
            head: Which one.
            is_frozen: Run on detached weights, and leave the running statistics as they are.
        """
        parameters = {name: p[:, head] for name, p in self.copies.named_parameters()}
        if is_frozen:
            parameters = {name: p.detach() for name, p in parameters.items()}
        own = {name: buffer[:, head] for name, buffer in self.copies.named_buffers()}
        buffers = {name: buffer.clone() for name, buffer in own.items()}  # vmap needs them dense

        def run(state: dict[str, Tensor], read: Tensor) -> Tensor:
            outputs: Tensor = functional_call(self.copies, state, (read,))
            return outputs

        outputs_MNJ: Tensor = vmap(run, randomness="error")({**parameters, **buffers}, below)
        if self.training and not is_frozen:
            for name, buffer in own.items():
                buffer.copy_(buffers[name])
        return outputs_MNJ

"""RLP heads that copy the last layers of a plain network and read the layer below.

How deep must a head be to recall random labels from a layer? A copy has the layers of the network
with weights of its own, freshly drawn, and trains on L_head alone. The regularizer passes through
the adversary's copy as it stands, to the layer below the copy and no further up.
Source: Becker and Risse, arXiv:2411.19640 [P1], section 3.1.3.

Shapes: N samples, D features, K classes, B blocks (K, or 1), R random labels, J = B·R outputs, H =
2 heads (adversary first, observer second).
"""

from typing import cast

import torch
from torch import Tensor, nn
from torch.func import functional_call

from rlp_sweeps.seeding import stream_seed
from rlp_sweeps.training.backbones.base import TailBuilder
from rlp_sweeps.training.heads import (
    ADVERSARY,
    HEAD_STREAMS,
    ExtractorWeights,
    HeadShape,
    head_softmax,
    regularizer_grad,
)
from rlp_sweeps.training.losses import head_loss


class CopiedHeads(nn.Module):
    """Adversary and observer, each a copy of the last layers with a linear layer of its own.

    Attributes:
        shape: What the outputs mean.
    """

    def __init__(
        self,
        make_tail: TailBuilder,
        *,
        copy_depth: int,
        copy_width: float,
        shape: HeadShape,
        seed: int,
    ) -> None:
        """Draw both copies, each from its own init stream.

        Args:
            make_tail: Builds the last layers of the extractor.
            copy_depth: Layers that a head has, the output layer included, 2 at least.
            copy_width: Factor on the widths of all but the output layer.
            shape: Of the heads.
            seed: The replicate's number.
        """
        super().__init__()
        self.shape = shape
        copies = []
        for stream in HEAD_STREAMS:
            with torch.random.fork_rng(devices=[]), torch.device("cpu"):
                torch.default_generator.manual_seed(stream_seed(seed, stream, 0, copy_depth))
                layers, num_features = make_tail(copy_depth - 1, width_factor=copy_width)
                copies.append(nn.Sequential(layers, nn.Linear(num_features, shape.num_outputs)))
        self.copies = nn.ModuleList(copies)

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights."""
        return next(self.parameters()).dtype

    def forward(self, below: Tensor) -> Tensor:
        """Return both heads' outputs, ``[H, N, B, R]``, from what the layer below gives."""
        return torch.stack([self._unflatten(copy(below)) for copy in self.copies])

    def adversary(self, below: Tensor) -> Tensor:
        """Return the adversary's outputs alone, ``[N, B, R]``."""
        return self._unflatten(self.copies[ADVERSARY](below))

    def one_pass_loss(
        self,
        below: Tensor,
        labels_N: Tensor,
        random_labels_HN: Tensor,
        weights: ExtractorWeights,
    ) -> Tensor:
        """Return the sum of both heads' losses, whose backward also carries the regularizer.

        Backward sends ∇L_head to the copies, and the adversary's weighted regularizer to `below`,
        through a copy whose weights it leaves alone.

        Args:
            below: What the layer below the copy gives, or the images.
            labels_N: Class indices, ``[N]``, int64.
            random_labels_HN: Random labels of adversary and observer, ``[2, N]``, int64.
            weights: The regularizer's weights on the extractor.

        Returns:
            L_head(adversary) + L_head(observer), ``[]``, in nats, mean over samples.
        """
        blocks_N, kind = self.shape.blocks(labels_N), self.shape.kind
        loss = torch.stack(
            [
                head_loss(logits_NBR, blocks_N, random_labels_N, kind=kind)
                for logits_NBR, random_labels_N in zip(
                    self(below.detach()), random_labels_HN, strict=True
                )
            ]
        ).sum()
        if weights.regularizes:
            targets_N = blocks_N * self.shape.num_random_labels + random_labels_HN[ADVERSARY]
            loss = loss + self._regularizer(below, targets_N, weights)
        return loss

    def _regularizer(self, below: Tensor, targets_N: Tensor, weights: ExtractorWeights) -> Tensor:
        """Return 0 with the gradient of the weighted regularizer at `below`."""
        copy = cast("nn.Sequential", self.copies[ADVERSARY])
        state = {name: tensor.detach() for name, tensor in copy.named_parameters()}
        state |= {name: buffer.clone() for name, buffer in copy.named_buffers()}  # updated once
        logits_NJ: Tensor = functional_call(copy, state, (below,))
        logits_JN = logits_NJ.detach().T
        p_JN, _ = head_softmax(logits_JN, targets_N.unsqueeze(0), self.shape)
        grad_JN = regularizer_grad(p_JN, logits_JN, targets_N, (self.shape, weights))
        carrier: Tensor = (logits_NJ * grad_JN.T).sum() / len(targets_N)
        return carrier - carrier.detach()

    def _unflatten(self, logits_NJ: Tensor) -> Tensor:
        return logits_NJ.view(-1, *self.shape[1:])

"""A class head with one wide hidden layer, the projector of [P3].

Shapes: N samples, D features, W hidden units, K classes.
"""

from torch import Tensor, nn
from torch.nn import functional as F


class ProjectedHead(nn.Module):
    """Class head D → W → K without bias, with a ReLU between its layers.

    What RLP heads and probes call features is what it reads, not its hidden layer. Init: torch's
    own of linear layers.

    Source:
        Anagnostidis et al., ICLR 2023 [P3], 512 → 65,536 → K without bias. Deviation: the ReLU is
        this project's choice, where the source's was not to be had; without one both layers
        together would be one linear map, whatever their width.
    """

    def __init__(self, num_features: int, *, width: int, num_classes: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(num_features, width, bias=False)
        self.output = nn.Linear(width, num_classes, bias=False)

    @property
    def in_features(self) -> int:
        """D."""
        return self.hidden.in_features

    def forward(self, features_ND: Tensor) -> Tensor:
        """Return class scores, ``[N, K]``."""
        logits_NK: Tensor = self.output(F.relu(self.hidden(features_ND)))
        return logits_NK


ClassHead = nn.Linear | ProjectedHead
"""What a backbone ends in."""

"""Grouped extractors inside a captured step, and what no captured extractor may do."""

from typing import ClassVar

from torch import nn

from rlp_sweeps.errors import BackboneError
from rlp_sweeps.training.dropout import Dropout
from rlp_sweeps.training.engines.grouped_extractor import GroupedExtractor


def refuse_dropout(root: nn.Module, *, engine: str) -> None:
    """Refuse an extractor that draws: a captured graph would draw the same masks again and again.

    Raises:
        BackboneError: The extractor has dropout.
    """
    shares = [module.p for module in root.modules() if type(module) is Dropout]
    if any(shares):
        msg = (
            f"engine {engine!r} takes extractors without dropout, but this one has {shares}; use "
            "engine 'grouped', 'vmap' or 'sequential'."
        )
        raise BackboneError(msg)


class CapturedGroupedExtractor(GroupedExtractor):
    """M extractors as grouped layers, to be captured.

    Raises:
        BackboneError: The extractor has dropout.
    """

    engine: ClassVar[str] = "grouped_graph"

    def convert(self, root: nn.Module, single: nn.Module) -> nn.Module:
        """Return the extractor with every layer in its grouped form."""
        refuse_dropout(root, engine=self.engine)
        return super().convert(root, single)

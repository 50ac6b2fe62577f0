"""Groups as workers read them, at a cost that does not grow with their number.

Every group that starts reads the sweep's job anew. A dictionary of texts would be built anew each
time, all of it; arrays are mapped from Ray's shared memory, and only the text asked for is touched.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from rlp_sweeps.orchestration.planner import Group


class GroupTexts(Mapping[str, str]):
    """Texts of groups by group id, in three arrays."""

    def __init__(self, groups: "Iterable[Group]") -> None:
        """Take the texts.

        Args:
            groups: Groups, no two with one id.
        """
        ordered = sorted(groups, key=lambda group: group.group_id)
        texts = [group.to_text().encode() for group in ordered]
        self._ids = np.array([group.group_id.encode() for group in ordered], dtype=np.bytes_)
        self._ends = np.array([0, *accumulate(map(len, texts))], dtype=np.int64)
        self._text = np.frombuffer(b"".join(texts), dtype=np.uint8)

    def __getitem__(self, group_id: str) -> str:
        place = int(np.searchsorted(self._ids, np.bytes_(group_id.encode())))
        if place == len(self._ids) or self._ids[place] != group_id.encode():
            raise KeyError(group_id)
        start, end = self._ends[place], self._ends[place + 1]
        return self._text[start:end].tobytes().decode()

    def __iter__(self) -> Iterator[str]:
        return (group_id.decode() for group_id in self._ids)

    def __len__(self) -> int:
        return len(self._ids)

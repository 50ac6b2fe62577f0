"""The command line with a checkpoint after every epoch, and processes that look for plants.

python -m benchmarks.faults.driver run SPACE …
"""

import sys
from dataclasses import dataclass

from rlp_sweeps.cli import main
from rlp_sweeps.orchestration import progress


@dataclass(frozen=True, kw_only=True, slots=True)
class EagerOptions(progress.RunOptions):
    """The options of a sweep whose groups write a checkpoint after every epoch."""

    checkpoint_interval_s: float = 0.0


if __name__ == "__main__":
    progress.RunOptions = EagerOptions  # type: ignore[misc]  # a plant
    sys.exit(main())

"""What a plan allows and a reader of its results must know, in sentences."""

import contextlib
from collections.abc import Iterator

from rlp_sweeps.errors import DatasetError
from rlp_sweeps.orchestration.evidence import dataset_info
from rlp_sweeps.orchestration.planner import SweepPlan, group_representatives
from rlp_sweeps.training.datasets import count_train_samples
from rlp_sweeps.training.heads import HeadShape


def plan_notices(plan: SweepPlan) -> tuple[str, ...]:
    """Return the sentences that a plan calls for, each once."""
    return tuple(dict.fromkeys(_sparse_labels(plan)))


def _sparse_labels(plan: SweepPlan) -> Iterator[str]:
    """Yield what random labels mean where they are more than the samples that carry them.

    Such trials are sound: labels then name single samples, and recall tells samples apart. Only the
    floor moves: whoever knows nothing of a sample but its class can recall one of each class.
    """
    for config in group_representatives(plan):
        num_labels, num_samples = config.num_random_labels, None
        with contextlib.suppress(DatasetError):  # the data are elsewhere
            num_samples = count_train_samples(config, data_dir=plan.data_dir)
        if num_samples is None or num_labels <= num_samples:
            continue
        info = dataset_info(config.dataset, data_dir=plan.data_dir)
        shape = HeadShape.of(
            config.head, num_classes=info.num_classes, num_random_labels=num_labels
        )
        yield (
            f"num_random_labels={num_labels} is more than the {num_samples} training samples: most "
            "labels then belong to one sample or to none, and a head that knows only the class "
            f"recalls {min(1.0, shape.num_blocks / num_samples):.2g} of them or more, while "
            f"chance, the 0 of `memorization`, is {1 / num_labels:.2g} (docs/guides/choosing.md)."
        )

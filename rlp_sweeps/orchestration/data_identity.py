"""Which data a plan trains on, where the data set's name does not tell."""

from pathlib import Path

from rlp_sweeps.orchestration.planner import SweepPlan, group_representatives
from rlp_sweeps.tracking.data_fingerprint import fingerprint_image_folder

NAMED_BY_FOLDER = "image_folder"
"""The data set that is whatever lies in the data folder."""


def data_fingerprints(plan: SweepPlan) -> dict[str, str]:
    """Return the fingerprint of every data set of the plan that its name does not define.

    A user's own loader is taken to be what its dotted path says: only its author knows what it
    reads.

    Raises:
        DatasetError: A folder is absent, or a file cannot be read.
    """
    datasets = {config.dataset for config in group_representatives(plan)}
    if NAMED_BY_FOLDER not in datasets:
        return {}
    return {NAMED_BY_FOLDER: fingerprint_image_folder(Path(plan.data_dir))}

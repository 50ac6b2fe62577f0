"""Data sets on their way to the workers: read once by the driver, sent once to each machine.

They lie in Ray's object store, whose memory all workers of a machine share, so that neither the
files nor a user's loader need to be there, and a data set takes up memory once a machine.
"""

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from rlp_sweeps.orchestration.planner import SweepPlan, group_representatives
from rlp_sweeps.training.datasets import check_images, forget_images, load_image_arrays
from rlp_sweeps.training.given_data import give_image_arrays
from rlp_sweeps.training.image_arrays import ImageArrays

_TENSORS = ("train_images_NCHW", "train_labels_N", "test_images_NCHW", "test_labels_N")


@dataclass(frozen=True, slots=True)
class SharedData:
    """Data sets in the object store of the connected cluster.

    Attributes:
        folder: The absolute data folder that they were read from.
        references: Ray's reference to each, by name.
    """

    folder: str
    references: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def put(cls, datasets: Iterable[str], *, data_dir: str) -> "SharedData":
        """Read data sets and put them into the object store; this process keeps no copy.

        Args:
            datasets: Their names.
            data_dir: Absolute folder that holds the files.

        Raises:
            DatasetError: One cannot be read.
        """
        import ray

        references = {
            dataset: ray.put(_packed(load_image_arrays(dataset, data_dir=data_dir)))
            for dataset in sorted(set(datasets))
        }
        forget_images()
        return cls(folder=data_dir, references=references)

    def take(self) -> None:
        """Let this worker train on them; the first one on its machine waits for the images."""
        import ray

        for dataset, reference in self.references.items():
            if dataset not in _TAKEN:
                give_image_arrays(dataset, Path(self.folder), _unpacked(ray.get(reference)))
                _TAKEN.add(dataset)


_TAKEN: set[str] = set()  # a worker serves one driver, which puts a data set once


def datasets_of(plan: SweepPlan) -> set[str]:
    """Return the names of the data sets that a plan trains on."""
    return {config.dataset for config in group_representatives(plan)}


def check_readable(plan: SweepPlan) -> None:
    """Refuse data sets whose files are there, but cannot be read or normalized.

    Raises:
        DatasetError: One cannot be read, or a channel of its images is constant.
    """
    for dataset in datasets_of(plan):
        check_images(dataset, data_dir=plan.data_dir)


def _packed(arrays: ImageArrays) -> dict[str, Any]:
    """Return the images as arrays, which Ray shares between processes without a copy."""
    tensors = {name: getattr(arrays, name) for name in _TENSORS}
    return {
        "num_classes": arrays.num_classes,
        **{
            name: None if tensor is None else tensor.contiguous().numpy()
            for name, tensor in tensors.items()
        },
    }


def _unpacked(packed: Mapping[str, Any]) -> ImageArrays:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        tensors: dict[str, Any] = {
            name: None if packed[name] is None else torch.from_numpy(packed[name])
            for name in _TENSORS
        }
    return ImageArrays(num_classes=packed["num_classes"], **tensors)

"""Data sets that a process was given, so that it reads no files of its own for them.

A sweep's driver reads each data set once; machines that train get the images from it, and need
neither the files nor a user's loader.
"""

from pathlib import Path

from rlp_sweeps.training.image_arrays import ImageArrays

_GIVEN: dict[tuple[str, Path], ImageArrays] = {}


def give_image_arrays(dataset: str, folder: Path, arrays: ImageArrays) -> None:
    """Let this process take a data set's images from memory from now on.

    Args:
        dataset: A name of ``datasets.DATASETS``, ``synthetic:C,H,W,K,N``, or a dotted path.
        folder: The absolute data folder that it is asked for with.
        arrays: Its images; never written to.
    """
    _GIVEN[dataset, folder] = arrays


def given_image_arrays(dataset: str, folder: Path) -> ImageArrays | None:
    """Return the images that this process was given for a data set; None where it was not."""
    return _GIVEN.get((dataset, folder))

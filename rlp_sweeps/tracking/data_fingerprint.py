"""What data a sweep was trained on: a fingerprint of its content.

A trial's identity holds the name of its data set, never the folder, so that the same images may lie
elsewhere on another machine. Where the name does not tell what the images are, as with
``image_folder``, a fingerprint in the manifest does: rows of two sweeps belong together only where
it is the same.
"""

import hashlib
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rlp_sweeps.errors import DatasetError, RunDirectoryError

IMAGE_SUFFIXES = (
    ".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp",
)  # fmt: skip
"""Ends of the names that ``image_folder`` reads, in any case."""

_NUM_READERS = 8
_BATCH_FILES = 4096
_DIGITS = 32


def fingerprint_image_folder(data_dir: Path) -> str:
    """Return the fingerprint of the data set ``image_folder`` in a folder.

    Names and content of every image of ``train``, and of ``test`` or else ``val``, as the data set
    reads them, and nothing else: neither the folder's own path nor times, permissions or other
    files. Every byte is read once.

    Returns:
        32 hexadecimal digits.

    Raises:
        DatasetError: A folder is absent, or a file cannot be read.
    """
    total = hashlib.sha256()
    with ThreadPoolExecutor(_NUM_READERS) as readers:
        for part, folder in image_folders(data_dir).items():
            files = image_files(folder)
            for start in range(0, len(files), _BATCH_FILES):
                batch = files[start : start + _BATCH_FILES]
                for path, digest in zip(batch, readers.map(_digest_file, batch), strict=True):
                    name = f"{part}/{path.relative_to(folder).as_posix()}"
                    total.update(f"{len(name)}:{name}:{digest}".encode())
    return total.hexdigest()[:_DIGITS]


def image_folders(data_dir: Path) -> dict[str, Path]:
    """Return the folders of training and test images: ``test``, or else ``val``."""
    held_out = data_dir / "test"
    return {
        "train": data_dir / "train",
        "test": held_out if held_out.is_dir() else data_dir / "val",
    }


def image_files(folder: Path) -> list[Path]:
    """Return every image in a folder of class folders, sorted.

    Raises:
        DatasetError: The folder is absent.
    """
    if not folder.is_dir():
        msg = f"a data set's folder must exist, but there is no folder {folder}."
        raise DatasetError(msg)
    return sorted(
        Path(root, name)
        for root, _, names in os.walk(folder, followlinks=True)
        for name in names
        if name.lower().endswith(IMAGE_SUFFIXES) and Path(root) != folder
    )


def check_same_data(
    current: Mapping[str, str], recorded: Mapping[str, str], *, where: Path | str
) -> None:
    """Refuse rows that were trained on other data under the same name.

    Args:
        current: Fingerprint of the data to train on, by data set.
        recorded: What the manifest of the rows says (`data_of`).
        where: Run directory of the rows.

    Raises:
        RunDirectoryError: A data set of `current` is another in `recorded`, or is not in it.
    """
    for dataset, fingerprint in current.items():
        held = recorded.get(dataset)
        if held == fingerprint:
            continue
        was = f"was trained on fingerprint {held!r}" if held else "does not say on which it was"
        msg = (
            f"rows may be mixed only where data set {dataset!r} has the same content, but here it "
            f"has fingerprint {fingerprint!r} and {where} {was}; name the folder it was trained on "
            "with `--set data_dir=FOLDER`, or train anew in another --output without --reuse."
        )
        raise RunDirectoryError(msg)


def data_of(manifest: Mapping[str, object]) -> dict[str, str]:
    """Return the fingerprints that a manifest records, by data set; none where it has no record."""
    data = manifest.get("data")
    if not isinstance(data, Mapping):
        return {}
    return {str(name): str(fingerprint) for name, fingerprint in data.items()}


def _digest_file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256")
    except OSError as error:
        msg = f"every file of a data set must be readable, but {path} is not: {error.strerror}."
        raise DatasetError(msg) from error
    return digest.hexdigest()

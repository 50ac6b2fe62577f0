"""Fingerprints of data: the same content anywhere is the same data, anything else is not."""

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from rlp_sweeps.errors import DatasetError, RunDirectoryError
from rlp_sweeps.orchestration.data_identity import data_fingerprints
from rlp_sweeps.orchestration.planner import SweepPlan, plan_sweep
from rlp_sweeps.orchestration.progress import RunOptions
from rlp_sweeps.orchestration.sweep import run_sweep
from rlp_sweeps.spaces import ChoiceAxis, SearchSpace
from rlp_sweeps.tracking.data_fingerprint import (
    IMAGE_SUFFIXES,
    data_of,
    fingerprint_image_folder,
    image_files,
    image_folders,
)
from rlp_sweeps.tracking.run_directory import RunDirectory, build_manifest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes with two images each for training, one each for validation."""
    for part, count in (("train", 2), ("val", 1)):
        for label in ("cat", "dog"):
            (tmp_path / "data" / part / label).mkdir(parents=True)
            for number in range(count):
                pixels = np.full((4, 4, 3), 10 * number + len(part), np.uint8)
                Image.fromarray(pixels).save(tmp_path / f"data/{part}/{label}/{number}.png")
    return tmp_path / "data"


def test_a_copy_elsewhere_has_the_same_fingerprint(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "far" / "away")
    os.utime(copy / "train" / "cat" / "0.png", (0, 0))
    (copy / "train" / "README.txt").write_text("not an image")
    (copy / "train" / "cat" / "Thumbs.db").write_text("not an image")

    assert fingerprint_image_folder(copy) == fingerprint_image_folder(folder)
    assert len(fingerprint_image_folder(copy)) == 32


def swap_byte(folder: Path) -> None:
    path = folder / "train" / "dog" / "1.png"
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(bytes(content))


@pytest.mark.parametrize(
    "change",
    [
        swap_byte,
        lambda folder: (folder / "train/cat/0.png").rename(folder / "train/dog/2.png"),
        lambda folder: (folder / "train/cat/0.png").rename(folder / "train/cat/9.png"),
        lambda folder: (folder / "val/cat/0.png").unlink(),
        lambda folder: shutil.copy(folder / "val/cat/0.png", folder / "val/cat/1.PNG"),
        lambda folder: shutil.copytree(folder / "train", folder / "test"),
    ],
    ids=["one bit", "another class", "another name", "removed", "added", "test beside val"],
)
def test_other_content_has_another_fingerprint(folder: Path, change: Any) -> None:
    before = fingerprint_image_folder(folder)

    change(folder)

    assert fingerprint_image_folder(folder) != before


def test_fingerprint_reads_what_the_data_set_reads(folder: Path, tmp_path: Path) -> None:
    from torchvision.datasets import ImageFolder
    from torchvision.datasets.folder import IMG_EXTENSIONS

    (folder / "train" / "cat" / "deep" / ".hidden").mkdir(parents=True)
    shutil.copy(folder / "train/cat/0.png", folder / "train/cat/deep/.hidden/x.JPG")
    (tmp_path / "elsewhere").mkdir()
    shutil.copy(folder / "train/cat/0.png", tmp_path / "elsewhere/y.png")
    (folder / "train" / "dog" / "linked").symlink_to(tmp_path / "elsewhere")
    shutil.copy(folder / "train/cat/0.png", folder / "train/stray.png")

    read = {Path(path) for path, _ in ImageFolder(str(folder / "train")).samples}

    assert set(image_files(folder / "train")) == read
    assert len(read) == 6
    assert set(IMAGE_SUFFIXES) == set(IMG_EXTENSIONS)
    assert image_folders(folder)["test"] == folder / "val"


def test_fingerprint_refuses_a_folder_without_images(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"must exist, but there is no folder .*train"):
        fingerprint_image_folder(tmp_path)


def test_fingerprint_names_a_file_that_cannot_be_read(folder: Path) -> None:
    (folder / "train" / "cat" / "gone.png").symlink_to(folder / "nowhere.png")

    with pytest.raises(DatasetError, match=r"must be readable, but .*gone\.png is not: No such"):
        fingerprint_image_folder(folder)


def manifest(data: dict[str, str] | None) -> dict[str, Any]:
    return build_manifest(plan_id="p", sweep_name="s", space={}, configs=[], data=data)


def test_a_run_directory_goes_on_with_the_data_it_began_with(tmp_path: Path) -> None:
    directory = RunDirectory.create(tmp_path / "run", manifest({"image_folder": "aa"}))

    directory.check_same_data({"image_folder": "aa"})
    directory.check_same_data({})
    assert data_of(directory.manifest) == {"image_folder": "aa"}


@pytest.mark.parametrize(
    ("recorded", "says"),
    [
        ({"image_folder": "bb"}, r"here it has fingerprint 'aa' and .*run was trained on .* 'bb'"),
        ({}, r"run does not say on which"),
        (None, r"run does not say on which"),
    ],
)
def test_rows_of_other_data_are_refused(
    tmp_path: Path, recorded: dict[str, str] | None, says: str
) -> None:
    directory = RunDirectory.create(tmp_path / "run", manifest(recorded))

    with pytest.raises(RunDirectoryError, match=says):
        directory.check_same_data({"image_folder": "aa"})
    with pytest.raises(RunDirectoryError, match=says):
        RunDirectory.create(tmp_path / "run", manifest({"image_folder": "aa"}))


def test_a_manifest_without_a_record_of_data_has_none() -> None:
    assert data_of({"data": None}) == data_of({}) == {}


def test_a_plan_knows_only_the_folder_that_its_name_does_not_tell(folder: Path) -> None:
    assert data_fingerprints(plan_of(folder)) == {"image_folder": fingerprint_image_folder(folder)}
    assert data_fingerprints(plan_sweep(space_of(folder, dataset="digits"), name="s")) == {}


def test_rows_of_another_folder_are_not_reused(folder: Path, tmp_path: Path) -> None:
    older = RunDirectory.create(tmp_path / "older", manifest({"image_folder": "another"}))
    options = RunOptions(reuse=(older.path,))

    with pytest.raises(RunDirectoryError, match="'image_folder' has the same content"):
        run_sweep(plan_of(folder), output=tmp_path / "new", options=options)

    assert not (tmp_path / "new").exists()


def space_of(folder: Path, dataset: str = "image_folder") -> SearchSpace:
    return SearchSpace(
        axes={"lr": ChoiceAxis(choices=(0.01, 0.1))},
        arms=("control",),
        fixed={"dataset": dataset, "backbone": "mlp", "batch_size": 2, "val_samples": 1},
        num_seeds=1,
        data_dir=str(folder),
    )


def plan_of(folder: Path) -> SweepPlan:
    return plan_sweep(space_of(folder), name="s")

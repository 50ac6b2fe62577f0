from pathlib import Path

import pytest
import torch

from rlp_sweeps.errors import DatasetFilesError
from rlp_sweeps.orchestration import shared_data
from rlp_sweeps.training import datasets, given_data
from rlp_sweeps.training.datasets import load_image_arrays


@pytest.fixture
def no_data(monkeypatch):
    """A process that has read and was given nothing, and forgets what the test gives it."""
    monkeypatch.setattr(given_data, "_GIVEN", {})
    datasets.forget_images()
    yield
    datasets.forget_images()


def test_images_that_travel_are_those_that_were_read(no_data):
    read = load_image_arrays("synthetic:3,8,8,4,60", data_dir="/nowhere")

    packed = shared_data._packed(read)
    for array in packed.values():
        if hasattr(array, "flags"):
            array.flags.writeable = False  # as in the object store
    got = shared_data._unpacked(packed)

    assert torch.equal(got.train_images_NCHW, read.train_images_NCHW)
    assert torch.equal(got.train_labels_N, read.train_labels_N)
    assert got.info == read.info


def test_process_that_was_given_a_data_set_needs_no_files(no_data):
    digits = load_image_arrays("digits", data_dir="/nowhere")
    with pytest.raises(DatasetFilesError):
        load_image_arrays("cifar10", data_dir="/nowhere")

    given_data.give_image_arrays("cifar10", Path("/nowhere"), digits)

    assert load_image_arrays("cifar10", data_dir="/nowhere") is digits

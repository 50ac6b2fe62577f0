"""Bits that a disk has changed are found: no file reads as something that nobody wrote."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch

from rlp_sweeps.errors import CheckpointError, CorruptFileError
from rlp_sweeps.schema import TABLES
from rlp_sweeps.tracking import parquet
from rlp_sweeps.tracking.trial_tables import TrialTables
from rlp_sweeps.training.checkpoint import load_checkpoint, save_checkpoint

STATE = {"epoch": 3, "engine": {"w": torch.arange(400.0), "step": torch.tensor(7)}}
VALUES: dict[str, Any] = {"str": "completed", "f64": 0.1234567, "i64": 77, "bool": True}
NUM_FLIPS = 250


def flipped_everywhere(path: Path, read: Callable[[], Any]) -> list[Any]:
    """Return what is read after each of many single flipped bits; None where it is refused."""
    whole = path.read_bytes()
    rng = random.Random(0)
    found: list[Any] = []
    for at in rng.sample(range(len(whole)), min(NUM_FLIPS, len(whole))):
        content = bytearray(whole)
        content[at] ^= 1 << rng.randrange(8)
        path.write_bytes(content)
        try:
            found.append(read())
        except (CheckpointError, CorruptFileError):
            found.append(None)
    return found


def test_checkpoint_with_a_flipped_bit_is_refused_or_says_the_same(tmp_path: Path) -> None:
    path = tmp_path / "g.pt"
    save_checkpoint(path, STATE)

    states = flipped_everywhere(path, lambda: load_checkpoint(path, torch.device("cpu")))

    read = [state for state in states if state is not None]
    assert len(read) < NUM_FLIPS
    for state in read:
        assert state["epoch"] == 3
        assert torch.equal(state["engine"]["w"], torch.arange(400.0))


def test_checkpoint_cut_short_is_refused_wherever_it_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "g.pt"
    save_checkpoint(path, STATE)
    whole = path.read_bytes()

    for length in range(0, len(whole), 61):
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match="must be whole"):
            load_checkpoint(path, torch.device("cpu"))


def test_checkpoint_that_finds_no_room_leaves_nothing(tmp_path: Path) -> None:
    class Full:
        def __reduce__(self) -> Any:
            raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space left"):
        save_checkpoint(tmp_path / "g.pt", {"state": Full()})

    assert list(tmp_path.iterdir()) == []


def test_part_file_with_a_flipped_bit_is_refused_or_says_the_same(tmp_path: Path) -> None:
    path = tmp_path / "trials" / "a1.parquet"
    path.parent.mkdir()
    row = {column.name: VALUES[column.dtype] for column in TABLES["trials"]}
    written = parquet.to_table("trials", [row])
    parquet.write_part(written, path)

    tables = flipped_everywhere(path, lambda: parquet.read_files("trials", [path]))

    read = [table for table in tables if table is not None]
    assert len(read) < NUM_FLIPS
    assert all(table.equals(written) for table in read)


def test_flipped_bit_of_a_compacted_file_is_found_whatever_columns_are_read(tmp_path: Path) -> None:
    directory = TrialTables(tmp_path)
    row = {column.name: VALUES[column.dtype] for column in TABLES["trials"]}
    path = tmp_path / "trials" / parquet.COMPACTED_NAME
    path.parent.mkdir()
    parquet.write_compacted("trials", parquet.to_table("trials", [row]), path, known=None)

    whole = flipped_everywhere(path, directory.read_trials)
    parquet.write_compacted("trials", parquet.to_table("trials", [row]), path, known=None)
    few = flipped_everywhere(path, directory.finished_trials)

    assert [found is None for found in few] == [found is None for found in whole]
    assert None in few


def test_part_file_without_checksums_reads(tmp_path: Path) -> None:
    path = tmp_path / "a1.parquet"
    pa.parquet.write_table(pa.table({"trial_id": ["a1"], "lr": [0.1]}), path)

    (row,) = parquet.read_files("trials", [path]).to_pylist()

    assert (row["trial_id"], row["lr"]) == ("a1", 0.1)

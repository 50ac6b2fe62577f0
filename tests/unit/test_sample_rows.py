"""The table ``samples``: typed, whole, replaced, carried over, and refused where it is wrong."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from rlp_sweeps.config import TrialConfig
from rlp_sweeps.errors import SchemaError
from rlp_sweeps.orchestration.rows import take_over
from rlp_sweeps.schema import TABLES
from rlp_sweeps.tracking.run_directory import RunDirectory, build_manifest
from rlp_sweeps.tracking.sample_rows import (
    keep_samples,
    keeps_samples,
    read_samples,
    write_samples,
)

POOL = {
    "split": np.array(["pool", "pool"]),
    "sample_id": np.array([0, 1]),
    "is_trained": np.array([True, False]),
    "is_correct": np.array([True, True]),
    "label": np.array([3, 1]),
    "rlp_confidence": np.array([0.5, 0.25], dtype=np.float32),
}
TEST = {
    "split": np.array(["test"]),
    "sample_id": np.array([1]),
    "is_trained": np.array([False]),
    "is_correct": np.array([False]),
}
CONFIG = TrialConfig(arm="control", lr=0.1, rlp_lambda=0.0, seed=0)


def lay_out(path: Path, *, keeps: bool = True) -> RunDirectory:
    manifest = build_manifest(plan_id="p", sweep_name="s", space={}, configs=[CONFIG], settings={})
    directory = RunDirectory.create(path, manifest)
    if keeps:
        keep_samples(directory)
    return directory


@pytest.fixture
def directory(tmp_path: Path) -> RunDirectory:
    return lay_out(tmp_path / "sweep")


def test_samples_are_read_back_typed_with_nulls_where_a_block_has_no_column(
    directory: RunDirectory,
) -> None:
    write_samples(directory, "a1", [POOL, TEST])

    rows = read_samples(directory)

    assert rows.column_names == [column.name for column in TABLES["samples"]]
    assert rows["trial_id"].to_pylist() == ["a1"] * 3
    assert rows["rlp_confidence"].to_pylist() == [0.5, 0.25, None]
    assert (rows["sample_id"].to_pylist(), rows["label"].to_pylist()) == ([0, 1, 1], [3, 1, None])
    assert read_samples(directory, ["b2"]).num_rows == 0


def test_files_hold_small_types_and_are_replaced_as_a_whole(directory: RunDirectory) -> None:
    write_samples(directory, "a1", [POOL, TEST])
    write_samples(directory, "a1", [TEST])

    (path,) = (directory.path / "samples").iterdir()

    file = pq.ParquetFile(path)
    kinds = {str(kind) for kind in file.schema_arrow.types}
    assert kinds == {"string", "int32", "float", "bool"}
    assert file.metadata.row_group(0).column(0).compression == "ZSTD"
    assert file.metadata.num_rows == 1


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"sample_id": np.array([1, 1])}, "must each stand once"),
        ({"accuracy": np.array([1, 1])}, r"unknown \['accuracy'\]"),
        ({"is_correct": None}, r"lack \['is_correct'\]"),
    ],
)
def test_samples_that_are_wrong_are_refused(
    directory: RunDirectory, change: dict[str, Any], says: str
) -> None:
    block = {name: values for name, values in (POOL | change).items() if values is not None}

    with pytest.raises(SchemaError, match=says):
        write_samples(directory, "a1", [block])


@pytest.mark.parametrize("status", ["completed", "diverged"])
def test_a_completed_trial_without_samples_is_not_reused_where_samples_are_kept(
    directory: RunDirectory, tmp_path: Path, status: str
) -> None:
    trial_id = CONFIG.trial_id
    directory.write_trial({**CONFIG.to_dict(), "trial_id": trial_id, "status": status}, epochs=[])

    for name, keeps in (("with", True), ("without", False)):
        newer = lay_out(tmp_path / name, keeps=keeps)
        taken = take_over(newer, [directory.path], [trial_id])

        is_lacking = keeps and status == "completed"
        assert taken == newer.finished_trials() == ({} if is_lacking else {trial_id: status})


def test_reused_trials_bring_their_samples_where_samples_are_kept(
    directory: RunDirectory, tmp_path: Path
) -> None:
    trial_id = CONFIG.trial_id
    write_samples(directory, trial_id, [POOL])
    directory.write_trial(
        {**CONFIG.to_dict(), "trial_id": trial_id, "status": "completed"}, epochs=[]
    )

    for name, keeps in (("with", True), ("without", False)):
        newer = lay_out(tmp_path / name, keeps=keeps)
        take_over(newer, [directory.path], [trial_id])

        assert read_samples(newer).num_rows == 2 * keeps
        assert keeps_samples(newer) == keeps

"""The table ``samples`` of a run directory: one part file a trial, ``samples/<trial_id>.parquet``.

That the folder is there says that samples are kept, so that a resumed sweep goes on keeping them.
A trial's samples are written before its row in ``trials``; a trial that was killed in between is
trained again and its file replaced, so that no sample ever stands twice.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from rlp_sweeps.errors import SchemaError
from rlp_sweeps.sample_columns import SAMPLES
from rlp_sweeps.tracking import files, parquet
from rlp_sweeps.tracking.run_directory import RunDirectory

_SMALL = {"str": pa.string(), "bool": pa.bool_(), "i64": pa.int32(), "f64": pa.float32()}
"""Types in the files: a sample costs a few bytes, and readers widen them."""

_GIVEN = tuple(column.name for column in SAMPLES if column.required and column.name != "trial_id")


def keep_samples(directory: RunDirectory) -> None:
    """Have the samples kept of what is trained there from now on."""
    files.make_folder(_folder(directory))


def keeps_samples(directory: RunDirectory) -> bool:
    """Return whether the samples are kept of what is trained there."""
    return _folder(directory).is_dir()


def write_samples(
    directory: RunDirectory, trial_id: str, blocks: Sequence[Mapping[str, Any]]
) -> None:
    """Write a trial's samples; they are visible at once and whole, and replace its earlier ones.

    Args:
        directory: The run directory.
        trial_id: The trial.
        blocks: Columns by name, arrays of one length a block; optional ones that a block lacks
            become null.

    Raises:
        SchemaError: A column is unknown, a required one is missing, or a sample stands twice.
        OSError: The directory cannot be written, or the disk is full.
    """
    table = pa.concat_tables([_to_table(trial_id, block) for block in blocks])
    keys = table.select(["split", "sample_id"])
    if len(keys.group_by(["split", "sample_id"]).aggregate([])) < len(keys):
        msg = f"samples of trial {trial_id!r} must each stand once, but some stand twice."
        raise SchemaError(msg)
    name = f"{files.checked_name(trial_id)}.parquet"
    parquet.write_part(table, _folder(directory) / name, compression="zstd")


def read_samples(directory: RunDirectory, trial_ids: Sequence[str] | None = None) -> pa.Table:
    """Return one row a trial and sample, in the schema of ``samples``.

    Args:
        directory: The run directory.
        trial_ids: Trials to read; all of them where missing.

    Raises:
        SchemaError: A part file is corrupt; the message names it.
    """
    return parquet.read_parts("samples", _folder(directory), trial_ids)


def has_samples(directory: RunDirectory, trial_id: str) -> bool:
    """Return whether a trial's samples were kept there."""
    return (_folder(directory) / f"{trial_id}.parquet").exists()


def take_samples(directory: RunDirectory, source: RunDirectory, trial_id: str) -> None:
    """Copy a trial's samples from another sweep, where it has them and this one keeps any."""
    kept = _folder(source) / f"{trial_id}.parquet"
    if keeps_samples(directory) and kept.exists():
        files.copy_atomically(kept, _folder(directory) / kept.name)


def _folder(directory: RunDirectory) -> Path:
    return directory.path / "samples"


def _to_table(trial_id: str, block: Mapping[str, Any]) -> pa.Table:
    known = {column.name for column in SAMPLES} - {"trial_id"}
    unknown, missing = sorted(set(block) - known), [name for name in _GIVEN if name not in block]
    if unknown or missing:
        msg = (
            f"samples must have the columns {list(_GIVEN)} and others of the schema, but got "
            f"unknown {unknown} and lack {missing}."
        )
        raise SchemaError(msg)
    num_rows = len(block["sample_id"])
    columns = {"trial_id": pa.repeat(trial_id, num_rows)}
    for column in SAMPLES[1:]:
        kind = _SMALL[column.dtype]
        values = block.get(column.name)
        is_absent = values is None
        columns[column.name] = pa.nulls(num_rows, kind) if is_absent else pa.array(values, kind)
    return pa.table(columns)

"""The table ``probes`` of a run directory: one part file a trial, ``probes/<trial_id>.parquet``.

``probes/asked.json`` names the probes that trials are probed by as they end, so that a resumed
sweep goes on probing; ``probes/<trial_id>.error`` says why a trial could not be, and its weights
are kept (``kept_weights.keep_weights_of``) until it is.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from rlp_sweeps.errors import RunDirectoryError, SchemaError
from rlp_sweeps.probe_columns import PROBES
from rlp_sweeps.tracking import files, parquet
from rlp_sweeps.tracking.run_directory import RunDirectory

KEY = tuple(column.name for column in PROBES if column.role == "identity")
"""Columns that tell the rows of ``probes`` apart."""

END_POOLING = "average"
"""What becomes of maps and tokens where trials are probed as they end."""

_ASKED = "asked.json"


def write_probes(directory: RunDirectory, trial_id: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a trial's rows; they are visible at once and whole, and replace its earlier ones.

    Args:
        directory: The run directory.
        trial_id: The trial.
        rows: Values by column name; missing ones become null.

    Raises:
        SchemaError: A column is unknown or mistyped, a row belongs to another trial or comes twice.
        RunDirectoryError: The directory cannot be written.
    """
    table = parquet.to_table("probes", rows)
    strangers = {row["trial_id"] for row in rows} - {trial_id}
    if strangers:
        msg = f"probes of trial {trial_id!r} must carry its id, but got {sorted(strangers)}."
        raise SchemaError(msg)
    if len({tuple(row[name] for name in KEY) for row in rows}) < len(rows):
        msg = f"trial {trial_id!r} must have one row a probe and place, but some come twice."
        raise SchemaError(msg)
    folder = directory.path / "probes"
    path = folder / f"{files.checked_name(trial_id)}.parquet"
    try:
        files.make_parent(path)
        parquet.write_part(table, path)
    except OSError as error:
        msg = f"{folder} must be writable, but it is not ({error.strerror or error})."
        raise RunDirectoryError(msg) from error


def read_probes(directory: RunDirectory, trial_ids: Sequence[str] | None = None) -> pa.Table:
    """Return one row a trial, place and probe, in the schema of ``probes``.

    Args:
        directory: The run directory.
        trial_ids: Trials to read; all of them where missing.

    Raises:
        SchemaError: A part file is corrupt; the message names it.
    """
    return parquet.read_parts("probes", directory.path / "probes", trial_ids)


def take_probes(directory: RunDirectory, source: RunDirectory, trial_id: str) -> None:
    """Copy a trial's rows from another sweep, where it has any.

    Raises:
        SchemaError: The part file is corrupt.
        RunDirectoryError: The directory cannot be written.
    """
    rows = read_probes(source, [trial_id]).to_pylist()
    if rows:
        write_probes(directory, trial_id, rows)


def ask_for_probes(directory: RunDirectory, names: Sequence[str]) -> None:
    """Have trials probed by these as they end, from now on."""
    path = directory.path / "probes" / _ASKED
    files.make_parent(path)
    files.write_text_atomically(path, json.dumps({"probes": list(names)}))


def asked_probes(directory: RunDirectory) -> tuple[str, ...]:
    """Return what trials are probed by as they end; empty where they are not.

    Raises:
        RunDirectoryError: The file that says so is broken.
    """
    path = directory.path / "probes" / _ASKED
    try:
        return tuple(map(str, json.loads(path.read_bytes())["probes"]))
    except FileNotFoundError:
        return ()
    except (ValueError, KeyError, TypeError) as error:
        msg = f'{path} must read {{"probes": [NAME, …]}}, but it does not ({error}); remove it.'
        raise RunDirectoryError(msg) from error


def write_probe_error(directory: RunDirectory, trial_id: str, error: str) -> None:
    """Write why a trial could not be probed, one sentence."""
    path = probe_error_path(directory, trial_id)
    files.make_parent(path)
    files.write_text_atomically(path, error)


def clear_probe_error(directory: RunDirectory, trial_id: str) -> None:
    """Take back what `write_probe_error` wrote."""
    probe_error_path(directory, trial_id).unlink(missing_ok=True)


def probe_error_path(directory: RunDirectory, trial_id: str) -> Path:
    """Return where it stands why a trial could not be probed."""
    return directory.path / "probes" / f"{files.checked_name(trial_id)}.error"


def read_probe_errors(directory: RunDirectory) -> dict[str, str]:
    """Return why trials could not be probed as they ended, by trial id."""
    paths = sorted((directory.path / "probes").glob("*.error"))
    return {path.stem: path.read_text(encoding="utf-8") for path in paths}

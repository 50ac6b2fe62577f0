"""Rows of finished trials: read for a few trials, or taken over from older sweeps."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from rlp_sweeps.orchestration.probe_fit import unfit_trials
from rlp_sweeps.tracking.kept_weights import take_weights
from rlp_sweeps.tracking.parquet import read_files
from rlp_sweeps.tracking.probe_rows import END_POOLING, asked_probes, read_probes, take_probes
from rlp_sweeps.tracking.run_directory import RunDirectory
from rlp_sweeps.tracking.sample_rows import has_samples, keeps_samples, take_samples

Row = dict[str, Any]

_REUSABLE = ("completed", "diverged")
"""Ends that a trial would come to again; a scheduler's stop depends on the other trials."""


def read_parts(directory: RunDirectory, trial_ids: Iterable[str]) -> dict[str, Row]:
    """Return the rows of those of these trials that have a part file of their own.

    A driver compacts when it starts, so that these are the trials that its own attempt finished.

    Args:
        directory: The sweep.
        trial_ids: Trials to look for.

    Raises:
        SchemaError: A part file is corrupt.
    """
    paths = [directory.path / "trials" / f"{trial_id}.parquet" for trial_id in trial_ids]
    rows = read_files("trials", paths, skips_absent=True).to_pylist()
    return {row["trial_id"]: row for row in rows}


def read_with_epochs(directory: RunDirectory, trial_ids: Collection[str]) -> list[Row]:
    """Return the rows of those of these trials that have ended, whichever attempt it was in.

    Args:
        directory: The sweep.
        trial_ids: Trials to look for.

    Returns:
        Rows of ``trials``, each with its rows of ``epochs`` under ``epochs``.

    Raises:
        SchemaError: A part file is corrupt.
    """
    if not trial_ids:
        return []
    wanted = set(trial_ids)
    rows = [row for row in directory.read_trials().to_pylist() if row["trial_id"] in wanted]
    epochs = _epochs_of(directory, {row["trial_id"] for row in rows})
    return [{**row, "epochs": epochs[row["trial_id"]]} for row in rows]


def take_over(
    directory: RunDirectory, older: Collection[Path], wanted: Collection[str]
) -> dict[str, str]:
    """Copy finished trials of older sweeps, epochs included, and return their statuses.

    Where `directory` keeps weights, theirs are copied as well, if they were kept; what probes found
    in them always is. A completed trial without samples is left to be trained where `directory`
    keeps samples, and one without rows of all probes that trials are probed by as they end there
    and that fit it.

    Args:
        directory: The sweep that takes them.
        older: Run directories to look through, in this order.
        wanted: Ids of the trials that lack a row.

    Raises:
        RunDirectoryError: One of them is no run directory.
        SchemaError: One of their part files is corrupt.
    """
    left = set(wanted)
    taken: dict[str, str] = {}
    for source in [RunDirectory.open(path) for path in older]:
        found = [
            row
            for row in source.read_trials().to_pylist()
            if row["trial_id"] in left and row["status"] in _REUSABLE
        ]
        lacking = _lacking(
            directory, source, [row for row in found if row["status"] == "completed"]
        )
        found = [row for row in found if row["trial_id"] not in lacking]
        epochs = _epochs_of(source, {row["trial_id"] for row in found})
        for row in found:
            take_weights(directory, source, row["trial_id"])
            take_probes(directory, source, row["trial_id"])
            take_samples(directory, source, row["trial_id"])
            directory.write_trial(row, epochs[row["trial_id"]])
            taken[row["trial_id"]] = row["status"]
            left.discard(row["trial_id"])
    return taken


def _lacking(directory: RunDirectory, source: RunDirectory, rows: Collection[Row]) -> set[str]:
    """Return the trials that have not all that is asked of a completed one in `directory`."""
    trial_ids = [row["trial_id"] for row in rows]
    lacking: set[str] = set()
    if keeps_samples(directory):
        lacking.update(i for i in trial_ids if not has_samples(source, i))
    asked = set(asked_probes(directory))
    if asked and trial_ids:
        there: defaultdict[str, set[str]] = defaultdict(set)
        columns = ["trial_id", "probe", "pooling"]
        for row in read_probes(source, trial_ids).select(columns).to_pylist():
            if row["pooling"] == END_POOLING:
                there[row["trial_id"]].add(row["probe"])
        unfit = unfit_trials(rows, sorted(asked))
        lacking.update(i for i in trial_ids if not asked - set(unfit[i]) <= there[i])
    return lacking


def _epochs_of(source: RunDirectory, trial_ids: set[str]) -> defaultdict[str, list[Row]]:
    epochs: defaultdict[str, list[Row]] = defaultdict(list)
    if trial_ids:
        for row in source.read_epochs().to_pylist():
            if row["trial_id"] in trial_ids:
                epochs[row["trial_id"]].append(row)
    return epochs


class RowReader:
    """Reads finished trials for a search: those of the start from memory, later ones from parts."""

    def __init__(self, directory: RunDirectory, rows: Mapping[str, Row]) -> None:
        self._directory = directory
        self._rows = rows

    def __call__(self, trial_ids: Collection[str]) -> dict[str, Row]:
        """Return the rows of those of these trials that have one."""
        known = {i: self._rows[i] for i in trial_ids if i in self._rows}
        return known | read_parts(self._directory, [i for i in trial_ids if i not in known])

"""What run directories tell about their trials beside the rows: the plan, and double entries."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from analysis.border import read_manifest
from rlp_sweeps.errors import RunDirectoryError


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """Where trials come from.

    Attributes:
        planned: Ids of the trials that the manifests plan; none for searches and foreign tables.
        is_planned: Every directory has such a plan, so that a whole sweep can be told as one.
        num_twofold: Trials with other outcomes in a later directory, which were not read.
    """

    planned: frozenset[str] = frozenset()
    is_planned: bool = False
    num_twofold: int = 0


def read_plans(directories: Sequence[Path]) -> tuple[frozenset[str], bool]:
    """Return the ids of all planned trials, and whether every directory has a plan.

    Raises:
        RunDirectoryError: A manifest is unreadable, of a newer version, or its plan is no list of
            trials.
    """
    plans = [_planned_in(directory) for directory in directories]
    return frozenset[str]().union(*plans), all(plans)


def _planned_in(directory: Path) -> frozenset[str]:
    entries = (read_manifest(directory) or {}).get("trials", [])
    is_plan = isinstance(entries, list) and all(
        isinstance(entry, dict) and isinstance(entry.get("trial_id"), str) for entry in entries
    )
    if not is_plan:
        msg = (
            "`trials` of a manifest must be a list of objects with a `trial_id`, but that of "
            f"{directory / 'manifest.json'} is not. Remove the key where there is no plan."
        )
        raise RunDirectoryError(msg)
    return frozenset(entry["trial_id"] for entry in entries)


def unfinished(origin: Origin, trial_ids: Sequence[str]) -> str | None:
    """Return "37 of 165 planned trials have a row: …" where some have none, else None."""
    num_rows = len(origin.planned.intersection(trial_ids))
    num_planned = len(origin.planned)
    if num_rows == num_planned:
        return None
    verb = "has" if num_rows == 1 else "have"
    return f"{num_rows:,} of {num_planned:,} planned trials {verb} a row: the sweep is not finished"

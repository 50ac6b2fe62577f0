"""The lines that the logs of a run directory hold of one trial, while it runs or afterwards."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlp_sweeps.errors import RunDirectoryError
from rlp_sweeps.orchestration.planner import plan_from_manifest
from rlp_sweeps.orchestration.points import all_groups
from rlp_sweeps.run_places import chosen_trial
from rlp_sweeps.schema import STATUSES
from rlp_sweeps.stores import is_remote
from rlp_sweeps.tracking.group_log import GROUP, SOURCES, LogLine, read_log
from rlp_sweeps.tracking.run_directory import RunDirectory

_START = "start "


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialLog:
    """Where what is told of a trial stands.

    Attributes:
        trial_id: The trial.
        paths: The logs of its groups, whether they are there or not.
    """

    trial_id: str
    paths: tuple[Path, ...]

    def lines(self) -> list[LogLine]:
        """Return the lines of the starts in which it was trained: its own and its group's.

        Raises:
            OSError: A log cannot be read.
        """
        logs = (read_log(path) for path in self.paths)
        return [line for log in logs for line in _lines_of(self.trial_id, log)]

    def has_ended(self, lines: Iterable[LogLine]) -> bool:
        """Return whether the last line of its own tells of its end."""
        own = [line.text for line in lines if line.source == self.trial_id]
        return bool(own) and own[-1].partition(" ")[0] in STATUSES

    def to_json(self) -> dict[str, Any]:
        """Return it with its lines, times as texts."""
        lines = [
            {"time": None if time is None else time.isoformat(), "source": source, "text": text}
            for time, source, text in self.lines()
        ]
        files = [str(path) for path in self.paths if path.exists()]
        return {"trial_id": self.trial_id, "files": files, "lines": lines}


def find_log(directory: Path, trial: str) -> TrialLog:
    """Return the log of the planned trial whose id begins like this; it need not have a row.

    Raises:
        RunDirectoryError: It is no run directory, none or several of its trials begin so, or the
            trial has no log.
    """
    opened = RunDirectory.open(directory)
    plan = plan_from_manifest(opened.manifest)
    homes: dict[str, list[str]] = {}
    for group in all_groups(plan, opened.path):
        for member in group.trials:
            homes.setdefault(member.trial_id, []).append(group.group_id)
    trial_id = _only_one(sorted(homes), trial, directory)
    paths = tuple(opened.log_path(group_id) for group_id in homes[trial_id])
    if not any(path.exists() for path in paths):
        msg = (
            f"a trial must have been started to have a log, but trial {trial_id} of {directory} "
            f"has none; {_why_absent(opened)}."
        )
        raise RunDirectoryError(msg)
    return TrialLog(trial_id=trial_id, paths=paths)


def _why_absent(directory: RunDirectory) -> str:
    reasons = [
        "perhaps it waits for its turn",
        "was taken over from another sweep (`--reuse`)",
        "was trained by an older version",
        "or `clean --logs` has removed it",
    ]
    if is_remote(directory.path):
        reasons.insert(1, "is at work (in a store a log appears when its group ends)")
    return ", ".join(reasons)


def _only_one(trial_ids: list[str], trial: str, directory: Path) -> str:
    if not any(trial_id.startswith(trial) for trial_id in trial_ids):
        msg = (
            f"a trial must be planned to have a log, but none of {directory} begins with "
            f"{trial!r}; its manifest.json lists them."
        )
        raise RunDirectoryError(msg)
    return chosen_trial(trial_ids, trial, directory=directory)


def _lines_of(trial_id: str, log: list[LogLine]) -> Iterator[LogLine]:
    for start in _starts(log):
        if any(line.source == trial_id for line in start):
            yield from (line for line in start if line.source in (*SOURCES, trial_id))


def _starts(log: list[LogLine]) -> Iterator[list[LogLine]]:
    """Yield the lines of each start of a group."""
    start: list[LogLine] = []
    for line in log:
        if line.source == GROUP and line.text.startswith(_START) and start:
            yield start
            start = []
        start.append(line)
    yield start


def unfinished_groups(directory: RunDirectory) -> frozenset[str]:
    """Return the groups that have trials without a row."""
    plan = plan_from_manifest(directory.manifest)
    finished = directory.finished_trials()
    return frozenset(
        group.group_id
        for group in all_groups(plan, directory.path)
        if not {trial.trial_id for trial in group.trials} <= set(finished)
    )

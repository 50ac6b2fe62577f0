"""How the log of a trial is printed, and followed while it grows."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

from rlp_sweeps.cli.options import plain
from rlp_sweeps.cli.output import results
from rlp_sweeps.errors import ArgumentError
from rlp_sweeps.stores import is_remote

if TYPE_CHECKING:
    from rlp_sweeps.tracking.group_log import LogLine

_LOOK_EVERY_S = 0.5


def show_log(directory: Path, trial: str, *, follows: bool, is_json: bool) -> None:
    """Print what the logs hold of a trial.

    Args:
        directory: The run directory.
        trial: How the trial's id begins.
        follows: Go on printing until the trial has ended or nobody is at work.
        is_json: Print JSON.

    Raises:
        ArgumentError: What is followed is printed as JSON, or lies in a store.
        RunDirectoryError: There is no such trial or log.
    """
    if follows and is_json:
        msg = "a log is printed as JSON once, but got `--json` and `--follow`; leave one out."
        raise ArgumentError(msg)
    if follows and is_remote(directory):
        msg = (
            f"a log must grow to be followed, but one in a store, as of {directory}, appears "
            "when its group ends; leave `--follow` out."
        )
        raise ArgumentError(msg)

    from rlp_sweeps.cli.printing import print_json
    from rlp_sweeps.orchestration.trial_log import find_log

    log = find_log(directory, trial)
    if is_json:
        print_json(log.to_json())
        return
    lines = log.lines()
    _print(lines)
    if follows:
        from rlp_sweeps.tracking.files import run_path
        from rlp_sweeps.tracking.run_directory import RunDirectory

        opened = RunDirectory(run_path(directory))
        while not log.has_ended(lines):
            is_at_work = opened.is_held()  # before the look: what comes after its end is seen too
            time.sleep(_LOOK_EVERY_S)
            before, lines = lines, log.lines()
            _print(new_lines(before, lines))
            if not is_at_work:
                return


def new_lines(before: "list[LogLine]", lines: "list[LogLine]") -> "list[LogLine]":
    """Return the lines behind those that were there; of a log that was cut, all after the cut."""
    if lines[: len(before)] == before:
        return lines[len(before) :]
    for number in range(len(lines), 0, -1):  # the last that is known
        if before and lines[number - 1] == before[-1]:
            return lines[number:]
    return lines


def _print(lines: "list[LogLine]") -> None:
    for line in lines:
        print(plain(str(line)), file=results(), flush=True)

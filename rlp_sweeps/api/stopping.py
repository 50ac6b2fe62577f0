"""Ask the sweep at work in a directory, here or on another machine, to stop."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

from rlp_sweeps.errors import ArgumentError, RunDirectoryError

if TYPE_CHECKING:
    from rlp_sweeps.tracking.driver_process import Holder

_LOOK_EVERY_S = 0.5


def request_stop(directory: Path, *, now: bool) -> "Holder":
    """Leave a request in the directory, and return who is asked to stop.

    Args:
        directory: The run directory.
        now: Cut running epochs off.

    Raises:
        ArgumentError: Nobody is at work, or an older version, which cannot be asked.
        RunDirectoryError: It is no run directory, or cannot be written.
    """
    from rlp_sweeps.tracking.holder import ask_to_stop, read_holder
    from rlp_sweeps.tracking.run_directory import RunDirectory

    opened = RunDirectory.open(directory)
    if not opened.is_held():
        msg = (
            f"only a sweep at work can be cancelled, but nobody is at work in {opened.path}; "
            "`rlp-sweeps status` says how it stands."
        )
        raise ArgumentError(msg)
    holder = read_holder(opened.path)
    if holder is None:
        msg = (
            f"the process at work in {opened.path} has not left its name, as one that starts "
            "or ends just now or an older version; try again, or stop it with Ctrl-C."
        )
        raise ArgumentError(msg)
    try:
        ask_to_stop(opened.path, holder, now=now)
    except OSError as error:
        msg = f"{opened.path} must be writable to leave a request there, but it is not ({error})."
        raise RunDirectoryError(msg) from error
    return holder


def wait_for_end(directory: Path, holder: "Holder") -> int:
    """Wait until the holder is gone, and return how many trials have a row."""
    from rlp_sweeps.tracking.holder import read_holder
    from rlp_sweeps.tracking.run_directory import RunDirectory

    opened = RunDirectory.open(directory)
    while read_holder(opened.path) == holder and opened.is_held():
        time.sleep(_LOOK_EVERY_S)
    return len(opened.finished_trials())

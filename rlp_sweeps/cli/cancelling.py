"""The command that asks a sweep at work, here or on another machine, to stop."""

import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rlp_sweeps.cli import options as opt
from rlp_sweeps.cli.output import tell_result
from rlp_sweeps.errors import ArgumentError, RunDirectoryError

if TYPE_CHECKING:
    from rlp_sweeps.tracking.driver_process import Holder
    from rlp_sweeps.tracking.run_directory import RunDirectory

_LOOK_EVERY_S = 0.5


def cancel(
    directory: opt.Directory,
    *,
    now: Annotated[
        bool,
        typer.Option(
            "--now",
            help="Cut running epochs off; their groups go on from the last checkpoint. Default: "
            "wait for their end, five minutes at most.",
        ),
    ] = False,
    no_wait: Annotated[
        bool, typer.Option("--no-wait", help="Ask, and do not wait for the sweep's end.")
    ] = False,
    json: opt.AsJson = False,
) -> None:
    """Ask the sweep at work in a directory to stop.

    It ends as after Ctrl-C: what is finished is kept, and `rlp-sweeps resume DIR` goes on. The
    request is a file in the directory, so that it reaches a driver on any machine that shares it.
    """
    from rlp_sweeps.cli.printing import print_json
    from rlp_sweeps.tracking.holder import ask_to_stop
    from rlp_sweeps.tracking.run_directory import RunDirectory

    opened = RunDirectory.open(directory)
    holder = _holder_of(opened)
    try:
        ask_to_stop(opened.path, holder, now=now)
    except OSError as error:
        msg = f"{opened.path} must be writable to leave a request there, but it is not ({error})."
        raise RunDirectoryError(msg) from error
    when = "at once" if now else "at the end of the epochs that run"
    asked = f"asked {holder} to stop {when}"
    tell_result(asked) if no_wait else print(asked, flush=True)
    num_finished = None if no_wait else _wait_for_end(opened, holder, directory)
    if json:
        has_stopped = num_finished is not None
        found = {"holder": asdict(holder), "has_stopped": has_stopped, "num_finished": num_finished}
        print_json(found)


def _holder_of(directory: "RunDirectory") -> "Holder":
    """Return who is at work.

    Raises:
        ArgumentError: Nobody is, or an older version, which cannot be asked.
    """
    from rlp_sweeps.tracking.holder import read_holder

    if not directory.is_held():
        msg = (
            f"only a sweep at work can be cancelled, but nobody is at work in {directory.path}; "
            "`rlp-sweeps status` says how it stands."
        )
        raise ArgumentError(msg)
    holder = read_holder(directory.path)
    if holder is None:
        msg = (
            f"the process at work in {directory.path} has not left its name, as one that starts "
            "or ends just now or an older version; try again, or stop it with Ctrl-C."
        )
        raise ArgumentError(msg)
    return holder


def _wait_for_end(opened: "RunDirectory", holder: "Holder", directory: Path) -> int:
    """Wait until the holder is gone, say so, and return how many trials have a row."""
    from rlp_sweeps.tracking.holder import read_holder

    while read_holder(opened.path) == holder and opened.is_held():
        time.sleep(_LOOK_EVERY_S)
    num_finished = len(opened.finished_trials())
    tell_result(
        f"stopped with {num_finished} finished trials; `rlp-sweeps resume {directory}` goes on"
    )
    return num_finished

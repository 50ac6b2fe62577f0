"""The command that asks a sweep at work, here or on another machine, to stop."""

from dataclasses import asdict
from typing import Annotated

import typer

from rlp_sweeps.api.stopping import request_stop, wait_for_end
from rlp_sweeps.cli import options as opt
from rlp_sweeps.cli.output import tell_result


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

    holder = request_stop(directory, now=now)
    when = "at once" if now else "at the end of the epochs that run"
    asked = f"asked {holder} to stop {when}"
    num_finished = None
    if no_wait:
        tell_result(asked)
    else:
        print(asked, flush=True)
        num_finished = wait_for_end(directory, holder)
        tell_result(
            f"stopped with {num_finished} finished trials; `rlp-sweeps resume {directory}` goes on"
        )
    if json:
        has_stopped = num_finished is not None
        found = {"holder": asdict(holder), "has_stopped": has_stopped, "num_finished": num_finished}
        print_json(found)

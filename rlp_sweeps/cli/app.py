"""The application: commands by name, exit status, and one sentence for whatever went wrong."""

import errno
import functools
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Annotated, Any

import typer

import rlp_sweeps
from rlp_sweeps.cli import (
    cancelling,
    extending,
    following,
    housekeeping,
    probing,
    reading,
    simulating,
    studies,
    sweeping,
)
from rlp_sweeps.cli.collecting import collect_seldom
from rlp_sweeps.cli.habits import with_habits
from rlp_sweeps.cli.option_groups import ungroup
from rlp_sweeps.cli.options import INTERRUPTED, SOME_FAILED, WRONG_REQUEST, say
from rlp_sweeps.cli.usage import usage_sentence
from rlp_sweeps.errors import RlpSweepsError
from rlp_sweeps.stores import client_errors

PROGRAM = "rlp-sweeps"
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
"""What the system says where a disk, or a user's share of it, is full."""

app = typer.Typer(
    name=PROGRAM,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit status: 0 done; 1 some trials failed; 2 the request is wrong and nothing was "
    "started; 3 the budget is used up and trials are left; 130 interrupted or cancelled, what is "
    "finished is kept.",
)


def _print_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(f"{PROGRAM} {rlp_sweeps.__version__}")
        raise typer.Exit


@app.callback()
def _start(
    context: typer.Context,
    version: Annotated[  # its callback prints
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Sweeps with random-label-prediction heads: memorization apart from the learning rate."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def _says_interrupted(command: Callable[..., int | None]) -> Callable[..., int | None]:
    """Return a command that says a sentence where Ctrl-C ends it; typer ends it in silence."""

    @functools.wraps(command)
    def run(**options: Any) -> int | None:
        try:
            return command(**options)
        except KeyboardInterrupt:
            say("interrupted.")
            return INTERRUPTED

    return run


for _command in (
    sweeping.spaces,
    studies.new,
    sweeping.plan,
    sweeping.run,
    sweeping.resume,
    following.follow_up,
    extending.extend,
    cancelling.cancel,
    sweeping.status,
    housekeeping.list_,
    housekeeping.clean,
    housekeeping.doctor,
    simulating.simulate,
    probing.probe,
    reading.analyze,
    studies.show,
    reading.query,
    studies.export,
    studies.compare,
    reading.sync,
    reading.ui,
):
    app.command(_command.__name__.rstrip("_").replace("_", "-"))(
        _says_interrupted(with_habits(ungroup(_command)))
    )


_COMMANDS = {command.name for command in app.registered_commands}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status.

    Args:
        argv: Arguments without the program's name; those of the process where missing.

    Returns:
        0: done. 1: some trials failed. 2: the request is wrong, nothing was started. 3: the budget
        is used up and trials are left. 130: interrupted, by Ctrl-C or SIGTERM, or cancelled.
    """
    _treat_sigterm_as_ctrl_c()
    if argv is None:
        collect_seldom()
    try:
        status = app(
            args=None if argv is None else list(argv), prog_name=PROGRAM, standalone_mode=False
        )
        sys.stdout.flush()
    except (typer.TyperException, RlpSweepsError) as error:
        words = sys.argv[1:] if argv is None else list(argv)
        say(
            _usage_sentence(error, words) if isinstance(error, typer.TyperException) else str(error)
        )
        return WRONG_REQUEST
    except KeyboardInterrupt:
        say("interrupted.")
        return INTERRUPTED
    except client_errors() as error:
        say(f"the store of the run directory went away ({error}); what is finished is kept.")
        return SOME_FAILED
    except BrokenPipeError:
        _forget_stdout()
        return 1
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        say(_no_room_sentence(error))
        return SOME_FAILED
    return status or 0


def _no_room_sentence(error: OSError) -> str:
    """Say that a file could not be written for want of room, and what to do."""
    where = f" to {error.filename}" if error.filename else ""
    return (
        f"a disk must have room for what is written{where}, but it has none ({error.strerror}); "
        "what is finished is kept: make room, then `rlp-sweeps resume DIR` goes on from there."
    )


def _treat_sigterm_as_ctrl_c() -> None:
    """Let schedulers end a sweep as its user does: what is finished is kept, and said."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        signal.raise_signal(signal.SIGINT)

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, interrupt)


def _usage_sentence(error: typer.TyperException, words: Sequence[str]) -> str:
    commands = [word for word in words[:1] if word in _COMMANDS]
    return usage_sentence(error, program=PROGRAM, commands=commands)


def _forget_stdout() -> None:
    """Send what is left to nowhere: whoever read stdout, for example ``head``, has closed it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

"""What users expect of every command alike, added where commands get their names.

``--quiet`` leaves the line of the result and what is wrong, ``--json`` leaves stdout to JSON.
Commands need not know of the first; those that print JSON of their own take ``json`` themselves.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

from rlp_sweeps.cli import options as opt
from rlp_sweeps.cli.ending import kept_ending
from rlp_sweeps.cli.output import directed

Command = Callable[..., int | None]

Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print the line of the result and errors, no more.")
]

QUIETED = frozenset(
    {
        "run",
        "resume",
        "follow_up",
        "extend",
        "simulate",
        "probe",
        "analyze",
        "sync",
        "cancel",
        "clean",
    }
)
"""Commands that say more than what was asked for, by function name."""

TRAINING = frozenset({"run", "resume", "follow_up", "extend", "simulate"})
"""Commands that train; as JSON they print what they came to (`ending.Ending`)."""


def with_habits(command: Command) -> Command:
    """Return a command with the options that it shares with its like."""
    name = command.__name__
    if name in TRAINING:
        command = _telling_its_ending(command)
    added = {"quiet": Quiet} if name in QUIETED else {}
    if "json" not in inspect.signature(command).parameters and not added:
        return command

    @functools.wraps(command)
    def run(**options: Any) -> int | None:
        quiet = options.pop("quiet", False)
        with directed(is_quiet=quiet, is_json=options.get("json", False)):
            return command(**options)

    return _with_options(run, command, added)


def _telling_its_ending(command: Command) -> Command:
    """Return a command that trains with ``--json``, by which it prints what it came to."""
    has_own = "json" in inspect.signature(command).parameters

    @functools.wraps(command)
    def run(**options: Any) -> int | None:
        json, is_dry = options.get("json", False), options.get("dry_run", False)
        if not has_own:
            options.pop("json", None)
        with kept_ending(options.get("directory")) as ending:
            status = command(**options) or opt.DONE
            if json and not is_dry:
                from rlp_sweeps.cli.printing import print_json

                print_json(ending.to_json(status))
        return status

    return _with_options(run, command, {} if has_own else {"json": opt.AsJson})


def _with_options(run: Command, command: Command, added: dict[str, Any]) -> Command:
    """Let a command take flags besides its own, behind them in its help."""
    own = inspect.signature(command, eval_str=True)
    further = [
        inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=annotation
        )
        for name, annotation in added.items()
    ]
    parameters = [*own.parameters.values(), *further]
    run.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run

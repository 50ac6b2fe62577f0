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
from rlp_sweeps.cli.ending import Ending, kept_ending
from rlp_sweeps.cli.finish_hook import FinishHook
from rlp_sweeps.cli.output import directed
from rlp_sweeps.errors import RlpSweepsError

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

OnFinish = Annotated[
    str | None,
    typer.Option(
        metavar="COMMAND",
        help="Run this once at the end, whatever it is: RLP_SWEEPS_STATUS (done, failed, budget, "
        "interrupted), _DIR, _SUMMARY and more are in its environment, JSON is on its stdin "
        "(docs/reliability.md). No shell; 60 s at most.",
    ),
]


def with_habits(command: Command) -> Command:
    """Return a command with the options that it shares with its like."""
    name = command.__name__
    if name in TRAINING:
        command = _telling_its_ending(command)
    added: dict[str, tuple[Any, object]] = {"quiet": (Quiet, False)} if name in QUIETED else {}
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
    has_hook = command.__name__ != "simulate"

    @functools.wraps(command)
    def run(**options: Any) -> int | None:
        json, is_dry = options.get("json", False), options.get("dry_run", False)
        if not has_own:
            options.pop("json", None)
        asked = options.pop("on_finish", None)
        hook = None if asked is None or is_dry else FinishHook.parse(asked)
        with kept_ending(options.get("directory")) as ending:
            try:
                status = command(**options) or opt.DONE
            except BaseException as error:
                if hook is not None and ending.has_started:
                    hook.run(_broken_off(ending, error))
                raise
            ending.count_rows()
            told = ending.to_json(status)
            if json and not is_dry:
                from rlp_sweeps.cli.printing import print_json

                print_json(told)
            if hook is not None:
                hook.run(told)
        return status

    added: dict[str, tuple[Any, object]] = {} if has_own else {"json": (opt.AsJson, False)}
    return _with_options(
        run, command, added | ({"on_finish": (OnFinish, None)} if has_hook else {})
    )


def _broken_off(ending: Ending, error: BaseException) -> dict[str, Any]:
    """Return what a sweep came to that ends by an error, or by Ctrl-C in its analysis."""
    ending.count_rows()
    is_interrupted = isinstance(error, KeyboardInterrupt)
    refused = opt.WRONG_REQUEST if isinstance(error, RlpSweepsError) else opt.SOME_FAILED
    told = ending.to_json(opt.INTERRUPTED if is_interrupted else refused)
    return told if is_interrupted else {**told, "error": f"{type(error).__name__}: {error}"}


def _with_options(run: Command, command: Command, added: dict[str, tuple[Any, object]]) -> Command:
    """Let a command take options besides its own, behind them in its help.

    Args:
        run: What typer calls.
        command: What has the other options.
        added: Type and default by name.
    """
    own = inspect.signature(command, eval_str=True)
    further = [
        inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
        )
        for name, (annotation, default) in added.items()
    ]
    parameters = [*own.parameters.values(), *further]
    run.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run

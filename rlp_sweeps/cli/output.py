"""Where a command's words go: results to stdout, for people or as JSON, all else to stderr.

With ``--json`` stdout holds the JSON alone, and what people read goes to stderr; with ``--quiet``
stdout holds the line of the result alone, and what people read goes nowhere. Either is arranged
around a command, so that whatever it calls prints as it always does.
"""

import contextlib
import json
import math
import os
import sys
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TextIO


@dataclass(frozen=True, kw_only=True, slots=True)
class _Output:
    """What a command was asked for.

    Attributes:
        results: The process's stdout.
        is_quiet: Only the result is wanted.
        is_json: It is wanted as JSON.
    """

    results: TextIO
    is_quiet: bool
    is_json: bool


_PRESENT: ContextVar[_Output | None] = ContextVar("output", default=None)


@contextlib.contextmanager
def directed(*, is_quiet: bool, is_json: bool) -> Iterator[None]:
    """Send what is printed within the block where the options of a command want it.

    Args:
        is_quiet: Print the result alone.
        is_json: Print the result as JSON.
    """
    if not (is_quiet or is_json):
        yield
        return
    token = _PRESENT.set(_Output(results=sys.stdout, is_quiet=is_quiet, is_json=is_json))
    try:
        with contextlib.ExitStack() as stack:
            nowhere = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))
            people = nowhere if is_quiet else sys.stderr
            stack.enter_context(contextlib.redirect_stdout(people))
            yield
    finally:
        _PRESENT.reset(token)


def is_quiet() -> bool:
    """Return whether the command at work was asked for its result alone."""
    present = _PRESENT.get()
    return present is not None and present.is_quiet


def results() -> TextIO:
    """Return where the result of the command at work goes."""
    present = _PRESENT.get()
    return sys.stdout if present is None else present.results


def json_text(value: Any) -> str:
    """Return a value as JSON; a float that is no number becomes null."""
    return json.dumps(_without_nan(value), indent=2, ensure_ascii=False, allow_nan=False)


def _without_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def tell_result(line: str) -> None:
    """Print the line that says what a command came to, with ``--quiet`` as well."""
    present = _PRESENT.get()
    is_line_wanted = present is not None and present.is_quiet and not present.is_json
    print(line, file=results() if is_line_wanted else sys.stdout, flush=True)

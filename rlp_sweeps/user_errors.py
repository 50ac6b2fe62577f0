"""What a user's own code raised, in one sentence: the file, the line, what it was."""

import dataclasses
import re
import sysconfig
import traceback
from collections.abc import Mapping
from pathlib import Path

from rlp_sweeps.errors import RlpSweepsError
from rlp_sweeps.misspelling import advice

MAX_TEXT = 200
"""Most characters that are shown of another program's words."""

_OUR_FOLDER = str(Path(__file__).parent)
_CALL = re.compile(r"(?P<name>\w+)\.__init__\(\) (?P<what>.*)")
_UNKNOWN = re.compile(r"got an unexpected keyword argument '(\w+)'")
_MISSING = re.compile(r"missing \d+ required keyword-only arguments?: (.*)")


def place_of(error: BaseException, origin: str) -> str:
    """Return file and line of the user's last frame; a library's where no other is left.

    Args:
        error: What was raised.
        origin: What to say where no file is known.
    """
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}, line {error.lineno}"
    libraries = tuple(sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib"))
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith(("<", _OUR_FOLDER))
    ]
    users = [frame for frame in frames if not frame.filename.startswith(libraries)] or frames
    return f"{users[-1].filename}, line {users[-1].lineno}" if users else origin


def words_of(error: BaseException, classes: Mapping[str, type] | None = None) -> str:
    """Return what was raised as one line that ends with a full stop.

    Args:
        error: What was raised.
        classes: Data classes of ours that the user calls, by name: a wrong call of one is told by
            its fields.
    """
    if isinstance(error, RlpSweepsError):
        return str(error)
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    call = _CALL.fullmatch(text) if isinstance(error, TypeError) else None
    if call is not None and classes is not None and call["name"] in classes:
        return _words_of_call(classes[call["name"]], call["what"])
    text = shortened(text).rstrip(".")
    return f"{type(error).__name__}: {text}." if text else f"{type(error).__name__}."


def shortened(text: str) -> str:
    """Return another program's words on one line, of `MAX_TEXT` characters at most."""
    line = " ".join(text.split())
    return line if len(line) <= MAX_TEXT else f"{line[: MAX_TEXT - 1].rstrip()}…"


def kind_of(value: object) -> str:
    """Return what a value is, in words: ``None``, ``a dict``."""
    return "None" if value is None else f"a {type(value).__name__}"


def _words_of_call(kind: type, what: str) -> str:
    names = [field.name for field in dataclasses.fields(kind)]
    takes = f"it takes {', '.join(names)}."
    if (unknown := _UNKNOWN.fullmatch(what)) is not None:
        known = advice(unknown[1], names, otherwise=takes)
        return f"`{kind.__name__}` takes no {unknown[1]!r}; {known}"
    if (missing := _MISSING.fullmatch(what)) is not None:
        return f"`{kind.__name__}` must be given {missing[1]}, as in `{kind.__name__}(…, NAME=…)`."
    name = kind.__name__
    return f"`{name}` takes its values by name, as in `{name}({names[0]}=…)`; {takes}"

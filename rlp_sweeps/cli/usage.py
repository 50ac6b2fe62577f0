"""What is said of a command line that cannot be read: the option, the value, the way out."""

import re
from collections.abc import Callable, Sequence
from typing import Any

import typer

from rlp_sweeps.misspelling import nearest
from rlp_sweeps.setting_names import OTHERS_WORDS
from rlp_sweeps.settings import SETTINGS, example_setting

_ADDED = "Value error, "
"""What typer puts before the sentence of a parser that refuses a value."""

_FURTHER = re.compile(r"Got unexpected extra arguments?(?:\(s\))? \((.*)\)")

_NUMBERS = {"int": "a whole number", "float": "a number"}
"""Kinds of values by how the types of typer's complaints begin."""


def usage_sentence(error: typer.TyperException, *, program: str, commands: Sequence[str]) -> str:
    """Return the sentence on a command line that typer refuses.

    Args:
        error: Its refusal.
        program: Name of the program.
        commands: The words that were given, or none: the first may be a command.
    """
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else " ".join((program, *commands[:1]))
    options = [] if context is None else [opt for p in context.command.params for opt in p.opts]
    text = _of_option(error, options) or _of_number(error)
    text = text or _plain(error, takes_settings="--set" in options)
    link = " See" if text.endswith("?") else "; see"
    return f"{text[:1].lower()}{text[1:]}{link} `{command} --help`."


def _plain(error: typer.TyperException, *, takes_settings: bool) -> str:
    text = " ".join(error.format_message().split()).rstrip(".")
    if (further := _FURTHER.fullmatch(text)) is not None:
        text = f"got more arguments than it takes: {further[1]!r}"
        if takes_settings:
            text += "; a setting is written `--set NAME=VALUE`"
    return text.replace(_ADDED, "")


def _of_option(error: typer.TyperException, options: Sequence[str]) -> str:
    """Return the words on an option that there is not; an empty text for any other mistake."""
    name: str | None = getattr(error, "option_name", None)
    if name is None or not hasattr(error, "possibilities"):
        return ""
    word = name.lstrip("-").replace("-", "_")
    if "--set" in options and (setting := OTHERS_WORDS.get(word, word)) in SETTINGS:
        example = example_setting(setting).partition(",")[0]
        return f"no such option {name!r}; a setting is replaced by `--set {example}`"
    near = nearest(name, [option for option in options if option.startswith("--")])
    return f"no such option {name!r}" + (f"; did you mean {near!r}?" if near else "")


def _of_number(error: typer.TyperException) -> str:
    """Return the words on a text that is no number; an empty text for any other mistake."""
    errors: Callable[[], list[dict[str, Any]]] | None = getattr(error.__cause__, "errors", None)
    if errors is None:
        return ""
    first = errors()[0]
    kind = _NUMBERS.get(str(first["type"]).partition("_")[0])
    if kind is None:
        return ""
    value, option = first["input"], error.format_message().partition("'")[2].partition("'")[0]
    return f"`{option}` must be {kind}, but got {value!r}"

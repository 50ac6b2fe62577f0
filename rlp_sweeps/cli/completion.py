"""What the Tab key offers: recipes, run directories, settings, trials, choices.

Each answers from names, a folder's listing or a manifest, within a blink: nothing heavy is
imported, no code of a user's is run, and nothing is asked over a network. What cannot be read is
offered nothing, so that the shell falls back on files.
"""

import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import typer

from rlp_sweeps.arms import ARMS
from rlp_sweeps.config import FIELD_TYPES
from rlp_sweeps.errors import RlpSweepsError
from rlp_sweeps.recipes import list_recipes, load_space
from rlp_sweeps.schema import METRICS

_NO_SETTINGS = {"arm", "seed"}
_MAX_ENTRIES = 1000
"""Entries of a folder that are looked at."""


def spaces(incomplete: str) -> list[str]:
    """Return the recipes; a file of one's own is the shell's to complete."""
    return _beginning(incomplete, list_recipes())


def run_directories(incomplete: str) -> list[str]:
    """Return run directories, and folders that may hold some, with a slash behind them."""
    if "://" in incomplete:
        return []
    head = incomplete.rpartition("/")[0]
    start = Path(head or ("/" if incomplete.startswith("/") else ".")).expanduser()
    found: list[str] = []
    for name in _folders_in(start):
        shown = f"{head}/{name}" if "/" in incomplete else name
        if (start / name / "manifest.json").is_file():
            found.append(shown)
        elif shown.startswith(incomplete):
            inner = [n for n in _folders_in(start / name) if _is_run(start / name / n)]
            found += [f"{shown}/{n}" for n in inner] or [f"{shown}/"]
    return _beginning(incomplete, found)


def _folders_in(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            listed = [e for e, _ in zip(entries, range(_MAX_ENTRIES), strict=False)]
            return sorted(e.name for e in listed if e.is_dir() and not e.name.startswith("."))
    except OSError:
        return []


def _is_run(folder: Path) -> bool:
    return (folder / "manifest.json").is_file()


def settings(context: typer.Context, incomplete: str) -> list[str]:
    """Return the names that ``--set`` takes; the axes first, of `extend` they alone."""
    axes = _axes_of(context)
    if context.command.name == "extend":
        return _beginning(incomplete, [f"{name}=" for name in axes])
    others = [name for name in (*FIELD_TYPES, "data_dir") if name not in {*axes, *_NO_SETTINGS}]
    return _beginning(incomplete, [f"{name}=" for name in (*axes, *others)])


def _axes_of(context: typer.Context) -> list[str]:
    """Return the axes of the recipe or run directory that the command line names already."""
    manifest = _manifest_of(context)
    if manifest is not None:
        return list(manifest.get("space", {}).get("axes", {}))
    space = _named(context, "space") or ""
    if space.partition(":")[0] not in list_recipes():
        return []  # a file of the user's is not run by a key
    try:
        return list(load_space(space).space.axes)
    except RlpSweepsError:
        return []


def trials(context: typer.Context, incomplete: str) -> list[str]:
    """Return the ids of the trials that the run directory's manifest plans."""
    manifest = _manifest_of(context) or {}
    planned = [manifest, *manifest.get("follow_ups", [])]
    ids = [str(trial["trial_id"]) for part in planned for trial in part.get("trials", [])]
    return _beginning(incomplete, ids)


def _named(context: typer.Context, argument: str) -> str | None:
    """Return the first argument of a command; behind an option without value it is not parsed."""
    if argument not in {parameter.name for parameter in context.command.params}:
        return None
    found = context.params.get(argument) or (context.args[0] if context.args else None)
    return None if found is None else str(found)


def _manifest_of(context: typer.Context) -> dict[str, Any] | None:
    directory = _named(context, "directory")
    if directory is None or "://" in directory:
        return None
    try:
        found = json.loads((Path(directory) / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def matched_arms(incomplete: str) -> list[str]:
    """Return the arms that a control can be matched to."""
    arms = [str(arm.matched_to) for arm in ARMS.values() if arm.matched_to]
    return _beginning(incomplete, dict.fromkeys(arms))


def metrics(incomplete: str) -> list[str]:
    """Return the columns that effects can be on."""
    return _beginning(incomplete, METRICS)


def one_of(*choices: str) -> Callable[[str], list[str]]:
    """Return what completes an option that takes one of some words."""

    def complete(incomplete: str) -> list[str]:
        return _beginning(incomplete, choices)

    return complete


def _beginning(incomplete: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]

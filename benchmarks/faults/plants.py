"""Faults that fire inside a process, at one place of the program.

The harness writes a plant into a folder, as JSON; `install` makes a process of the sweep look for
plants wherever it moves, flushes, removes or creates a file, trains an epoch or writes to MLflow.
One that matches is claimed (renamed to ``fired-…``), so that it fires once, and carried out. Only
the standard library is imported here: every Python process of a sweep runs this file.
"""

import errno
import importlib.abc
import importlib.machinery
import json
import os
import re
import resource
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

FOLDER_VARIABLE = "RLP_FAULTS_PLANTS"
"""Environment variable that names the folder of plants."""

PLACES = {
    "rlp_sweeps.training.part": ("Part", "advance", "epoch"),
    "rlp_sweeps.tracking.mlflow_sync": ("_Rebuild", "_correct_run", "sync"),
}
"""Functions before whose calls plants are looked for: module, class, name, and the site's name."""

LEAK_BYTES = 256 * 2**20
"""Address space that a planted leak may take before it finds none."""

_seen: Counter[str] = Counter()
_real_rename = os.rename


def plant(folder: Path, name: str, **rule: Any) -> None:
    """Write a plant.

    Args:
        folder: The sweep's plants.
        name: Names it among them.
        rule: ``role`` (``driver``, ``worker``), ``site`` (``replace``, ``fsync``, ``unlink``,
            ``mkdir``, ``epoch``, ``sync``, ``start``), ``when`` (``before``, ``after``), ``path``
            (a regular expression of the file), ``skip`` (matches to let pass, in each process) and
            ``action`` (a name of `ACTIONS`).
    """
    folder.mkdir(parents=True, exist_ok=True)
    aside = folder / f".{name}"
    aside.write_text(json.dumps(rule))
    aside.rename(folder / f"{name}.json")


def fired(folder: Path, name: str) -> dict[str, Any] | None:
    """Return ``pid`` and ``time`` of a plant that has fired; None before."""
    try:
        found: dict[str, Any] = json.loads((folder / f"fired-{name}.txt").read_text())
    except (FileNotFoundError, ValueError):
        return None
    return found


def look(site: str, when: str = "before", path: object = "") -> None:
    """Carry out the plants that match this place."""
    folder = os.environ.get(FOLDER_VARIABLE)
    if folder is None:
        return
    try:
        names = sorted(name for name in os.listdir(folder) if name.endswith(".json"))
    except OSError:
        return
    for name in names:
        if not name.startswith("fired-"):
            _look_at(folder, name, (site, when), str(path))


def _look_at(folder: str, name: str, place: tuple[str, str], path: str) -> None:
    try:
        with open(f"{folder}/{name}") as file:
            rule = json.load(file)
    except (OSError, ValueError):
        return
    matches = (
        (rule["site"], rule.get("when", "before")) == place
        and rule["role"] == role()
        and re.search(rule.get("path", ""), path)
    )
    if not matches:
        return
    _seen[name] += 1
    if _seen[name] <= rule.get("skip", 0):
        return
    try:
        _real_rename(f"{folder}/{name}", f"{folder}/fired-{name}")
    except OSError:
        return  # another process was faster
    note = {"pid": os.getpid(), "time": time.time(), "path": path}
    Path(folder, f"fired-{name.removesuffix('.json')}.txt").write_text(json.dumps(note))
    ACTIONS[rule["action"]]()


def role() -> str:
    """Return what this process is in a sweep."""
    arguments = " ".join(sys.orig_argv)
    if "benchmarks.faults.driver" in arguments:
        return "driver"
    return "worker" if "default_worker.py" in arguments else "other"


def install() -> None:
    """Look for plants from now on, in this process."""
    if role() == "other":
        return
    for name, position in (("replace", 1), ("fsync", 0), ("unlink", 0), ("mkdir", 0)):
        setattr(os, name, _watched(getattr(os, name), site=name, position=position))
    sys.meta_path.insert(0, _AfterImport())
    look("start")


def _watched(
    function: Callable[..., Any], *, site: str, position: int | None = None
) -> Callable[..., Any]:
    def watched(*arguments: Any, **options: Any) -> Any:
        path = "" if position is None else _path_of(arguments[position])
        look(site, "before", path)
        result = function(*arguments, **options)
        look(site, "after", path)
        return result

    return watched


def _path_of(argument: Any) -> str:
    """Return the path that an argument of a system call names, be it a path or an open file."""
    if isinstance(argument, int):
        try:
            return os.readlink(f"/proc/self/fd/{argument}")
        except OSError:
            return ""
    return os.fsdecode(argument)


class _AfterImport(importlib.abc.MetaPathFinder):
    """Watches the functions of `PLACES` as soon as their modules are imported."""

    def find_spec(
        self, fullname: str, path: Any = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in PLACES:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.loader is None:
            return None
        run: Callable[[ModuleType], None] = spec.loader.exec_module

        def run_and_watch(module: ModuleType) -> None:
            run(module)
            owner, name, site = PLACES[fullname]
            holder = module if owner is None else getattr(module, owner)
            if hasattr(holder, name):
                setattr(holder, name, _watched(getattr(holder, name), site=site))

        spec.loader.exec_module = run_and_watch  # type: ignore[method-assign]  # the plant
        return spec


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _fill() -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "planted")


def _raise() -> None:
    raise ArithmeticError("planted")


def _hang() -> None:
    while True:
        time.sleep(60)


def _leak() -> None:
    """Take memory until there is none, and raise as Python does; then give it back."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    in_use = pages * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (in_use + LEAK_BYTES, hard))
    leaked = []
    try:
        while True:
            leaked.append(bytearray(16 * 2**20))
    finally:
        leaked.clear()
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _shift_clock() -> None:
    """Move this process's clock a day, forwards or backwards."""
    offset_s = 86_400 if os.getpid() % 2 else -86_400
    now, now_ns = time.time, time.time_ns
    time.time = lambda: now() + offset_s
    time.time_ns = lambda: now_ns() + offset_s * 1_000_000_000


ACTIONS: dict[str, Callable[[], None]] = {
    "kill": _kill,
    "fill": _fill,
    "raise": _raise,
    "hang": _hang,
    "leak": _leak,
    "clock": _shift_clock,
}
"""What a plant can do to its process."""

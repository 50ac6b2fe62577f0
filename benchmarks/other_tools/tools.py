"""How each tool is started on the study, and how one sees from outside that a trial has ended."""

import json
import sqlite3
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.options import ROOT
from benchmarks.other_tools.study import LRS, NUM_EPOCHS

HERE = "benchmarks/other_tools"
Lrs = tuple[float, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Tool:
    """A tool and the study written in it.

    Attributes:
        name: As the tool calls itself.
        files: What the user writes for it, in this folder.
        commands: Arguments of the interpreter, one list a command, for a directory and the lrs.
        num_ended: Trials whose final result can be read from the directory.
        uses_study: Whether `study.py` and `effects.py` are the user's to write.
    """

    name: str
    files: tuple[str, ...]
    commands: Callable[[Path, Lrs], list[list[str]]]
    num_ended: Callable[[Path], int]
    uses_study: bool = True

    def num_own_lines(self) -> int:
        """Return the lines of code that know of the tool: no blank lines, comments, docstrings."""
        return sum(count_lines(ROOT / HERE / name) for name in self.files)

    def num_lines(self) -> int:
        """Return the lines that the user writes in all, counted likewise."""
        shared = ("study.py", "effects.py", "command_line.py") if self.uses_study else ()
        return self.num_own_lines() + sum(count_lines(ROOT / HERE / name) for name in shared)

    def run(self, python: str) -> str:
        """Return the interpreter: `python` for other tools, this one for our own."""
        return python if self.uses_study else sys.executable


def count_lines(path: Path) -> int:
    """Return the lines of a file that are neither blank, nor comment, nor docstring."""
    count, in_docstring = 0, False
    for line in path.read_text(encoding="utf-8").splitlines():
        text = line.strip()
        quotes = text.count('"""')
        if in_docstring or quotes:
            in_docstring = in_docstring != (quotes == 1)
        elif text and not text.startswith("#"):
            count += 1
    return count


def _script(name: str) -> Callable[[Path, Lrs], list[list[str]]]:
    def commands(directory: Path, lrs: Lrs) -> list[list[str]]:
        module = ["-m", f"benchmarks.other_tools.{name}", str(directory)]
        return [[*module, "--lr", *map(str, lrs)]]

    return commands


def _hydra(directory: Path, lrs: Lrs) -> list[list[str]]:
    module = ["-m", "benchmarks.other_tools.with_hydra"]
    overrides = [] if lrs == LRS else [f"lr={','.join(map(str, lrs))}"]
    return [[*module, f"output={directory}", *overrides], [*module, str(directory), "--collect"]]


def _own(directory: Path, lrs: Lrs) -> list[list[str]]:
    module = ["-m", "rlp_sweeps"]
    if (directory / "manifest.json").exists():
        return [[*module, "resume", str(directory)]]
    overrides = [] if lrs == LRS else ["--set", f"lr={','.join(map(str, lrs))}"]
    recipe = f"{HERE}/with_rlp_sweeps.py"
    return [[*module, "run", recipe, "--output", str(directory), *overrides]]


def _optuna_ended(directory: Path) -> int:
    try:
        with sqlite3.connect(f"file:{directory}/study.db?mode=ro", uri=True) as store:
            rows = store.execute("select count(*) from trials where state = 'COMPLETE'")
            return int(rows.fetchone()[0])
    except sqlite3.OperationalError:  # not made yet
        return 0


def _ray_ended(directory: Path) -> int:
    files = directory.glob("rlp/*/result.json")
    return sum(path.read_text().count("\n") >= NUM_EPOCHS for path in files)


def _syne_tune_ended(directory: Path) -> int:
    files = directory.glob("rlp/*/std.out")
    return sum(path.read_text().count("[tune-metric]") >= NUM_EPOCHS for path in files)


def _own_ended(directory: Path) -> int:
    import polars as pl

    try:
        return pl.read_parquet(directory / "trials" / "*.parquet", columns=["trial_id"]).height
    except (FileNotFoundError, pl.exceptions.ComputeError):  # none yet, or compacted meanwhile
        return 0


def _hydra_ended(directory: Path) -> int:
    files = directory.glob("trials/*/result.json")
    return sum(len(json.loads(path.read_text())["epochs"]) == NUM_EPOCHS for path in files)


TOOLS = {
    "rlp-sweeps": Tool(
        name="rlp-sweeps",
        files=("with_rlp_sweeps.py",),
        commands=_own,
        num_ended=_own_ended,
        uses_study=False,
    ),
    "optuna": Tool(
        name="Optuna",
        files=("with_optuna.py",),
        commands=_script("with_optuna"),
        num_ended=_optuna_ended,
    ),
    "hydra": Tool(
        name="Hydra multirun",
        files=("with_hydra.py", "with_hydra.yaml"),
        commands=_hydra,
        num_ended=_hydra_ended,
    ),
    "ray_tune": Tool(
        name="Ray Tune",
        files=("with_ray_tune.py",),
        commands=_script("with_ray_tune"),
        num_ended=_ray_ended,
    ),
    "syne_tune": Tool(
        name="Syne Tune",
        files=("with_syne_tune.py",),
        commands=_script("with_syne_tune"),
        num_ended=_syne_tune_ended,
    ),
}

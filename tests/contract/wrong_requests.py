"""Wrong requests: what a folder holds beforehand, the command line, and what one sentence is."""

import json
import re
import shlex
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import polars as pl
import pytest

from rlp_sweeps.cli import main
from rlp_sweeps.orchestration.planner import SweepPlan, plan_sweep
from rlp_sweeps.recipes import load_space
from rlp_sweeps.schema import TRIALS
from rlp_sweeps.spaces import ChoiceAxis, Search, SearchSpace
from rlp_sweeps.tracking.parquet import COMPACTED_NAME
from rlp_sweeps.tracking.run_directory import RunDirectory, build_manifest

Prepare = Callable[[Path], object]

MOST_CHARACTERS = 320
"""Of a sentence, the folder of the test left out."""

RECIPE = """from rlp_sweeps.spaces import ChoiceAxis, LogAxis, Search, SearchSpace

SPACE = SearchSpace(
    axes={"lr": ChoiceAxis(choices=(0.1,)), "rlp_lambda": ChoiceAxis(choices=(1,), control=0.0)},
    num_seeds=1,
    fixed={"num_epochs": 1, "train_samples": 64, "batch_size": 32},
)
"""


RECIPE_SPACE = SearchSpace(
    axes={"lr": ChoiceAxis(choices=(0.1, 0.2)), "rlp_lambda": ChoiceAxis(choices=(1,), control=0)},
    arms=("control", "full"),
    num_seeds=1,
    fixed={"dataset": "synthetic:1,4,4,2,64", "backbone": "mlp", "num_epochs": 2, "batch_size": 8},
)


@dataclass(frozen=True)
class Case:
    """A command line in a folder that `prepare` fills, and what stderr must say (a pattern)."""

    name: str
    argv: str
    says: str
    prepare: Prepare = lambda folder: None
    marks: tuple[pytest.MarkDecorator, ...] = ()
    most: int = MOST_CHARACTERS


class Row(NamedTuple):
    """A mistake, and what the sentence must hold of the rule, the value and the way out."""

    name: str
    argv: str
    rule: str
    value: str
    way_out: str
    prepare: Prepare = lambda folder: None


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty folder that the command line starts in, with no modules of the user's."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", "")
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path


def recipe(old: str, new: str) -> Prepare:
    """Write a recipe in which one text is replaced by another."""
    return lambda folder: (folder / "study.py").write_text(RECIPE.replace(old, new))


def study(old: str = "", new: str = "") -> Prepare:
    """Write a recipe as `recipe` does, and see to it that the text is there."""
    assert old in RECIPE
    return recipe(old or "\n\n", new or "\n\n" * (not old))


def text(name: str, content: str) -> Prepare:
    """Write a file, and the folders that it lies in."""

    def write(folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)

    return write


def finished(folder: Path) -> None:
    """Write the run directory of a sweep whose four trials have ended."""
    directory, plan = _planned(folder / "done", RECIPE_SPACE)
    for trial in plan.trials:
        row = {"status": "completed", "test_accuracy": 0.5, "epochs_completed": 2}
        directory.write_trial({**trial.to_dict(), "trial_id": trial.trial_id, **row}, [])


def sampled(folder: Path) -> None:
    """Write the run directory of a search of which nothing is trained."""
    _planned(folder / "sampled", replace(RECIPE_SPACE, search=Search(num_points=3)))


@contextmanager
def occupied_port(folder: Path) -> Iterator[int]:
    """Hold a port of loopback, beside a finished sweep that MLflow knows."""
    from rlp_sweeps.tracking.mlflow_sync import sync

    finished(folder)
    sync(RunDirectory.open(folder / "done"))
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        yield held.getsockname()[1]


def _planned(
    path: Path, space: SearchSpace, *, name: str = "tiny"
) -> tuple[RunDirectory, SweepPlan]:
    plan = plan_sweep(space, name=name, device="cpu")
    manifest = build_manifest(
        plan_id=plan.plan_id,
        sweep_name=plan.name,
        space=plan.space.to_dict(),
        configs=plan.trials,
        settings=plan.settings(),
    )
    return RunDirectory.create(path, manifest), plan


def sweep(folder: Path) -> None:
    """Write the run directory of a sweep of which nothing is trained."""
    _planned(folder / "sweep", load_space("quickstart").space, name="quickstart")


def newer(folder: Path) -> None:
    """Write the run directory of a sweep by a later version."""
    sweep(folder)
    path = folder / "sweep" / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema_version": 99}))


def corrupt(folder: Path) -> None:
    """Write a run directory whose compacted file is cut short."""
    sweep(folder)
    (folder / "sweep" / "trials" / COMPACTED_NAME).write_bytes(b"PAR1 and then nothing")


def empty(folder: Path) -> None:
    """Write a folder that holds nothing."""
    (folder / "sweep").mkdir()


def trials(folder: Path, *expressions: pl.Expr, without: str = "none") -> None:
    """Write only a table of trials, as another program would."""
    kinds = {"str": pl.String, "f64": pl.Float64, "i64": pl.Int64, "bool": pl.Boolean}
    schema = {column.name: kinds[column.dtype] for column in TRIALS if column.required}
    row = dict.fromkeys(schema, 0) | {"trial_id": "a", "status": "completed", "arm": "control"}
    frame = pl.DataFrame([row | {"lr": 0.1, "num_random_labels": 10}], schema=schema)
    (folder / "sweep" / "trials").mkdir(parents=True)
    changed = frame.with_columns(*expressions).drop(without, strict=False)
    changed.write_parquet(folder / "sweep" / "trials" / "part.parquet")


def torn(folder: Path) -> None:
    """Write a table of trials, as another program would, and cut its file short."""
    trials(folder)
    (folder / "sweep" / "trials" / "part.parquet").write_bytes(b"PAR1 and then nothing")


def a_file(folder: Path) -> None:
    """Write a file where a folder is wanted."""
    (folder / "file").write_text("no folder")


def locked(folder: Path) -> None:
    """Make a folder that nobody but root writes to."""
    (folder / "locked").mkdir(mode=0o500)


JARGON = ("Traceback", "Input should be", "pydantic", "polars", "__init__()", "NoneType", "click")
"""What a sentence does not say: words of the libraries below."""


def sentence_of(
    argv: str, folder: Path, capfd: pytest.CaptureFixture[str], *, most: int = MOST_CHARACTERS
) -> str:
    """Return the one sentence that a wrong request gets; it starts and leaves nothing.

    Raises:
        AssertionError: It does more, says more, or ends with another status than 2.
    """
    before, started_at = tree(folder), time.monotonic()
    capfd.readouterr()

    status = main(shlex.split(argv))

    out, err = capfd.readouterr()
    said = err.replace(f"{folder}/", "").replace(str(folder), ".")
    assert (status, out) == (2, ""), err
    assert re.fullmatch(r"rlp-sweeps: [^\n]+[.?]\n", said), err
    assert not [word for word in JARGON if word in said], err
    assert len(said) <= most, (len(said), err)
    assert tree(folder) == before
    assert time.monotonic() - started_at < 60
    return said


def check_row(row: Row, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Make a row's mistake, and see that its sentence says all three.

    Raises:
        AssertionError: As `sentence_of`, or the sentence lacks one of them.
    """
    row.prepare(folder)
    said = sentence_of(row.argv, folder, capfd)
    lacks = [part for part in (row.rule, row.value, row.way_out) if part not in said]
    assert lacks == [], said


def tree(folder: Path) -> dict[str, int]:
    """Return every file with its time of change, and every folder; a lock that is free is none."""
    return {
        str(path.relative_to(folder)): 0 if path.is_dir() else path.stat().st_mtime_ns
        for path in folder.rglob("*")
        if "__pycache__" not in path.parts and path.suffix != ".lock"
    }

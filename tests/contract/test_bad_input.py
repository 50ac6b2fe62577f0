"""Every wrong request: one sentence on stderr, exit status 2, nothing started, nothing created."""

import json
import os
import re
import shlex
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest

from rlp_sweeps.cli import main
from rlp_sweeps.schema import TRIALS
from rlp_sweeps.tracking.parquet import COMPACTED_NAME

Prepare = Callable[[Path], object]

RECIPE = """from rlp_sweeps.spaces import ChoiceAxis, LogAxis, SearchSpace

SPACE = SearchSpace(
    axes={"lr": ChoiceAxis(choices=(0.1,)), "rlp_lambda": ChoiceAxis(choices=(1,), control=0.0)},
    num_seeds=1,
    fixed={"num_epochs": 1, "train_samples": 64},
)
"""


@dataclass(frozen=True)
class Case:
    """A command line in a folder that `prepare` fills, and what stderr must say (a pattern)."""

    name: str
    argv: str
    says: str
    prepare: Prepare = lambda folder: None
    marks: tuple[pytest.MarkDecorator, ...] = ()


def recipe(old: str, new: str) -> Prepare:
    """Write a recipe in which one text is replaced by another."""
    return lambda folder: (folder / "study.py").write_text(RECIPE.replace(old, new))


def sweep(folder: Path) -> None:
    """Write the run directory of a sweep of which nothing is trained."""
    from rlp_sweeps.orchestration.planner import plan_sweep
    from rlp_sweeps.recipes import load_space
    from rlp_sweeps.tracking.run_directory import RunDirectory, build_manifest

    plan = plan_sweep(load_space("quickstart").space, name="quickstart", device="cpu")
    manifest = build_manifest(
        plan_id=plan.plan_id,
        sweep_name=plan.name,
        space=plan.space.to_dict(),
        configs=plan.trials,
        settings=plan.settings(),
    )
    RunDirectory.create(folder / "sweep", manifest)


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


def has_cuda() -> bool:
    import torch

    return torch.cuda.is_available()


NOT_AS_ROOT = pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
NO_CUDA = pytest.mark.skipif(has_cuda(), reason="torch sees a GPU here")
RUN = "run quickstart --device cpu "
READING = {
    "resume": "resume {} --device cpu",
    "status": "status {}",
    "analyze": "analyze {}",
    "query": "query {} 'SELECT * FROM trials'",
    "sync": "sync {}",
    "probe": "probe {} --device cpu",
}

# fmt: off
USAGE = [
    Case("no such command", "rn quickstart", "no such command 'rn'"),
    Case("no such option", RUN + "--epochs 3", "no such option: --epochs"),
    Case("missing argument", "run", "missing argument 'SPACE'; see `rlp-sweeps run --help`"),
    Case("missing SQL", "query sweep", "missing argument 'SQL'"),
    Case("an argument too many", "status a b", "unexpected extra argument"),
    Case("no number", RUN + "--num-seeds x", "'--num-seeds': .* valid integer"),
    Case("no port", "ui . --port x", "'--port': .* valid integer"),
]

SPACES = [
    Case("unknown space", "run quickstat", r"no module 'search_spaces\.quickstat'; did you mean "
         r"'quickstart'\?"),
    Case("unknown space to plan", "plan cifar11_optuna", "did you mean 'cifar100_optuna'"),
    Case("absent file", "run absent/study.py", "'absent/study.py'; the file does not exist"),
    Case("log axis at 0", "run study.py", r"study\.py, line 4: `0 < low <= high` must hold on a "
         r"log axis, but got low=0, high=1\.0\. For an arm at 0, set `control=0\.0`\.",
         recipe("ChoiceAxis(choices=(0.1,))", "LogAxis(low=0, high=1.0, num_points=2)")),
    Case("space without control", "run study.py", "`'control' in arms` must hold",
         recipe("num_seeds=1", "num_seeds=1, arms=('full',)")),
    Case("empty grid", "run study.py", r"must have at least one value, but got choices=\(\)",
         recipe("(0.1,)", "()")),
    Case("no axis", "plan study.py", "a search space must have at least one axis",
         recipe('axes={"lr"', 'axes={} and {"lr"')),
    Case("no learning rate", "plan study.py", r"\['lr'\] must be given",
         recipe('"lr": ChoiceAxis(choices=(0.1,)), ', "")),
    Case("broken module", "run study.py", r"study\.py, line 1: ModuleNotFoundError: No module",
         recipe("from rlp_sweeps.spaces", "import absent_library  #")),
    Case("no SPACE", "run study.py", "must define `SPACE`", recipe("SPACE =", "space =")),
]

SETTINGS = [
    Case("unknown setting", RUN + "--set lamda=1", r"unknown setting 'lamda' in --set; the "
         r"settings are \['lr', 'rlp_lambda'"),
    Case("setting without value", RUN + "--set lr", r"setting and its value\(s\), as in "
         r"`--set lr=0\.1,0\.2`, but got --set 'lr'"),
    Case("setting without name", RUN + "--set =1", r"setting and its value\(s\), as in "
         "`--set lr=0.1,0.2`, but got --set '=1'"),
    *(Case(f"list as {text}", RUN + f"--set 'lr={text}'", "separated by commas alone, as in "
           r"`--set lr=0\.1,0\.2`, but got lr=")
      for text in ("[a,b]", "[0.1,0.2]", "(0.1,0.2)", "0.1;0.2")),
    Case("setting twice", RUN + "--set lr=1 --set lr=2", "'lr' comes twice; several values are"),
    Case("value out of range", RUN + "--set label_smoothing=1.2", "`0 <= label_smoothing < 1` must "
         r"hold, but got label_smoothing=1\.2\."),
    Case("axis out of range", "plan quickstart --set lr=0.1,0", r"`0 < lr < inf` .* got lr=0\.0"),
    Case("value of another type", RUN + "--set lr=fast", "`lr` must be of type float"),
    Case("no value", RUN + "--set lr=", r"as in `--set lr=0\.1,0\.2`, but got lr=''"),
    Case("seed as setting", RUN + "--set seed=1", "seeds with --num-seeds"),
    Case("no seeds", RUN + "--num-seeds 0", "`1 <= num_seeds` must hold, but got num_seeds=0"),
    Case("no seeds to plan", "plan quickstart --num-seeds -1", "`1 <= num_seeds` must hold"),
    Case("unknown data set", RUN + "--set dataset=digit", "unknown data set 'digit'"),
    Case("absent data files", RUN + "--set dataset=fashion_mnist --set data_dir=absent", "absent"),
    Case("too few samples", RUN + "--set train_samples=1000000", "train_samples=1000000"),
    Case("unknown backbone", RUN + "--set backbone=small_cn", "unknown backbone 'small_cn'"),
    Case("unknown augmentation", RUN + "--set augmentation=x", "unknown augmentation 'x'"),
]

RESOURCES = [
    Case("unknown device", "run quickstart --device tpu", "device .* must hold, but got .*'tpu'"),
    Case("unknown device to resume", "resume sweep --device tpu", "device .* got .*'tpu'", sweep),
    Case("cuda without a GPU", "run quickstart --device cuda", "cuda", marks=(NO_CUDA,)),
    Case("group size 0", RUN + "--group-size 0", "`--group-size` must be 'auto' or at least 1"),
    Case("group size x", "plan quickstart --group-size x", "`--group-size` must be .* got 'x'"),
    Case("no groups at once", RUN + "--max-concurrent 0", "`1 <= max_concurrent` must hold"),
    Case("no CPUs", RUN + "--cpus-per-group 0", "`0 < cpus_per_group` must hold"),
    Case("fewer GPUs than none", RUN + "--gpus-per-group -1", "`0 <= gpus_per_group` must hold"),
    Case("more CPUs than there are", RUN + "--cpus-per-group 100000", "a group needs"),
    Case("missing address", RUN + "--address ''", "address of a Ray cluster must not be empty"),
    Case("no address", RUN + "--address nowhere", "must be host:port or 'auto', but got 'nowhere'"),
    Case("unreachable cluster", RUN + "--address 127.0.0.1:1", r"address='127\.0\.0\.1:1', but it "
         "does not"),
    Case("unreachable MLflow", RUN + "--tracking-uri http://127.0.0.1:1", r"127\.0\.0\.1:1"),
    Case("samples without one label", RUN + "--keep-samples --set augmentation=flip --set "
         "num_views=2 --set view_labels=random --set label_corruption=1", "`--keep-samples` holds "
         r"a prediction against the one label of a sample, but with view_labels='random' every "),
    Case("no MLflow address", RUN + "--tracking-uri nonsense://x", "nonsense"),
]

FOLDERS = [
    *(Case(f"absent folder to {n}", c.format("absent"), "absent") for n, c in READING.items()),
    Case("absent folder to ui", "ui absent", "there is no folder 'absent'"),
    Case("absent folder to reuse", RUN + "--reuse absent", "absent"),
    Case("folder without MLflow", "ui sweep", "must hold mlflow.db, but neither does", empty),
    *(Case(f"empty folder to {n}", c.format("sweep"), "sweep", empty) for n, c in READING.items()),
    *(Case(f"newer version to {n}", c.format("sweep"), "`schema_version <= 1` must hold", newer)
      for n, c in READING.items()),
    *(Case(f"corrupt file to {n}", c.format("sweep"), r"0-compacted\.parquet", corrupt)
      for n, c in READING.items()),
    Case("newer version to reuse", RUN + "--reuse sweep", "`schema_version <= 1` must hold", newer),
    Case("folder of a newer version", RUN + "--output sweep", "`schema_version <= 1`", newer),
    Case("folder of another sweep", RUN + "--num-seeds 1 --output sweep", "another sweep", sweep),
    Case("folder of another program", RUN + "--output .", "must be empty, but", a_file),
    Case("output is a file", RUN + "--output file", "must be a folder, but .* is a file", a_file),
    Case("output below a file", RUN + "--output file/sweep", "must be writable, but", a_file),
    Case("output where nobody writes", RUN + "--output /proc/x", "/proc/x must be writable, but"),
    Case("output in a locked folder", RUN + "--output locked/x", "must be writable, but it is not",
         locked, marks=(NOT_AS_ROOT,)),
    Case("analysis where nobody writes", "analyze sweep --output /proc/x", "must be writable, but "
         "'/proc/x' is not: .*; give another one with `--output DIR`", trials),
    Case("corrupt file of another program", "analyze sweep", r"part\.parquet .*with the program "
         "that wrote it", torn),
]

TABLES = [
    Case("missing column", "analyze sweep", r"break the schema: \{'rlp_lambda': 'missing",
         lambda folder: trials(folder, without="rlp_lambda")),
    Case("mistyped column", "analyze sweep", r"break the schema: \{'lr': ",
         lambda folder: trials(folder, pl.lit("fast").alias("lr"))),
    Case("unknown outcome", "analyze sweep --outcome accuracy", "'accuracy'", trials),
    Case("unknown scoring", "analyze sweep --diverged zero", "`--diverged` must be one of", trials),
    Case("probes without weights", "probe sweep --device cpu", "no finished trial of .*/sweep has "
         "kept its weights; train with `rlp-sweeps run SPACE --keep-weights`", sweep),
    Case("unknown probe", "probe sweep --probes knn,masx", r"unknown probe\(s\) \['masx'\]; the "
         r"probes are \['rlp_online', 'rlp_offline', 'knn'", sweep),
    Case("unknown probe of a run", RUN + "--output out --probe knn,masx", r"unknown probe\(s\) "
         r"\['masx'\]"),
    Case("too few samples to probe", RUN + "--output out --probe knn --set train_samples=16 --set "
         "batch_size=8", "`neighbours <= training samples` must hold for the probe 'knn', but got "
         "20 neighbours of 16 training samples; leave 'knn' out"),
    Case("probes beside views with labels of their own", RUN + "--output out --probe all --set "
         "num_views=2 --set view_labels=random --set augmentation=flip --set label_corruption=1",
         r"the probes \['rlp_online', 'rlp_offline'\] read the block of a sample's label"),
    Case("no probe", "probe sweep --probes ,", "at least one probe must be named; the probes are",
         sweep),
    Case("unknown pooling", "probe sweep --pooling max", r"`--pooling` must be one of \['average', "
         r"'flatten'\], but got 'max'\.", sweep),
    Case("unknown format", "query sweep 'SELECT 1' --format xml", "`--format` must be one of "
         r"\['table', 'csv', 'json', 'parquet'\], but got 'xml'\.", trials),
]

SQL = {
    "SELEC 1": "must be a single SELECT or WITH statement",
    "": "must be a single SELECT or WITH statement",
    "SELECT FROM WHERE": "must be valid SQL",
    "SELECT absent FROM trials": "must be valid SQL, but .*absent",
    "SELECT * FROM absent": "must be valid SQL, but .*absent",
    "DROP TABLE trials": "single SELECT or WITH",
    "CREATE TABLE copies AS SELECT * FROM trials": "single SELECT or WITH",
    "INSERT INTO trials SELECT * FROM trials": "single SELECT or WITH",
    "DELETE FROM trials": "single SELECT or WITH",
    "TRUNCATE TABLE trials": "single SELECT or WITH",
    "SELECT 1; DROP TABLE trials": "single|drop|DROP",
    "SELECT * FROM read_parquet('sweep/trials/part.parquet')": "read_parquet",
    "SELECT * FROM read_csv('/etc/passwd')": "read_csv",
}

CASES = [
    *USAGE, *SPACES, *SETTINGS, *RESOURCES, *FOLDERS, *TABLES,
    *(Case(f"SQL: {sql}", f'query sweep "{sql}"', says, trials) for sql, says in SQL.items()),
]
# fmt: on


@pytest.mark.parametrize("case", [pytest.param(c, id=c.name, marks=c.marks) for c in CASES])
def test_a_wrong_request_gets_one_sentence_and_leaves_nothing(
    case: Case,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", "")
    monkeypatch.setattr(sys, "path", list(sys.path))
    case.prepare(tmp_path)
    before, started_at = tree(tmp_path), time.monotonic()
    capfd.readouterr()

    status = main(shlex.split(case.argv))

    out, err = capfd.readouterr()
    assert (status, out) == (2, ""), err
    assert re.fullmatch(r"rlp-sweeps: [^\n]+[.?]\n", err), err
    assert re.search(case.says, err), err
    assert tree(tmp_path) == before
    assert time.monotonic() - started_at < 60


def tree(folder: Path) -> dict[str, int]:
    """Return every file with its time of change, and every folder; a lock that is free is none."""
    return {
        str(path.relative_to(folder)): 0 if path.is_dir() else path.stat().st_mtime_ns
        for path in folder.rglob("*")
        if "__pycache__" not in path.parts and path.suffix != ".lock"
    }

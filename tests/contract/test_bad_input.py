"""Every wrong request: one sentence on stderr, exit status 2, nothing started, nothing created."""

import os
import re
from pathlib import Path

import polars as pl
import pytest
from wrong_requests import (
    Case,
    a_file,
    corrupt,
    empty,
    folder,
    locked,
    newer,
    recipe,
    sentence_of,
    sweep,
    torn,
    trials,
)

__all__ = ["folder"]  # a fixture


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
    Case("no such option", RUN + "--epochs 3", "no such option '--epochs'; a setting is replaced "
         "by `--set num_epochs=2`; see `rlp-sweeps run --help`"),
    Case("missing argument", "run", "missing argument 'SPACE'; see `rlp-sweeps run --help`"),
    Case("missing directory", "query", "missing argument 'DIR'"),
    Case("an argument too many", "status a b", "more arguments than it takes: 'b'"),
    Case("no port", "ui . --port x", "`--port` must be a whole number, but got 'x'"),
]

SPACES = [
    Case("unknown space to plan", "plan cifar11_optuna", "did you mean 'cifar100_optuna'"),
    Case("absent file", "run absent/study.py", "'absent/study.py', the file does not exist"),
    Case("empty grid", "run study.py", r"must have at least one value, but got choices=\(\)",
         recipe("(0.1,)", "()")),
    Case("no axis", "plan study.py", "a search space must have at least one axis",
         recipe('axes={"lr"', 'axes={} and {"lr"')),
    Case("no learning rate", "plan study.py", r"\['lr'\] must be given",
         recipe('"lr": ChoiceAxis(choices=(0.1,)), ', "")),
]

SETTINGS = [
    Case("setting without value", RUN + "--set lr", r"setting and its value\(s\), as in "
         r"`--set lr=0\.1,0\.2`, but got --set 'lr'"),
    Case("setting without name", RUN + "--set =1", r"setting and its value\(s\), as in "
         "`--set lr=0.1,0.2`, but got --set '=1'"),
    *(Case(f"list as {text}", RUN + f"--set 'lr={text}'", "separated by commas alone, as in "
           r"`--set lr=0\.1,0\.2`, but got lr=")
      for text in ("[a,b]", "[0.1,0.2]", "(0.1,0.2)", "0.1;0.2")),
    Case("setting twice", RUN + "--set lr=1 --set lr=2", "'lr' comes twice; several values are"),
    Case("axis out of range", "plan quickstart --set lr=0.1,0", r"`0 < lr < inf` .* got lr=0\.0"),
    Case("no value", RUN + "--set lr=", r"as in `--set lr=0\.1,0\.2`, but got lr=''"),
    Case("no seeds", RUN + "--num-seeds 0", "`1 <= num_seeds` must hold, but got num_seeds=0"),
    Case("no seeds to plan", "plan quickstart --num-seeds -1", "`1 <= num_seeds` must hold"),
    Case("absent data files", RUN + "--set dataset=fashion_mnist --set data_dir=absent", "absent"),
    Case("too few samples", RUN + "--set train_samples=1000000", "train_samples=1000000"),
]

RESOURCES = [
    Case("unknown device", "run quickstart --device tpu", "device .* must hold, but got .*'tpu'"),
    Case("unknown device to resume", "resume sweep --device tpu", "device .* got .*'tpu'", sweep),
    Case("cuda without a GPU", "run quickstart --device cuda", "cuda", marks=(NO_CUDA,)),
    Case("group size 0", RUN + "--group-size 0", "`--group-size` must be 'auto' or at least 1"),
    Case("group size x", "plan quickstart --group-size x", "`--group-size` must be .* got 'x'"),
    Case("no groups at once", RUN + "--max-concurrent 0", "`1 <= max_concurrent` must hold"),
    Case("no CPUs", RUN + "--cpus-per-group 0", "`0 < cpus_per_group < inf` must hold"),
    Case("fewer GPUs than none", RUN + "--gpus-per-group -1", "`0 <= gpus_per_group < inf`"),
    Case("more CPUs than there are", RUN + "--cpus-per-group 100000", "a group needs"),
    Case("missing address", RUN + "--address ''", "address of a Ray cluster must not be empty"),
    Case("no address", RUN + "--address nowhere", "must be host:port or 'auto', but got 'nowhere'"),
    Case("unreachable cluster", RUN + "--address 127.0.0.1:1", r"address='127\.0\.0\.1:1', but it "
         "does not"),
    Case("unreachable MLflow", RUN + "--tracking-uri http://127.0.0.1:1", r"127\.0\.0\.1:1"),
    Case("no MLflow address", RUN + "--tracking-uri nonsense://x", "nonsense"),
    Case("samples without one label", RUN + "--keep-samples --set augmentation=flip --set "
         "num_views=2 --set view_labels=random --set label_corruption=1", "`--keep-samples` holds "
         r"a prediction against the one label of a sample, but with view_labels='random' every "),
]

FOLDERS = [
    *(Case(f"absent folder to {n}", c.format("absent"), "absent") for n, c in READING.items()),
    Case("absent folder to ui", "ui absent", "there is no folder absent"),
    Case("absent folder to reuse", RUN + "--reuse absent", "absent"),
    Case("folder without MLflow", "ui sweep", "must hold mlflow.db, but neither does", empty),
    *(Case(f"empty folder to {n}", c.format("sweep"), "sweep", empty) for n, c in READING.items()),
    *(Case(f"newer version to {n}", c.format("sweep"), "`schema_version <= 1` must hold", newer)
      for n, c in READING.items()),
    *(Case(f"corrupt file to {n}", c.format("sweep"), r"0-compacted\.parquet", corrupt)
      for n, c in READING.items()),
    Case("newer version to reuse", RUN + "--reuse sweep", "`schema_version <= 1` must hold", newer),
    Case("folder of a newer version", RUN + "--output sweep", "`schema_version <= 1`", newer),
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
    Case("unknown scoring", "analyze sweep --diverged zero", "`--diverged` must be one of", trials),
    Case("probes without weights", "probe sweep --device cpu", "no finished trial of sweep has "
         "kept its weights; train with `rlp-sweeps run SPACE --keep-weights`", sweep),
    Case("unknown probe", "probe sweep --probes knn,masx", r"unknown probe\(s\) \['masx'\]; "
         r"did you mean 'masc'\?", sweep),
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
         r"\['table', 'csv', 'json', 'markdown', 'parquet'\], but got 'xml'\.", trials),
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
    case: Case, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    case.prepare(folder)

    said = sentence_of(case.argv, folder, capfd, most=case.most)

    assert re.search(case.says, said), said

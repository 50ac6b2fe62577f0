"""What a researcher who has just cloned the project can get wrong: values, files, what comes after.

Each row holds what the sentence must say of the rule, the value and the way out.
"""

from pathlib import Path

import pytest
from wrong_requests import (
    Prepare,
    Row,
    a_file,
    check_row,
    empty,
    finished,
    folder,
    occupied_port,
    sampled,
    sentence_of,
    study,
    sweep,
    text,
    trials,
)

__all__ = ["folder"]  # a fixture

RUN = "run quickstart --device cpu "
IMAGES = RUN + "--set dataset=image_folder --set data_dir="
CIFAR = RUN + "--set dataset=cifar10 --set data_dir="


def both(*prepares: Prepare) -> Prepare:
    """Do one thing after another."""
    return lambda folder: [prepare(folder) for prepare in prepares]


# fmt: off
VALUES = [
    Row("negative learning rate", RUN + "--set lr=-0.1", "`0 < lr < inf`", "lr=-0.1", "must hold"),
    Row("infinite λ", RUN + "--set rlp_lambda=inf", "`0 <= rlp_lambda < inf`", "rlp_lambda=inf",
        "must hold"),
    Row("smoothing in percent", RUN + "--set label_smoothing=10", "`0 <= label_smoothing < 1`",
        "label_smoothing=10.0", "must hold"),
    Row("learning rate in percent", RUN + "--set lr=10%", "must be a number", "lr='10%'", "`lr`"),
    Row("decimal comma", RUN + "--set lr=0,1", "a decimal number with a point", "lr='0,1'",
        "`--set lr=0.1` gives one"),
    Row("epochs as a float", RUN + "--set num_epochs=1e3", "must be a whole number", "'1e3'",
        "`num_epochs`"),
    Row("value apart from its name", RUN + "--set lr 0.1", "more arguments than it takes", "'0.1'",
        "`--set NAME=VALUE`"),
    Row("doubles on the command line", RUN + "--set lr=0.1,1e-1", "no two values", "(0.1, 0.1)",
        "leave one out"),
    Row("more in a batch than samples", RUN + "--set batch_size=5000",
        "`batch_size <= number of training samples`", "batch_size=5000", "lower batch_size"),
    Row("one random label", RUN + "--set num_random_labels=1", "`2 <= num_random_labels`",
        "num_random_labels=1", "must hold"),
    Row("warm-up longer than training", RUN + "--set warmup_epochs=99",
        "`warmup_epochs < num_epochs`", "warmup_epochs=99", "num_epochs="),
    Row("depth that a network has not", RUN + "--set backbone=resnet18 --set backbone_depth=50",
        "`backbone_depth` must be 18", "backbone_depth=50", "or none"),
    Row("half a seed", RUN + "--num-seeds 1.5", "must be a whole number", "'1.5'", "`--num-seeds`"),
    Row("hours with a unit", RUN + "--max-hours 8h", "must be a number", "'8h'", "`--max-hours`"),
    Row("no hours", RUN + "--max-hours 0", "`0 < max_hours < inf`", "max_hours=0.0",
        "leave it out for no limit"),
    Row("no trials", RUN + "--max-trials 0", "`1 <= max_trials`", "max_trials=0",
        "leave it out for no limit"),
    Row("no time", RUN + "--trial-timeout nan", "`0 < trial_timeout_s`", "nan",
        "leave it out for no limit"),
    Row("no limit that is a number", RUN + "--cpus-per-group inf", "`0 < cpus_per_group < inf`",
        "inf", "leave it out for 1 core"),
    Row("GPU that is not there", RUN + "--gpus-per-group 9", "a group needs", "9.0",
        "--gpus-per-group"),
    Row("empty output", RUN + "--output ''", "must have a name", "''", "`.` is this folder"),
    Row("output in an unknown store", RUN + "--output gs://b/x", "must be a folder or s3://",
        "'gs://b/x'", "mount another store"),
    Row("output of another sweep", RUN + "--num-seeds 1 --output sweep", "holds another sweep",
        "sweep", "choose another --output", sweep),
    Row("scheme of MLflow's address", RUN + "--tracking-uri htp://127.0.0.1:5000",
        "an MLflow store must be", "'htp://127.0.0.1:5000'",
        "did you mean 'http://127.0.0.1:5000'?"),
    Row("MLflow without scheme", RUN + "--tracking-uri 127.0.0.1:5000", "an MLflow store must be",
        "'127.0.0.1:5000'", "did you mean 'http://127.0.0.1:5000'?"),
    Row("slashes of SQLite", RUN + "--tracking-uri sqlite://mlflow.db", "an MLflow store must be",
        "'sqlite://mlflow.db'", "did you mean 'sqlite:///mlflow.db'?"),
]

FILES = [
    Row("no data folder", CIFAR + "/nowhere", "must stand in a folder", "/nowhere does not exist",
        "`--set data_dir=FOLDER`"),
    Row("data folder that is a file", CIFAR + "file", "must stand in a folder", "file is a file",
        "`--set data_dir=FOLDER`", a_file),
    Row("data folder without the data", CIFAR + ".", "as torchvision lays it out",
        "'cifar-10-batches-py/data_batch_1' is absent", "`--set data_dir=FOLDER`", a_file),
    Row("no folder of images", IMAGES + "images", "must have a folder 'train'", "images",
        "`--set data_dir=FOLDER`"),
    Row("images without classes", IMAGES + ".", "one folder of images a class", "train",
        "`train/CLASS/*.png`", both(text("train/a.png", ""), text("test/a.png", ""))),
    Row("class without images", IMAGES + ".", "every class", "train/a has none",
        "`train/CLASS/*.png`", both(text("train/a/a.txt", ""), text("test/a/a.txt", ""))),
    Row("image that is none", IMAGES + ".", "must be whole", "train/a/a.png", "replace them",
        both(text("train/a/a.png", "x"), text("test/a/a.png", "x"))),
    Row("folder of sweeps", "status .", "no run directory", ".", "['done']", finished),
    Row("folder of sweeps to analyze", "analyze .", "no run directory", ".", "['done']", finished),
    Row("empty folder", "show sweep 3f", "no run directory", "sweep",
        "`rlp-sweeps run SPACE --output DIR`", empty),
    Row("sweep without trials", "analyze sweep", "must hold trials", "sweep",
        "`rlp-sweeps resume sweep`", sweep),
    Row("sweep without trials to query", "query sweep 'SELECT 1'", "must hold trials", "sweep",
        "`rlp-sweeps status sweep`", sweep),
    Row("file as run directory", "export file", "must exist", "it is a file",
        "`rlp-sweeps run SPACE --output DIR`", a_file),
    Row("tables of another program", "resume sweep --device cpu", "no run directory", "sweep",
        "`rlp-sweeps analyze`", trials),
    Row("broken manifest", "status sweep", "must be readable JSON", "manifest.json",
        "restore it from a copy", both(sweep, text("sweep/manifest.json", "{"))),
    Row("simulation of nothing", "simulate nowhere", "no recipe", "'nowhere'",
        "`rlp-sweeps spaces`"),
]

LATER = [
    Row("trial like no other", "show done zzzz", "must have a row", "'zzzz'",
        "`rlp-sweeps query done", finished),
    Row("trial like several", "show done ''", "one trial must begin with", "''", "4 do: ",
        finished),
    Row("no trial", "show done", "missing argument", "'TRIAL'", "`rlp-sweeps show --help`",
        finished),
    Row("one sweep to compare", "compare done", "at least two sweeps", "['done']", "must be given",
        finished),
    Row("a sweep with itself", "compare done done", "given once", "done", "come more often",
        finished),
    Row("format of an export", "export done --format xlsx", "`--format` must be one of", "'xlsx'",
        "['csv', 'parquet'", finished),
    Row("more of a fixed setting", "extend done --set num_epochs=5", "must be an axis",
        "`num_epochs`", "`rlp-sweeps run SPACE --set num_epochs=5", finished),
    Row("nothing to extend by", "extend done", "must say what is added", "extension",
        "--set NAME=VALUES", finished),
    Row("points of a grid", "extend done --num-points 5", "no points to sample", "--num-points 5",
        "--set NAME=VALUES", finished),
    Row("values of a search", "extend sampled --set lr=0.1", "sampled by a search", "['lr']",
        "--num-points N", sampled),
    Row("fewer seeds", "extend done --num-seeds 0", "`num_seeds >= 1`", "num_seeds=0",
        "the sweep has as many", finished),
    Row("follow-up of an unfinished sweep", "follow-up sweep --device cpu",
        "reads a finished sweep", "have no row yet", "`rlp-sweeps resume", sweep),
    Row("arm that was not trained", "follow-up done --matched-to class_term",
        "must be in the sweep", "['class_term']", "['control', 'full']", finished),
    Row("cap without replay", "follow-up done --cap 3", "for replayed controls", "`--cap 3`",
        "`--replay`", finished),
    Row("cancel of nothing", "cancel sweep", "only a sweep at work", "sweep", "`rlp-sweeps status`",
        sweep),
    Row("MLflow that was never told", "ui done", "must hold mlflow.db", "done", "`rlp-sweeps sync`",
        finished),
    Row("pilot without analysis", "plan quickstart --pilot done", "must be an analyzed run",
        "'done'", "`rlp-sweeps analyze done`", finished),
    Row("reuse by a search", "run digits_optuna --device cpu --reuse done",
        "takes over planned trials", "['done']", "leave out", finished),
    Row("study that is there", "new study", "must not replace a file", "'study.py'",
        "choose another name", study()),
    Row("study with a hyphen", "new my-study", "named like a Python module", "'my-study'",
        "`rlp-sweeps new my_study`"),
    Row("simulation without results", "simulate quickstart", "recorded results or made-up ones",
        "recorded=[]", "--epoch-seconds X"),
]
# fmt: on


@pytest.mark.parametrize(
    "row", [pytest.param(row, id=row.name) for row in (*VALUES, *FILES, *LATER)]
)
def test_a_value_or_file_that_is_wrong_gets_rule_value_and_way_out(
    row: Row, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    check_row(row, folder, capfd)


def test_a_taken_port_is_named_with_a_way_out(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with occupied_port(folder) as port:
        said = sentence_of(f"ui done --port {port}", folder, capfd)

    assert f"port {port} of 127.0.0.1 must be free" in said
    assert "choose another" in said

"""The questions page quotes what the program says."""

import re
import shutil

import pytest
from doc_pages import ROOT

from rlp_sweeps.cli import main

PAGE = (ROOT / "docs/guides/faq.md").read_text(encoding="utf-8")
QUOTED = " ".join(line[2:] for line in PAGE.splitlines() if line.startswith("> "))
PLAN = ["plan", "quickstart", "--set"]
FIRST = "runs/first"

SENTENCES = [
    (["plan", "quickstrat"], "no recipe 'quickstrat'; did you mean 'quickstart'?"),
    (
        [*PLAN, "rlp_lambda=0,1"],
        "`rlp_lambda > 0` must hold on the axis, but got [0.0, 1.0]; leave",
    ),
    (
        [*PLAN, "lambda=1"],
        "unknown setting 'lambda' in --set; did you mean 'rlp_lambda'?",
    ),
    ([*PLAN, "lr=0"], "`0 < lr < inf` must hold, but got lr=0.0."),
    ([*PLAN, "dataset=cifar1O"], "unknown data set 'cifar1O'; did you mean 'cifar10'?"),
    (
        [*PLAN, "backbone=no_nets.build"],
        "; put its file beside the recipe's, or its folder on PYTHONPATH.",
    ),
    (
        ["run", "fashion_mnist_lr_lambda"],
        "data does not exist; name it with `--set data_dir=FOLDER`.",
    ),
    (["run", "quickstart", "--output", FIRST], "; choose another --output or resume it."),
    (["cancel", FIRST], "only a sweep at work can be cancelled, but nobody is at work in"),
    (["plan", "quickstart", "--pilot", FIRST], "a pilot must be an analyzed run, but 'runs/"),
    (["query", FIRST, "SELECT accuracy FROM trials"], 'unable to find column "accuracy". Tables:'),
    (["query", FIRST, "DROP TABLE trials"], "statement, but it begins with 'DROP'. Queries are"),
    (
        ["analyze", FIRST, "--outcome", "accuracy"],
        "unknown outcome(s) ['accuracy']; the trials hold",
    ),
    (["show", FIRST, "zz"], "a trial to show must have a row, but no finished trial of runs/first"),
    (["show", FIRST, "zz", "--log"], "but none of runs/first begins with 'zz'; its manifest.json"),
    (["probe", FIRST], "has kept its weights; train with `rlp-sweeps run SPACE --keep-weights`"),
    (
        ["extend", FIRST, "--set", "batch_size=8"],
        "`batch_size` must be an axis of the sweep to get",
    ),
]


@pytest.mark.parametrize(
    ("argv", "words"), SENTENCES, ids=[" ".join(argv) for argv, _ in SENTENCES]
)
def test_page_quotes_what_a_command_says(argv, words, tmp_path, monkeypatch, capsys):
    shutil.copytree(ROOT / "tests/contract/golden_v1", tmp_path / FIRST)
    monkeypatch.chdir(tmp_path)

    assert main(argv) == 2

    assert words in capsys.readouterr().err
    assert words in QUOTED


def test_page_has_a_heading_for_every_sentence():
    entries = re.split(r"^### ", PAGE, flags=re.MULTILINE)[1:]

    assert len(entries) >= 20
    assert all(
        len(re.findall(r"(?:^> .*\n)+", entry, flags=re.MULTILINE)) <= 1 for entry in entries
    )

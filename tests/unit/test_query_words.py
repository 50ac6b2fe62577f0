import json
import re
import shlex
from pathlib import Path

import polars as pl
import pytest
from analysis_frames import make_epochs, make_trials, write_directory

from analysis.query import format_frame, query
from rlp_sweeps import describe_tables
from rlp_sweeps.cli import main
from rlp_sweeps.errors import QueryError, RunDirectoryError

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    trials = make_trials(favourite_colour="green", error=None)
    return write_directory(tmp_path / "run", trials, epochs=make_epochs(trials))


@pytest.mark.parametrize(
    ("sql", "hint"),
    [
        ("SELECT * FROM trails", "Did you mean 'trials'?"),
        ("SELECT * FROM epoch", "Did you mean 'epochs'?"),
        ("SELECT * FROM effects", "`rlp-sweeps analyze` writes 'effects'."),
        ("SELECT * FROM samples", "`rlp-sweeps run --keep-samples` writes 'samples'."),
        ("SELECT * FROM probes", "`rlp-sweeps run --probe all` writes 'probes'."),
        ("SELECT test_acuracy FROM trials", "Did you mean 'test_accuracy'? Columns near"),
        ("SELECT t.test_acuracy FROM trials t", "Did you mean 'test_accuracy'? Columns near"),
        ("SELECT epoch FROM trials", "Tables with a column 'epoch': ['epochs']."),
        ("SELECT zzzzzz FROM trials", "Columns: ['arm',"),
    ],
)
def test_query_says_what_may_have_been_meant(directory: Path, sql: str, hint: str) -> None:
    with pytest.raises(QueryError) as refusal:
        query(directory, sql)

    assert "Tables: ['trials', 'epochs']." in str(refusal.value)
    assert hint in str(refusal.value)


def test_tables_are_described_with_types_and_meaning(directory: Path) -> None:
    found = describe_tables(directory)

    lr = found.row(by_predicate=(pl.col("table") == "trials") & (pl.col("column") == "lr"))
    assert lr == ("trials", "lr", "Float64", "per step", "Peak learning rate η.")
    foreign = found.filter(pl.col("column") == "favourite_colour").row(0)
    assert foreign == ("trials", "favourite_colour", "String", None, None)
    assert found["table"].unique(maintain_order=True).to_list() == ["trials", "epochs"]


def test_tables_of_an_analysis_are_described_too(directory: Path) -> None:
    assert main(["analyze", str(directory)]) == 0

    found = describe_tables(directory)

    told = found.filter(pl.col("column") == "estimate").select("table", "meaning")
    meanings = dict(told.iter_rows())
    assert meanings["effects"] == meanings["effects_legs"] is not None


def test_tables_of_a_folder_that_does_not_exist_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RunDirectoryError, match="must exist"):
        describe_tables(tmp_path / "nowhere")


def test_query_without_sql_lists_the_tables(directory: Path, capsys: Capture) -> None:
    assert main(["query", str(directory)]) == 0

    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == "trials"
    assert "epochs" in lines
    assert "lr Float64 Peak learning rate η. (per step)" in lines


def test_query_without_sql_lists_the_tables_for_programs(directory: Path, capsys: Capture) -> None:
    assert main(["query", str(directory), "--format", "json"]) == 0

    rows = json.loads(capsys.readouterr().out)
    assert {"table", "column", "type", "unit", "meaning"} == set(rows[0])


def test_markdown_keeps_columns_apart_and_numbers_whole() -> None:
    frame = pl.DataFrame({"a|b": ["x|y", "<b>\nz"], "n": [0.1 + 0.2, None]})

    assert format_frame(frame, "markdown").splitlines() == [
        r"| a\|b | n |",
        "| --- | ---: |",
        r"| x\|y | 0.30000000000000004 |",
        "| &lt;b> z |  |",
    ]


def test_every_example_of_the_help_runs(
    directory: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    main(["query", "--help"])
    text = capsys.readouterr().out.partition("Options:")[0]
    examples = re.findall(
        r"^ *rlp-sweeps (query DIR.*?)$(?=\n *rlp-sweeps|\n\n)", text, re.M | re.S
    )
    main(["analyze", str(directory)])

    statuses = [
        main(shlex.split(typed.replace("DIR", str(directory)).partition(" > ")[0]))
        for typed in examples
    ]

    assert statuses == [0] * 6

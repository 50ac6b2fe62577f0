"""Tables for other programs and papers."""

import re

import polars as pl
import pytest
from analysis_frames import make_epochs, make_trials, write_directory

from analysis.export import export_tables, to_latex, to_markdown
from analysis.report_tables import Table
from rlp_sweeps.cli import main
from rlp_sweeps.errors import ArgumentError

TABLE = Table(
    caption="Effects at λ ≥ 1, 50 % of a_b.",
    header=("λ", "interval"),
    rows=(("1 & 2", "[−0.1, +0.2]"), ("a|b", "–")),
)


@pytest.fixture
def directory(tmp_path):
    trials = make_trials(seeds=(0, 1, 2))
    return write_directory(tmp_path / "run", trials, epochs=make_epochs(trials))


@pytest.mark.parametrize(("format_", "read"), [("csv", pl.read_csv), ("parquet", pl.read_parquet)])
def test_export_writes_each_table_as_it_is(directory, tmp_path, format_, read):
    written = export_tables(directory, format_=format_, output=tmp_path / "out")

    assert [path.stem for path in written] == ["trials", "epochs"]
    exported = read(tmp_path / "out" / f"trials.{format_}").sort("trial_id")
    trials = pl.read_parquet(directory / "trials" / "*.parquet").sort("trial_id")
    assert exported["test_accuracy"].to_list() == trials["test_accuracy"].to_list()
    assert exported.columns == trials.columns


def test_samples_are_exported_only_where_they_are_named(directory, tmp_path):
    (directory / "samples").mkdir()
    pl.DataFrame({"sample": [1]}).write_parquet(directory / "samples" / "a.parquet")

    all_ = export_tables(directory, format_="csv", output=tmp_path / "all")
    named = export_tables(directory, format_="csv", output=tmp_path / "one", tables=["samples"])

    assert "samples" not in {path.stem for path in all_}
    assert [path.name for path in named] == ["samples.csv"]


@pytest.mark.parametrize("format_", ["markdown", "latex"])
def test_report_tables_are_written_with_the_pooled_effects(directory, tmp_path, format_):
    written = {
        path.stem: path.read_text()
        for path in export_tables(directory, format_=format_, output=tmp_path / "out")
    }

    assert set(written) >= {"counts", "effects_pooled_test_accuracy", "effects", "cells"}
    assert "uniform term" in written["effects_pooled_test_accuracy"]
    assert not (directory / "analysis").exists()


def test_latex_needs_no_unicode_and_escapes_what_latex_would_read():
    text = to_latex(TABLE, label="tab:x")

    assert text.isascii()
    assert r"1 \& 2 & [$-$0.1, +0.2] \\" in text
    assert r"\caption{Effects at $\lambda$ $\geq$ 1, 50 \% of a\_b.}" in text
    assert r"\label{tab:x}" in text


def test_markdown_keeps_a_bar_inside_its_cell():
    rows = to_markdown(TABLE).splitlines()

    assert rows[0] == TABLE.caption
    assert all(len(re.findall(r"(?<!\\)\|", row)) == 3 for row in rows[2:])


def test_export_refuses_a_table_that_is_not_there(directory, tmp_path):
    with pytest.raises(
        ArgumentError, match=r"no table\(s\) \['trails'\] to export; did you mean 'trials'\?"
    ):
        export_tables(directory, format_="csv", output=tmp_path / "out", tables=["trails"])

    assert not (tmp_path / "out").exists()


def test_export_command_prints_the_files(directory, tmp_path, capsys):
    out = tmp_path / "out"

    assert main(["export", str(directory), "--output", str(out), "--table", "trials"]) == 0

    assert capsys.readouterr().out == f"{out / 'trials.csv'}\n"

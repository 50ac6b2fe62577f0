from pathlib import Path

import polars as pl
import pytest
from analysis_frames import make_trials, write_directory
from polars.testing import assert_frame_equal

from analysis.figures import FIGURES
from analysis.query import query
from analysis.sensitivity import largest_spread
from analysis.tables import analyze
from rlp_sweeps.cli import main
from rlp_sweeps.errors import QueryError, RunDirectoryError, SchemaError
from rlp_sweeps.stores import as_path, put


@pytest.fixture
def local(tmp_path: Path) -> Path:
    accuracy = pl.col("test_accuracy") + 0.003 * pl.col("seed") ** 2 * pl.col("rlp_lambda")
    trials = make_trials(lrs=(0.1, 0.2), seeds=(0, 1, 2), test_accuracy=accuracy)
    epochs = trials.select("trial_id", epoch=pl.lit(1), val_loss=pl.lit(0.5))
    return write_directory(tmp_path / "local", trials, epochs=epochs)


@pytest.fixture
def remote(local: Path, bucket: str) -> str:
    """The same directory in a store."""
    for path in local.rglob("*.parquet"):
        put(as_path(bucket + "/demo") / path.relative_to(local).as_posix(), path.read_bytes())
    return f"{bucket}/demo"


def test_analyze_finds_in_a_store_what_it_finds_on_a_disk(local: Path, remote: str) -> None:
    here, there = analyze([local]), analyze([remote])

    assert_frame_equal(there.effects_pooled, here.effects_pooled, check_exact=True)
    assert_frame_equal(there.cells, here.cells, check_exact=True)


def test_analyze_writes_tables_figures_and_report_into_the_store(local: Path, remote: str) -> None:
    analyze([local])
    drawn = {path.stem for path in (local / "analysis" / "figures").iterdir()}
    stale = next(name for name in FIGURES if name not in drawn)
    put(as_path(remote) / "analysis" / "figures" / f"{stale}.svg", b"")

    analyze([remote])

    folder = as_path(remote) / "analysis"
    written = {str(path).removeprefix(f"{folder}/") for path in folder.rglob("*.*")}
    expected = (p for p in (local / "analysis").rglob("*.*"))
    assert written == {path.relative_to(local / "analysis").as_posix() for path in expected}
    assert "<html" in (folder / "report.html").read_text(encoding="utf-8")


def test_nothing_written_into_the_store_names_a_temporary_folder(remote: str) -> None:
    result = analyze([remote])

    report = (as_path(remote) / "analysis" / "report.html").read_text(encoding="utf-8")
    assert "rlp-read-" not in report + str(result.to_json())


def test_query_reads_tables_and_results_of_a_store(remote: str) -> None:
    analyze([remote])

    trials = query(remote, "SELECT count(*) AS n FROM trials")
    effects = query(remote, "SELECT count(*) AS n FROM effects_pooled WHERE num_seeds = 3")

    assert trials["n"].to_list() == [30]
    assert effects["n"][0] > 0


def test_query_brings_only_the_tables_that_are_named(
    remote: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from analysis import mirror

    copied: list[str] = []
    monkeypatch.setattr(mirror, "_copy_table", lambda path, copy, table: copied.append(table))

    with pytest.raises(RunDirectoryError, match=r"it has neither manifest\.json nor"):
        query(remote, "SELECT trial_id FROM trials")

    assert copied == ["trials"]


def test_query_of_an_unknown_table_names_those_in_the_store(remote: str) -> None:
    with pytest.raises(QueryError, match=r"Tables: \['trials', 'epochs'\]"):
        query(remote, "SELECT * FROM nothing")


def test_an_error_names_the_file_in_the_store(remote: str) -> None:
    put(as_path(remote) / "trials" / "b.parquet", b"no parquet")

    with pytest.raises(SchemaError, match=rf"{remote}/trials/b.parquet cannot be read"):
        analyze([remote])


def test_a_pilot_is_read_from_a_store(local: Path, remote: str) -> None:
    analyze([local])
    analyze([remote])

    spread = largest_spread(as_path(remote))

    assert (spread.value, spread.pilot) == (largest_spread(local).value, remote)


def test_commands_take_a_directory_in_a_store(
    remote: str, capsys: pytest.CaptureFixture[str]
) -> None:
    statuses = [
        main(["analyze", remote]),
        main(["query", remote, "SELECT count(*) AS n FROM trials", "--format", "csv"]),
    ]

    assert statuses == [0, 0]
    printed = capsys.readouterr().out
    assert f"{remote}/analysis/report.html" in printed
    assert printed.endswith("n\n30\n")


def test_show_compare_and_export_take_a_directory_in_a_store(
    local: Path, remote: str, capsys: pytest.CaptureFixture[str]
) -> None:
    statuses = [
        main(["show", remote, "control-0.1-0.0-0"]),
        main(["compare", remote, str(local)]),
        main(["export", remote, "--table", "trials"]),
        main(["export", remote, "--table", "trials", "--output", str(local / "export")]),
    ]

    assert statuses == [0, 0, 0, 0]
    exported = as_path(remote) / "export" / "trials.csv"
    assert f"{exported}\n" in capsys.readouterr().out
    assert exported.read_bytes() == (local / "export" / "trials.csv").read_bytes()


@pytest.mark.parametrize(
    "command",
    [
        ["status", "s3://absent/a"],
        ["resume", "s3://absent/a"],
        ["analyze", "s3://absent/a"],
        ["query", "s3://absent/a", "SELECT 1"],
        ["sync", "s3://absent/a"],
        ["probe", "s3://absent/a"],
        ["follow-up", "s3://absent/a"],
        ["run", "quickstart", "--output", "s3://absent/a"],
    ],
)
def test_commands_refuse_a_bucket_that_does_not_exist_in_one_sentence(
    s3: str, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    status = main(command)

    said = capsys.readouterr().err
    assert status == 2
    assert said.startswith("rlp-sweeps: the bucket of s3://absent/a must exist, but there is no")
    assert said.count("\n") == 1


@pytest.mark.parametrize("uri", ["gs://bucket/a", "s3://bucket"])
def test_commands_refuse_a_uri_that_is_no_prefix_in_one_sentence(
    uri: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status = main(["status", uri])

    said = capsys.readouterr().err
    assert status == 2
    assert "must be" in said
    assert said.count("\n") == 1

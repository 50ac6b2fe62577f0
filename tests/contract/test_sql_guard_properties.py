"""Whatever way a query is written in: what the guard lets through has opened no file."""

from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.sql_guard import check_reads_only
from rlp_sweeps.errors import QueryError

SECRET = "S3CRET"
READERS = ("read_csv", "READ_csv", "read_ndjson", "read_json", "read_parquet", "read_ipc")
QUOTES = ("{}", '"{}"', "`{}`", "'{}'", "[{}]", "main.{}", 'E"{}"')
GAPS = ("", " ", "\n", "\r", "\x0b", "\x85", "\u2028", "/**/", "/* ' */", "--\n", "--'\n", "/*! */")
HIDDEN = (
    *(("", ""), ("/*", "*/"), ("/*!", "*/"), ("/*!50000", "*/"), ("/*+", "*/"), ("/*/", "*/")),
    *(("--", "\n"), ("--\r", "\n"), ("#", "\n"), ("//", "\n"), ("'' --", "\n"), ("{fn ", "}")),
    *(("'", "'"), ("E'\\'", " --'"), ("N'\\'", " --'"), ("$$'$$", " --'"), ('"\\"', ' --"')),
)
SHAPES = (
    "SELECT * FROM {}",
    "SELECT * FROM trials {}",
    "SELECT * FROM trials, {}",
    "SELECT * FROM trials CROSS JOIN {}",
    "SELECT * FROM ({})",
    "SELECT (SELECT secret FROM {}) AS x FROM trials",
    "WITH x AS (SELECT * FROM {}) SELECT * FROM x",
    "SELECT 'a' AS a UNION ALL SELECT * FROM {}",
    "SELECT a FROM trials WHERE 1 = 1{} UNION ALL SELECT 'b'",
    "SELECT 1.5{} FROM trials",
)


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the secret in every format that a table function reads."""
    folder = tmp_path_factory.mktemp("secrets")
    frame = pl.DataFrame({"secret": [SECRET]})
    for end, write in {
        "csv": frame.write_csv,
        "ndjson": frame.write_ndjson,
        "json": frame.write_ndjson,
        "parquet": frame.write_parquet,
        "ipc": frame.write_ipc,
    }.items():
        write(folder / f"secret.{end}")
    return folder


@st.composite
def attacks(draw: st.DrawFn) -> tuple[str, str]:
    """Return a query that may open a file, with a place for its folder, and the file's end."""
    reader = draw(st.sampled_from(READERS))
    name = draw(st.sampled_from(QUOTES)).format(reader)
    gap, separator = draw(st.sampled_from(GAPS)), draw(st.sampled_from(("", ",", " , ", ";")))
    end = reader.rpartition("_")[2].lower()
    call = f"{separator}{name}{gap}('FOLDER/secret.{end}')"
    opened, closed = draw(st.sampled_from(HIDDEN))
    return draw(st.sampled_from(SHAPES)).replace("{}", f"{opened}{call}{closed}"), end


@settings(max_examples=1500)
@given(attack=attacks())
def test_a_query_that_the_guard_lets_through_reads_no_file(
    secrets: Path, attack: tuple[str, str]
) -> None:
    sql = attack[0].replace("FOLDER", str(secrets))
    tables = pl.SQLContext(trials=pl.LazyFrame({"a": ["x"]}))

    try:
        check_reads_only(sql)
    except QueryError:
        return  # refused
    try:
        rows = tables.execute(sql, eager=True).rows()
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
        return  # not understood

    assert SECRET not in repr(rows)

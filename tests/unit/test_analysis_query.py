"""SQL over a run directory: what it reads, what it refuses."""

import io
import json

import polars as pl
import pytest
from analysis_frames import make_epochs, make_trials, write_directory

from analysis.query import format_frame, query
from rlp_sweeps.errors import QueryError, RunDirectoryError, SchemaError


@pytest.fixture
def directory(tmp_path):
    trials = make_trials(favourite_colour="green", config_path="C:/x")
    return write_directory(tmp_path / "run", trials, epochs=make_epochs(trials))


def test_query_reads_every_column_of_trials(directory):
    frame = query(directory, "SELECT arm, favourite_colour FROM trials WHERE seed = 1 ORDER BY arm")

    assert frame["favourite_colour"].to_list() == ["green"] * 5


def test_query_joins_trials_and_epochs(directory):
    sql = """
        WITH last AS (SELECT trial_id, MAX(epoch) AS epoch FROM epochs GROUP BY trial_id)
        SELECT t.arm, l.epoch FROM trials t JOIN last l ON t.trial_id = l.trial_id; -- all
    """

    frame = query(str(directory), sql)

    assert frame["epoch"].to_list() == [3] * 10


def test_query_reads_a_trial_once_from_part_and_compacted_file(directory):
    make_trials(status="failed").write_parquet(directory / "trials" / "0-old.parquet")

    frame = query(directory, "SELECT status, COUNT(*) AS n FROM trials GROUP BY status")

    assert frame.rows() == [("completed", 10)]


def test_query_reads_effects_probes_and_single_files(directory):
    (directory / "analysis").mkdir()
    pl.DataFrame({"estimate": [0.5]}).write_parquet(directory / "analysis" / "effects.parquet")
    (directory / "probes").mkdir()
    for name in ("a", "b"):
        pl.DataFrame({"probe": [name]}).write_parquet(directory / "probes" / f"{name}.parquet")

    assert query(directory, "SELECT estimate FROM effects").rows() == [(0.5,)]
    assert len(query(directory, "SELECT * FROM probes")) == 2


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM trials WHERE favourite_colour LIKE '%drop table; read_csv(1)%'",
        "SELECT REPLACE(arm, 'a', 'b') FROM trials /* update */",
        'SELECT arm AS "update" FROM trials',
        "SELECT arm FROM (SELECT * FROM trials) WHERE lr = 1e-1",
        "SELECT * EXCLUDE (seed) FROM trials WHERE arm IN ('full', 'sham') -- insert into",
        "SELECT 'it''s' AS x FROM trials",
    ],
)
def test_query_takes_what_only_looks_dangerous(directory, sql):
    query(directory, sql)


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ("DROP TABLE trials", "it begins with 'DROP'"),
        ("CREATE TABLE x AS SELECT 1", "it begins with 'CREATE'"),
        ("SHOW TABLES", "it begins with 'SHOW'"),
        ("", "it begins with ''"),
        ("; -- SELECT 1", "it begins with ''"),
        ("'SELECT' 1", "it begins with \"'SELECT'\""),
        ("SELECT 1; DROP TABLE trials", "it has several"),
        ("WITH x AS (DELETE FROM trials) SELECT 1", "it has 'DELETE'"),
        ("SELECT * INTO x FROM trials", "it has 'INTO'"),
        ("SELECT * FROM ReAd_CsV('/etc/passwd')", "it calls 'ReAd_CsV'"),
        ("SELECT * FROM trials, scan_parquet('x')", "it calls 'scan_parquet'"),
        ("SELECT * FROM \"read_csv\"('x')", "it calls '\"read_csv\"'"),
        ("SELECT * FROM `read_csv`('x')", "it calls '`read_csv`'"),
        ("SELECT * FROM 'read_csv'('x')", "it calls \"'read_csv'\""),
        ("SELECT * FROM/**/read_ipc/**/('x')", "it calls 'read_ipc'"),
        ("SELECT * FROM read_json\n--\n('x')", "it calls 'read_json'"),
        ("SELECT * FROM range(3)", "it calls 'range'"),
        ("SELECT $$'$$, * FROM read_csv('x')", "is none"),
        ("SELECT E'\\'', * FROM read_csv('x') --'", "can be read in two ways"),
        ("SELECT 'a\\'' , * FROM read_csv(\"x\") --'", "can be read in two ways"),
        ("SELECT /* /* */ * FROM read_csv('x') /* */ */ 1", "can be read in two ways"),
        ("SELECT * FROM trials /*! , read_csv('x') */", "can be read in two ways"),
        ("SELECT 1e5from read_csv('x')", "is none"),
        ("SELECT 'open", "is none"),
        ("SELECT 1 # '\n FROM read_csv('x')", "is none"),
    ],
)
def test_query_refuses_what_writes_or_opens_files(directory, sql, reason):
    with pytest.raises(QueryError) as refusal:
        query(directory, sql)

    assert reason in str(refusal.value)
    assert str(refusal.value).endswith("Queries are read-only and open no files.")


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        (
            "SELECT , FROM trials",
            r"valid SQL, but sql parser error.* Tables: \['trials', 'epochs'\]",
        ),
        ("SELECT * FROM sweeps", "relation 'sweeps' was not found"),
        ("SELECT * FROM effects", "`rlp-sweeps analyze` writes 'effects'"),
        ("SELECT test_acuracy FROM trials", r"Columns near that name: \['test_accuracy'"),
        ("SELECT zzzzzz FROM epochs", r'column "zzzzzz".* Columns: \[\'epoch\', \'random_label'),
        ("SELECT zzzzzz", "column"),
        ("SELECT LOWER(seed) FROM trials", "expected `String`"),
    ],
)
def test_query_says_what_is_wrong(directory, sql, reason):
    with pytest.raises(QueryError, match=reason):
        query(directory, sql)


def test_query_refuses_a_folder_that_does_not_exist(tmp_path):
    with pytest.raises(RunDirectoryError, match="must exist"):
        query(tmp_path / "nowhere", "SELECT 1")


def test_query_refuses_a_folder_without_tables(tmp_path):
    with pytest.raises(RunDirectoryError, match=r"it has neither manifest\.json nor"):
        query(tmp_path, "SELECT 1")


def test_query_names_a_torn_file(directory):
    (directory / "epochs" / "torn.parquet").write_bytes(b"PAR1")

    with pytest.raises(SchemaError, match=r"torn\.parquet cannot be read"):
        query(directory, "SELECT 1 FROM trials")


def test_query_refuses_a_column_of_two_kinds(directory):
    for name, value in {"a": pl.lit([1, 2]), "b": pl.struct(x=1)}.items():
        make_trials(odd=value).write_parquet(directory / "trials" / f"{name}.parquet")

    with pytest.raises(SchemaError, match="same type in every file"):
        query(directory, "SELECT 1 FROM trials")


FRAME = pl.DataFrame({"arm": ["full", "λ"], "x": [0.1 + 0.2, float("nan")], "n": [1, None]})


def test_format_frame_shows_a_table():
    text = format_frame(FRAME, "table")

    assert "full" in text
    assert "shape" not in text


def test_format_frame_writes_csv_unrounded():
    assert format_frame(FRAME, "csv").splitlines()[:2] == ["arm,x,n", "full,0.30000000000000004,1"]


def test_format_frame_writes_json_rows_with_null_for_what_is_not_finite():
    frame = FRAME.with_columns(day=pl.date(2024, 1, 2))

    rows = json.loads(format_frame(frame, "json"))

    assert rows[0] == {"arm": "full", "x": 0.1 + 0.2, "n": 1, "day": "2024-01-02"}
    assert rows[1]["x"] is None


def test_format_frame_writes_parquet_bytes():
    assert pl.read_parquet(io.BytesIO(format_frame(FRAME, "parquet"))).equals(FRAME)


def test_format_frame_refuses_an_unknown_format():
    with pytest.raises(QueryError, match="but got format='xml'"):
        format_frame(FRAME, "xml")

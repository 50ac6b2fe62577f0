"""Every table means the same to DuckDB and pandas as to polars: types, nulls, values."""

import shutil
from pathlib import Path

import duckdb
import pandas as pd
import polars as pl
import pytest

from analysis.tables import analyze
from rlp_sweeps.schema import TABLES
from rlp_sweeps.tracking.parquet import arrow_schema, to_table, write_part

GOLDEN = Path(__file__).parent / "golden_v1"
FAILED = "f" * 16
TYPES = {"String": "VARCHAR", "Float64": "DOUBLE", "Int64": "BIGINT", "Boolean": "BOOLEAN"}
"""The plain types that tables have, as polars and DuckDB call them."""


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an analyzed sweep, beside whose trials a part file holds one that failed."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    shutil.copytree(GOLDEN, folder)
    row = pl.read_parquet(folder / "trials" / "*.parquet").row(0, named=True)
    settings = {c.name: row.get(c.name) for c in TABLES["trials"] if c.role == "config"}
    failed = {"trial_id": FAILED, "status": "failed", "error": "ValueError: λ\n |\t'of' \"it\""}
    table = to_table("trials", [{**settings, **failed, "seed": 2**62}])
    write_part(table, folder / "trials" / f"{FAILED}.parquet")
    analyze([folder])
    return folder


def files_of(directory: Path) -> list[Path]:
    return sorted(directory.rglob("[!.]*.parquet"))


def test_every_table_is_of_plain_types(directory: Path) -> None:
    paths = files_of(directory)

    found = {str(kind) for path in paths for kind in pl.read_parquet_schema(path).values()}

    assert len(paths) > 10
    assert found <= set(TYPES)
    assert {str(kind) for table in TABLES for kind in arrow_schema(table).types} == {
        *("string", "double", "int64", "bool")
    }


def test_duckdb_reads_the_types_and_values_that_polars_reads(directory: Path) -> None:
    for path in files_of(directory):
        ours, theirs = pl.read_parquet(path), duckdb.read_parquet(str(path))

        assert [TYPES[str(kind)] for kind in ours.dtypes] == list(map(str, theirs.types)), path
        assert theirs.pl().equals(ours), path


def test_pandas_reads_the_types_and_values_that_polars_reads(directory: Path) -> None:
    for path in files_of(directory):
        ours, theirs = pl.read_parquet(path), pd.read_parquet(path, dtype_backend="pyarrow")

        again = pl.from_pandas(theirs)
        assert again.schema == ours.schema, path
        assert again.equals(ours), path


def test_pandas_without_further_options_keeps_values_and_nulls(directory: Path) -> None:
    ours = pl.read_parquet(directory / "trials" / f"{FAILED}.parquet")
    (theirs,) = pd.read_parquet(directory / "trials" / f"{FAILED}.parquet").to_dict("records")

    for name, value in ours.row(0, named=True).items():
        assert pd.isna(theirs[name]) if value is None else theirs[name] == value, name


def test_duckdb_unites_parts_that_lack_each_others_columns(directory: Path) -> None:
    where = f"'{directory}/trials/*.parquet'"

    rows = duckdb.sql(f"SELECT * FROM read_parquet({where}, union_by_name = true)").pl()

    assert rows.filter(trial_id=FAILED)["seed"].item() == 2**62
    assert len(rows) == 4

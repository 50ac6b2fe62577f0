import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rlp_sweeps.column import Column
from rlp_sweeps.errors import SchemaError
from rlp_sweeps.schema import TABLES
from rlp_sweeps.tracking import parquet
from rlp_sweeps.tracking.parquet import arrow_schema, read_files, to_table, write_part

ROW = {"trial_id": "a1", "status": "completed"}


@pytest.mark.parametrize("table", ["trials", "epochs"])
def test_arrow_schema_has_every_declared_column_in_order(table: str) -> None:
    assert arrow_schema(table).names == [column.name for column in TABLES[table]]


def test_to_table_fills_missing_columns_with_null() -> None:
    table = to_table("trials", [ROW])

    assert table.schema == arrow_schema("trials")
    assert table["test_accuracy"].to_pylist() == [None]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, np.float32("nan")])
def test_to_table_turns_a_non_finite_number_into_null(value: float) -> None:
    assert to_table("trials", [{**ROW, "test_loss": value}])["test_loss"].to_pylist() == [None]


def test_to_table_takes_numpy_scalars_and_integers_for_reals() -> None:
    row = {
        **ROW,
        "lr": 1,
        "seed": np.int64(3),
        "nesterov": np.bool_(True),
        "test_loss": np.float32(0.5),
    }

    stored = to_table("trials", [row]).to_pylist()[0]

    assert (stored["lr"], stored["seed"], stored["nesterov"]) == (1.0, 3, True)
    assert stored["test_loss"] == 0.5


def test_to_table_passes_real_numbers_through_unrounded() -> None:
    value = 0.1 + 0.2

    assert to_table("trials", [{**ROW, "lr": value}])["lr"].to_pylist() == [value]


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("lr", "0.1"),
        ("lr", True),
        ("seed", 1.0),
        ("seed", True),
        ("nesterov", 1),
        ("arm", 3),
        ("trial_id", 7),
    ],
)
def test_to_table_refuses_a_value_of_another_type(column: str, value: object) -> None:
    with pytest.raises(SchemaError, match=f"`{column}` of trials must be of type"):
        to_table("trials", [{**ROW, column: value}])


def test_to_table_refuses_an_unknown_column() -> None:
    with pytest.raises(SchemaError, match=r"but got \['lamda'\]"):
        to_table("trials", [{**ROW, "lamda": 1.0}])


def test_to_table_refuses_a_row_without_its_key() -> None:
    with pytest.raises(SchemaError, match="`epoch` must be given in every row of epochs"):
        to_table("epochs", [{"trial_id": "a1"}])


def test_to_table_refuses_an_unknown_status() -> None:
    with pytest.raises(SchemaError, match="`status` must be one of"):
        to_table("trials", [{**ROW, "status": "done"}])


def test_read_files_gives_back_what_was_written(tmp_path: Path) -> None:
    table = to_table("trials", [{**ROW, "lr": 0.1, "error": "λ"}])
    write_part(table, tmp_path / "a1.parquet")

    assert read_files("trials", [tmp_path / "a1.parquet"]).equals(table)


def test_a_part_is_compressed_by_what_is_fast_on_one_row(tmp_path: Path) -> None:
    path = tmp_path / "part.parquet"

    write_part(to_table("trials", [{"trial_id": "a", "status": "completed"}]), path)

    columns = pq.ParquetFile(path).metadata.row_group(0)
    assert {columns.column(i).compression for i in range(columns.num_columns)} == {"SNAPPY"}


def test_a_part_states_the_schema_version(tmp_path: Path) -> None:
    write_part(to_table("trials", [ROW]), tmp_path / "a1.parquet")

    metadata = pq.read_metadata(tmp_path / "a1.parquet").metadata

    assert metadata[b"rlp_sweeps.schema_version"] == b"1"


def test_read_files_of_nothing_has_the_columns_and_no_row() -> None:
    table = read_files("epochs", [], columns=["trial_id", "epoch"])

    assert (table.num_rows, table.column_names) == (0, ["trial_id", "epoch"])


def test_rows_of_many_files_lie_in_few_pieces_of_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "_FILES_AT_ONCE", 4)
    paths = [tmp_path / f"a{number}.parquet" for number in range(9)]
    for number, path in enumerate(paths):
        write_part(to_table("trials", [{**ROW, "lr": number}]), path)

    column = read_files("trials", paths)["lr"]

    assert column.to_pylist() == list(range(9))
    assert [len(chunk) for chunk in column.chunks if len(chunk)] == [4, 4, 1]


def test_read_files_gives_null_for_a_column_that_a_file_lacks(tmp_path: Path) -> None:
    pq.write_table(pa.table({"trial_id": ["a1"], "status": ["failed"]}), tmp_path / "a.parquet")

    rows = read_files("trials", [tmp_path / "a.parquet"]).to_pylist()

    assert (rows[0]["trial_id"], rows[0]["lr"]) == ("a1", None)


def test_read_files_widens_a_narrower_type_of_the_same_kind(tmp_path: Path) -> None:
    narrow = pa.table({"seed": pa.array([1], pa.int32()), "lr": pa.array([0.5], pa.float32())})
    pq.write_table(narrow, tmp_path / "a.parquet")

    table = read_files("trials", [tmp_path / "a.parquet"], columns=["lr", "seed"])

    assert table.to_pylist() == [{"lr": 0.5, "seed": 1}]
    assert table.schema.types == [pa.float64(), pa.int64()]


@pytest.mark.parametrize("content", [b"", b"PAR1", b"no parquet at all, but long enough"])
def test_read_files_names_the_corrupt_file(tmp_path: Path, content: bytes) -> None:
    write_part(to_table("trials", [ROW]), tmp_path / "a1.parquet")
    (tmp_path / "b2.parquet").write_bytes(content)

    with pytest.raises(SchemaError, match=r"b2\.parquet is not"):
        read_files("trials", sorted(tmp_path.glob("*.parquet")))


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("trials/a1.parquet", r"resume .*run` moves it aside and trains its trial again\."),
        ("epochs/a1.parquet", r"resume .*run` moves it aside and trains its trial again\."),
        ("trials/0-compacted.parquet", r"resume .*run` trains every trial that is in no other"),
        ("epochs/0-compacted.parquet", r"remove it and go without its epochs"),
    ],
)
def test_read_files_says_what_a_corrupt_file_costs(tmp_path: Path, name: str, says: str) -> None:
    path = tmp_path / "run" / name
    path.parent.mkdir(parents=True)
    path.write_bytes(b"no parquet at all, but long enough")

    with pytest.raises(SchemaError, match=says):
        read_files(path.parent.name, [path])


def test_read_files_names_a_truncated_file(tmp_path: Path) -> None:
    write_part(to_table("trials", [ROW]), tmp_path / "a1.parquet")
    whole = (tmp_path / "a1.parquet").read_bytes()
    (tmp_path / "a1.parquet").write_bytes(whole[: len(whole) // 2])

    with pytest.raises(SchemaError, match=r"a1\.parquet is not"):
        read_files("trials", [tmp_path / "a1.parquet"])


@pytest.mark.parametrize("value", ["high", "0.1", True])
def test_read_files_names_the_file_with_a_mistyped_column(tmp_path: Path, value: object) -> None:
    pq.write_table(pa.table({"trial_id": ["a1"], "lr": [value]}), tmp_path / "a.parquet")

    with pytest.raises(SchemaError, match=r"`lr` of .*a\.parquet must be of type f64"):
        read_files("trials", [tmp_path / "a.parquet"])


def test_every_dtype_of_the_schema_has_a_converter() -> None:
    examples = {"str": "a", "f64": 0.5, "i64": 1, "bool": True}

    def example(column: Column) -> object:
        return "failed" if column.name == "status" else examples[column.dtype]

    for name in ("trials", "epochs"):
        row = {column.name: example(column) for column in TABLES[name]}
        assert to_table(name, [row]).to_pylist() == [row]


def test_reading_and_writing_loads_no_heavy_package(tmp_path: Path) -> None:
    script = f"""
import sys, pathlib
from rlp_sweeps.tracking import mlflow_tracker, run_directory
directory = run_directory.RunDirectory.create({str(tmp_path / "run")!r}, {{"plan_id": "p"}})
directory.write_trial({{"trial_id": "a1", "status": "failed"}}, [])
directory.compact()
directory.finished_trials()
print(sorted({{"mlflow", "torch", "ray", "polars"}} & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )

    assert done.stdout.strip() == "[]"

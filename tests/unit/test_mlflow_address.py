import pytest

from rlp_sweeps.errors import TrackingError
from rlp_sweeps.tracking.mlflow_address import absolute_uri, has_known_scheme, is_postgresql
from rlp_sweeps.tracking.mlflow_store import check_store, store_error


def test_refusal_of_an_address_holds_no_password():
    with pytest.raises(TrackingError, match="must be a SQLite file") as caught:
        absolute_uri("file://anna:s3cret@host/mlruns")

    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("uri", ["postgresql://", "postgresql+psycopg2://anna@host/db"])
def test_postgresql_is_known_with_and_without_its_driver(uri):
    assert has_known_scheme(uri)
    assert is_postgresql(uri)
    assert absolute_uri(uri).startswith("postgresql+psycopg2://")


def test_a_file_that_is_no_database_is_refused_with_the_way_to_a_new_one(tmp_path):
    broken = tmp_path / "mlflow.db"
    broken.write_bytes(b"not a database " * 100)

    with pytest.raises(TrackingError, match=r"file is not a database\); move its file aside"):
        check_store(str(broken))


def test_a_server_whose_file_is_broken_is_told_from_one_that_is_away():
    said = "BAD_REQUEST: (sqlite3.DatabaseError) database disk image is malformed"

    sentence = str(store_error("http://127.0.0.1:5000", RuntimeError(said)))

    assert "; move its file aside; `rlp-sweeps sync DIR` tells a new one all" in sentence

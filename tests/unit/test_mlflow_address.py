import pytest

from rlp_sweeps.errors import TrackingError
from rlp_sweeps.tracking.mlflow_address import absolute_uri, has_known_scheme, is_postgresql


def test_refusal_of_an_address_holds_no_password():
    with pytest.raises(TrackingError, match="must be a SQLite file") as caught:
        absolute_uri("file://anna:s3cret@host/mlruns")

    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("uri", ["postgresql://", "postgresql+psycopg2://anna@host/db"])
def test_postgresql_is_known_with_and_without_its_driver(uri):
    assert has_known_scheme(uri)
    assert is_postgresql(uri)
    assert absolute_uri(uri).startswith("postgresql+psycopg2://")

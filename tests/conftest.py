"""Settings of every test run: what hypothesis draws is the same everywhere; the user's state.

And an S3 store that speaks HTTP on loopback, for whichever test asks for a bucket.
"""

import logging
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

try:
    from hypothesis import settings
except ImportError:  # tests/gpu run where pytest alone was brought along
    pass
else:
    settings.register_profile("stable", deadline=None, derandomize=True, database=None)
    settings.load_profile("stable")


@pytest.fixture(autouse=True, scope="session")
def state_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep what the user under test trusts apart from what this user does."""
    before = os.environ.get("XDG_STATE_HOME")
    folder = tmp_path_factory.mktemp("state")
    os.environ["XDG_STATE_HOME"] = str(folder)
    yield folder
    if before is None:
        del os.environ["XDG_STATE_HOME"]
    else:
        os.environ["XDG_STATE_HOME"] = before


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """The address of a store, empty at first."""
    server_module = pytest.importorskip("moto.server")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line a request
    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The environment of a user of the store, whose client is made anew."""
    from s3fs import S3FileSystem

    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3", "AWS_CONFIG_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "tester")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "very-secret-key")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    S3FileSystem.clear_instance_cache()
    yield s3_endpoint
    S3FileSystem.clear_instance_cache()


@pytest.fixture
def bucket(s3: str) -> str:
    """The URI of a new bucket."""
    from s3fs import S3FileSystem

    name = f"tests-{uuid.uuid4().hex[:8]}"
    S3FileSystem().mkdir(name)
    return f"s3://{name}"

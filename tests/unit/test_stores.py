import importlib
import math
import pickle
import socket
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from rlp_sweeps.errors import RunDirectoryError
from rlp_sweeps.stores import IF_ABSENT, as_path, check_store, get, if_still, is_remote, put
from rlp_sweeps.tracking import files


@pytest.mark.parametrize("text", ["runs/a", "/data/a", "a:b"])
def test_as_path_returns_a_local_path_as_it_was_given(text: str) -> None:
    assert as_path(text) == Path(text)
    assert not is_remote(as_path(text))


def test_as_path_takes_a_file_uri_as_the_path_it_names() -> None:
    assert as_path("file:///data/a") == Path("/data/a")


def test_a_path_in_a_store_is_its_uri_and_survives_pickling() -> None:
    path = as_path("s3://bucket/a/b/") / "trials"

    again = pickle.loads(pickle.dumps(path))

    assert (str(path), path.name, str(path.parent)) == (
        "s3://bucket/a/b/trials",
        "trials",
        "s3://bucket/a/b",
    )
    assert again == path
    assert is_remote(again)


def test_a_pickled_path_in_a_store_holds_no_credentials(s3: str) -> None:
    path = as_path("s3://bucket/a")
    files.is_remote(path)

    assert b"very-secret-key" not in pickle.dumps(path)


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("gs://bucket/a", "mount another store"),
        ("s3://bucket", "must be s3://BUCKET/PREFIX"),
        ("s3:///a", "must be s3://BUCKET/PREFIX"),
        ("s3://bucket/a/../../b", "must be s3://BUCKET/PREFIX"),
        ("s3://bucket/a*", r"must hold none of '\*'"),
        ("s3://key:secret@bucket/a", "must hold none of '@'"),
    ],
)
def test_as_path_refuses_what_is_no_prefix_in_a_bucket(uri: str, reason: str) -> None:
    with pytest.raises(RunDirectoryError, match=reason):
        as_path(uri)


def test_put_replaces_an_object_only_under_its_condition(bucket: str) -> None:
    path = as_path(f"{bucket}/a/object")
    first = put(path, b"1", condition=IF_ABSENT)

    with pytest.raises(FileExistsError):
        put(path, b"2", condition=IF_ABSENT)
    second = put(path, b"2", condition=if_still(first))
    with pytest.raises(FileExistsError):
        put(path, b"3", condition=if_still(first))

    found = get(path)
    assert found is not None
    assert (found.data, found.etag) == (b"2", second)


def test_put_again_of_what_is_there_already_counts_as_done(bucket: str) -> None:
    path = as_path(f"{bucket}/a/object")
    etag = put(path, b"1", condition=IF_ABSENT)

    assert put(path, b"1", condition=IF_ABSENT) == etag  # the first answer may have been lost


def test_check_store_refuses_a_bucket_that_does_not_exist(s3: str) -> None:
    with pytest.raises(
        RunDirectoryError, match=r"bucket of s3://absent/a must exist, but there is no"
    ):
        check_store(as_path("s3://absent/a"))


def test_check_store_accepts_an_empty_prefix_of_a_bucket(bucket: str) -> None:
    check_store(as_path(f"{bucket}/nothing/here"))


def test_check_store_names_absent_credentials(
    s3: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))

    with pytest.raises(RunDirectoryError, match=r"must accept this process's credentials"):
        check_store(as_path("s3://bucket/a"))


def test_check_store_names_refused_credentials_and_no_secret(bucket: str, s3: str) -> None:
    def ask_for_credentials_after(num_requests: float) -> None:
        kind = {"Content-Type": "text/plain"}
        url, data = f"{s3}/moto-api/reset-auth", str(num_requests).encode()
        with urllib.request.urlopen(urllib.request.Request(url, data=data, headers=kind)):
            return

    ask_for_credentials_after(0)
    try:
        with pytest.raises(
            RunDirectoryError, match=r"must accept this process's credentials"
        ) as refused:
            check_store(as_path(f"{bucket}/a"))
    finally:
        ask_for_credentials_after(math.inf)
    assert "very-secret-key" not in str(refused.value)


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_check_store_gives_up_within_seconds_where_nothing_listens(
    s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    started = time.monotonic()

    with pytest.raises(RunDirectoryError, match=rf"must answer at http://127.0.0.1:{port}, but"):
        check_store(as_path("s3://bucket/a"))

    assert time.monotonic() - started < 15


def test_check_store_gives_up_where_nothing_answers(
    s3: str, silent_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent_port}")
    monkeypatch.setattr("rlp_sweeps.stores.ANSWER_TIMEOUT_S", 1.0)

    with pytest.raises(RunDirectoryError, match=r"no answer within 1 s"):
        check_store(as_path("s3://bucket/a"))


def test_check_store_names_the_extra_where_s3fs_is_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    path = as_path("s3://bucket/a")
    loaded = importlib.import_module("fsspec.registry")._registry
    monkeypatch.delitem(loaded, "s3", raising=False)
    monkeypatch.setitem(sys.modules, "s3fs", None)

    with pytest.raises(RunDirectoryError, match=r"pip install 'rlp-sweeps\[s3\]'"):
        check_store(path)


def test_put_waits_for_a_store_that_is_away_for_a_moment(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = as_path(f"{bucket}/a/object")
    store = path.fs  # type: ignore[attr-defined]
    original, calls = store.pipe_file, []

    def away_at_first(*args: object, **kwargs: object) -> object:
        calls.append(time.monotonic())
        if len(calls) < 3:
            raise TimeoutError("away")
        return original(*args, **kwargs)

    monkeypatch.setattr(store, "pipe_file", away_at_first)
    put(path, b"1")

    assert len(calls) == 3
    assert path.read_bytes() == b"1"


def test_write_atomically_leaves_nothing_in_a_store_where_its_writer_raises(bucket: str) -> None:
    path = as_path(f"{bucket}/a/trials/a1.parquet")

    def write_half(temporary: Path) -> None:
        temporary.write_bytes(b"half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        files.write_atomically(path, write_half)

    assert not as_path(f"{bucket}/a").exists()


def test_read_all_brings_many_files_and_says_which_are_absent(bucket: str) -> None:
    folder = as_path(f"{bucket}/a")
    paths = [folder / f"{number}.txt" for number in range(70)]
    for path in paths[:69]:
        put(path, path.name.encode())

    found = dict(files.read_all(paths))

    assert found == {path: path.name.encode() for path in paths[:69]} | {paths[69]: None}


def test_one_of_many_writers_at_once_creates_an_object(bucket: str) -> None:
    path = as_path(f"{bucket}/a/object")
    won: list[int] = []

    def create(number: int) -> None:
        try:
            put(path, str(number).encode(), condition=IF_ABSENT)
        except FileExistsError:
            return
        won.append(number)

    threads = [threading.Thread(target=create, args=[number]) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(won) == 1
    assert path.read_bytes() == str(won[0]).encode()

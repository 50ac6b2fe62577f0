"""Where a run directory is: a local or mounted folder, or ``s3://BUCKET/PREFIX`` in an S3 store.

A path in a store is a ``upath.UPath``, which has the methods of ``pathlib.Path`` and is typed as
one, so that code that reads and writes files need not know which it has. What a store does
otherwise (an object appears whole, by one PUT; folders do not exist; a PUT can be made to depend on
what is there) stands here and in ``tracking.files``. Endpoint and credentials are those that AWS's
own tools take, from ``AWS_*`` variables, profiles or the machine's role; none is kept in a path.

fsspec and s3fs are imported where a path in a store is met, never with this module.
"""

import errno
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, cast

from rlp_sweeps.errors import RunDirectoryError

Condition = tuple[str, str]
"""What must hold for a PUT to be carried out: a header's name, as S3's client has it, and value."""

IF_ABSENT: Condition = ("IfNoneMatch", "*")
"""There is no such object."""

SCHEMES = ("s3", "s3a")
"""Stores that a run directory can be in."""

ANSWER_TIMEOUT_S = 10.0
"""Longest wait for a store's first answer."""

PATIENCE_S = 120.0
"""How long a write is tried again where a store is away for a moment."""

MAX_PUT_BYTES = 4 * 2**30
"""Largest object that one PUT carries; larger ones are sent in parts, and appear whole as well."""

_UNMET = ("PreconditionFailed", "412", "NoSuchKey", "404")
_PASSING = (errno.EBUSY, errno.EIO, getattr(errno, "EREMOTEIO", errno.EIO))
_REFUSED_CHARACTERS = set("*?[]{}#@%\\")
_OPTIONS: Mapping[str, Any] = {
    "use_listings_cache": False,  # other processes write there
    "config_kwargs": {
        "connect_timeout": 5,
        "read_timeout": 60,
        "retries": {"mode": "standard", "total_max_attempts": 2},
    },
}


def as_path(path: str | Path) -> Path:
    """Return a path as it was given, or one in a store where it is a URI.

    Args:
        path: ``runs/a``, ``file:///data/a`` or ``s3://bucket/prefix``.

    Raises:
        RunDirectoryError: The URI's scheme is none of `SCHEMES`, or it names no bucket and prefix.
    """
    if not isinstance(path, str):
        return path
    scheme, separator, rest = path.partition("://")
    if not path.strip():
        msg = (
            f"a run directory must have a name, but got {path!r}, as of a variable of the shell "
            "that is not set; `.` is this folder."
        )
        raise RunDirectoryError(msg)
    if not separator:
        return Path(path)
    if scheme == "file":
        return Path(rest)
    if scheme not in SCHEMES:
        msg = (
            f"a run directory must be a folder or s3://BUCKET/PREFIX, but got {path!r}; mount "
            "another store and give the path of the mount."
        )
        raise RunDirectoryError(msg)
    parts = rest.rstrip("/").split("/")
    if len(parts) < 2 or not set(parts).isdisjoint({"", ".", ".."}):
        msg = f"a run directory in a store must be s3://BUCKET/PREFIX, but got {path!r}."
        raise RunDirectoryError(msg)
    if not _REFUSED_CHARACTERS.isdisjoint(rest):
        named = "".join(sorted(_REFUSED_CHARACTERS & set(rest)))
        msg = (
            f"the URI of a run directory must hold none of {named!r}: it is taken as it stands, "
            "and credentials come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
        )
        raise RunDirectoryError(msg)
    return _upath(f"s3://{'/'.join(parts)}")


def _upath(uri: str) -> Path:
    try:
        from upath import UPath
    except ImportError as error:
        raise _no_s3fs(uri, error) from error
    return cast("Path", UPath(uri, **_OPTIONS))


def is_remote(path: object) -> bool:
    """Return whether a path is one in a store; a text is none."""
    return hasattr(path, "storage_options")


def absolute_path(path: Path) -> Path:
    """Return a path that means the same from any folder; one in a store does as it is."""
    return path if is_remote(path) else path.expanduser().absolute()


def store_of(path: Path) -> tuple[Any, str]:
    """Return the fsspec file system of a path in a store, and its name there.

    Raises:
        RunDirectoryError: s3fs is not installed.
    """
    remote: Any = path
    try:
        return remote.fs, remote.path
    except ImportError as error:
        raise _no_s3fs(str(path), error) from error


def store_errors() -> tuple[type[Exception], ...]:
    """Return what a store's client raises: ``OSError`` and its own errors."""
    return (OSError, *client_errors())


def client_errors() -> tuple[type[Exception], ...]:
    """Return a store's client's own errors; none as long as no client is loaded."""
    exceptions = sys.modules.get("botocore.exceptions")
    return () if exceptions is None else (exceptions.BotoCoreError, exceptions.ClientError)


def check_store(path: Path) -> None:
    """Refuse a path whose store does not answer, within seconds; nothing is written.

    Raises:
        RunDirectoryError: s3fs is absent, the bucket does not exist, the credentials are absent or
            refused, or nothing answers.
    """
    if not is_remote(path):
        return
    store, name = store_of(path)
    bucket = name.split("/", 1)[0]
    from fsspec.asyn import sync
    from fsspec.exceptions import FSTimeoutError

    try:
        try:
            sync(store.loop, store._ls, name, timeout=ANSWER_TIMEOUT_S)
        except FileNotFoundError:  # says nothing of the bucket yet
            sync(store.loop, store._ls, bucket, timeout=ANSWER_TIMEOUT_S)
    except FileNotFoundError as error:
        msg = f"the bucket of {path} must exist, but there is no {bucket!r} {_at_endpoint()}."
        raise RunDirectoryError(msg) from error
    except FSTimeoutError as error:
        raise _no_answer(path, f"no answer within {ANSWER_TIMEOUT_S:g} s") from error
    except store_errors() as error:
        raise refusal(path, error) from error


def refusal(path: Path, error: Exception) -> RunDirectoryError:
    """Return the sentence that says why a store does not do what it was asked."""
    kind, reason = type(error).__name__, " ".join(str(error).split())
    if isinstance(error, PermissionError) or "Credentials" in kind:
        return RunDirectoryError(
            f"the store of {path} must accept this process's credentials, but it does not "
            f"({reason.rstrip('.')}); set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or "
            "AWS_PROFILE."
        )
    return _no_answer(path, reason or kind)


def _no_answer(path: Path, reason: str) -> RunDirectoryError:
    return RunDirectoryError(
        f"the store of {path} must answer {_at_endpoint()}, but it does not "
        f"({reason.rstrip('.')}); check AWS_ENDPOINT_URL and the network."
    )


def _at_endpoint() -> str:
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    return "at AWS" if endpoint is None else f"at {endpoint.rpartition('@')[2]}"


def _no_s3fs(uri: str, error: ImportError) -> RunDirectoryError:
    return RunDirectoryError(
        f"s3fs must be installed for a run directory at {uri}, but it is not ({error}); "
        "`pip install 'rlp-sweeps[s3]'`, on every machine that trains."
    )


def put(
    path: Path, data: bytes, *, patience_s: float = PATIENCE_S, condition: Condition | None = None
) -> str:
    """Write an object; it is there whole or, where its writer is killed, not at all.

    Args:
        path: A path in a store.
        data: Its content, at most `MAX_PUT_BYTES`.
        patience_s: How long it is tried again where the store is away.
        condition: What must hold for it to be written; nothing where missing.

    Returns:
        The object's ETag.

    Raises:
        FileExistsError: The condition does not hold.
        OSError: The store is away, or refuses.
    """
    store, name = store_of(path)
    deadline = time.monotonic() + patience_s
    pause_s = 0.5
    options = {} if condition is None else dict([condition])
    while True:
        try:
            answer = store.pipe_file(name, data, chunksize=MAX_PUT_BYTES // 2 + 1, **options)
            return str(answer["ETag"])
        except store_errors() as error:
            if condition and _code_of(error) in _UNMET:
                there = get(path)
                if there is not None and there.data == data:  # an answer that was lost said so
                    return there.etag
                raise FileExistsError(f"{path} is not what it was") from error
            if not _passes(error) or time.monotonic() + pause_s > deadline:
                raise _os_error(path, error) from error
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, 10.0)


def if_still(etag: str) -> Condition:
    """Return the condition that an object is the one with this ETag."""
    return ("IfMatch", etag)


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object as it was read.

    Attributes:
        data: Its content.
        etag: What tells this writing from any other.
        age_s: Seconds since, by the store's clock.
    """

    data: bytes
    etag: str
    age_s: float


def get(path: Path) -> StoredObject | None:
    """Return an object by one request; None where there is none.

    Raises:
        OSError: The store is away, or refuses.
    """
    from fsspec.asyn import sync

    store, name = store_of(path)
    bucket, key, _ = store.split_path(name)
    try:
        answer = store.call_s3("get_object", Bucket=bucket, Key=key)
        data = bytes(sync(store.loop, answer["Body"].read))
    except FileNotFoundError:
        return None
    except store_errors() as error:
        raise _os_error(path, error) from error
    headers = answer["ResponseMetadata"]["HTTPHeaders"]
    written, now = (parsedate_to_datetime(headers[name]) for name in ("last-modified", "date"))
    return StoredObject(data, str(answer["ETag"]), (now - written).total_seconds())


def _code_of(error: BaseException) -> str:
    """Return S3's own name of an error; empty where it has none."""
    response = getattr(error.__cause__, "response", None) or {}
    return str(response.get("Error", {}).get("Code", ""))


def _passes(error: Exception) -> bool:
    """Return whether the same request may well be answered in a while."""
    if isinstance(error, OSError):
        return isinstance(error, TimeoutError) or error.errno in _PASSING
    return "Credentials" not in type(error).__name__


def _os_error(path: Path, error: Exception) -> OSError:
    if isinstance(error, OSError):
        return error
    return OSError(errno.EIO, f"{path} cannot be reached: {error}")

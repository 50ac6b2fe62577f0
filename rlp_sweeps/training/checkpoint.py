"""Checkpoints of a group in training: tensors and plain values only, written aside and moved.

Read with ``weights_only=True``, so that a checkpoint can never run code, and only where every byte
has the checksum that it was written with: torch itself takes a spoilt tensor for a whole one.
"""

import io
import os
import pickle
import uuid
import zipfile
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import torch

from rlp_sweeps.errors import CheckpointError
from rlp_sweeps.stores import is_remote, put


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint; a reader sees the old one or the new one, never a part.

    Raises:
        OSError: The folder cannot be written, the disk is full, or the store is away; nothing is
            left behind.
    """
    if is_remote(path):
        buffer = io.BytesIO()
        _serialize(state, buffer)
        put(path, buffer.getvalue())
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.tmp")
    try:
        with temporary.open("xb") as file:
            _serialize(state, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _serialize(state: dict[str, Any], file: BinaryIO) -> None:
    """Write a state; torch tells of a full disk by an error of its own."""
    try:
        torch.save(state, file)
    except RuntimeError as error:
        if isinstance(error.__context__, OSError):
            raise error.__context__ from error
        if "PytorchStreamWriter failed" in str(error):
            raise OSError(str(error).splitlines()[0]) from error
        raise


def load_checkpoint(
    path: Path, device: torch.device, *, way_out: str = "delete it to train from the start"
) -> dict[str, Any]:
    """Return what `save_checkpoint` wrote, with its tensors on `device`.

    Args:
        path: The file.
        device: Where its tensors go.
        way_out: What to do about a file that cannot be read.

    Raises:
        CheckpointError: The file is truncated, has a changed byte, or holds anything but tensors
            and plain values.
    """
    try:
        source = io.BytesIO(path.read_bytes()) if is_remote(path) else path
        reason = _what_is_spoilt(source)
        if reason is None:
            if isinstance(source, io.BytesIO):
                source.seek(0)
            state: dict[str, Any] = torch.load(source, map_location=device, weights_only=True)
            return state
    except pickle.UnpicklingError as error:  # torch's own words advise to load it all the same
        msg = (
            f"checkpoint {path} must hold tensors and plain values alone, but it holds something "
            f"else, which may run code when it is read, and was not read; {way_out}."
        )
        raise CheckpointError(msg) from error
    except _UNREADABLE as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        msg = f"checkpoint {path} must be whole, but {reason}; {way_out}."
        raise CheckpointError(msg) from error
    msg = f"checkpoint {path} must be whole, but {reason}; {way_out}."
    raise CheckpointError(msg)


_UNREADABLE = (
    RuntimeError,
    EOFError,
    OSError,
    ValueError,
    LookupError,
    NotImplementedError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What the readers of a spoilt file raise."""


def _what_is_spoilt(source: Path | io.BytesIO) -> str | None:
    """Return what is wrong with the file; None where every record has its checksum."""
    if not zipfile.is_zipfile(source):
        return "it is no zip file to its end"
    with zipfile.ZipFile(source) as archive:
        record = archive.testzip()
    return None if record is None else f"its record {record!r} is not what was written"

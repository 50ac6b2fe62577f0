"""Checkpoints of a group in training: tensors and plain values only, written aside and moved.

Read with ``weights_only=True``, so that a checkpoint can never run code.
"""

import os
import pickle
import uuid
import zipfile
from pathlib import Path
from typing import Any

import torch

from rlp_sweeps.errors import CheckpointError


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint; a reader sees the old one or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.tmp")
    with temporary.open("xb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def load_checkpoint(
    path: Path, device: torch.device, *, way_out: str = "delete it to train from the start"
) -> dict[str, Any]:
    """Return what `save_checkpoint` wrote, with its tensors on `device`.

    Args:
        path: The file.
        device: Where its tensors go.
        way_out: What to do about a file that cannot be read.

    Raises:
        CheckpointError: The file is truncated or holds anything but tensors and plain values.
    """
    if not zipfile.is_zipfile(path):
        msg = f"checkpoint {path} must be whole; {way_out}."
        raise CheckpointError(msg)
    try:
        state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    except pickle.UnpicklingError as error:  # torch's own words advise to load it all the same
        msg = (
            f"checkpoint {path} must hold tensors and plain values alone, but it holds something "
            f"else, which may run code when it is read, and was not read; {way_out}."
        )
        raise CheckpointError(msg) from error
    except (RuntimeError, EOFError, OSError) as error:
        reason = str(error).splitlines()[0]
        msg = f"checkpoint {path} must be whole, but {reason}; {way_out}."
        raise CheckpointError(msg) from error
    return state

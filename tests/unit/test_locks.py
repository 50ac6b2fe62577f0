import errno
import fcntl
import os
from pathlib import Path

import pytest

from rlp_sweeps.errors import RunDirectoryError
from rlp_sweeps.tracking import locks


def refuse(handle: int, kind: int) -> None:
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))


def test_a_file_system_without_locks_is_refused_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fcntl, "flock", refuse)

    refusal = pytest.raises(RunDirectoryError, match=r"must have working locks \(flock\), but")
    with refusal, locks.locked(tmp_path / ".driver.lock"):
        pass


def test_a_lock_is_held_by_one_and_given_back(tmp_path: Path) -> None:
    path = tmp_path / ".driver.lock"

    with locks.locked(path) as first, locks.locked(path) as second:
        held = (first.is_ours, second.is_ours, locks.is_locked(path))

    assert held == (True, False, True)
    assert not locks.is_locked(path)

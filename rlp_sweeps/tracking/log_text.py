"""The text of a log, where it lies: a file that is appended to, or an object that is sent whole."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Protocol
from uuid import uuid4

from rlp_sweeps.stores import get, put

_CUT = re.compile(rb"\S+ group +cut: (\d+) bytes [^\n]*\n")
_STAMP = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (?=.)")
_SEND_PATIENCE_S = 5.0


class LogText(Protocol):
    """A text that grows at its end."""

    @property
    def size(self) -> int:
        """Its bytes."""
        ...

    def read(self) -> bytes:
        """Return the text."""
        ...

    def append(self, data: bytes) -> None:
        """Add whole lines.

        Raises:
            OSError: There is no room; a part of them may be there.
        """
        ...

    def replace(self, data: bytes) -> None:
        """Put another text in its place, whole or not at all.

        Raises:
            OSError: There is no room.
        """
        ...

    def send(self) -> None:
        """Bring it where others read it.

        Raises:
            OSError: The store is away.
        """
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


class FileText:
    """A file, written without a buffer, so that whatever kills the process leaves what it wrote."""

    def __init__(self, path: Path, on_file: Callable[[int], object]) -> None:
        """Open the file, or go on with the one that is there; never through a link.

        Args:
            path: The file; its folder is created.
            on_file: Is told of the descriptor, whenever it is another one.

        Raises:
            OSError: It cannot be written.
        """
        self._path = path
        self._on_file = on_file
        path.parent.mkdir(exist_ok=True)
        self._handle = self._opened(path, 0)
        self.size = os.fstat(self._handle).st_size
        last = os.pread(self._handle, 1, self.size - 1) if self.size else b"\n"
        self._is_torn = last != b"\n"
        on_file(self._handle)

    @staticmethod
    def _opened(path: Path, further: int) -> int:
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        return os.open(path, flags | further, 0o666)

    def read(self) -> bytes:
        """Return the text."""
        return self._path.read_bytes()

    def append(self, data: bytes) -> None:
        """Add whole lines."""
        left = memoryview(b"\n" + data if self._is_torn else data)
        while left:
            num_written = os.write(self._handle, left)
            self.size += num_written
            self._is_torn = num_written < len(left)
            left = left[num_written:]

    def replace(self, data: bytes) -> None:
        """Put another text in its place."""
        temporary = self._path.with_name(f".{self._path.name}.{uuid4().hex[:12]}.tmp")
        handle = self._opened(temporary, os.O_EXCL)
        try:
            left = memoryview(data)
            while left:
                left = left[os.write(handle, left) :]
            os.replace(temporary, self._path)
        except BaseException:
            os.close(handle)
            temporary.unlink(missing_ok=True)
            raise
        self._on_file(handle)
        os.close(self._handle)
        self._handle, self.size, self._is_torn = handle, len(data), False

    def send(self) -> None:
        """Do nothing: others read the file."""

    def close(self) -> None:
        """Close the file."""
        os.close(self._handle)
        self._handle = -1  # a later write is refused


class ObjectText:
    """An object in a store, kept in memory until it is sent."""

    def __init__(self, path: Path) -> None:
        """Go on with the object that is there.

        Args:
            path: In a store.

        Raises:
            OSError: The store is away.
        """
        self._path = path
        found = get(path)
        self._text = bytearray(b"" if found is None else found.data)
        self._is_sent = True

    @property
    def size(self) -> int:
        """Its bytes."""
        return len(self._text)

    def read(self) -> bytes:
        """Return the text."""
        return bytes(self._text)

    def append(self, data: bytes) -> None:
        """Add whole lines."""
        self._text += data
        self._is_sent = False

    def replace(self, data: bytes) -> None:
        """Put another text in its place."""
        self._text = bytearray(data)
        self._is_sent = False

    def send(self) -> None:
        """Write the object, unless it is as it was."""
        if not self._is_sent:
            put(self._path, bytes(self._text), patience_s=_SEND_PATIENCE_S)
            self._is_sent = True

    def close(self) -> None:
        """Do nothing."""


def without_middle(text: bytes, *, head: int, tail: int) -> bytes:
    """Return a text without its middle, with a line in its place that says how much is missing.

    Args:
        text: Lines; one that says so from an earlier cut is taken into account.
        head: Bytes at most that are kept of its beginning.
        tail: The same of its end.
    """
    end = text.rfind(b"\n", 0, head) + 1
    start = text.find(b"\n", max(end, len(text) - tail)) + 1
    if start <= end:  # one line fills it
        end, start = 0, len(text) - tail
    earlier = _CUT.match(text, end)
    stamp = _STAMP.match(text, end)
    num_bytes = start - end
    if earlier is not None:
        num_bytes += int(earlier[1]) - len(earlier[0])
    told = b"- " if stamp is None else stamp[0]
    note = b"group            cut: %d bytes are left out here; a log keeps its beginning and end\n"
    return text[:end] + told + note % num_bytes + text[start:]

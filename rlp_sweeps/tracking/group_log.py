"""The log of a group: ``logs/<group_id>.log``, lines of text with their times (UTC).

    2026-11-26T11:40:15.123Z group            start 1: 4 trial(s) by sequential on cpu …
    2026-11-26T11:40:16.004Z 3f2a1b9c4d5e6f70 epoch 1/20: train_accuracy=0.62 …
    2026-11-26T11:40:16.007Z stdout           what a network of the user's own has printed

The second word is the source, a trial's id or one of `SOURCES`. A line is in the file when `write`
returns, so that a killed process leaves its lines; a line without a time is what a process wrote as
it crashed. An object in a store cannot be appended to: lines wait in memory there, and `flush`
sends the whole. A log goes on with what earlier attempts have left and holds `MAX_BYTES` at most.
It never raises: lines that find no room are counted, and it says how many are missing.
"""

import os
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from rlp_sweeps.stores import is_remote
from rlp_sweeps.tracking.log_text import FileText, LogText, ObjectText, without_middle

GROUP = "group"
STDOUT = "stdout"
STDERR = "stderr"
WARNING = "warning"
LOGGING = "logging"
CRASH = "crash"
SOURCES = (GROUP, STDOUT, STDERR, WARNING, LOGGING, CRASH)
"""What a line may come from besides a trial: the group as a whole, and what its process says."""

MAX_BYTES = 2**20
"""Largest size of a log; before it is exceeded, the middle goes."""

MAX_LINE = 4000
"""Characters of a line; longer ones are cut, and say so."""

_KEPT = MAX_BYTES // 4
"""Bytes that are kept at either end of a log that is cut, and written at once."""

_LOCK_PATIENCE_S = 1.0  # whoever hangs while it writes holds up nobody for longer
_RETRY_AFTER_S = 1.0
_STAMP_FORMAT = "%Y-%m-%dT%H:%M:%S.%f"
_STAMP_WIDTH = 24
_SOURCE_WIDTH = 16
_STAMPED = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z \S")
_START = re.compile(rb"^\S+ group +start \d+:", re.MULTILINE)


class LogLine(NamedTuple):
    """A line of a log.

    Attributes:
        time: When it was written, in UTC; None of what a crashed process left.
        source: A trial's id, or one of `SOURCES`.
        text: What it says.
    """

    time: datetime | None
    source: str
    text: str

    def __str__(self) -> str:
        stamp = "" if self.time is None else _stamp(self.time)
        return f"{stamp:<{_STAMP_WIDTH}} {self.source:<{_SOURCE_WIDTH}} {self.text}"


class GroupLog:
    """A log that is being written, by any thread of the process.

    Attributes:
        num_starts: Starts of the group that it told of when it was opened.
    """

    def __init__(self, path: Path, *, on_file: Callable[[int], object] | None = None) -> None:
        """Open the log, or go on with what is there; without room for it, write nothing.

        Args:
            path: See `RunDirectory.log_path`.
            on_file: Is told of the descriptor of the open file, whenever it is another one.
        """
        self.num_starts = 0
        self._lock = threading.RLock()
        self._pid = os.getpid()
        self._num_lost = 0
        self._retry_at = 0.0
        self._text: LogText | None = None
        with suppress(OSError):
            text: LogText = (
                ObjectText(path) if is_remote(path) else FileText(path, on_file or _ignore)
            )
            self._text = text
            self.num_starts = len(_START.findall(text.read()))

    def write(self, source: str, text: str) -> None:
        """Write a text, one line for each of its own."""
        self.write_all([(source, text)])

    def write_all(self, entries: Iterable[tuple[str, str]]) -> None:
        """Write several texts at once, each with its source."""
        if self._text is None or os.getpid() != self._pid:
            return  # a process that was forked off has the lock as it stood
        stamp = _stamp(datetime.now(UTC))
        lines = [
            f"{stamp} {source:<{_SOURCE_WIDTH}} {_shown(line)}\n"
            for source, text in entries
            for line in text.split("\n")
        ]
        data = "".join(lines).encode()
        if len(data) > _KEPT:
            data = without_middle(data, head=_KEPT // 2, tail=_KEPT // 2)
        if data and not self._does(lambda text: self._append(text, data, stamp)):
            self._num_lost += len(lines)

    def _append(self, text: LogText, data: bytes, stamp: str) -> None:
        if time.monotonic() < self._retry_at:
            raise BlockingIOError
        self._retry_at = time.monotonic() + _RETRY_AFTER_S  # unless this goes well
        if self._num_lost:
            lost = f"{self._num_lost} line(s) are missing: there was no room for them"
            data = f"{stamp} {GROUP:<{_SOURCE_WIDTH}} {lost}\n".encode() + data
        if text.size + len(data) > MAX_BYTES:
            text.replace(without_middle(text.read(), head=_KEPT, tail=_KEPT))
        text.append(data)
        self._num_lost, self._retry_at = 0, 0.0

    def flush(self) -> None:
        """Send what a store lacks; a file lacks nothing."""
        self._does(lambda text: text.send())

    def close(self) -> None:
        """Flush, and write no more."""
        self.flush()
        self._does(lambda text: text.close())
        self._text = None

    def _does(self, action: Callable[[LogText], None]) -> bool:
        """Do something to the text, and return whether that went well."""
        if self._text is None or not self._lock.acquire(timeout=_LOCK_PATIENCE_S):
            return False
        try:
            action(self._text)
        except OSError:
            return False
        finally:
            self._lock.release()
        return True


def add_line(path: Path, text: str) -> None:
    """Add a line of the group to a log that is there, after its process was lost.

    Does nothing in a store: an object cannot be added to.
    """
    if not is_remote(path) and os.path.exists(path):
        log = GroupLog(path)
        log.write(GROUP, text)
        log.close()


def read_log(path: Path) -> list[LogLine]:
    """Return the lines of a log, or of what there is of it; none where there is no log.

    Raises:
        OSError: It cannot be read.
    """
    try:
        text = path.read_bytes().decode(errors="backslashreplace")
    except FileNotFoundError:
        return []
    return list(_lines_of(text))


def _lines_of(text: str) -> Iterator[LogLine]:
    for line in text.removesuffix("\n").split("\n") if text else ():
        if not _STAMPED.match(line):
            yield LogLine(None, CRASH, line)
            continue
        time_ = datetime.strptime(line[: _STAMP_WIDTH - 1], _STAMP_FORMAT).replace(tzinfo=UTC)
        source = line[_STAMP_WIDTH + 1 :].partition(" ")[0]
        begin = _STAMP_WIDTH + 1 + max(_SOURCE_WIDTH, len(source)) + 1
        yield LogLine(time_, source, line[begin:])


def groups_with_log(directory: Path) -> frozenset[str]:
    """Return the ids of the groups of a run directory that have a log."""
    return frozenset(path.stem for path in (directory / "logs").glob("[!.]*.log"))


def _ignore(handle: int) -> None:
    del handle


def _stamp(time_: datetime) -> str:
    return f"{time_.strftime(_STAMP_FORMAT)[:-3]}Z"


def _shown(line: str) -> str:
    """Return a line without what commands a terminal, and at most `MAX_LINE` characters of it."""
    if len(line) > MAX_LINE:
        line = f"{line[:MAX_LINE]}… ({len(line) - MAX_LINE} more characters)"
    if line.isprintable():
        return line
    return "".join(c if c.isprintable() or c == "\t" else repr(c)[1:-1] for c in line)

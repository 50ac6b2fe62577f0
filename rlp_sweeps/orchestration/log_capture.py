"""What the process of a group says besides its rows, brought into the group's log.

Prints, messages of `logging` and warnings go where they went before as well. What is written below
Python, by native code or by processes that were started, is not seen, but for the trace of a crash.
"""

import contextlib
import faulthandler
import logging
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from typing import Any, TextIO

from rlp_sweeps.tracking.group_log import (
    GROUP,
    LOGGING,
    MAX_LINE,
    STDERR,
    STDOUT,
    WARNING,
    GroupLog,
)

_OWN = "rlp_sweeps"


class _Stream:
    """Passes on what is written, and whole lines of it to the log of the group at work.

    One stands for each of stdout and stderr as long as the process lives: handlers of `logging`
    keep the stream that they were made with.

    Attributes:
        wrapped: The stream that stood there before.
        log: The log; None while no group is at work.
    """

    def __init__(self, source: str) -> None:
        self.wrapped: TextIO | Any = None
        self.log: GroupLog | None = None
        self._source = source
        self._begun = ""

    def __getattr__(self, name: str) -> Any:
        return getattr(self.wrapped, name)

    def write(self, text: str) -> int:
        """Write a text, and return how many characters it has."""
        if self.log is not None and isinstance(text, str):
            self._take(self.log, text)
        self.wrapped.write(text)  # that of a Ray worker returns nothing
        return len(text)

    def _take(self, log: GroupLog, text: str) -> None:
        *whole, begun = (self._begun + text).split("\n")
        begun = begun.rpartition("\r")[2]  # a bar that is drawn over and over
        if len(begun) > MAX_LINE:
            whole.append(begun)
            begun = ""
        self._begun = begun
        if whole:
            lines = (line.removesuffix("\r").rpartition("\r")[2] for line in whole)
            log.write(self._source, "\n".join(lines))

    def end(self) -> None:
        """Log the line that has no end yet, and no more."""
        if self.log is not None and self._begun:
            self.log.write(self._source, self._begun)
        self.log, self._begun = None, ""


class _Handler(logging.Handler):
    """Writes messages of `logging`.

    Attributes:
        log: The log; None while no group is at work.
    """

    log: GroupLog | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Write a message, of this package's own as of the group's."""
        if self.log is None:
            return
        is_own = record.name.partition(".")[0] == _OWN
        try:
            text = record.getMessage()
            if record.exc_info and record.exc_info[0] is not None:
                text = f"{text}\n{''.join(traceback.format_exception(*record.exc_info)).rstrip()}"
            said = text if is_own else f"{record.levelname} {record.name}: {text}"
            self.log.write(GROUP if is_own else LOGGING, said)
            if not is_own and record.levelno >= logging.WARNING:
                _ERR.wrapped.write(f"{text}\n")  # as `logging` does where nobody has set it up
        except Exception:  # noqa: BLE001  as every handler: what a message raises ends no training
            self.handleError(record)


class _AlreadyShown(Warning):
    """Is never raised: a filter for it has warnings shown that an earlier group has raised."""


_OUT, _ERR = _Stream(STDOUT), _Stream(STDERR)
_HANDLER = _Handler()


@contextlib.contextmanager
def captured(log: GroupLog) -> Iterator[None]:
    """Log what this process prints, logs and warns of within the block.

    `logging` is asked for messages from INFO on where nobody has set its level. Messages that a
    handler of the user's own prints are in the log as it prints them.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(_streams(log))
        stack.enter_context(_warnings(log))
        stack.enter_context(_logging(log))
        yield


@contextlib.contextmanager
def _streams(log: GroupLog) -> Iterator[None]:
    for name, stream in (("stdout", _OUT), ("stderr", _ERR)):
        before = getattr(sys, name)
        if before is not stream:
            stream.wrapped = before
        stream.log = log
        setattr(sys, name, stream)
    try:
        yield
    finally:
        for name, stream in (("stdout", _OUT), ("stderr", _ERR)):
            stream.end()
            if getattr(sys, name) is stream:
                setattr(sys, name, stream.wrapped)


@contextlib.contextmanager
def _warnings(log: GroupLog) -> Iterator[None]:
    before: Callable[..., Any] = warnings.showwarning

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if file is None:
            log.write(WARNING, f"{category.__name__}: {message} ({filename}:{lineno})")
        before(message, category, filename, lineno, _ERR.wrapped if file is None else file, line)

    warnings.simplefilter("default", category=_AlreadyShown, append=True)
    warnings.showwarning = show
    try:
        yield
    finally:
        if warnings.showwarning is show:
            warnings.showwarning = before


@contextlib.contextmanager
def _logging(log: GroupLog) -> Iterator[None]:
    root, own, last = logging.getLogger(), logging.getLogger(_OWN), logging.lastResort
    levels = [(logger, logger.level) for logger in (root, own)]
    _HANDLER.log = log
    logging.lastResort = _HANDLER
    own.addHandler(_HANDLER)
    own.setLevel(logging.INFO)
    if root.level == logging.WARNING:
        root.setLevel(logging.INFO)
    try:
        yield
    finally:
        _HANDLER.log = None
        own.removeHandler(_HANDLER)
        if logging.lastResort is _HANDLER:
            logging.lastResort = last
        for logger, level in levels:
            if logger.level == logging.INFO:
                logger.setLevel(level)


def log_crashes(handle: int) -> None:
    """Have the trace of a crash in native code written to a file, which stays open.

    Args:
        handle: Its descriptor; -1: of the process's stderr.
    """
    if handle >= 0:
        faulthandler.enable(file=handle, all_threads=False)
    elif sys.__stderr__ is not None:
        faulthandler.enable(file=sys.__stderr__, all_threads=False)

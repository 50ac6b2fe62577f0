"""Ends a group that makes no progress: its process, which nothing else could take back.

A thread waits beside training. What hangs in a system call, on a lock or in a loop of Python leaves
it running; what holds Python's lock for ever does not, and ends only with its process.
"""

import contextlib
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rlp_sweeps.errors import RlpSweepsError

_TICK_S = 0.5


class HangWatch:
    """Watches the thread that enters it; a context manager.

    Args:
        timeout_s: Longest time without progress, in seconds; None: for ever. Time in which the
            whole process was stopped does not count.
        on_hang: Is told, in a thread of its own, where the thread hangs; the process is killed
            when it returns or raises.
    """

    def __init__(self, timeout_s: float | None, on_hang: Callable[[str], object]) -> None:
        self._timeout_s = timeout_s
        self._on_hang = on_hang
        self._is_over = threading.Event()
        self._waited_s = 0.0
        self._thread_id = 0

    def __enter__(self) -> Self:
        self._thread_id = threading.get_ident()
        if self._timeout_s is not None:
            threading.Thread(target=self._watch, name="hang-watch", daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._is_over.set()

    def progress(self) -> None:
        """Begin to wait anew."""
        self._waited_s = 0.0

    def _watch(self) -> None:
        timeout_s = self._timeout_s or 0.0
        tick_s = min(_TICK_S, timeout_s / 4)
        before = time.monotonic()
        while not self._is_over.wait(tick_s):
            now = time.monotonic()
            self._waited_s += min(now - before, 4 * tick_s)
            before = now
            if self._waited_s > timeout_s:
                self._end()
                return

    def _end(self) -> None:
        frame = sys._current_frames().get(self._thread_id)
        stack = "".join(traceback.format_stack(frame)) if frame is not None else ""
        try:
            with contextlib.suppress(RlpSweepsError):  # no room: the group is trained again
                self._on_hang(
                    f"{stack}the group made no progress for {self._timeout_s:g} s "
                    "(`--trial-timeout`), so that its process was ended."
                )
        finally:
            os.kill(os.getpid(), signal.SIGKILL)

"""The driver's feed of MLflow while a sweep is at work: one thread that tells it of every trial.

Workers neither import MLflow, which takes seconds in each process, nor need to reach its store; one
writer also keeps a database from being locked by another one. Rows of ended trials are read from
their part files, evaluations of running ones come with the reports of their groups. The thread
waits for the store so that nobody else has to; what it has not told in the end, `sync` does.
"""

import json
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Any, Protocol, Self

from rlp_sweeps.config import TrialConfig
from rlp_sweeps.errors import RlpSweepsError
from rlp_sweeps.tracking.addresses import without_password
from rlp_sweeps.tracking.mlflow_client import Deadline
from rlp_sweeps.tracking.mlflow_gap import forget_gap, note_gap
from rlp_sweeps.tracking.mlflow_teller import EPOCH_COLUMNS, SweepTeller
from rlp_sweeps.tracking.run_directory import RunDirectory

DRAIN_S = 25.0
"""Longest wait for a store that answers to be told what is left when a sweep has ended, seconds."""

STOP_S = 5.0
"""Longest wait for the answer to the last call, seconds."""

_BEHIND_S = 30.0
_CATCH_UP_EVERY_S = 5.0
_MAX_BACKLOG = 500  # messages; beyond, evaluations of running trials wait for their trial's row


def news_text(*, ended: Iterable[str], running: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Return what a group has to tell `MlflowFeed.take`, as one text; empty where that is nothing.

    Args:
        ended: Trials that have got their rows.
        running: New rows of ``epochs`` of others, by trial.
    """
    rows = {
        trial_id: [{name: row[name] for name in EPOCH_COLUMNS if name in row} for row in new]
        for trial_id, new in running.items()
    }
    news = {"ended": list(ended), "running": rows}
    return json.dumps(news) if any(news.values()) else ""


class Feed(Protocol):
    """Is told of a sweep's trials; no call waits for anybody."""

    def start(self, group_id: str, trials: Sequence[TrialConfig]) -> None:
        """Take note of trials whose training begins now, or goes on."""

    def take(self, news: str) -> None:
        """Take what a group has reported, a result of `news_text`."""


class MlflowFeed:
    """Tells MLflow of a sweep's trials; a context manager that ends when all is told, or in time.

    No call waits for MLflow, and the end of the block waits at most `DRAIN_S` + `STOP_S`.

    Args:
        run_directory: The sweep.
        tracking_uri: As `prepare_sweep` takes it.

    Attributes:
        is_stuck: The block has ended while the store still owed an answer: it must not be written
            to by anybody else of this process.
    """

    def __init__(self, run_directory: RunDirectory, tracking_uri: str) -> None:
        self.is_stuck = False
        self._directory = run_directory
        self._tracking_uri = tracking_uri
        self._teller = SweepTeller(run_directory, tracking_uri)
        self._deadline = Deadline()
        self._gap: str | None = None
        self._messages: SimpleQueue[tuple[float, Callable[[], None]] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="mlflow-feed", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._messages.put(None)
        try:
            if self._teller.failure is None:
                self._thread.join(DRAIN_S)
        finally:
            self._deadline.stop()
        self._thread.join(STOP_S)
        self.is_stuck = self._thread.is_alive()

    def start(self, group_id: str, trials: Sequence[TrialConfig]) -> None:
        """Take note of trials whose training begins now, or goes on."""
        now_ms = time.time_ns() // 1_000_000
        self._put(partial(self._teller.start, group_id, trials, now_ms=now_ms))

    def take(self, news: str) -> None:
        """Take what a group has reported, a result of `news_text`."""
        if news and self._messages.qsize() > _MAX_BACKLOG:
            news = news_text(ended=json.loads(news)["ended"], running={})
        if news:
            self._put(lambda: self._teller.tell(json.loads(news)))

    def _put(self, message: Callable[[], None]) -> None:
        self._messages.put((time.monotonic(), message))

    def _run(self) -> None:
        with self._deadline.applied():
            try:
                self._teller.prepare()
                while (message := self._next()) is not None:
                    put_at, tell = message
                    is_behind = time.monotonic() - put_at > _BEHIND_S
                    self._note(is_behind=is_behind)
                    tell()
                    self._note(is_behind=is_behind)
                self._teller.catch_up()
                while self._teller.has_model_to_log:
                    self._teller.log_next_model()
            except (RlpSweepsError, OSError):
                return  # told to stop, or the same is found, and said, when the sweep ends

    def _next(self) -> tuple[float, Callable[[], None]] | None:
        """Return the next message; while there is none, tell what could not be told before.

        Networks as well, one between two looks, so that a message waits for one of them at most.
        """
        while True:
            patience_s = 0.0 if self._teller.has_model_to_log else _CATCH_UP_EVERY_S
            try:
                return self._messages.get(timeout=patience_s)
            except Empty:
                self._teller.catch_up()
                self._teller.log_next_model()
                self._note(is_behind=False)

    def _note(self, *, is_behind: bool) -> None:
        """Write down what the store lacks, for `status`."""
        reason = self._teller.failure
        if reason is None and is_behind:
            shown = without_password(self._tracking_uri)
            reason = f"the MLflow store must keep up with the sweep, but {shown} does not."
        if reason is None and self._gap is not None and self._teller.num_untold:
            return  # it answers again and is being told what it lacks
        if reason == self._gap:
            return
        self._gap = reason
        if reason is None:
            forget_gap(self._directory.path, tracking_uri=self._tracking_uri)
        else:
            now_ms = time.time_ns() // 1_000_000
            note_gap(
                self._directory.path, tracking_uri=self._tracking_uri, reason=reason, now_ms=now_ms
            )


class MutedFeed(MlflowFeed):
    """The feed of a sweep that has no store: nobody is told, and nobody waits."""

    def __init__(self) -> None:
        self.is_stuck = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return

    def start(self, group_id: str, trials: Sequence[TrialConfig]) -> None:
        """Do nothing."""

    def take(self, news: str) -> None:
        """Do nothing."""

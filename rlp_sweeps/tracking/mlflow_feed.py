"""The driver's feed of MLflow while a sweep is at work: one thread that tells it of every trial.

Workers neither import MLflow, which takes seconds in each process, nor need to reach its store; one
writer also keeps a database from being locked by another one. Rows of ended trials are read from
their part files, evaluations of running ones come with the reports of their groups. The thread
waits for the store so that nobody else has to, and what it has not told in the end, `sync` does.
"""

import json
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from queue import SimpleQueue
from types import TracebackType
from typing import Any, Self

from rlp_sweeps.config import TrialConfig
from rlp_sweeps.errors import RlpSweepsError
from rlp_sweeps.tracking.mlflow_logger import TrialLogger
from rlp_sweeps.tracking.mlflow_records import EPOCH_METRICS
from rlp_sweeps.tracking.mlflow_store import MlflowTarget
from rlp_sweeps.tracking.mlflow_sweep import prepare_sweep
from rlp_sweeps.tracking.run_directory import RunDirectory, code_version

EPOCH_COLUMNS = ("epoch", "logged_at_ms", *EPOCH_METRICS)
"""Columns of ``epochs`` that MLflow is told of."""


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


class MlflowFeed:
    """Tells MLflow of a sweep's trials; a context manager that ends when all is told.

    No call waits for MLflow.

    Args:
        run_directory: The sweep.
        tracking_uri: As `prepare_sweep` takes it; None where nobody is told.
    """

    def __init__(self, run_directory: RunDirectory, tracking_uri: str | None) -> None:
        self._directory = run_directory
        self._tracking_uri = tracking_uri
        self._loggers: dict[str, TrialLogger] = {}
        self._ended: set[str] = set()
        self._messages: SimpleQueue[Callable[[MlflowTarget], None] | None] = SimpleQueue()
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
        self._thread.join()

    def start(self, group_id: str, trials: Sequence[TrialConfig]) -> None:
        """Take note of trials whose training begins now, or goes on."""
        now_ms = time.time_ns() // 1_000_000
        self._messages.put(lambda target: self._start(target, group_id, trials, now_ms))

    def take(self, news: str) -> None:
        """Take what a group has reported, a result of `news_text`."""
        if news:
            self._messages.put(lambda _: self._tell(json.loads(news)))

    def _run(self) -> None:
        if self._tracking_uri is None:
            return
        try:
            target = prepare_sweep(self._tracking_uri, self._directory)
            while (message := self._messages.get()) is not None:
                message(target)
        except (RlpSweepsError, OSError):
            return  # the same is found, and said, when the sweep ends; `sync` tells what is lacking

    def _start(
        self, target: MlflowTarget, group_id: str, trials: Sequence[TrialConfig], now_ms: int
    ) -> None:
        tags = {"code_version": code_version(), "group_id": group_id}
        for trial in trials:
            if trial.trial_id not in self._loggers and trial.trial_id not in self._ended:
                logger = TrialLogger(target, flush_every_s=0.0)  # groups report in their own time
                self._loggers[trial.trial_id] = logger
                logger.start(trial.trial_id, trial.to_dict(), tags, started_at_ms=now_ms)

    def _tell(self, news: Mapping[str, Any]) -> None:
        for trial_id, rows in news["running"].items():
            if trial_id in self._loggers:
                self._loggers[trial_id].log_epochs(rows)
        for row, epochs in self._directory.read_ended(news["ended"], epoch_columns=EPOCH_COLUMNS):
            logger = self._loggers.pop(row["trial_id"], None)
            if logger is not None:
                logger.finish(row, epochs)
            self._ended.add(row["trial_id"])

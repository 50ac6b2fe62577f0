"""Tells one store of a sweep's trials as they go, and again later what it could not tell.

What is told of an ended trial is read from its part files, so that nothing has to be kept for a
store that is away but ids. Evaluations of running trials are dropped meanwhile: they come again
with the rows of their trial. Networks, where they are logged, are told one at a time, after all
else.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rlp_sweeps.config import TrialConfig
from rlp_sweeps.containment import check_contained
from rlp_sweeps.schema import KEPT_STATUSES
from rlp_sweeps.tracking.files import local_file
from rlp_sweeps.tracking.kept_weights import kept_path, logs_models
from rlp_sweeps.tracking.mlflow_address import absolute_uri
from rlp_sweeps.tracking.mlflow_logger import StoreLink, TrialLogger
from rlp_sweeps.tracking.mlflow_models import EndedTrial, log_model
from rlp_sweeps.tracking.mlflow_records import EPOCH_METRICS
from rlp_sweeps.tracking.mlflow_store import MlflowTarget
from rlp_sweeps.tracking.mlflow_sweep import prepare_sweep
from rlp_sweeps.tracking.run_directory import RunDirectory, code_version

if TYPE_CHECKING:
    from mlflow import MlflowClient

EPOCH_COLUMNS = ("epoch", "logged_at_ms", *EPOCH_METRICS)
"""Columns of ``epochs`` that MLflow is told of."""

_AT_ONCE = 20  # ended trials whose rows are read together


@dataclass(frozen=True, slots=True)
class _Start:
    """What a run is opened with."""

    config: Mapping[str, Any]
    tags: Mapping[str, str]
    started_at_ms: int | None


class SweepTeller:
    """One sweep's trials on their way to one store. No call raises because the store is away.

    Args:
        run_directory: The sweep.
        tracking_uri: As `prepare_sweep` takes it.

    Raises:
        TrackingError: From every call, once the deadline of its thread is over.
    """

    def __init__(self, run_directory: RunDirectory, tracking_uri: str) -> None:
        self._directory = run_directory
        self._link = StoreLink(absolute_uri(tracking_uri))
        self._target: MlflowTarget | None = None
        self._starts: dict[str, _Start] = {}
        self._loggers: dict[str, TrialLogger] = {}
        self._untold: dict[str, None] = {}
        self._told: set[str] = set()
        self._logs_models = logs_models(run_directory)
        self._runs_without_model: dict[str, str] = {}

    @property
    def num_untold(self) -> int:
        """Number of ended trials, and of their networks, that the store was not told of."""
        return len(self._untold) + len(self._runs_without_model)

    @property
    def has_model_to_log(self) -> bool:
        """Whether `log_next_model` has something to do now."""
        return bool(self._runs_without_model) and not self._link.is_paused

    @property
    def failure(self) -> str | None:
        """Why the store did not answer when it was asked last, one sentence; None where it did."""
        return self._link.failure

    def prepare(self) -> None:
        """Find or make the sweep's experiment and parent run, unless that is done."""
        if self._target is None:
            self._link.attempt(self._find_target)

    def start(self, group_id: str, trials: Sequence[TrialConfig], *, now_ms: int) -> None:
        """Open the runs of trials whose training begins, or goes on.

        Args:
            group_id: Their group.
            trials: Its members; those that have ended are passed over.
            now_ms: When that was, ms since 1970.
        """
        tags = {"code_version": code_version(), "group_id": group_id}
        for trial in trials:
            trial_id = trial.trial_id
            known = (self._starts, self._untold, self._told)
            if not any(trial_id in place for place in known):
                self._starts[trial_id] = _Start(trial.to_dict(), tags, now_ms)
                self._logger(trial_id)

    def tell(self, news: Mapping[str, Any]) -> None:
        """Tell of evaluations and of ended trials.

        Args:
            news: ``running``, new rows of ``epochs`` by trial; ``ended``, trials that have rows.
        """
        for trial_id, rows in news["running"].items():
            logger = self._logger(trial_id)
            if logger is not None and not self._link.is_paused:
                logger.log_epochs(rows)
        self._untold |= {i: None for i in news["ended"] if i not in self._told}
        self.catch_up()

    def catch_up(self) -> None:
        """Tell of ended trials, as long as the store answers."""
        while self._untold and not self._link.is_paused:
            some = list(self._untold)[:_AT_ONCE]
            rows = self._directory.read_ended(some, epoch_columns=EPOCH_COLUMNS)
            for row, epochs in rows:
                if not self._finish(row, epochs):
                    self._untold[row["trial_id"]] = self._untold.pop(row["trial_id"])
                    return  # it may be this trial that the store refuses: others come first
            for trial_id in set(some) - {row["trial_id"] for row, _ in rows}:
                self._untold.pop(trial_id)  # no part file is its own; `sync` knows where it is

    def log_next_model(self) -> None:
        """Give the store one ended trial's network, which may take a while."""
        if self._target is None or not self.has_model_to_log:
            return
        target, trial_id = self._target, next(iter(self._runs_without_model))
        run_id = self._runs_without_model.pop(trial_id)
        path = kept_path(self._directory, trial_id)
        rows = self._directory.read_ended([trial_id], epoch_columns=EPOCH_COLUMNS)
        if not rows or not path.exists():
            return  # what became of it, `sync` finds out
        (row, epochs), *_ = rows
        trial = EndedTrial(row=row, epochs=epochs, run_id=run_id)
        check_contained(self._directory.path, [path])
        with local_file(path) as file:
            has_arrived = self._link.attempt(lambda client: log_model(client, target, trial, file))
        if not has_arrived:
            self._runs_without_model[trial_id] = run_id

    def _finish(self, row: Mapping[str, Any], epochs: Sequence[Mapping[str, Any]]) -> bool:
        trial_id = row["trial_id"]
        self._starts.setdefault(trial_id, _Start(row, {}, row.get("started_at_ms")))
        logger = self._logger(trial_id)
        if logger is None or not logger.finish(row, epochs).is_complete:
            return False
        if self._logs_models and row["status"] in KEPT_STATUSES and logger.run_id is not None:
            self._runs_without_model[trial_id] = logger.run_id
        self._loggers.pop(trial_id)
        self._starts.pop(trial_id)
        self._untold.pop(trial_id)
        self._told.add(trial_id)
        return True

    def _logger(self, trial_id: str) -> TrialLogger | None:
        """Return what writes a started trial's run; None where that cannot be had now."""
        if trial_id in self._loggers or trial_id not in self._starts:
            return self._loggers.get(trial_id)
        self.prepare()
        if self._target is None or self._link.is_paused:
            return None
        start = self._starts[trial_id]
        logger = TrialLogger(self._target, link=self._link, flush_every_s=0.0)
        self._loggers[trial_id] = logger
        logger.start(trial_id, start.config, start.tags, started_at_ms=start.started_at_ms)
        return logger

    def _find_target(self, client: "MlflowClient") -> None:
        self._target = prepare_sweep(self._link.tracking_uri, self._directory)

"""One trial in MLflow while it runs: buffered, and never in anybody's way.

A store that is away costs one time-out, then nothing for a while: the pause is shared by all trials
of a link and doubles as long as the store stays away. What is lost is in the Parquet files, and
`sync` brings it back.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rlp_sweeps.tracking import mlflow_records as records
from rlp_sweeps.tracking.mlflow_client import (
    connect,
    deadline_passed,
    store_error,
    store_errors,
)
from rlp_sweeps.tracking.mlflow_run import TrialRun, find_trial_run
from rlp_sweeps.tracking.mlflow_store import MlflowTarget, open_store

if TYPE_CHECKING:
    from mlflow import MlflowClient

_FIRST_PAUSE_S = 10.0
_LONGEST_PAUSE_S = 300.0


@dataclass(frozen=True, slots=True)
class LoggingOutcome:
    """How logging one trial went.

    Attributes:
        num_errors: Calls of this trial that the store did not answer.
        last_error: Sentence that says why the run is not complete.
        is_complete: The run says all that it was told; if not, `sync` completes it.
    """

    num_errors: int
    last_error: str | None
    is_complete: bool


class StoreLink:
    """A link to one store that trials share, with its pause.

    Attributes:
        tracking_uri: The store.
        failure: Sentence that says why the last call failed; None where it did not.
    """

    def __init__(self, tracking_uri: str) -> None:
        self.tracking_uri = tracking_uri
        self._client: MlflowClient | None = None
        self._pause_s = _FIRST_PAUSE_S
        self._paused_until = 0.0
        self.failure: str | None = None

    @property
    def is_paused(self) -> bool:
        """Whether the store was away so recently that it is not asked again."""
        return time.monotonic() < self._paused_until

    def attempt(self, call: "Callable[[MlflowClient], None]") -> bool:
        """Make a call and return whether the store answered; `failure` says why it did not.

        During a pause none is made.

        Raises:
            TrackingError: The deadline of this thread is over.
        """
        if self.is_paused:
            return False
        try:
            if self._client is None:
                self._client = connect(open_store(self.tracking_uri))
            call(self._client)
        except store_errors() as error:
            if deadline_passed(error):
                raise
            self._paused_until = time.monotonic() + self._pause_s
            self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)
            self.failure = str(store_error(self.tracking_uri, error))
            return False
        self._pause_s = _FIRST_PAUSE_S
        self.failure = None
        return True


class TrialLogger:
    """Writes one trial to MLflow; a store that is away never raises.

    Attributes:
        target: Where the runs of the sweep go.
    """

    def __init__(
        self, target: MlflowTarget, *, link: StoreLink | None = None, flush_every_s: float = 10.0
    ) -> None:
        """Take a target; nothing is sent before `start`.

        Args:
            target: From `prepare_sweep`.
            link: Shared with other trials; None: one of its own.
            flush_every_s: Evaluations are sent at most this often, in seconds; 0 sends each.
        """
        self.target = target
        self._flush_every_s = flush_every_s
        self._link = link or StoreLink(target.tracking_uri)
        self._run: TrialRun | None = None
        self._trial_id = ""
        self._config: dict[str, Any] = {}
        self._tags: dict[str, str] = {}
        self._started_at_ms = 0
        self._pending: list[dict[str, Any]] = []
        self._flushed_at = 0.0
        self._num_errors = 0

    @property
    def run_id(self) -> str | None:
        """MLflow's id of the trial's run; None before it was opened."""
        return None if self._run is None else self._run.run_id

    def start(
        self,
        trial_id: str,
        config: Mapping[str, Any],
        tags: Mapping[str, str] | None = None,
        *,
        started_at_ms: int | None = None,
    ) -> None:
        """Open the trial's run: the one it had before an interruption, or a new one.

        Args:
            trial_id: The trial's id, by which its run is found again.
            config: Its settings by name; all become params.
            tags: Further tags, for example the code version.
            started_at_ms: When its training began, ms since 1970; None: now.
        """
        self._trial_id = trial_id
        self._config = dict(config)
        self._tags = {**records.tags_of(trial_id, config), **(tags or {})}
        self._started_at_ms = started_at_ms or time.time_ns() // 1_000_000
        self._attempt(lambda client: None)

    def log_epochs(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Take rows of ``epochs``; they are sent together, some seconds later.

        Args:
            rows: Evaluations; those that the run holds already are passed over.
        """
        self._pending.extend(dict(row) for row in rows)
        if time.monotonic() - self._flushed_at >= self._flush_every_s:
            self._attempt(lambda client: None)

    def finish(
        self, trial: Mapping[str, Any], epochs: Iterable[Mapping[str, Any]] = ()
    ) -> LoggingOutcome:
        """Send what is left, make the last metrics those of the row, and close the run.

        Args:
            trial: The trial's row of ``trials``.
            epochs: Its rows of ``epochs``; those that the run holds already are passed over.
        """
        pending = [*self._pending, *map(dict, epochs)]
        self._pending.clear()
        is_complete = self._attempt(lambda client: self._open_run(client).finish(trial, pending))
        last_error = None if is_complete else self._link.failure
        return LoggingOutcome(self._num_errors, last_error, is_complete)

    def _attempt(self, last_call: "Callable[[MlflowClient], None]") -> bool:
        """Open the run, send what is pending, make the call; return whether all arrived."""
        if self._link.is_paused:
            return False

        def call(client: "MlflowClient") -> None:
            run = self._open_run(client)
            if self._pending:
                run.log_epochs(self._pending)
                self._pending.clear()
            last_call(client)

        has_arrived = self._link.attempt(call)
        self._flushed_at = time.monotonic()
        self._num_errors += not has_arrived
        return has_arrived

    def _open_run(self, client: "MlflowClient") -> TrialRun:
        if self._run is None:
            found = find_trial_run(client, self.target, self._trial_id)
            if found is not None:
                self._run = TrialRun.reopen(client, self.target, found, self._config, self._tags)
            else:
                self._run = TrialRun.create(
                    client,
                    self.target,
                    self._config,
                    self._tags,
                    started_at_ms=self._started_at_ms,
                )
        return self._run

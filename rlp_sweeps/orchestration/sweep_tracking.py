"""MLflow's part of a sweep: looked for at its start, fed meanwhile, completed within a bound."""

import time

from rlp_sweeps.errors import TrackingError
from rlp_sweeps.orchestration.progress import ProgressListener, RunOptions
from rlp_sweeps.tracking.mlflow_tracker import (
    MlflowFeed,
    MutedFeed,
    check_store,
    default_tracking_uri,
    note_gap,
    sync_within,
    without_password,
)
from rlp_sweeps.tracking.run_directory import RunDirectory

TRACKING_END_S = 30.0
"""Longest wait for MLflow to be completed when a sweep has ended, seconds; the end of its feed, at
most `DRAIN_S` + `STOP_S`, comes before."""


def check_tracking(options: RunOptions) -> str | None:
    """Look for the MLflow store that was asked for.

    Returns:
        Why it does not answer, one sentence, where that is no reason to refuse; None where it does,
        or where the default store is used.

    Raises:
        TrackingError: The address can never work, or does not answer and must.
    """
    if options.tracking_uri is None:
        return None
    return check_store(options.tracking_uri, may_be_away=options.tracking_may_be_away)


class SweepTracking:
    """What one driver tells MLflow of its sweep.

    Args:
        directory: The sweep.
        options: Which store, and whether it may be away.
        away: What `check_tracking` said.
        is_asked: MLflow is to be told at all.
    """

    def __init__(
        self,
        directory: RunDirectory,
        options: RunOptions,
        away: str | None,
        *,
        is_asked: bool = True,
    ) -> None:
        self._is_asked = is_asked
        self._directory = directory
        self._options = options
        self._away = away
        self._uri, self._untracked = _tracking_of(directory, options) if is_asked else (None, None)
        self._feed: MlflowFeed | None = None

    def feed(self) -> MlflowFeed:
        """Return the feed of the sweep, not started.

        Raises:
            TrackingError: The default store cannot be had, and must.
        """
        if self._uri is None:
            return MutedFeed()
        if self._options.tracking_uri is None:
            may_be_away = self._options.tracking_may_be_away
            self._away = check_store(self._uri, may_be_away=may_be_away)
        self._feed = MlflowFeed(self._directory, self._uri)
        return self._feed

    def notify(self, progress: ProgressListener) -> None:
        """Say that the sweep has begun without its store, where it has."""
        if self._uri is not None and self._away is not None:
            progress.on_notice(self._note_gap(self._uri, self._away))

    def complete(self) -> str | None:
        """Make MLflow say what the rows say; return what it lacks, where it is away or too slow."""
        if not self._is_asked:
            return None
        if self._uri is None:
            way_out = f"`rlp-sweeps sync {self._directory.path} --tracking-uri URI`"
            return f"{self._untracked} {way_out} tells it everything later."
        if self._feed is not None and self._feed.is_stuck:
            reason = f"the MLflow store must answer, but {without_password(self._uri)} does not."
            return self._note_gap(self._uri, reason)
        gap = sync_within(TRACKING_END_S, self._directory, self._uri)
        return None if gap is None else gap.sentence(self._directory.path)

    def _note_gap(self, uri: str, reason: str) -> str:
        """Write down that MLflow lacks something, and return the sentence."""
        path, now_ms = self._directory.path, time.time_ns() // 1_000_000
        return note_gap(path, tracking_uri=uri, reason=reason, now_ms=now_ms).sentence(path)


def _tracking_of(directory: RunDirectory, options: RunOptions) -> tuple[str | None, str | None]:
    """Return where MLflow is told of a sweep, or why nowhere."""
    try:
        return options.tracking_uri or default_tracking_uri(directory.path), None
    except TrackingError as error:
        return None, str(error)

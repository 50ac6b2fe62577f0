"""What MLflow lacks of a sweep: a small file in its directory, there as long as something does.

`status` reads it while the sweep is at work and afterwards, from any machine; a complete `sync`
into the same store removes it. It holds no password.
"""

import contextlib
import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from rlp_sweeps.errors import TrackingError
from rlp_sweeps.tracking import files
from rlp_sweeps.tracking.addresses import without_password
from rlp_sweeps.tracking.mlflow_address import default_tracking_uri

_GAP_NAME = "mlflow-lacks.json"


@dataclass(frozen=True, slots=True)
class TrackingGap:
    """That a store lacks something of a sweep.

    Attributes:
        since_ms: When that began, ms since 1970.
        reason: One sentence.
        tracking_uri: The store, without a login.
    """

    since_ms: int
    reason: str
    tracking_uri: str

    def sentence(self, directory: Path) -> str:
        """Return what is lacking, since when, why, and the command that repairs it."""
        since = datetime.fromtimestamp(self.since_ms / 1000, UTC)
        option = "" if self._is_default_of(directory) else f" --tracking-uri {self.tracking_uri}"
        return (
            f"MLflow lacks a part of this sweep since {since:%Y-%m-%d %H:%M:%S} UTC: "
            f"{self.reason.rstrip('.')}; training and its results do not depend on it, and "
            f"`rlp-sweeps sync {directory}{option}` brings everything there."
        )

    def _is_default_of(self, directory: Path) -> bool:
        try:
            return self.tracking_uri == without_password(default_tracking_uri(directory))
        except TrackingError:
            return False  # a directory in a store has none


def note_gap(directory: Path, *, tracking_uri: str, reason: str, now_ms: int) -> TrackingGap:
    """Write down that a store lacks something, and return it; a gap that is known goes on.

    Where the disk is full it is returned all the same, and `status` does not know of it.

    Args:
        directory: The run directory.
        tracking_uri: The store.
        reason: One sentence.
        now_ms: When that was found, ms since 1970.
    """
    shown = without_password(tracking_uri)
    known = read_gap(directory)
    since_ms = known.since_ms if known is not None and known.tracking_uri == shown else now_ms
    gap = TrackingGap(since_ms, reason, shown)
    if gap != known:
        with contextlib.suppress(
            OSError
        ):  # a full disk is often why the store lacks it: the caller says it
            files.write_text_atomically(directory / _GAP_NAME, json.dumps(asdict(gap)))
    return gap


def read_gap(directory: Path) -> TrackingGap | None:
    """Return what a store lacks of a sweep, as far as is known; None where nothing."""
    try:
        values = json.loads((directory / _GAP_NAME).read_text())
    except FileNotFoundError:
        return None
    return TrackingGap(**values)


def forget_gap(directory: Path, *, tracking_uri: str) -> None:
    """Forget what a store lacked; it is complete. Gaps of other stores stay."""
    known = read_gap(directory)
    if known is not None and known.tracking_uri == without_password(tracking_uri):
        with contextlib.suppress(PermissionError):  # a reader of somebody else's sweep
            (directory / _GAP_NAME).unlink(missing_ok=True)

"""MLflow, a view of the Parquet files: all names that other parts use.

- the driver of a sweep: `check_store` before it starts, `MlflowFeed` while it is at work, with
  `MlflowTarget` and `TrialLogger`, and `prepare_sweep`, `log_sweep_artifacts`, `finish_sweep`;
- the driver at a sweep's end: `sync_within`, and `read_gap` for `status`;
- the command line: `default_tracking_uri`, `sync`, `serve_ui`.

``sync`` can rebuild every run at any time, so that nothing here may stop a trial.
"""

from rlp_sweeps.tracking.addresses import without_password
from rlp_sweeps.tracking.mlflow_address import default_tracking_uri
from rlp_sweeps.tracking.mlflow_feed import Feed, MlflowFeed, MutedFeed
from rlp_sweeps.tracking.mlflow_gap import TrackingGap, note_gap, read_gap
from rlp_sweeps.tracking.mlflow_logger import LoggingOutcome, TrialLogger
from rlp_sweeps.tracking.mlflow_store import MlflowTarget, check_store, open_store
from rlp_sweeps.tracking.mlflow_sweep import finish_sweep, log_sweep_artifacts, prepare_sweep
from rlp_sweeps.tracking.mlflow_sync import SyncReport, sync, sync_within
from rlp_sweeps.tracking.mlflow_ui import running_ui, serve_ui

__all__ = [
    "Feed",
    "LoggingOutcome",
    "MlflowFeed",
    "MlflowTarget",
    "MutedFeed",
    "SyncReport",
    "TrackingGap",
    "TrialLogger",
    "check_store",
    "default_tracking_uri",
    "finish_sweep",
    "log_sweep_artifacts",
    "note_gap",
    "open_store",
    "prepare_sweep",
    "read_gap",
    "running_ui",
    "serve_ui",
    "sync",
    "sync_within",
    "without_password",
]

"""MLflow, a view of the Parquet files: all names that other parts use.

- the driver of a sweep: `check_store` before it starts, `MlflowFeed` while it is at work, with
  `MlflowTarget` and `TrialLogger`, and `prepare_sweep`, `log_sweep_artifacts`, `finish_sweep`;
- the command line: `default_tracking_uri`, `sync`, `serve_ui`.

``sync`` can rebuild every run at any time, so that nothing here may stop a trial.
"""

from rlp_sweeps.tracking.addresses import without_password
from rlp_sweeps.tracking.mlflow_feed import MlflowFeed
from rlp_sweeps.tracking.mlflow_logger import LoggingOutcome, TrialLogger
from rlp_sweeps.tracking.mlflow_store import (
    MlflowTarget,
    check_store,
    default_tracking_uri,
    open_store,
)
from rlp_sweeps.tracking.mlflow_sweep import finish_sweep, log_sweep_artifacts, prepare_sweep
from rlp_sweeps.tracking.mlflow_sync import SyncReport, sync
from rlp_sweeps.tracking.mlflow_ui import running_ui, serve_ui

__all__ = [
    "LoggingOutcome",
    "MlflowFeed",
    "MlflowTarget",
    "SyncReport",
    "TrialLogger",
    "check_store",
    "default_tracking_uri",
    "finish_sweep",
    "log_sweep_artifacts",
    "open_store",
    "prepare_sweep",
    "running_ui",
    "serve_ui",
    "sync",
    "without_password",
]

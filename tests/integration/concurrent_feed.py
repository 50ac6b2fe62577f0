"""One sweep's feed in a process: ``python concurrent_feed.py FOLDER NAME TRIALS EPOCHS``.

It waits for FOLDER/go, so that several begin at the same instant, feeds the default store of
FOLDER/NAME, and prints what a `sync` found: unchanged, created, updated, and how many were closed.
"""

import sys
import time
from pathlib import Path

from test_mlflow_tracking import epoch_rows, trial_row

from rlp_sweeps.config import TrialConfig
from rlp_sweeps.tracking.mlflow_address import default_tracking_uri
from rlp_sweeps.tracking.mlflow_client import connect
from rlp_sweeps.tracking.mlflow_feed import MlflowFeed, news_text
from rlp_sweeps.tracking.mlflow_sync import sync
from rlp_sweeps.tracking.run_directory import RunDirectory, build_manifest


def main(folder: Path, name: str, num_trials: int, num_epochs: int) -> None:
    configs = [
        TrialConfig(arm="control", lr=0.1, rlp_lambda=0.0, seed=seed) for seed in range(num_trials)
    ]
    manifest = build_manifest(plan_id="p", sweep_name=name, space={}, configs=configs)
    directory = RunDirectory.create(folder / name, manifest)
    connect(f"sqlite:///{folder / name}.db")  # MLflow's import, and a store that nobody shares
    (folder / f"{name}.ready").touch()
    while not (folder / "go").exists():
        time.sleep(0.001)
    with MlflowFeed(directory, default_tracking_uri(directory.path)) as feed:
        feed.start("g", configs)
        for config in configs:
            rows = epoch_rows(config, num_epochs)
            feed.take(news_text(ended=[], running={config.trial_id: rows[: num_epochs // 2]}))
            directory.write_trial(trial_row(config, "completed", num_epochs), rows)
            feed.take(news_text(ended=[config.trial_id], running={}))
    report = sync(directory)
    print(report.num_runs_unchanged, report.num_runs_created, report.num_runs_updated)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))

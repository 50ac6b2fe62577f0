"""A trial's MLflow run, written at its end in one batch: the cheapest way that MLflow offers."""

import time
from collections.abc import Mapping

from mlflow.entities import Metric, Param
from mlflow.tracking import MlflowClient

from benchmarks.baselines.task import EXPERIMENT


def create_experiment(tracking_uri: str) -> str:
    """Create the database and the experiment; return the experiment's id."""
    return str(MlflowClient(tracking_uri).create_experiment(EXPERIMENT))


class RunLog:
    """Collects a trial's metrics by epoch and writes them when it has ended."""

    def __init__(self, tracking_uri: str, experiment_id: str) -> None:
        self._client = MlflowClient(tracking_uri)
        self._experiment_id = experiment_id
        self._metrics: list[Metric] = []
        self._started_at_ms = _now_ms()

    def add(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Take in the metrics of one epoch."""
        now = _now_ms()
        self._metrics += [Metric(name, value, now, epoch) for name, value in metrics.items()]

    def write(self, point: Mapping[str, float]) -> None:
        """Write the run: parameters, all metrics, the end."""
        run = self._client.create_run(self._experiment_id, start_time=self._started_at_ms)
        params = [Param(name, str(value)) for name, value in point.items()]
        self._client.log_batch(run.info.run_id, metrics=self._metrics, params=params)
        self._client.set_terminated(run.info.run_id)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000

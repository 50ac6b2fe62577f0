"""MLflow's record of one trial. What the store raises goes through; `TrialLogger` does not.

Every write may be repeated: a point with the same metric, time, step and value is stored once, and
evaluations that have arrived are not sent again.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

from rlp_sweeps.tracking import mlflow_records as records
from rlp_sweeps.tracking.mlflow_records import Point
from rlp_sweeps.tracking.mlflow_store import MlflowTarget

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

_MAX_POINTS_A_CALL = 1000
PARENT_TAG = "mlflow.parentRunId"
IS_TRIAL = "tags.trial_id LIKE '%'"
"""What finds the runs of trials in a sweep's experiment, whatever parent a slow store gave them."""


class TrialRun:
    """One open run.

    Attributes:
        run_id: MLflow's id.
        logged_epochs: Evaluations that the store holds.
    """

    def __init__(self, client: "MlflowClient", run_id: str) -> None:
        self._client = client
        self.run_id = run_id
        self.logged_epochs: set[int] = set()
        self._last: dict[str, Point] = {}

    @classmethod
    def create(
        cls,
        client: "MlflowClient",
        target: MlflowTarget,
        config: Mapping[str, Any],
        tags: Mapping[str, str],
        *,
        started_at_ms: int | None = None,
    ) -> Self:
        """Return a new run of a trial under the sweep's parent run."""
        run = client.create_run(
            target.experiment_id,
            start_time=started_at_ms,
            run_name=records.run_name(config),
            tags={**tags, "sweep": target.sweep_name, PARENT_TAG: target.parent_run_id},
        )
        opened = cls(client, run.info.run_id)
        opened._describe(config, {})
        return opened

    @classmethod
    def reopen(
        cls,
        client: "MlflowClient",
        target: MlflowTarget,
        run: "Run",
        config: Mapping[str, Any],
        tags: Mapping[str, str],
    ) -> Self:
        """Return a trial's existing run, running again."""
        opened = cls(client, run.info.run_id)
        for name in run.data.metrics:
            opened._last[name] = opened._read_last(name)
        counts = client.get_metric_history(opened.run_id, records.EPOCH_COUNTER)
        opened.logged_epochs = {metric.step for metric in counts}
        client.update_run(opened.run_id, status="RUNNING")
        opened._describe(config, {**tags, PARENT_TAG: target.parent_run_id})
        return opened

    def log_epochs(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Send the evaluations that the store does not hold yet, rows of ``epochs``."""
        new = self._not_logged(rows)
        points = [point for row in new.values() for point in records.epoch_points(row)]
        self._send(points)
        self._last = records.last_points(points, self._last)
        self.logged_epochs.update(new)

    def finish(self, trial: Mapping[str, Any], epochs: Iterable[Mapping[str, Any]] = ()) -> None:
        """Make the last metrics those of the trial's row, and close the run with its status.

        Args:
            trial: The row.
            epochs: Evaluations that the store may lack, rows of ``epochs``.
        """
        new = self._not_logged(epochs)
        points = [point for row in new.values() for point in records.epoch_points(row)]
        last = records.last_points(points, self._last)
        final = [
            records.final_point(trial, name, last.get(name))
            for name in records.final_metrics(trial)
        ]
        points += [point for point in final if point is not None]
        self._send(points, records.final_tags(trial, len(self.logged_epochs | set(new))))
        self._last = records.last_points(points, self._last)
        self.logged_epochs.update(new)
        self._client.set_terminated(
            self.run_id,
            status=records.RUN_STATUS[trial["status"]],
            end_time=trial.get("finished_at_ms"),
        )

    def _not_logged(self, rows: Iterable[Mapping[str, Any]]) -> dict[int, Mapping[str, Any]]:
        return {int(r["epoch"]): r for r in rows if int(r["epoch"]) not in self.logged_epochs}

    def _send(self, points: Sequence[Point], tags: Mapping[str, str] | None = None) -> None:
        """Send points, and tags with the last of them, in as few calls as MLflow takes."""
        from mlflow.entities import Metric, RunTag

        metrics = [Metric(p.name, p.value, p.time_ms, p.step) for p in points]
        run_tags = [RunTag(k, v) for k, v in (tags or {}).items()]
        while len(metrics) + len(run_tags) > _MAX_POINTS_A_CALL:  # MLflow counts both
            self._client.log_batch(self.run_id, metrics=metrics[:_MAX_POINTS_A_CALL])
            del metrics[:_MAX_POINTS_A_CALL]
        if metrics or run_tags:
            self._client.log_batch(self.run_id, metrics=metrics, tags=run_tags)

    def _describe(self, config: Mapping[str, Any], tags: Mapping[str, str]) -> None:
        from mlflow.entities import Param, RunTag

        params = [Param(name, text) for name, text in records.params_of(config).items()]
        run_tags = [RunTag(k, v) for k, v in tags.items()]
        self._client.log_batch(self.run_id, params=params, tags=run_tags)

    def _read_last(self, name: str) -> Point:
        history = self._client.get_metric_history(self.run_id, name)
        last = max(history, key=lambda m: (m.step, m.timestamp, m.value))
        return Point(name, last.value, last.timestamp, last.step)


def find_trial_run(client: "MlflowClient", target: MlflowTarget, trial_id: str) -> "Run | None":
    """Return the run of a trial in the sweep's experiment, the oldest of several."""
    found = client.search_runs(
        [target.experiment_id],
        f"tags.trial_id = '{trial_id}'",
        max_results=1,
        order_by=["attributes.start_time ASC"],
    )
    return found[0] if found else None

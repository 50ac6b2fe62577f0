"""What MLflow is told of a trial: pure functions from rows to params, tags and points.

The live logger and `sync` both use them, so that a store rebuilt from the files says what it said
before. MLflow takes the point of highest step, then of latest time, as a metric's last value.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from rlp_sweeps.schema import CONFIG_COLUMNS, METRICS

EPOCH_METRICS = (
    "train_accuracy",
    "val_accuracy",
    "test_accuracy",
    "train_loss",
    "val_loss",
    "test_loss",
    "random_label_accuracy",
    "memorization",
    "lr_multiplier",
    "equivalent_lr",
)
"""Metrics with a curve; the others of ``schema.METRICS`` are logged once, at the trial's end."""

EPOCH_COUNTER = "epoch"
"""Metric that every evaluation logs, whatever else is finite: it tells which ones have arrived."""

RUN_STATUS = {
    "completed": "FINISHED",
    "diverged": "FINISHED",
    "stopped": "KILLED",
    "failed": "FAILED",
}
"""MLflow's word for each status of a trial; the trial's own stands in the tag `status`."""

_PROVENANCE_TAGS = ("code_version", "engine", "group_id", "device", "hostname")
_MAX_ERROR_LENGTH = 500
_VARIED = frozenset({"arm", "seed"})


class Point(NamedTuple):
    """One value of one metric.

    Attributes:
        name: As in ``schema``.
        value: Finite.
        time_ms: When it was measured, ms since 1970.
        step: Epochs completed.
    """

    name: str
    value: float
    time_ms: int
    step: int


def params_of(config: Mapping[str, Any]) -> dict[str, str]:
    """Return every setting as text; numbers read back exactly, a setting left open is ``none``."""
    return {
        column.name: _text(config[column.name], column.dtype)
        for column in CONFIG_COLUMNS
        if column.name in config
    }


def _text(value: Any, dtype: str) -> str:
    if value is None:
        return "none"
    return repr(float(value)) if dtype == "f64" else str(value)


def run_name(config: Mapping[str, Any]) -> str:
    """Return a name for people, for example ``full lr=0.1 λ=10 ε=0 seed 0``."""
    return f"{config.get('arm')} {_numbers(config)} seed {config.get('seed')}"


def _numbers(config: Mapping[str, Any]) -> str:
    return " ".join(
        f"{symbol}={config[name]:g}"
        for symbol, name in (("lr", "lr"), ("λ", "rlp_lambda"), ("ε", "label_smoothing"))
        if config.get(name) is not None
    )


def cell_name(config: Mapping[str, Any]) -> str:
    """Return what trials of one cell share, for example ``lr=0.1 λ=10 ε=0 #3f2a91``.

    A cell is every setting but arm and seed; what follows the # tells cells apart that differ in
    another one.
    """
    shared = {name: text for name, text in params_of(config).items() if name not in _VARIED}
    digest = hashlib.sha256(json.dumps(shared, sort_keys=True).encode()).hexdigest()
    return f"{_numbers(config)} #{digest[:6]}"


def tags_of(trial_id: str, config: Mapping[str, Any]) -> dict[str, str]:
    """Return the tags that a trial's run has from its start."""
    return {
        "trial_id": trial_id,
        "arm": str(config.get("arm")),
        "seed": str(config.get("seed")),
        "cell": cell_name(config),
        "mlflow.source.name": "rlp-sweeps",
    }


def final_tags(trial: Mapping[str, Any], num_epochs_logged: int) -> dict[str, str]:
    """Return the tags that a trial's row adds at its end."""
    tags = {name: str(trial[name]) for name in _PROVENANCE_TAGS if trial.get(name) is not None}
    if trial.get("error"):
        tags["error"] = str(trial["error"])[-_MAX_ERROR_LENGTH:]
    tags["status"] = trial["status"]
    tags["num_epochs_logged"] = str(num_epochs_logged)
    return tags


def epoch_points(row: Mapping[str, Any]) -> list[Point]:
    """Return the points of one evaluation; null and non-finite values are left out."""
    step, time_ms = int(row["epoch"]), int(row.get("logged_at_ms") or 0)
    points = [
        Point(name, float(row[name]), time_ms, step)
        for name in EPOCH_METRICS
        if is_finite(row.get(name))
    ]
    return [Point(EPOCH_COUNTER, float(step), time_ms, step), *points]


def last_points(points: Iterable[Point], before: Mapping[str, Point]) -> dict[str, Point]:
    """Return each metric's last value in MLflow's order, given the points sent and those before."""
    last = dict(before)
    for point in points:
        other = last.get(point.name)
        if other is None or (point.step, point.time_ms) >= (other.step, other.time_ms):
            last[point.name] = point
    return last


def final_metrics(trial: Mapping[str, Any]) -> dict[str, float]:
    """Return the metrics of a trial's row, which the run's last values must equal."""
    return {name: float(trial[name]) for name in METRICS if is_finite(trial.get(name))}


def final_point(trial: Mapping[str, Any], name: str, last: Point | None) -> Point | None:
    """Return the point that makes a metric's last value that of the row; None where it is already.

    Args:
        trial: The trial's row.
        name: One of `final_metrics`.
        last: The metric's last point so far.
    """
    value = float(trial[name])
    if last is not None and last.value == value:
        return None
    step = max(trial.get("metrics_epoch") or 0, trial.get("epochs_completed") or 0)
    time_ms = trial.get("finished_at_ms") or 0
    if last is None or last.step < step:
        return Point(name, value, time_ms, step)
    return Point(name, value, max(time_ms, last.time_ms + 1), last.step)


def last_points_of(trial: Mapping[str, Any], epochs: Iterable[Mapping[str, Any]]) -> list[Point]:
    """Return the points of a run that say what its trial's row says.

    Args:
        trial: The trial's row.
        epochs: All of its rows of ``epochs``.
    """
    last = last_points((point for row in epochs for point in epoch_points(row)), {})
    return [final_point(trial, n, last.get(n)) or last[n] for n in final_metrics(trial)]


def is_finite(value: Any) -> bool:
    """Return whether a value is there and can be logged."""
    return value is not None and math.isfinite(value)

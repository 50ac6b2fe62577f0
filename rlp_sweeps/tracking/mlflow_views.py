"""How the MLflow UI opens a sweep: with its arms, its charts, its report, by a link each.

A sweep's page opens on its parent run, its trials folded below it, and draws nothing: a parent run
has no metric. Views that the UI shares between users are tags of the experiment, JSON under
``mlflow.sharedViewState.<key>``, which a link names by ``viewStateShareKey`` (MLflow 3, as the UI
itself writes them). A version that reads them otherwise says so on its page and shows its own view.
"""

import json
from typing import Any

_TAG = "mlflow.sharedViewState."
_ONLY_TRIALS = "tags.arm LIKE '%'"
_PARAMS = ("lr", "rlp_lambda", "label_smoothing", "seed")
_METRICS = (
    "val_accuracy",
    "test_accuracy",
    "random_label_accuracy",
    "memorization",
    "lr_multiplier",
)
_SECTION = "rlp-sweeps"
_DRAWN_RUNS = 1000
"""Runs that the parallel coordinates draw."""


def view_tags() -> dict[str, str]:
    """Return the tags of an experiment that hold its views."""
    views = {"trials": _view(group_by=()), "arms": _view(group_by=("arm", "rlp_lambda", "lr"))}
    return {f"{_TAG}{key}": json.dumps(view) for key, view in views.items()}


def view_links(
    experiment_id: str, parent_run_id: str, *, has_models: bool = False
) -> dict[str, str]:
    """Return what follows a server's address, by what is seen there."""
    runs = f"/#/experiments/{experiment_id}/runs"
    shared = f"{runs}?viewStateShareKey"
    models = {"models": f"/#/experiments/{experiment_id}/models"} if has_models else {}
    return {
        "means by arm, λ and lr": f"{shared}=arms",
        "charts": f"{shared}=trials&compareRunsMode=CHART",
        "trials": f"{shared}=trials",
        "report": f"{runs}/{parent_run_id}/artifacts/analysis/report.html",
        **models,
    }


def describe_sweep(claim: str, links: dict[str, str]) -> str:
    """Return an experiment's description in Markdown: its claim, and where to look."""
    listed = " · ".join(f"[{name}]({link.removeprefix('/')})" for name, link in links.items())
    return f"{claim}\n\n{listed}".strip()


def _view(*, group_by: tuple[str, ...]) -> dict[str, Any]:
    keys = [{"mode": "param", "groupByData": name} for name in group_by]
    return {
        "searchFilter": _ONLY_TRIALS,
        "orderByKey": "metrics.`val_accuracy`",
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "selectedColumns": [
            "tags.`arm`",
            *(f"params.`{name}`" for name in _PARAMS),
            *(f"metrics.`{name}`" for name in _METRICS),
        ],
        "groupBy": {"aggregateFunction": "average", "groupByKeys": keys} if keys else None,
        "runsHiddenMode": "SHOW_ALL",
        "compareRunCharts": _charts(),
        "compareRunSections": [
            {
                "uuid": _SECTION,
                "name": "Settings and what came of them",
                "display": True,
                "isReordered": False,
                "deleted": False,
                "isGenerated": False,
            }
        ],
    }


def _charts() -> list[dict[str, Any]]:
    parallel: dict[str, Any] = {
        "type": "PARALLEL",
        "selectedParams": ["arm", "lr", "rlp_lambda"],
        "selectedMetrics": ["val_accuracy", "random_label_accuracy"],
        "showAllRuns": True,
        "runsCountToCompare": _DRAWN_RUNS,
    }
    curves: list[dict[str, Any]] = [
        {
            "type": "LINE",
            "metricKey": name,
            "selectedMetricKeys": [name],
            "xAxisKey": "step",
            "runsCountToCompare": 50,
        }
        for name in ("val_accuracy", "random_label_accuracy")
    ]
    common = {"metricSectionId": _SECTION, "deleted": False, "isGenerated": False}
    return [
        {**common, "uuid": f"rlp-sweeps-{number}", **chart}
        for number, chart in enumerate([parallel, *curves])
    ]

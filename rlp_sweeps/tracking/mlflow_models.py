"""Trained networks in MLflow: a model a trial, linked with its run, with the metrics of its row.

A model is the trial's weights as they lie in the run directory, and ``MLmodel``, which names the
function that reads them (`training.trained_model`). MLflow's own flavor for PyTorch either pickles
a module or exports its graph, which takes torch in the driver and seconds a network.

A model is ``READY`` when all of it is there. What a kill, or a store that went away, has left
``PENDING`` is completed by the next `sync`.
"""

import json
import platform
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rlp_sweeps.containment import check_contained
from rlp_sweeps.schema import KEPT_STATUSES
from rlp_sweeps.tracking import mlflow_records as records
from rlp_sweeps.tracking.files import local_file
from rlp_sweeps.tracking.kept_weights import kept_weights
from rlp_sweeps.tracking.mlflow_store import MlflowTarget
from rlp_sweeps.tracking.run_directory import RunDirectory

if TYPE_CHECKING:
    from mlflow import MlflowClient

_LOADER = "rlp_sweeps.training.trained_model"
_ROW_TAG = "finished_at_ms"
_PAGE_SIZE = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class EndedTrial:
    """A trial that MLflow has the run of.

    Attributes:
        row: Its row of ``trials``.
        epochs: Its rows of ``epochs``.
        run_id: MLflow's id of its run.
    """

    row: Mapping[str, Any]
    epochs: Sequence[Mapping[str, Any]]
    run_id: str

    @property
    def trial_id(self) -> str:
        """Its id."""
        return str(self.row["trial_id"])


class _Known(NamedTuple):
    """A model that a store holds."""

    model_id: str
    is_ready: bool
    run_id: str | None
    row_tag: str | None

    def is_of(self, trial: EndedTrial) -> bool:
        """Return whether it was logged with the trial's row and run as they are."""
        return (self.run_id, self.row_tag) == (trial.run_id, str(trial.row.get(_ROW_TAG)))


def log_model(
    client: "MlflowClient",
    target: MlflowTarget,
    trial: EndedTrial,
    weights: Path,
    *,
    pending: str | None = None,
) -> None:
    """Give a trial's run its model; what the store raises goes through.

    Args:
        client: Of `connect`.
        target: The sweep.
        trial: One that has a network (`schema.KEPT_STATUSES`).
        weights: Its file of weights, on this machine.
        pending: MLflow's id of a model that was left half logged; None: a new one.
    """
    from mlflow.entities import LoggedModelOutput, Metric

    model_id = pending or _create(client, target, trial)
    with tempfile.TemporaryDirectory(prefix="rlp-model-") as folder:
        described = Path(folder) / "MLmodel"
        described.write_text(_describe(model_id, trial, weights.name), encoding="utf-8")
        for file in (weights, described):
            client.log_model_artifact(model_id, str(file))
    points = records.last_points_of(trial.row, trial.epochs)
    metrics = [Metric(p.name, p.value, p.time_ms, p.step, model_id=model_id) for p in points]
    client.log_batch(trial.run_id, metrics=metrics)
    if pending is None or not _is_linked(client, trial.run_id, model_id):
        step = int(trial.row.get("epochs_completed") or 0)
        client.log_outputs(trial.run_id, [LoggedModelOutput(model_id, step)])
    client.finalize_logged_model(model_id, "READY")


class ModelsInStore:
    """The models of one sweep in one store, made to be what the run directory keeps.

    Attributes:
        num_added: Models that the store lacked, whole or in part.
        num_removed: Further models of one trial, and those of an earlier row.

    Raises:
        RunDirectoryError: Weights are a link that leads out of the directory.
    """

    def __init__(
        self, client: "MlflowClient", target: MlflowTarget, directory: RunDirectory
    ) -> None:
        self.num_added = 0
        self.num_removed = 0
        self._client = client
        self._target = target
        self._weights = kept_weights(directory)
        check_contained(directory.path, self._weights.values())

    def correct(self, trials: Iterable[EndedTrial]) -> None:
        """Leave one whole model a trial whose weights are kept.

        Models of weights that were removed meanwhile stay.
        """
        known = self._known()
        for trial in trials:
            models = known.pop(trial.trial_id, [])
            if trial.row["status"] in KEPT_STATUSES:
                self._correct(trial, models, self._weights.get(trial.trial_id))
        left = [model for models in known.values() for model in models]
        self._remove(model for model in left if not model.is_ready)

    def _correct(self, trial: EndedTrial, models: list[_Known], weights: Path | None) -> None:
        own = sorted((m for m in models if m.is_of(trial)), key=lambda m: not m.is_ready)
        if not (own and own[0].is_ready):
            if weights is None:
                self._remove(model for model in models if not model.is_ready)
                return
            with local_file(weights) as file:
                pending = own[0].model_id if own else None
                log_model(self._client, self._target, trial, file, pending=pending)
            self.num_added += 1
        self._remove(model for model in models if model not in own[:1])

    def _remove(self, models: Iterable[_Known]) -> None:
        for model in models:
            self._client.delete_logged_model(model.model_id)
            self.num_removed += 1

    def _known(self) -> dict[str, list[_Known]]:
        """Return the store's models by trial, the oldest of a trial first."""
        found: dict[str, list[_Known]] = {}
        token: str | None = None
        while True:
            page = self._client.search_logged_models(
                [self._target.experiment_id],
                max_results=_PAGE_SIZE,
                order_by=[{"field_name": "creation_timestamp", "ascending": True}],
                page_token=token,
            )
            for model in page:
                trial_id, is_ready = model.tags.get("trial_id"), str(model.status) == "READY"
                row_tag = model.tags.get(_ROW_TAG)
                if trial_id is not None:
                    known = _Known(model.model_id, is_ready, model.source_run_id, row_tag)
                    found.setdefault(trial_id, []).append(known)
            token = page.token
            if not token:
                return found


def _create(client: "MlflowClient", target: MlflowTarget, trial: EndedTrial) -> str:
    row = trial.row
    model = client.create_logged_model(
        target.experiment_id,
        name=f"{row.get('arm')} {trial.trial_id}",  # MLflow allows no dot there, as lr has one
        source_run_id=trial.run_id,
        tags={
            **records.tags_of(trial.trial_id, row),
            "sweep": target.sweep_name,
            "status": str(row["status"]),
            _ROW_TAG: str(row.get(_ROW_TAG)),
        },
        params=records.params_of(row),
        model_type="rlp-sweeps",
    )
    return str(model.model_id)


def _describe(model_id: str, trial: EndedTrial, weights: str) -> str:
    """Return the content of ``MLmodel``: YAML, of which JSON is a part."""
    flavor = {
        "loader_module": _LOADER,
        "data": weights,
        "python_version": platform.python_version(),
    }
    described = {
        "flavors": {"python_function": flavor},
        "metadata": {"trial_id": trial.trial_id, "code_version": trial.row.get("code_version")},
        "model_id": model_id,
        "run_id": trial.run_id,
    }
    return json.dumps(described, indent=1, ensure_ascii=False) + "\n"


def _is_linked(client: "MlflowClient", run_id: str, model_id: str) -> bool:
    outputs = client.get_run(run_id).outputs
    return outputs is not None and any(o.model_id == model_id for o in outputs.model_outputs)

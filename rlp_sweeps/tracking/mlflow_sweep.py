"""The driver's side of MLflow: one experiment a sweep, and a parent run that holds its artifacts.

Experiment and parent run are found again by the manifest's `sweep_id`, so that a resumed sweep, a
repeated `sync` and a copied directory all speak of the same ones.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlp_sweeps.containment import check_contained
from rlp_sweeps.errors import TrackingError
from rlp_sweeps.tracking.files import local_file
from rlp_sweeps.tracking.kept_weights import logs_models
from rlp_sweeps.tracking.mlflow_address import is_server, is_sqlite, sqlite_path
from rlp_sweeps.tracking.mlflow_client import connect, translated_errors
from rlp_sweeps.tracking.mlflow_run import IS_TRIAL
from rlp_sweeps.tracking.mlflow_store import MlflowTarget, open_store
from rlp_sweeps.tracking.mlflow_views import describe_sweep, view_links, view_tags
from rlp_sweeps.tracking.run_directory import RunDirectory

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment

_SWEEP_ID_TAG = "rlp_sweeps.sweep_id"
_ROLE_TAG = "rlp_sweeps.role"
_NOTE_TAG = "mlflow.note.content"
_ARTIFACTS = ("manifest.json", "analysis/report.html")
_FIGURES = "analysis/figures"


def prepare_sweep(tracking_uri: str, run_directory: RunDirectory) -> MlflowTarget:
    """Return where the runs of a sweep go; experiment and parent run are made or found again.

    Args:
        tracking_uri: As `open_store` takes it.
        run_directory: The sweep; the experiment is named after its folder.

    Raises:
        TrackingError: The store does not answer, or refuses.
    """
    uri = open_store(tracking_uri)
    with translated_errors(uri):
        client = connect(uri)
        experiment = _find_experiment(client, run_directory)
        if experiment is None:
            experiment = _create_experiment(client, uri, run_directory)
        parent_id = _open_parent_run(client, experiment, run_directory.manifest)
        _arrange(client, experiment, parent_id, run_directory)
    return MlflowTarget(uri, experiment.experiment_id, parent_id, experiment.name)


def log_sweep_artifacts(target: MlflowTarget, run_directory: RunDirectory) -> list[str]:
    """Store manifest, report and figures at the parent run, and return those that there were.

    Raises:
        RunDirectoryError: One of them is a link to a file elsewhere.
        TrackingError: The store does not answer, or refuses.
    """
    root = run_directory.path
    names = [name for name in _ARTIFACTS if (root / name).is_file()]
    figures = sorted(path for path in (root / _FIGURES).glob("*") if path.is_file())
    names += [path.relative_to(root).as_posix() for path in figures]
    check_contained(root, (root / name for name in names))
    with translated_errors(target.tracking_uri):
        client = connect(target.tracking_uri)
        for name in names:
            folder = Path(name).parent.as_posix()
            with local_file(root / name) as file:
                client.log_artifact(
                    target.parent_run_id, str(file), None if folder == "." else folder
                )
    return names


def finish_sweep(
    target: MlflowTarget, counts: Mapping[str, int], *, is_complete: bool = True
) -> int:
    """Close the parent run, and every run that an interrupted trial left open.

    Args:
        target: The sweep.
        counts: Number of trials by status.
        is_complete: Every planned trial has a row; otherwise the parent run says ``KILLED``.

    Returns:
        The number of trials' runs closed; a resumed sweep opens them again.

    Raises:
        TrackingError: The store does not answer, or refuses.
    """
    with translated_errors(target.tracking_uri):
        client = connect(target.tracking_uri)
        open_runs = client.search_runs(
            [target.experiment_id],
            f"{IS_TRIAL} and attributes.status = 'RUNNING'",
            max_results=10_000,
        )
        for run in open_runs:
            close_interrupted(client, run.info.run_id)
        for status, number in counts.items():
            client.set_tag(target.parent_run_id, f"num_{status}", str(number))
        client.set_terminated(target.parent_run_id, "FINISHED" if is_complete else "KILLED")
    return len(open_runs)


def close_interrupted(client: "MlflowClient", run_id: str) -> None:
    """Close the run of a trial that has no row."""
    client.set_tag(run_id, "status", "interrupted")
    client.set_terminated(run_id, "KILLED")


def _find_experiment(client: "MlflowClient", directory: RunDirectory) -> "Experiment | None":
    sweep_id = directory.manifest["sweep_id"]
    found = client.search_experiments(filter_string=f"tags.`{_SWEEP_ID_TAG}` = '{sweep_id}'")
    return found[0] if found else None


def _create_experiment(
    client: "MlflowClient", tracking_uri: str, directory: RunDirectory
) -> "Experiment":
    from mlflow.exceptions import MlflowException

    sweep_id = directory.manifest["sweep_id"]
    tags = {
        _SWEEP_ID_TAG: sweep_id,
        "mlflow.experimentKind": "custom_model_development",
        _NOTE_TAG: _claim(directory),
        **view_tags(),
    }
    location = _artifact_location(tracking_uri, directory)
    names = (directory.path.name, f"{directory.path.name} {sweep_id[:8]}")
    for name in names:
        if client.get_experiment_by_name(name) is not None:
            continue
        try:
            experiment_id = client.create_experiment(name, location, tags)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            own = _find_experiment(client, directory)  # made by a call whose answer was lost
            if own is not None:
                return own
            continue  # another driver has taken the name meanwhile
        return client.get_experiment(experiment_id)
    msg = (
        f"the MLflow experiment of {directory.path} must be new, but those named {list(names)} "
        "exist and are not its own, or were deleted; restore or purge them."
    )
    raise TrackingError(msg)


def _claim(directory: RunDirectory) -> str:
    return str(directory.manifest.get("space", {}).get("claim", ""))


def _arrange(
    client: "MlflowClient", experiment: "Experiment", parent_id: str, directory: RunDirectory
) -> None:
    """Give an experiment its views and links, where it lacks them; a user's own note is kept."""
    wanted, claim = view_tags(), _claim(directory)
    if experiment.tags.get(_NOTE_TAG, "") == claim:
        links = _links(experiment.experiment_id, parent_id, directory)
        wanted[_NOTE_TAG] = describe_sweep(claim, links)
    for name, value in wanted.items():
        if experiment.tags.get(name) != value:
            client.set_experiment_tag(experiment.experiment_id, name, value)


def find_links(tracking_uri: str, run_directory: RunDirectory) -> dict[str, str]:
    """Return what follows a server's address for the views of a sweep; empty where it is not there.

    Raises:
        TrackingError: The store does not answer, or refuses.
    """
    with translated_errors(tracking_uri):
        client = connect(tracking_uri)
        experiment = _find_experiment(client, run_directory)
        parents = [] if experiment is None else _parent_runs(client, experiment.experiment_id)
        if experiment is None or not parents:
            return {}
        return _links(experiment.experiment_id, parents[0], run_directory)


def _links(experiment_id: str, parent_id: str, directory: RunDirectory) -> dict[str, str]:
    return view_links(experiment_id, parent_id, has_models=logs_models(directory))


def _artifact_location(tracking_uri: str, directory: RunDirectory) -> str | None:
    """Return an absolute folder beside the store; a server has its own."""
    if is_server(tracking_uri):
        return None
    in_file = is_sqlite(tracking_uri)
    beside = sqlite_path(tracking_uri).parent if in_file else directory.path.parent
    folder: Path = beside / "mlartifacts" / str(directory.manifest["sweep_id"])
    return folder.as_uri()


def remove_second_parents(target: MlflowTarget) -> int:
    """Remove parent runs besides the sweep's own, and return how many; MLflow can restore them.

    They are there where a slow store has made a run whose answer came too late.

    Raises:
        TrackingError: The store does not answer, or refuses.
    """
    with translated_errors(target.tracking_uri):
        client = connect(target.tracking_uri)
        others = _parent_runs(client, target.experiment_id)
        others = [run_id for run_id in others if run_id != target.parent_run_id]
        for run_id in others:
            client.delete_run(run_id)
    return len(others)


def _parent_runs(client: "MlflowClient", experiment_id: str) -> list[str]:
    """Return the ids of an experiment's parent runs, the oldest first."""
    found = client.search_runs(
        [experiment_id],
        f"tags.`{_ROLE_TAG}` = 'sweep'",
        order_by=["attributes.start_time ASC", "attributes.run_id ASC"],
    )
    return [str(run.info.run_id) for run in found]


def _open_parent_run(
    client: "MlflowClient", experiment: "Experiment", manifest: Mapping[str, Any]
) -> str:
    tags = _parent_tags(experiment.name, manifest)
    found = _parent_runs(client, experiment.experiment_id)
    if found:
        parent_id = found[0]
        client.update_run(parent_id, status="RUNNING")
        return parent_id
    run = client.create_run(
        experiment.experiment_id, tags=tags, run_name=f"sweep {experiment.name}"
    )
    return str(run.info.run_id)


def _parent_tags(name: str, manifest: Mapping[str, Any]) -> dict[str, str]:
    machine = manifest.get("machine", {})
    git, gpus = manifest.get("git"), machine.get("gpus")
    values = {
        _ROLE_TAG: "sweep",
        "sweep": name,
        "plan_id": manifest.get("plan_id"),
        "recipe": manifest.get("sweep_name"),
        "code_version": manifest.get("code_version"),
        "hostname": machine.get("hostname"),
        "gpus": ", ".join(map(str, gpus)) if isinstance(gpus, list) and gpus else None,
        "num_planned": len(manifest.get("trials", [])) or None,
        "mlflow.source.name": "rlp-sweeps",
        "mlflow.source.git.commit": git.get("commit") if isinstance(git, dict) else None,
        _NOTE_TAG: manifest.get("space", {}).get("claim"),
        "python": machine.get("python"),
        **{f"version.{k}": v for k, v in manifest.get("packages", {}).items()},
    }
    return {key: str(value) for key, value in values.items() if value is not None}

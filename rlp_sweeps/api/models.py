"""The trained networks of a sweep, as torch modules."""

from pathlib import Path
from typing import TYPE_CHECKING

from rlp_sweeps.errors import RunDirectoryError
from rlp_sweeps.run_places import chosen_trial
from rlp_sweeps.schema import KEPT_STATUSES
from rlp_sweeps.stores import as_path

if TYPE_CHECKING:
    from rlp_sweeps.tracking.run_directory import RunDirectory
    from rlp_sweeps.training.trained_model import TrainedModel
    from rlp_sweeps.training.weights import TrainedWeights


def load_model(
    directory: Path | str, trial: str, *, device: str = "cpu", trusts_code: bool = False
) -> "TrainedModel":
    """Return a trial's trained network, which takes raw images and gives class scores.

    It is in eval mode, needs no data set, and its test accuracy is that of the trial's row.
    Nothing is unpickled.

    Args:
        directory: A run directory that kept its networks (`log_models` or `keep_weights`).
        trial: The trial's id, or its beginning.
        device: ``cpu``, ``cuda``, or ``auto``.
        trusts_code: Import and call a backbone that the directory names, whoever began it.

    Raises:
        RunDirectoryError: It is no run directory, holds no network of the trial, or names code of
            unknown origin.
        CheckpointError: The network's file cannot be read.
        BackboneError, DeviceError: What was trained cannot be had here.
    """
    import torch

    from rlp_sweeps.orchestration.planner import resolve_device
    from rlp_sweeps.tracking.kept_weights import kept_weights
    from rlp_sweeps.tracking.run_directory import RunDirectory
    from rlp_sweeps.training.trained_model import TrainedModel
    from rlp_sweeps.training.weights import load_weights

    where = torch.device(resolve_device(device))
    opened = RunDirectory.open(as_path(directory))
    statuses = opened.finished_trials()
    trial_id = chosen_trial(statuses, trial, directory=opened.path, why="to load")
    path = kept_weights(opened).get(trial_id)
    if path is None or statuses[trial_id] not in KEPT_STATUSES:
        raise RunDirectoryError(_no_model(opened, trial_id, statuses[trial_id]))
    weights = load_weights(path, where)
    _check_code(opened, weights, is_trusted=trusts_code)
    return TrainedModel(weights, where)


def _check_code(directory: "RunDirectory", weights: "TrainedWeights", *, is_trusted: bool) -> None:
    from rlp_sweeps.orchestration.named_code import check_code, code_of
    from rlp_sweeps.orchestration.planner import plan_from_manifest

    if code_of([weights.config]):
        plan = plan_from_manifest(directory.manifest)
        check_code(directory, plan, is_trusted=is_trusted, further=[weights.config])


def _no_model(directory: "RunDirectory", trial_id: str, status: str) -> str:
    if status not in KEPT_STATUSES:
        return (
            f"a trial must have trained to its end, or been stopped, to have a network, but "
            f"{trial_id} has {status}; `rlp-sweeps show {directory.path} {trial_id}` says why."
        )
    return (
        f"a trial's network must have been kept to be loaded, but {directory.path} holds none of "
        f"{trial_id}: it was trained without `--log-models` and `--keep-weights`, or `rlp-sweeps "
        "clean --weights` has removed it."
    )

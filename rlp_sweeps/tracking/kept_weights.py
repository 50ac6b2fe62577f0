"""Where a run directory keeps trained weights: ``weights/<trial_id>.pt``.

That the folder is there says that weights are kept, so that a resumed sweep goes on keeping them;
that MLflow is given them as models says the manifest (``settings.log_models``).
Without it, ``probes/<trial_id>.pt`` is there of a trial that could not be probed as it ended.
The files themselves are written and read by ``training.weights``.
"""

from pathlib import Path

from rlp_sweeps.tracking import files
from rlp_sweeps.tracking.run_directory import RunDirectory

LOG_MODELS = "log_models"
"""The manifest's setting that has MLflow given the weights as models."""


def weights_folder(directory: RunDirectory) -> Path | None:
    """Return where the weights of what is trained there are kept; None where they are not."""
    folder = _folder(directory)
    return folder if folder.is_dir() else None


def keep_weights(directory: RunDirectory) -> None:
    """Have the weights kept of what is trained there from now on."""
    files.make_folder(_folder(directory))


def log_models(directory: RunDirectory) -> None:
    """Have the weights kept as `keep_weights` does, and MLflow given them as models.

    Raises:
        RunDirectoryError: The directory cannot be written.
    """
    keep_weights(directory)
    directory.set_setting(LOG_MODELS, True)


def logs_models(directory: RunDirectory) -> bool:
    """Return whether MLflow is given the weights of what is trained there."""
    return directory.manifest.get("settings", {}).get(LOG_MODELS) is True


def kept_weights(directory: RunDirectory) -> dict[str, Path]:
    """Return the weights that were kept, by trial id."""
    unprobed = directory.path / "probes"
    paths = [*sorted(unprobed.glob("[!.]*.pt")), *sorted(_folder(directory).glob("[!.]*.pt"))]
    return {path.stem: path for path in paths}


def keep_weights_of(directory: RunDirectory, trial_id: str, path: Path) -> None:
    """Keep the weights of a trial that is to be probed once more, in a copy of this file."""
    kept = _unprobed(directory, trial_id)
    files.make_parent(kept)
    files.copy_atomically(path, kept)


def drop_weights_of(directory: RunDirectory, trial_id: str) -> None:
    """Remove what `keep_weights_of` kept."""
    _unprobed(directory, trial_id).unlink(missing_ok=True)


def _unprobed(directory: RunDirectory, trial_id: str) -> Path:
    return directory.path / "probes" / f"{files.checked_name(trial_id)}.pt"


def kept_path(directory: RunDirectory, trial_id: str) -> Path:
    """Return where the weights of a trial are kept, if they are."""
    return _folder(directory) / f"{files.checked_name(trial_id)}.pt"


def take_weights(directory: RunDirectory, source: RunDirectory, trial_id: str) -> None:
    """Copy a trial's weights from another sweep, where it has them and this one keeps any."""
    kept = kept_path(source, trial_id)
    folder = weights_folder(directory)
    if folder is not None and kept.exists():
        files.copy_atomically(kept, folder / kept.name)


def _folder(directory: RunDirectory) -> Path:
    return directory.path / "weights"

"""Where a run directory keeps trained weights: ``weights/<trial_id>.pt``.

That the folder is there says that weights are kept, so that a resumed sweep goes on keeping them.
The files themselves are written and read by ``training.weights``.
"""

from pathlib import Path

from rlp_sweeps.tracking import files
from rlp_sweeps.tracking.run_directory import RunDirectory


def weights_folder(directory: RunDirectory) -> Path | None:
    """Return where the weights of what is trained there are kept; None where they are not."""
    folder = _folder(directory)
    return folder if folder.is_dir() else None


def keep_weights(directory: RunDirectory) -> None:
    """Have the weights kept of what is trained there from now on."""
    _folder(directory).mkdir(exist_ok=True)


def kept_weights(directory: RunDirectory) -> dict[str, Path]:
    """Return the weights that were kept, by trial id."""
    return {path.stem: path for path in sorted(_folder(directory).glob("[!.]*.pt"))}


def take_weights(directory: RunDirectory, source: RunDirectory, trial_id: str) -> None:
    """Copy a trial's weights from another sweep, where it has them and this one keeps any."""
    kept = _folder(source) / f"{trial_id}.pt"
    folder = weights_folder(directory)
    if folder is not None and kept.exists():
        files.copy_atomically(kept, folder / kept.name)


def _folder(directory: RunDirectory) -> Path:
    return directory.path / "weights"

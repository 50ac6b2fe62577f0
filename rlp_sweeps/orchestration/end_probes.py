"""Probes of a trial at the end of its training, in its worker, whose weights need not be kept.

The rows are there before the trial's own, so that a trial that has a row is never probed again.
Probes that raise leave the trial as it is, and beside its rows a sentence and its weights, by which
``rlp-sweeps probe`` tries again.
"""

import shutil
import tempfile
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import torch

from rlp_sweeps.orchestration.probe_tasks import Bench, Found, ProbeJob, ProbeTask, rows_of
from rlp_sweeps.orchestration.rows import Row
from rlp_sweeps.probes import ProbeOptions
from rlp_sweeps.tracking.kept_weights import drop_weights_of, keep_weights_of, weights_folder
from rlp_sweeps.tracking.probe_rows import clear_probe_error, write_probe_error, write_probes
from rlp_sweeps.tracking.run_directory import RunDirectory
from rlp_sweeps.training.weights import load_weights, weights_path


class EndProbes:
    """What a group's members are probed by as they end.

    Attributes:
        weights_folder: Where members leave their weights: the run directory's where it keeps them,
            else a folder that `close` removes.
    """

    def __init__(self, directory: RunDirectory, names: tuple[str, ...], job: ProbeJob) -> None:
        self._directory = directory
        self._names = names
        self._job = job
        kept = weights_folder(directory)
        self._is_kept = kept is not None
        self.weights_folder = kept or Path(tempfile.mkdtemp(prefix="rlp-probes-"))

    def probe(self, trial_id: str, status: str, rows: Sequence[Row]) -> None:
        """Probe a completed member by its weights, and write what is found.

        Args:
            trial_id: The member.
            status: How it ended.
            rows: What was found while it trained; it is not asked for again.

        Raises:
            RunDirectoryError: The directory cannot be written.
        """
        known = {row["probe"] for row in rows}
        found = self._found(trial_id, known) if status == "completed" else ()
        error = next((one.error for one in found if one.error is not None), None)
        further = [row for one in found if error is None for row in rows_of(trial_id, one)]
        if rows or further:
            write_probes(self._directory, trial_id, [*rows, *further])
        if error is None:  # an attempt that was killed may have left them
            clear_probe_error(self._directory, trial_id)
            drop_weights_of(self._directory, trial_id)
        else:
            write_probe_error(self._directory, trial_id, error)
        if not self._is_kept:
            path = weights_path(self.weights_folder, trial_id)
            if error is not None:
                keep_weights_of(self._directory, trial_id, path)
            path.unlink(missing_ok=True)

    def _found(self, trial_id: str, known: set[str]) -> tuple[Found, ...]:
        path = weights_path(self.weights_folder, trial_id)
        names = tuple(name for name in self._names if name not in known)
        return _bench_of(self._job).probe(path, ProbeOptions(probes=names)) if names else ()

    def close(self) -> None:
        """Remove what is not kept."""
        if not self._is_kept:
            shutil.rmtree(self.weights_folder, ignore_errors=True)


class _SharingBench:
    """Probes networks; those that are alike before training share their references."""

    def __init__(self, job: ProbeJob) -> None:
        self._bench = Bench(job)
        self._reference: tuple[object, ...] | None = None
        self._references = Found(())

    def probe(self, path: Path, options: ProbeOptions) -> tuple[Found, Found]:
        weights = load_weights(path, torch.device("cpu"))
        task = ProbeTask(weights.config, options)
        if self._reference != task.reference or self._references.error is not None:
            self._references, self._reference = self._bench.work(task), task.reference
        return self._references, self._bench.work(task._replace(weights=weights))


@lru_cache(maxsize=1)
def _bench_of(job: ProbeJob) -> _SharingBench:
    """Return the bench of this process, which trains many groups of a sweep."""
    return _SharingBench(job)

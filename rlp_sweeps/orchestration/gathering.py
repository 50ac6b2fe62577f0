"""What a driver does with the files of earlier attempts as it begins, and of its own as it ends."""

import contextlib
import shutil

from rlp_sweeps.errors import CorruptFileError, RunDirectoryError
from rlp_sweeps.orchestration.attempts import keep_attempt, keep_lost_attempt
from rlp_sweeps.orchestration.resources import remove_stale_sessions
from rlp_sweeps.stores import is_remote
from rlp_sweeps.tracking.corrupt_parts import set_aside_corrupt_parts
from rlp_sweeps.tracking.holder import time_there
from rlp_sweeps.tracking.run_directory import RunDirectory

ATTEMPT_PREFIX = ".attempt-"
"""What the name of a folder begins with that Tune writes an attempt's state into."""


class Gathering:
    """Gathers rows and clears away, for the driver that holds a run directory.

    Attributes:
        notes: What was found spoilt, or could not be done, one sentence each.
    """

    def __init__(self, directory: RunDirectory) -> None:
        self.notes: list[str] = []
        self._directory = directory
        self._begun = 0.0

    def begin(self) -> None:
        """Gather what earlier attempts have left, and clear away what killed ones have.

        Raises:
            RunDirectoryError: The directory cannot be written, or its disk is full.
            SchemaError: A compacted file is corrupt; the message names it.
        """
        path = self._directory.path
        try:
            self._begun = time_there(path)
            keep_lost_attempt(path)
            remove_attempt_folders(self._directory)
            remove_stale_sessions()
            self._compact()
        except OSError as error:
            reason = error.strerror or str(error)
            msg = f"{path} must be writable, but it is not ({reason}); make room, or mend it."
            raise RunDirectoryError(msg) from error

    def end(self) -> None:
        """Gather this attempt's rows, and remove what earlier ones left half written."""
        try:
            self._compact()
            self._directory.remove_temporary_files(before=self._begun)
        except OSError as error:
            self.notes.append(
                f"rows are kept in one file a trial, because they could not be gathered ({error}); "
                f"`rlp-sweeps resume {self._directory.path}` tries again."
            )

    def clear(self) -> None:
        """Remove what killed writers of this attempt left too, as nothing is left to be trained.

        A writer that is at work all the same, on a machine that was lost, writes what is known.
        """
        with contextlib.suppress(OSError):  # the next driver tries again
            self._directory.remove_temporary_files(before=time_there(self._directory.path))

    def close(self, *, busy_s: float, ended_by: str) -> None:
        """Keep what this attempt took, where there is room."""
        with contextlib.suppress(OSError):  # the next driver keeps it as that of a killed one
            keep_attempt(self._directory.path, busy_s=busy_s, ended_by=ended_by)

    def _compact(self) -> None:
        """Gather the rows; parts that cannot be read are moved aside, and their trials missing."""
        try:
            self._directory.compact()
        except CorruptFileError:
            notes = set_aside_corrupt_parts(self._directory)
            if not notes:
                raise
            self.notes += notes
            self._directory.compact()


def remove_attempt_folders(directory: RunDirectory) -> None:
    """Remove what Tune has left in a run directory; no attempt may be at work.

    Tune's folder is beside the rows, where all machines of a cluster see it; that of a directory in
    a store is the driver's own: no group reports a checkpoint, so that no worker looks into it.
    """
    if is_remote(directory.path):
        return
    for folder in directory.path.glob(f"{ATTEMPT_PREFIX}*"):
        shutil.rmtree(folder, ignore_errors=True)

"""What a group tells of itself in its log, in sentences; see `tracking.group_log`."""

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rlp_sweeps.config import SCALARS, TrialConfig
from rlp_sweeps.orchestration.grouping import Group
from rlp_sweeps.orchestration.log_capture import captured, log_crashes
from rlp_sweeps.orchestration.progress import last_line
from rlp_sweeps.tracking.group_log import GROUP, GroupLog
from rlp_sweeps.tracking.run_directory import code_version

if TYPE_CHECKING:
    from rlp_sweeps.orchestration.trainable import SweepJob
    from rlp_sweeps.training.part import GroupProgress

_TOLD_METRICS = (
    *("train_step_loss", "train_accuracy", "val_accuracy", "test_accuracy"),
    *("random_label_accuracy", "lr_multiplier"),
)
_SHARED_SETTINGS = ("dataset", "backbone", "num_epochs", "batch_size")


class GroupDiary:
    """Tells how a group goes; all values are on the host before it is asked."""

    def __init__(self, log: GroupLog | None = None) -> None:
        """Tell it to a log, or to nobody."""
        self._log = log
        self._trace: str | None = None
        self._told: dict[str, object] = {}

    def started(self, job: "SweepJob", group: Group, *, hostname: str) -> None:
        """Tell what trains where."""
        if self._log is None:
            return
        first = group.trials[0].to_dict()
        shared = ", ".join(f"{name}={_text(first[name])}" for name in _SHARED_SETTINGS)
        gpus = os.environ.get("CUDA_VISIBLE_DEVICES")
        which = f" {gpus}" if gpus and job.device != "cpu" else ""
        where = (
            f"start {self._log.num_starts + 1}: {len(group.trials)} trial(s) by "
            f"{job.engine_of(group)} on {job.device}{which}, {job.num_threads} thread(s), machine "
            f"{hostname}, process {os.getpid()}, code {code_version()}"
        )
        members = [(trial.trial_id, _member(trial)) for trial in group.trials]
        self._log.write_all([(GROUP, where), (GROUP, f"all with {shared}"), *members])

    def evaluated(self, progress: "GroupProgress") -> None:
        """Tell what an epoch's evaluations came to."""
        if self._log is not None:
            self._log.write_all(
                (trial_id, _evaluation(row, progress.num_epochs))
                for trial_id, rows in progress.new_rows.items()
                for row in rows
                if self._is_new(row)
            )

    def _is_new(self, row: Mapping[str, Any]) -> bool:
        """Return whether an evaluation was not told; a member's last one comes by its end too."""
        before = self._told.get(row["trial_id"])
        self._told[row["trial_id"]] = row["epoch"]
        return before is None or before != row["epoch"]

    def failed(self, trace: str) -> None:
        """Tell what ended members, unless that was told last: they may fail alike."""
        if trace != self._trace:
            self._trace = trace
            self.told(f"failed:\n{trace.rstrip()}")
        if self._log is not None:
            self._log.flush()

    def ended(self, row: Mapping[str, Any], epochs: Sequence[Mapping[str, Any]]) -> None:
        """Tell how a member ended, by its row of ``trials`` and its rows of ``epochs``."""
        if self._log is None:
            return
        trial_id, epoch, error = row["trial_id"], row["epochs_completed"], row.get("error")
        if error and row["status"] == "failed":
            self.failed(error)
        entries = []
        if epochs and epochs[-1]["epoch"] == epoch and self._is_new(epochs[-1]):
            entries.append((trial_id, _evaluation(epochs[-1], row["num_epochs"])))
        text = f"{row['status']} after epoch {epoch}"
        if row.get("wall_time_s") is not None:
            text += f", {row['wall_time_s']:.1f} s"
        if error:
            text += f": {last_line(error)}"
        self._log.write_all([*entries, (trial_id, text)])

    def closed(self, counts: Mapping[str, int], *, is_paused: bool, epoch: int) -> None:
        """Tell how the group ended, or that it goes on in a later attempt.

        Args:
            counts: Members that have ended, by status.
            is_paused: Whether it goes on.
            epoch: Epochs completed.
        """
        said = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
        if is_paused:
            self.told(f"paused after epoch {epoch}; goes on in a later attempt")
        else:
            self.told(f"ended: {said or 'no trial'}")

    def told(self, sentence: str) -> None:
        """Tell whatever else concerns the group."""
        if self._log is not None:
            self._log.write(GROUP, sentence)


@contextlib.contextmanager
def kept_diary(job: "SweepJob", group_id: str, *, catches_crashes: bool) -> Iterator[GroupDiary]:
    """Keep a group's log within the block, with all that this process says meanwhile.

    Args:
        job: The sweep.
        group_id: The group.
        catches_crashes: Have the trace of a crash in native code written there, too.
    """
    path = job.directory.log_path(group_id)
    log = GroupLog(path, on_file=log_crashes if catches_crashes else None)
    diary = GroupDiary(log)
    try:
        with captured(log):
            yield diary
    except BaseException as error:
        diary.told(f"broken off by {type(error).__name__}: {error}")
        raise
    finally:
        if catches_crashes:
            log_crashes(-1)
        log.close()


def _member(trial: TrialConfig) -> str:
    values = {name: getattr(trial, name) for name in SCALARS}
    given = [f"{name}={_text(value)}" for name, value in values.items() if value is not None]
    return f"member: {', '.join(given)}"


def _evaluation(row: Mapping[str, Any], num_epochs: int) -> str:
    told = [f"{n}={row[n]:.4g}" for n in _TOLD_METRICS if row.get(n) is not None]
    return f"epoch {row['epoch']}/{num_epochs}: {' '.join(told)}"


def _text(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)

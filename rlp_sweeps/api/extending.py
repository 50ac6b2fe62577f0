"""What is added to a sweep: planned, told and written, for the command line and for Python."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rlp_sweeps.arms import ARMS
from rlp_sweeps.views.progress_state import in_words

if TYPE_CHECKING:
    from rlp_sweeps.orchestration.extension import Extension, ExtensionRequest
    from rlp_sweeps.orchestration.progress import RunOptions
    from rlp_sweeps.tracking.run_directory import RunDirectory


@dataclass(frozen=True, kw_only=True, slots=True)
class PreparedExtension:
    """An extension that nothing has been written of.

    Attributes:
        given: The run directory as it was given, for sentences.
        opened: The same, opened.
        found: What is added.
        time_s: Seconds of its trials one after the other, at the mean pace of the finished ones;
            None where none has finished.
    """

    given: Path
    opened: "RunDirectory"
    found: "Extension"
    time_s: float | None

    @property
    def is_empty(self) -> bool:
        """Whether the sweep has all of it already."""
        return not self.found.num_new_trials

    @property
    def sentence(self) -> str:
        """What is added, and how long that takes."""
        pace = ""
        if self.time_s:
            pace = (
                f"; about {in_words(self.time_s)} one after the other, at the pace of its "
                "finished trials"
            )
        return f"extension of {self.given}: {describe_extension(self.found)}{pace}"

    def write(self, options: "RunOptions") -> None:
        """Write it into the plan, once it is known that it can be trained here.

        Raises:
            RlpSweepsError: As `resume_sweep` raises before it starts.
        """
        from rlp_sweeps.orchestration.sweep_request import check_resume

        trials = self.found.trials
        check_resume(self.opened, options, further=trials)
        why = describe_extension(self.found)
        self.opened.add_trials(trials, why=why, extends=self.found.changes)

    def lacks_controls(self) -> bool:
        """Return whether the sweep has matched controls, so that what was added lacks some."""
        arms = set(self.opened.read_trials()["arm"].to_pylist())
        return any(ARMS[arm].matched_to for arm in arms & set(ARMS))


def prepare_extension(directory: Path, request: "ExtensionRequest") -> PreparedExtension:
    """Return what a request adds to a sweep; nothing is written.

    Raises:
        ArgumentError, ConfigError, SearchSpaceError: It cannot be added, see `plan_extension`.
        RunDirectoryError: It is no run directory.
    """
    from rlp_sweeps.orchestration.extension import plan_extension
    from rlp_sweeps.tracking.run_directory import RunDirectory

    opened = RunDirectory.open(directory)
    found = plan_extension(opened.manifest, request)
    times = opened.read_trials()["wall_time_s"].drop_null().to_pylist()
    time_s = sum(times) / len(times) * found.num_new_trials if times else None
    return PreparedExtension(given=directory, opened=opened, found=found, time_s=time_s)


def describe_extension(found: "Extension") -> str:
    """Return what is added, in one line: "4 trials: 2 control, 2 full (lr=0.2)"."""
    if not found.num_new_trials:
        return "nothing to add, the sweep has all of it"
    if found.num_new_points:
        return f"{found.num_new_points} points of {found.trials_per_point} trial(s)"
    arms = ", ".join(f"{number} {arm}" for arm, number in found.trials_by_arm.items())
    added = [
        f"{name}={','.join(map(str, values))}"
        for name, values in found.changes.get("axes", {}).items()
    ]
    if "num_seeds" in found.changes:
        added.append(f"{found.changes['num_seeds']} seeds in all")
    return f"{len(found.trials)} trials: {arms} ({'; '.join(added)})"

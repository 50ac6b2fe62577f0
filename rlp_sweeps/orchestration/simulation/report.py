"""What a simulation found out about time, kept beside its rows."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from rlp_sweeps.tracking.files import write_text_atomically

_NAME = "simulation.json"


@dataclass(kw_only=True, slots=True)
class SimulationReport:
    """One simulated attempt.

    Attributes:
        time_s: Simulated seconds from its start to its end.
        num_slots: Groups at once while every machine is there.
        busy_s: Seconds of slots that held a group, waiting for the driver included.
        num_groups: Groups that ended, those given up included.
        num_trials: Trials that ended.
        trial_epochs: Epochs of trials, repeated ones included.
        trial_epochs_saved: Recorded epochs that were not trained, because trials were stopped.
        num_stopped: Trials stopped by the search.
        num_cut_short: Trials that ended as ``stopped`` because no more of them is recorded.
        num_nodes_lost: Machines lost.
        num_groups_lost: Groups lost with them and started again.
        num_groups_given_up: Groups lost once too often; `resume` starts them again.
        lost_s: Seconds of slots since the last checkpoints of lost groups.
    """

    time_s: float = 0.0
    num_slots: int = 0
    busy_s: float = 0.0
    num_groups: int = 0
    num_trials: int = 0
    trial_epochs: int = 0
    trial_epochs_saved: int = 0
    num_stopped: int = 0
    num_cut_short: int = 0
    num_nodes_lost: int = 0
    num_groups_lost: int = 0
    num_groups_given_up: int = 0
    lost_s: float = 0.0

    @property
    def busy_share(self) -> float:
        """Share of the slots' time in which they held a group."""
        return self.busy_s / (self.num_slots * self.time_s) if self.time_s else 0.0


def add_report(directory: Path, report: SimulationReport) -> None:
    """Add an attempt's report to those of a run directory."""
    reports = [asdict(known) for known in read_reports(directory)]
    text = json.dumps([*reports, asdict(report)], indent=1) + "\n"
    write_text_atomically(directory / _NAME, text)


def read_reports(directory: Path) -> list[SimulationReport]:
    """Return the reports of a run directory's simulated attempts, in their order."""
    path = directory / _NAME
    if not path.exists():
        return []
    return [SimulationReport(**values) for values in json.loads(path.read_text(encoding="utf-8"))]

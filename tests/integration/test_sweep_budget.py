"""Sweeps that end before their plan is done, by budget or by request, and go on."""

from dataclasses import replace

import pytest
import sweep_cases as cases
from untuned import train_here

from rlp_sweeps.orchestration.attempts import read_attempts
from rlp_sweeps.orchestration.planner import plan_sweep
from rlp_sweeps.orchestration.progress import SilentProgress
from rlp_sweeps.orchestration.status import sweep_status
from rlp_sweeps.orchestration.sweep import resume_sweep, run_sweep
from rlp_sweeps.spaces import LogAxis, SearchSpace
from rlp_sweeps.tracking.holder import ask_to_stop, read_holder
from rlp_sweeps.tracking.run_directory import RunDirectory

pytestmark = [pytest.mark.slow, pytest.mark.faults]

LONG = SearchSpace(
    axes={"lr": LogAxis(low=0.01, high=0.3, num_points=4)},
    arms=("control",),
    num_seeds=1,
    fixed={**cases._FIXED, "num_epochs": 300, "eval_every": 100},
)
OPTIONS = replace(cases.OPTIONS, checkpoint_interval_s=3600.0)
"""A checkpoint is there only where a pause has written it."""


class Listener(SilentProgress):
    """Notes the epochs of groups; asks the driver of a directory to stop at the first."""

    def __init__(self, directory=None):
        self.directory, self.seen = directory, []

    def on_group_progress(self, group_id, epoch, num_epochs, metrics):
        self.seen.append((group_id, epoch))
        if self.directory is not None and len(self.seen) == 1:
            ask_to_stop(self.directory, read_holder(self.directory), now=False)


def test_cancelled_sweep_goes_on_in_the_epoch_it_was_in_and_equals_an_undisturbed_one(tmp_path):
    plan = plan_sweep(LONG, name="long", device="cpu", engine="grouped", group_size=2)
    output, first, later = tmp_path / "cancelled", Listener(tmp_path / "cancelled"), Listener()

    stopped = run_sweep(plan, output=output, options=OPTIONS, progress=first)

    paused, epoch = first.seen[-1]
    assert (stopped.exit_status, stopped.stopped_by) == (130, "cancel")
    assert 0 < epoch < 300
    assert RunDirectory.open(output).checkpoint_path(paused).exists()
    assert sweep_status(output).ended_by == "cancel"

    few = replace(OPTIONS, max_trials=3)
    outcome = resume_sweep(output, options=few, progress=later)

    assert later.seen[0] == (paused, epoch + 1)
    assert (outcome.exit_status, outcome.stopped_by) == (3, "trials")
    assert sum(outcome.counts.values()) == 2  # those that train together
    assert [a.ended_by for a in read_attempts(output)] == ["cancel", "trials"]
    train_here(plan, tmp_path / "undisturbed", num_groups=1)
    for table in ("trials", "epochs"):
        stopped, whole = (
            cases.read_table(tmp_path / n, table) for n in ("cancelled", "undisturbed")
        )
        assert stopped.equals(whole), table

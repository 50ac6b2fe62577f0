"""Sweeps that end before their plan is done, by budget or by request, and go on."""

from dataclasses import replace

import pytest
import sweep_cases as cases

from rlp_sweeps.orchestration.attempts import read_attempts
from rlp_sweeps.orchestration.planner import plan_sweep
from rlp_sweeps.orchestration.progress import SilentProgress
from rlp_sweeps.orchestration.status import sweep_status
from rlp_sweeps.orchestration.sweep import resume_sweep, run_sweep
from rlp_sweeps.spaces import LogAxis, SearchSpace
from rlp_sweeps.tracking.holder import ask_to_stop, read_holder
from rlp_sweeps.tracking.run_directory import RunDirectory

pytestmark = pytest.mark.slow

LONG = SearchSpace(
    axes={"lr": LogAxis(low=0.01, high=0.3, num_points=4)},
    arms=("control",),
    num_seeds=1,
    fixed={**cases._FIXED, "num_epochs": 500, "eval_every": 100},
)
OPTIONS = replace(cases.OPTIONS, checkpoint_interval_s=3600.0)
"""A checkpoint is there only where a pause has written it."""


class StopsInTheMiddle(SilentProgress):
    """Asks the driver to stop, once a group has begun to train."""

    def __init__(self, directory):
        self.directory, self.seen = directory, []

    def on_group_progress(self, group_id, epoch, num_epochs, metrics):
        self.seen.append((group_id, epoch))
        if len(self.seen) == 1:
            ask_to_stop(self.directory, read_holder(self.directory), now=False)


def test_a_cancelled_sweep_goes_on_in_the_epoch_it_was_in_and_equals_an_undisturbed_one(tmp_path):
    plan = plan_sweep(LONG, name="long", device="cpu", engine="grouped", group_size=2)
    listener = StopsInTheMiddle(tmp_path / "cancelled")

    stopped = run_sweep(plan, output=listener.directory, options=OPTIONS, progress=listener)

    assert (stopped.exit_status, stopped.stopped_by) == (130, "cancel")
    assert 0 < listener.seen[-1][1] < 500
    paused = listener.seen[-1][0]
    assert RunDirectory.open(listener.directory).checkpoint_path(paused).exists()
    assert not sweep_status(listener.directory).is_running

    later = StopsInTheMiddle(tmp_path / "nowhere")
    later.seen.append(("", 0))  # asks nobody
    few = replace(OPTIONS, max_trials=3)
    outcome = resume_sweep(listener.directory, options=few, progress=later)

    assert later.seen[1] == (paused, listener.seen[-1][1] + 1)
    assert (outcome.exit_status, outcome.stopped_by) == (3, "trials")
    assert sum(outcome.counts.values()) == 2  # the two that train together
    assert resume_sweep(listener.directory, options=OPTIONS).exit_status == 0
    assert [a.ended_by for a in read_attempts(listener.directory)] == ["cancel", "trials", "done"]
    run_sweep(plan, output=tmp_path / "undisturbed", options=OPTIONS)
    for table in ("trials", "epochs"):
        changed, whole = (
            cases.read_table(tmp_path / name, table) for name in ("cancelled", "undisturbed")
        )
        assert changed.equals(whole), table

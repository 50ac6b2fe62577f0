from types import SimpleNamespace

import pytest

from rlp_sweeps.orchestration.early_stopping import (
    PoliteASHA,
    clear_stop_request,
    is_stop_requested,
    request_stop,
)
from rlp_sweeps.spaces import Search

SEARCH = Search(num_points=9, early_stopping=True, grace_epochs=1, reduction_factor=2)


class FakeTrial:
    """A trial whose actor notes what it is told to execute."""

    def __init__(self, trial_id):
        self.trial_id, self.told = trial_id, []
        remote = SimpleNamespace(remote=self.told.append)
        self.temporary_state = SimpleNamespace(ray_actor=SimpleNamespace(execute=remote))


@pytest.fixture
def scheduler():
    return PoliteASHA(SEARCH, num_epochs=8)


def _report(scheduler, trial, epoch, accuracy):
    return scheduler.on_trial_result(None, trial, {"epoch": epoch, "val_accuracy": accuracy})


def _added(scheduler, *names):
    trials = [FakeTrial(name) for name in names]
    for trial in trials:
        scheduler.on_trial_add(None, trial)
    return trials


def test_scheduler_asks_the_worse_trial_to_stop_and_lets_tune_go_on(scheduler):
    good, bad = _added(scheduler, "good", "bad")

    verdicts = [_report(scheduler, good, 1, 0.9), _report(scheduler, bad, 1, 0.1)]

    assert verdicts == ["CONTINUE", "CONTINUE"]
    assert (good.told, bad.told) == ([], [request_stop])


def test_scheduler_never_stops_a_trial_in_its_last_epoch(scheduler):
    good, bad = _added(scheduler, "good", "bad")
    _report(scheduler, good, 8, 0.9)

    _report(scheduler, bad, 8, 0.1)

    assert bad.told == []


def test_scheduler_waits_where_nothing_was_evaluated(scheduler):
    (trial,) = _added(scheduler, "trial")

    assert scheduler.on_trial_result(None, trial, {"epoch": 1}) == "CONTINUE"
    assert trial.told == []


def test_replayed_epochs_count_on_their_rungs(scheduler):
    rows = [
        {"trial_id": name, "epoch": 1, "val_accuracy": 0.9, "logged_at_ms": 1} for name in "abc"
    ]
    scheduler.replay(rows)
    (late,) = _added(scheduler, "late")

    _report(scheduler, late, 1, 0.5)

    assert late.told == [request_stop]


def test_stop_request_holds_until_the_next_trial_clears_it():
    request_stop(None)
    assert is_stop_requested()

    clear_stop_request()
    assert not is_stop_requested()

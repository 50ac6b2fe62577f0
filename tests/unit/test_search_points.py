import math

import pytest

from rlp_sweeps.errors import RunDirectoryError
from rlp_sweeps.orchestration.points import WORST, AskedPoint, PointLog, PointOutcome, point_outcome
from rlp_sweeps.spaces import Search

ACCURACY = Search(num_points=3)
BOTH = Search(num_points=3, objectives=("val_accuracy", "memorization"))


def _row(status="completed", **values):
    row = {"val_accuracy": 0.5, "val_loss": 1.0, "memorization": 0.2, "epochs_completed": 4}
    return {**row, "status": status, **values}


def test_point_outcome_is_the_mean_over_seeds():
    outcome = point_outcome(BOTH, [_row(val_accuracy=0.6), _row(val_accuracy=0.8)])

    assert outcome == PointOutcome("complete", (pytest.approx(0.7), 0.2), 4)


def test_point_outcome_counts_a_diverged_seed_as_the_worst():
    outcome = point_outcome(BOTH, [_row(val_accuracy=0.8), _row("diverged", val_accuracy=0.9)])

    assert outcome == PointOutcome("complete", (0.4, pytest.approx(0.6)), 4)


def test_point_outcome_fails_with_a_failed_seed():
    outcome = point_outcome(ACCURACY, [_row(), _row("failed", val_accuracy=None)])

    assert outcome == PointOutcome("failed")


def test_point_outcome_of_a_stopped_trial_is_its_last_value():
    outcome = point_outcome(ACCURACY, [_row("stopped", val_accuracy=0.3, epochs_completed=2)])

    assert outcome == PointOutcome("stopped", (0.3,), 2)


@pytest.mark.parametrize("value", [None, math.nan, math.inf])
def test_point_outcome_is_finite_whatever_the_row_holds(value):
    search = Search(num_points=1, objectives=("val_loss",))

    outcome = point_outcome(search, [_row(val_loss=value)])

    assert outcome.values == (WORST["val_loss"],)


def test_point_log_returns_what_was_written_and_what_was_asked_together(tmp_path):
    log = PointLog.of(tmp_path)
    first = AskedPoint(0, {"lr": 0.1 + 0.2})
    together = [
        AskedPoint(number, {"lr": 1e-5, "backbone": "mlp"}, asked_with=1) for number in (1, 2)
    ]

    log.extend([first])
    log.extend(together)

    assert PointLog.of(tmp_path).read() == [first, *together]
    assert [point.first for point in (first, *together)] == [0, 1, 1]


def test_point_log_forgets_a_torn_last_line(tmp_path):
    log = PointLog.of(tmp_path)
    log.extend([AskedPoint(0, {"lr": 0.1})])
    with log.path.open("a") as file:
        file.write('{"number": 1, "par')

    assert log.read() == [AskedPoint(0, {"lr": 0.1})]

    log.extend([AskedPoint(1, {"lr": 0.2})])
    assert log.read() == [AskedPoint(0, {"lr": 0.1}), AskedPoint(1, {"lr": 0.2})]


@pytest.mark.parametrize("text", ["nonsense\n", '{"number": 1, "params": {}}\n', '{"lr": 1}\n'])
def test_point_log_refuses_a_broken_record(text, tmp_path):
    log = PointLog.of(tmp_path)
    log.path.parent.mkdir()
    log.path.write_text(text)

    with pytest.raises(RunDirectoryError, match="points"):
        log.read()

import pytest

from rlp_sweeps.orchestration.best_points import best_points
from rlp_sweeps.spaces import LogAxis, Search, SearchSpace

AXES = {"lr": LogAxis(low=0.01, high=1.0, num_points=2)}


def _space(*objectives):
    search = Search(num_points=9, objectives=objectives, objective_arm="control")
    return SearchSpace(axes=AXES, arms=("control",), num_seeds=2, search=search)


def _rows(number, accuracies, memorization=0.5, **changes):
    values = {"status": "completed", "epochs_completed": 1, "lr": number / 10, "point": number}
    return [
        {
            **values,
            "arm": "control",
            "val_accuracy": accuracy,
            "memorization": memorization,
            **changes,
        }
        for accuracy in accuracies
    ]


def test_best_point_of_one_objective_is_the_one_with_the_best_mean():
    rows = _rows(1, [0.9, 0.5]) + _rows(2, [0.8, 0.7]) + _rows(3, [0.1, 0.2])

    (best,) = best_points(_space("val_accuracy"), rows)

    assert (best.number, best.params, best.num_seeds) == (2, {"lr": 0.2}, 2)
    assert best.values == {"val_accuracy": pytest.approx(0.75)}


def test_best_points_of_two_objectives_are_the_front_best_accuracy_first():
    rows = (
        _rows(1, [0.6, 0.6], 0.1)
        + _rows(2, [0.9, 0.9], 0.8)
        + _rows(3, [0.6, 0.6], 0.2)
        + _rows(4, [0.5, 0.5], 0.9)
        + _rows(5, [0.7, 0.7], 0.8)
    )

    best = best_points(_space("val_accuracy", "memorization"), rows)

    assert [point.number for point in best] == [2, 1]


def test_points_that_are_alike_stand_side_by_side():
    rows = _rows(7, [0.6, 0.6]) + _rows(3, [0.6, 0.6])

    assert [p.number for p in best_points(_space("val_accuracy"), rows)] == [3, 7]


@pytest.mark.parametrize(
    "rows",
    [
        _rows(1, [0.9]),  # one of two seeds
        _rows(1, [0.9, 0.9], arm="full"),
        _rows(1, [0.9, 0.9], point=None),
        _rows(1, [0.9, 0.9], status="failed"),
        _rows(1, [0.9, 0.9], status="stopped"),
    ],
)
def test_point_without_the_objective_of_every_seed_is_no_candidate(rows):
    best = best_points(_space("val_accuracy"), rows + _rows(2, [0.1, 0.2]))

    assert [point.number for point in best] == [2]


def test_diverged_seed_counts_as_the_worst_value():
    rows = _rows(1, [0.9]) + _rows(1, [0.9], status="diverged") + _rows(2, [0.5, 0.5])

    assert [point.number for point in best_points(_space("val_accuracy"), rows)] == [2]


def test_grid_has_no_best_point():
    space = SearchSpace(axes=AXES, arms=("control",), num_seeds=2)

    assert best_points(space, _rows(1, [0.9, 0.9])) == ()

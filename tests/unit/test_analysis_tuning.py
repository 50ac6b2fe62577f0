"""Tuned against tuned: choices by hand, equal budgets, the grid's edge, the expected best."""

import polars as pl
import pytest
from analysis_frames import make_trials

from analysis.tuning import estimate_tuned
from analysis.tuning_tables import CHOICES, CURVE, TUNED

f = pl.col
LRS = (0.1, 0.2, 0.4)

#: Test accuracy by arm, lr and λ; validation is the same.
LEVELS = {
    ("control", 0.1, 0.0): 0.50,
    ("control", 0.2, 0.0): 0.60,
    ("control", 0.4, 0.0): 0.55,
    ("full", 0.1, 1.0): 0.58,
    ("full", 0.2, 1.0): 0.57,
    ("full", 0.4, 1.0): 0.40,
    ("full", 0.1, 10.0): 0.62,
    ("full", 0.2, 10.0): 0.54,
    ("full", 0.4, 10.0): 0.30,
}


def make_tunable(*, lambdas=(1.0,), noise=0.001, **options) -> pl.DataFrame:
    """Return trials of control and full with the levels above, full with noise over seeds."""
    level = pl.lit(0.0)
    for (arm, lr, rlp_lambda), value in LEVELS.items():
        is_it = (f("arm") == arm) & (f("lr") == lr) & (f("rlp_lambda") == rlp_lambda)
        level = pl.when(is_it).then(value).otherwise(level)
    level = level + (f("arm") == "full").cast(pl.Float64) * (f("seed") - 1) * noise
    columns = {"test_accuracy": level, "val_accuracy": level, "seeds": (0, 1, 2), "lrs": LRS}
    return make_trials(arms=("control", "full"), lambdas=lambdas, **{**columns, **options})


def row_of(trials: pl.DataFrame, rlp_lambda: float | None = 1.0, **options):
    effects = estimate_tuned(trials, **options).effects
    return effects.filter(f("rlp_lambda").eq_missing(rlp_lambda)).row(0, named=True)


def test_each_side_stands_at_its_own_best_learning_rate():
    row = row_of(make_tunable())

    assert row["estimate"] == pytest.approx(0.58 - 0.60)
    assert (row["y_arm"], row["y_control"]) == (pytest.approx(0.58), pytest.approx(0.60))
    assert (row["chosen_arm"], row["chosen_control"]) == ("lr=0.1", "lr=0.2")
    assert (row["num_chosen_arm"], row["num_chosen_control"], row["num_seeds"]) == (3, 3, 3)


def test_budgets_are_equal_where_lambda_is_fixed():
    row = row_of(make_tunable())

    assert row["budget_arm"] == row["budget_control"] == 3
    assert row["equal_budget_estimate"] == pytest.approx(row["estimate"])


def test_an_optimum_at_the_edge_of_the_learning_rates_is_flagged():
    row = row_of(make_tunable())

    assert (row["num_edge_arm"], row["num_edge_control"], row["is_at_edge"]) == (3, 0, True)


def test_an_optimum_inside_the_learning_rates_is_not_flagged():
    inside = pl.when(f("lr") == 0.2).then(0.7).otherwise("val_accuracy")

    row = row_of(make_tunable().with_columns(val_accuracy=inside))

    assert (row["num_edge_arm"], row["num_edge_control"], row["is_at_edge"]) == (0, 0, False)


def test_one_learning_rate_has_no_edge():
    by_smoothing = make_smoothed_at_one_lr()

    row = row_of(by_smoothing)

    assert (row["num_edge_arm"], row["num_edge_control"]) == (0, 0)
    assert row["chosen_arm"] == "label_smoothing=0.1"


def make_smoothed_at_one_lr() -> pl.DataFrame:
    """Return trials at one learning rate with two ε, of which 0.1 is the better one."""
    frames = [
        make_tunable(lrs=(0.1,), label_smoothing=eps).with_columns(
            trial_id=pl.format("{}-{}", "trial_id", pl.lit(eps)),
            val_accuracy=f("val_accuracy") + eps,
        )
        for eps in (0.0, 0.1)
    ]
    return pl.concat(frames)


def test_a_tuned_lambda_is_compared_at_equal_budgets_too():
    row = row_of(make_tunable(lambdas=(1.0, 10.0)), None)

    # The best of 3 of 6: the values by rank are 0.62, 0.58, 0.57, 0.54, 0.40, 0.30.
    best_of_three = (10 * 0.62 + 6 * 0.58 + 3 * 0.57 + 1 * 0.54) / 20
    assert (row["budget_arm"], row["budget_control"]) == (6, 3)
    assert row["estimate"] == pytest.approx(0.62 - 0.60)
    assert row["equal_budget_estimate"] == pytest.approx(best_of_three - 0.60)
    assert row["chosen_arm"] == "lr=0.1, rlp_lambda=10"


def test_the_curve_runs_from_the_mean_to_the_tuned_outcome():
    tuned = estimate_tuned(make_tunable())

    curve = tuned.curve.filter(f("rlp_lambda") == 1.0)
    by_side = {
        side: curve.filter(f("side") == side)["estimate"].to_list()
        for side in ("arm", "control", "difference")
    }
    assert by_side["arm"] == pytest.approx([1.55 / 3, (2 * 0.58 + 0.57) / 3, 0.58])
    assert by_side["control"] == pytest.approx([0.55, (2 * 0.60 + 0.55) / 3, 0.60])
    assert by_side["difference"][2] == pytest.approx(tuned.effects["estimate"][0])


def test_a_curve_of_many_configurations_has_a_hundred_points_at_most():
    lrs = tuple(0.001 * number for number in range(1, 151))
    level = 0.5 + f("lr") + 0.001 * f("seed")
    trials = make_trials(arms=("control", "full"), lrs=lrs, test_accuracy=level, val_accuracy=level)

    curve = estimate_tuned(trials).curve.filter(f("side") == "control")

    assert len(curve) <= 100
    assert (curve["num_tried"].min(), curve["num_tried"].max()) == (1, 150)


def test_the_choice_for_a_seed_reads_the_other_seeds_alone():
    is_lucky = (f("seed") == 0) & (f("lr") == 0.4) & (f("arm") == "control")
    lucky = pl.when(is_lucky).then(0.9).otherwise("val_accuracy")

    choices = estimate_tuned(make_tunable().with_columns(val_accuracy=lucky)).choices

    of_control = choices.filter(f("side") == "control").sort("seed")
    assert of_control["lr"].to_list() == [0.2, 0.4, 0.4]
    assert of_control["value"].to_list() == pytest.approx([0.60, 0.55, 0.55])
    assert of_control["val_others"].to_list() == pytest.approx([0.60, 0.725, 0.725])


def test_of_configurations_that_validate_alike_the_smaller_is_taken():
    choices = estimate_tuned(make_tunable(val_accuracy=0.5)).choices

    assert set(choices["lr"]) == {0.1}


def test_intervals_are_wider_than_those_of_independent_seeds():
    row = row_of(make_tunable())

    half, plain = (row[f"{name}ci_high"] - row["estimate"] for name in ("", "plain_"))
    assert half == pytest.approx(plain * (1 + 3 / 2) ** 0.5)


def test_identical_sides_differ_by_nothing():
    row = row_of(make_tunable(test_accuracy=0.5 + f("seed") * 0.01))

    assert row["estimate"] == row["ci_low"] == row["ci_high"] == 0.0
    assert row["p_value"] == 1.0


def test_two_seeds_choose_by_each_other():
    row = row_of(make_tunable(seeds=(0, 1)))

    assert row["num_seeds"] == 2
    assert row["estimate"] == pytest.approx(0.58 - 0.0005 - 0.60)


def test_a_diverged_trial_scores_at_chance_and_is_counted():
    is_lost = (f("lr") == 0.2) & (f("arm") == "control")
    status = pl.when(is_lost).then(pl.lit("diverged")).otherwise("status")
    trials = make_tunable().with_columns(status=status)

    row = row_of(trials)

    assert (row["chosen_control"], row["num_diverged"]) == ("lr=0.4", 3)
    assert row_of(trials, diverged="exclude")["budget_control"] == 2


def test_a_diverged_control_counts_once_where_lambda_is_tuned():
    is_lost = (f("lr") == 0.2) & (f("arm") == "control") & (f("seed") == 0)
    status = pl.when(is_lost).then(pl.lit("diverged")).otherwise("status")

    row = row_of(make_tunable(lambdas=(1.0, 10.0)).with_columns(status=status), None)

    assert row["num_diverged"] == 1


def test_missing_seeds_shrink_both_sides_alike():
    is_lost = (f("lr") == 0.4) & (f("arm") == "full") & (f("seed") > 0)

    row = row_of(make_tunable().filter(~is_lost))

    assert (row["budget_arm"], row["budget_control"], row["num_seeds"]) == (2, 2, 3)


@pytest.mark.parametrize(
    "trials",
    [
        make_tunable(seeds=(0,)),
        make_tunable(lrs=(0.1,)),
        make_tunable().filter(f("arm") == "control"),
        make_tunable(status="stopped"),
    ],
    ids=["one seed", "one configuration", "control alone", "nothing ended"],
)
def test_where_nothing_can_be_chosen_there_is_no_row(trials):
    tuned = estimate_tuned(trials)

    tables = {"effects": TUNED, "choices": CHOICES, "curve": CURVE}
    for name, columns in tables.items():
        frame = getattr(tuned, name)
        assert frame.is_empty()
        assert frame.columns == [column.name for column in columns]


def test_what_is_not_tuned_is_compared_apart_and_weight_decay_is_tuned():
    frames = [
        make_tunable(weight_decay=decay, backbone=backbone).with_columns(
            trial_id=pl.format("{}-{}-{}", "trial_id", pl.lit(decay), pl.lit(backbone)),
            val_accuracy=f("val_accuracy") + decay,
        )
        for decay in (0.0, 0.001)
        for backbone in ("mlp", "vgg16")
    ]

    tuned = estimate_tuned(pl.concat(frames))

    assert tuned.effects["backbone"].to_list() == ["mlp", "vgg16"]
    assert set(tuned.effects["budget_arm"]) == {6}
    assert set(tuned.effects["chosen_arm"]) == {"lr=0.1, weight_decay=0.001"}
    assert set(tuned.choices["weight_decay"]) == {0.001}
    assert tuned.choices.columns[2:5] == ["rlp_lambda", "backbone", "weight_decay"]


def test_a_search_of_points_with_a_lambda_each_is_compared_with_lambda_tuned():
    at_point = (f("rlp_lambda") == 0) | ((f("lr") == 0.1) == (f("rlp_lambda") == 10))
    trials = make_tunable(lambdas=(1.0, 10.0)).filter(at_point)

    effects = estimate_tuned(trials).effects

    row = effects.filter(f("rlp_lambda").is_null()).row(0, named=True)
    assert (row["budget_arm"], row["budget_control"]) == (3, 3)
    assert effects["rlp_lambda"].to_list() == [1.0, None]

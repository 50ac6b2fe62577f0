"""Pairing: what a cell is, and what a trial scores."""

import math

import polars as pl
import pytest
from analysis_frames import make_trials, where_arm
from polars.testing import assert_frame_equal

from analysis.pairing import DIVERGED, cell_columns, pair_arms, score
from rlp_sweeps.errors import ArgumentError, SchemaError

f = pl.col


def test_cell_columns_are_the_three_and_configuration_that_varies():
    trials = make_trials(
        momentum=0.9,
        weight_decay=f("lr") * 2,
        config_depth=f("lr") * 3,
        config_same=1,
        hostname=f("trial_id"),
        lrs=(0.1, 0.2),
    )

    assert cell_columns(trials) == [
        "lr",
        "rlp_lambda",
        "label_smoothing",
        "weight_decay",
        "config_depth",
    ]


def test_cell_columns_need_no_further_configuration():
    assert cell_columns(make_trials().drop("num_random_labels")) == [
        "lr",
        "rlp_lambda",
        "label_smoothing",
    ]


def test_pair_arms_returns_one_row_a_cell_and_seed():
    trials = make_trials(lambdas=(1.0, 10.0), seeds=(0,))

    seeds = pair_arms(trials, "test_accuracy").seeds

    expected = pl.DataFrame(
        {
            "rlp_lambda": [1.0, 10.0],
            "y_control": [0.5, 0.5],
            "y_full": [0.44, 0.44],
            "y_class_term": [0.52, 0.52],
            "y_uniform_term": [0.46, 0.46],
            "y_sham": [0.51, 0.51],
        }
    )
    assert_frame_equal(seeds.select(expected.columns), expected)


def test_pair_arms_pairs_configuration_that_is_null():
    trials = make_trials(lrs=(0.1, 0.2), head_lr=pl.when(f("lr") > 0.1).then(0.5))

    seeds = pair_arms(trials, "test_accuracy").seeds

    assert len(seeds) == 4
    assert seeds["y_control"].null_count() == 0


def test_pair_arms_keeps_a_missing_arm_as_null():
    trials = make_trials().filter(~((f("arm") == "sham") & (f("seed") == 1)))

    seeds = pair_arms(trials, "test_accuracy").seeds

    assert seeds["y_sham"].is_null().to_list() == [False, True]


def test_pair_arms_leaves_out_regularized_arms_at_lambda_zero():
    trials = make_trials(rlp_lambda=0.0)

    assert pair_arms(trials, "test_accuracy").seeds.is_empty()


def test_pair_arms_refuses_two_trials_in_one_place():
    trials = pl.concat([make_trials(), make_trials(trial_id="twin-" + f("trial_id"))])

    expected = r"lr=0.1, .*arm='control', seed=0 has \['control-.*', 'twin-control"
    with pytest.raises(SchemaError, match=expected):
        pair_arms(trials, "test_accuracy")


def test_pair_arms_refuses_an_unknown_outcome():
    with pytest.raises(ArgumentError, match=r"unknown outcome\(s\) \['top5'\]; the trials hold"):
        pair_arms(make_trials(), "top5")


def test_pair_arms_refuses_an_unknown_treatment_of_divergence():
    with pytest.raises(ArgumentError, match=r"diverged in .* but got diverged='drop'"):
        pair_arms(make_trials(), "test_accuracy", diverged="drop")


@pytest.mark.parametrize(
    ("outcome", "chance"),
    [
        ("test_accuracy", 1 / 4),
        ("test_loss", math.log(4)),
        ("generalization_gap", 0.0),
        ("lr_multiplier", None),
    ],
)
def test_score_of_a_diverged_trial_is_chance(outcome, chance):
    trials = make_trials(status="diverged", generalization_gap=0.3)

    scores = trials.select(score(outcome, diverged="chance").alias("y"))["y"].unique().to_list()

    assert scores == [chance]


@pytest.mark.parametrize(("diverged", "scored"), [("last", 0.5), ("exclude", None)])
def test_score_of_a_diverged_trial_follows_the_request(diverged, scored):
    trials = make_trials(status="diverged", test_accuracy=0.5)

    assert set(trials.select(y=score("test_accuracy", diverged=diverged))["y"]) == {scored}


@pytest.mark.parametrize(
    "outcome", ["random_label_accuracy", "adversary_random_label_accuracy", "memorization"]
)
@pytest.mark.parametrize("diverged", DIVERGED)
def test_score_of_a_diverged_trial_is_missing_in_random_label_outcomes(outcome, diverged):
    trials = make_trials(status=where_arm("full", "status", "diverged"), **{outcome: 0.3})

    scores = trials.select("arm", y=score(outcome, diverged=diverged))

    assert set(scores.filter(f("arm") == "full")["y"]) == {None}
    assert set(scores.filter(f("arm") != "full")["y"]) == {0.3}


@pytest.mark.parametrize("status", ["stopped", "failed"])
def test_score_of_an_unfinished_trial_is_missing(status):
    trials = make_trials(status=status)

    assert trials.select(y=score("test_accuracy", diverged="chance"))["y"].null_count() == 10


def test_score_that_is_not_finite_is_missing():
    trials = make_trials(test_loss=float("inf"))

    assert trials.select(y=score("test_loss", diverged="chance"))["y"].null_count() == 10


def test_score_of_a_diverged_trial_is_missing_without_the_number_of_classes():
    trials = make_trials(status="diverged", num_classes=pl.lit(None, pl.Int64))

    assert trials.select(y=score("test_accuracy", diverged="chance"))["y"].null_count() == 10


def test_pair_arms_counts_diverged_trials_by_arm():
    trials = make_trials().with_columns(where_arm("full", "status", "diverged"))

    seeds = pair_arms(trials, "test_accuracy").seeds

    assert seeds["diverged_full"].to_list() == [1, 1]
    assert seeds["diverged_control"].to_list() == [0, 0]

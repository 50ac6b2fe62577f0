"""Dose and response: pairing with the matched control, blocks, what is left out."""

import polars as pl
import pytest
from analysis_frames import make_trials

from analysis.dose_response import DOSE_RESPONSE, NOT_REMOVED, ONE_SEED, estimate_dose_response
from rlp_sweeps.errors import ArgumentError, SchemaError

f = pl.col
LEVELS = {"control": 0.5, "full": 0.53, "rescaled": 0.52}
MEMORIZATION = {"control": 0.9, "full": 0.4, "rescaled": 0.8}


def make_matched(*, noise=0.01, **options) -> pl.DataFrame:
    """Return trials in which `full` gains 0.01 and removes 0.4, with noise over seeds in it."""
    memorization = f("arm").replace_strict(MEMORIZATION, return_dtype=pl.Float64)
    is_full = (f("arm") == "full").cast(pl.Float64)
    columns = {
        "memorization": memorization + noise * is_full * f("seed"),
        "extractor_scale": pl.when(f("arm") == "rescaled").then(1.7 + f("seed")).otherwise(1.0),
    }
    return make_trials(arms=tuple(LEVELS), levels=LEVELS, **{**options, **columns})


def row_of(trials: pl.DataFrame, rlp_lambda: float | None = 1.0, **options):
    rows = estimate_dose_response(trials, **options)
    return rows.filter(f("rlp_lambda").eq_missing(rlp_lambda)).row(0, named=True)


def test_the_ratio_is_gain_over_memorization_removed_at_the_same_multiplier():
    row = row_of(make_matched(seeds=(0, 1, 2)))

    assert row["outcome_change"] == pytest.approx(0.01)
    assert row["memorization_removed"] == pytest.approx(0.4 - 0.01)
    assert row["estimate"] == pytest.approx(0.01 / 0.39)
    assert row["ci_low"] < row["estimate"] < row["ci_high"]
    assert (row["reason"], row["num_seeds"], row["num_cells"]) == (None, 3, 1)


def test_the_table_has_the_columns_it_describes():
    frame = estimate_dose_response(make_matched(lambdas=(1.0, 10.0)))

    assert frame.columns == [column.name for column in DOSE_RESPONSE]
    assert frame["rlp_lambda"].to_list() == [1.0, 10.0, None]


def test_cells_are_averaged_within_seed_before_the_ratio():
    shift = pl.when(f("lr") == 0.2, f("arm") == "full").then(0.02).otherwise(0.0)
    trials = make_matched(lrs=(0.1, 0.2), seeds=(0, 1, 2))

    row = row_of(trials.with_columns(test_accuracy=f("test_accuracy") + shift))

    assert row["num_cells"] == 2
    assert row["outcome_change"] == pytest.approx((0.01 + 0.03) / 2)


def test_memorization_that_may_not_have_been_removed_gives_no_ratio():
    row = row_of(make_matched(noise=0.4, seeds=(0, 1, 2)))

    assert (row["estimate"], row["ci_low"], row["reason"]) == (None, None, NOT_REMOVED)
    assert row["memorization_removed_ci_low"] < 0 < row["memorization_removed_ci_high"]


def test_one_seed_has_a_ratio_without_interval():
    row = row_of(make_matched(seeds=(0,)))

    assert row["estimate"] == pytest.approx(0.01 / 0.4)
    assert (row["ci_low"], row["reason"], row["num_seeds"]) == (None, ONE_SEED, 1)


def test_a_diverged_trial_is_counted_and_left_out():
    is_lost = (f("arm") == "full") & (f("seed") == 1)
    status = pl.when(is_lost).then(pl.lit("diverged")).otherwise("status")

    row = row_of(make_matched(seeds=(0, 1, 2)).with_columns(status=status))

    assert (row["num_seeds"], row["num_diverged"]) == (2, 1)


def test_a_seed_that_one_cell_lacks_is_left_out_of_the_block():
    trials = make_matched(lrs=(0.1, 0.2), seeds=(0, 1, 2))
    is_lost = (f("arm") == "rescaled") & (f("seed") == 2) & (f("lr") == 0.2)

    row = row_of(trials.filter(~is_lost))

    assert (row["num_seeds"], row["num_cells"]) == (2, 2)


@pytest.mark.parametrize("missing", ["full", "rescaled"])
def test_without_one_of_the_arms_there_is_no_row(missing):
    frame = estimate_dose_response(make_matched().filter(f("arm") != missing))

    assert frame.is_empty()
    assert frame.columns == [column.name for column in DOSE_RESPONSE]


def test_a_seed_without_a_value_gives_no_row():
    assert estimate_dose_response(make_matched(status="failed")).is_empty()


def test_two_matched_controls_of_a_place_are_refused():
    trials = make_matched()
    twin = trials.filter(f("arm") == "rescaled").with_columns(trial_id=pl.lit("twin"))

    with pytest.raises(SchemaError, match=r"must have one trial of arm 'rescaled', but lr=0\.1"):
        estimate_dose_response(pl.concat([trials, twin]))


def test_an_unknown_outcome_is_refused():
    with pytest.raises(ArgumentError, match="unknown outcome"):
        estimate_dose_response(make_matched(), "speed")

"""Effects of a cell and pooled: known answers, missing arms, the confirmatory family."""

import polars as pl
import pytest
from analysis_frames import make_trials, where_arm, where_seed

from analysis.effects import estimate_effects
from analysis.intervals import holm

f = pl.col

#: By hand from the levels of `analysis_frames.LEVELS`.
EXPECTED_ARMS = {
    "effect_total": -0.06,
    "effect_lr_first": 0.02,
    "effect_lr_last": -0.02,
    "effect_lr": 0.0,
    "effect_memorization_first": -0.04,
    "effect_memorization_last": -0.08,
    "effect_memorization": -0.06,
    "interaction": -0.04,
}
EXPECTED_SHAM = {"effect_total": -0.06, "effect_lr": 0.01, "effect_memorization": -0.07}


def estimates(frame: pl.DataFrame, estimator: str, outcome: str = "test_accuracy", **where):
    """Return estimates by effect of the rows of an estimator and outcome."""
    rows = frame.filter((f("estimator") == estimator) & (f("outcome") == outcome))
    for name, value in where.items():
        rows = rows.filter(f(name).is_null() if value is None else f(name) == value)
    return dict(rows.select("effect", "estimate").iter_rows())


def effects_of(trials, outcomes=("test_accuracy",), **options):
    return estimate_effects(trials, outcomes, primary=outcomes[0], **options)


@pytest.mark.parametrize(
    ("estimator", "expected"), [("arms", EXPECTED_ARMS), ("sham", EXPECTED_SHAM)]
)
def test_effects_of_a_cell_are_those_computed_by_hand(estimator, expected):
    cells, _ = effects_of(make_trials())

    assert estimates(cells, estimator) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("rlp_lambda", [1.0, 10.0, None])
def test_pooled_effects_equal_the_cells_where_all_cells_are_alike(rlp_lambda):
    _, pooled = effects_of(make_trials(lrs=(0.1, 0.2), lambdas=(1.0, 10.0)))

    found = estimates(pooled, "arms", rlp_lambda=rlp_lambda)
    assert found == pytest.approx(EXPECTED_ARMS, abs=1e-12)


def test_pooled_effects_average_over_cells_within_seed():
    shift = pl.when((f("arm") == "full") & (f("lr") == 0.2)).then(0.1).otherwise(0.0)
    trials = make_trials(lrs=(0.1, 0.2)).with_columns(test_accuracy=f("test_accuracy") + shift)

    _, pooled = effects_of(trials)

    assert estimates(pooled, "arms", rlp_lambda=1.0)["effect_total"] == pytest.approx(-0.01)
    assert set(pooled.filter(f("estimator") != "curve")["num_cells"]) == {2}


def test_effects_on_a_loss_have_the_loss_as_unit():
    cells, _ = effects_of(make_trials(), ("test_loss",))

    assert estimates(cells, "arms", "test_loss")["effect_total"] == pytest.approx(0.06)


def test_identical_arms_have_no_effect_and_p_one():
    cells, pooled = effects_of(make_trials(test_accuracy=f("seed") * 0.01 + 0.5))

    for frame in (cells, pooled):
        assert set(frame["estimate"]) == set(frame["ci_low"]) == set(frame["ci_high"]) == {0.0}
        assert set(frame["p_value"]) == set(frame["p_sign_flip"]) == {1.0}


def test_effects_of_one_seed_have_no_interval_and_no_p():
    cells, pooled = effects_of(make_trials(seeds=(3,)))

    assert estimates(cells, "arms") == pytest.approx(EXPECTED_ARMS, abs=1e-12)
    for frame in (cells, pooled):
        for name in ("ci_low", "ci_high", "p_value", "p_holm"):
            assert frame[name].null_count() == len(frame) > 0


def test_a_diverged_trial_scores_at_chance_and_is_counted():
    trials = make_trials(seeds=(0,)).with_columns(where_arm("full", "status", "diverged"))

    cells, pooled = effects_of(trials)

    assert estimates(cells, "arms")["effect_total"] == pytest.approx(0.25 - 0.5)
    counts = dict(
        cells.filter(f("estimator") == "arms").select("effect", "num_diverged").iter_rows()
    )
    assert counts["effect_total"] == counts["effect_lr"] == counts["effect_lr_last"] == 1
    assert counts["effect_lr_first"] == counts["effect_memorization_first"] == 0
    assert set(pooled.filter(f("effect") == "effect_total")["num_diverged"]) == {1}


def test_an_excluded_diverged_trial_still_is_counted():
    is_lost = (f("arm") == "full") & (f("seed") == 0)
    status = pl.when(is_lost).then(pl.lit("diverged")).otherwise("status")

    cells, _ = effects_of(make_trials().with_columns(status=status), diverged="exclude")

    total = cells.filter((f("effect") == "effect_total") & (f("estimator") == "arms"))
    assert total.select("num_seeds", "num_diverged").rows() == [(1, 1)]


def test_a_diverged_control_counts_once_over_all_lambdas():
    trials = make_trials(lambdas=(1.0, 10.0), seeds=(0,))
    trials = trials.with_columns(where_arm("control", "status", "diverged"))

    _, pooled = effects_of(trials)

    totals = pooled.filter((f("effect") == "effect_total") & (f("estimator") == "arms"))
    assert totals.select("rlp_lambda", "num_diverged").rows() == [(1.0, 1), (10.0, 1), (None, 1)]


def test_the_parts_stand_on_seeds_with_all_four_arms():
    trials = make_trials(seeds=(0, 1, 2)).filter(~((f("arm") == "class_term") & (f("seed") == 2)))

    cells, _ = effects_of(trials)

    assert set(cells.filter(f("estimator") == "arms")["num_seeds"]) == {2}
    assert set(cells.filter(f("estimator") == "sham")["num_seeds"]) == {3}


@pytest.mark.parametrize(
    ("num_seeds", "num_complete", "num_of_total"),
    [(2, 1, 2), (5, 1, 5), (4, 2, 2), (5, 2, 5), (5, 3, 3), (1, 1, 1), (3, 0, 3)],
)
def test_the_total_keeps_to_complete_seeds_where_they_are_two_and_half(
    num_seeds, num_complete, num_of_total
):
    is_lost = (f("arm") == "class_term") & (f("seed") >= num_complete)
    trials = make_trials(seeds=range(num_seeds)).filter(~is_lost)

    for frame in effects_of(trials):
        rows = frame.filter(f("estimator") == "arms")
        assert set(rows.filter(f("effect") == "effect_total")["num_seeds"]) == {num_of_total}
        parts = rows.filter(f("effect").is_in(["effect_lr", "effect_memorization"]))
        assert set(parts["num_seeds"]) == ({num_complete} if num_complete else set())


def test_the_pooled_total_keeps_its_cells_where_few_have_all_four_arms():
    is_lost = (f("arm") == "class_term") & (f("lr") > 0.1)
    trials = make_trials(lrs=(0.1, 0.2, 0.3), seeds=range(3)).filter(~is_lost)

    _, pooled = effects_of(trials)

    rows = pooled.filter((f("estimator") == "arms") & f("rlp_lambda").is_not_null())
    counts = {effect: cells for effect, cells in rows.select("effect", "num_cells").iter_rows()}
    assert (counts["effect_total"], counts["effect_lr"]) == (3, 1)


def test_the_total_stands_on_control_and_full_where_an_arm_is_absent():
    cells, pooled = effects_of(make_trials(arms=("control", "full")))

    assert estimates(cells, "arms") == pytest.approx({"effect_total": -0.06})
    assert estimates(pooled, "arms", rlp_lambda=None) == pytest.approx({"effect_total": -0.06})
    assert cells.filter(f("estimator") == "sham").is_empty()


def test_there_are_no_effects_without_a_control():
    cells, _ = effects_of(make_trials(arms=("full", "class_term", "uniform_term")))

    assert set(cells["effect"]) == {"effect_lr_last", "effect_memorization_last"}


def test_there_are_no_effects_of_failed_trials():
    cells, pooled = effects_of(make_trials(status="failed"))

    assert cells.is_empty()
    assert pooled.is_empty()


def test_further_cell_columns_stand_beside_the_three():
    trials = make_trials(lrs=(0.1, 0.2), config_depth=f("lr") * 10)

    cells, _ = effects_of(trials)

    assert cells.columns[:5] == ["outcome", "lr", "rlp_lambda", "label_smoothing", "config_depth"]
    assert len(cells) == 2 * 11


def test_holm_is_over_the_pooled_parts_and_totals_of_each_lambda():
    noise = (f("trial_id").hash(7) % 1000) / 20_000
    trials = make_trials(lambdas=(1.0, 10.0), seeds=range(4))
    trials = trials.with_columns(test_accuracy=f("test_accuracy") + noise)

    cells, pooled = effects_of(trials, ("test_accuracy", "test_loss"))

    family = pooled.filter(f("p_holm").is_not_null())
    assert len(family) == 6
    assert set(family["estimator"]) == {"arms"}
    assert set(family["outcome"]) == {"test_accuracy"}
    assert set(family["effect"]) == {"effect_total", "effect_lr", "effect_memorization"}
    assert set(family["rlp_lambda"]) == {1.0, 10.0}
    assert family["p_holm"].to_list() == pytest.approx(holm(family["p_value"].to_numpy()).tolist())
    assert cells["p_holm"].null_count() == len(cells)


def test_holm_counts_an_effect_without_spread_over_seeds():
    noise = pl.when(f("arm") == "full").then(f("seed") * 0.001).otherwise(0.0)
    is_noisy = f("rlp_lambda") == 10.0
    trials = make_trials(lambdas=(1.0, 10.0), seeds=range(3)).with_columns(
        test_accuracy=f("test_accuracy") + pl.when(is_noisy).then(noise).otherwise(0.0)
    )

    _, pooled = effects_of(trials)

    total = pooled.filter((f("effect") == "effect_total") & (f("estimator") == "arms"))
    flat, noisy, _ = total.sort("rlp_lambda", nulls_last=True).to_dicts()
    assert [flat[name] for name in ("ci_low", "p_value", "p_holm")] == [None] * 3
    assert noisy["p_holm"] == pytest.approx(5 * noisy["p_value"])


def test_pooled_effects_leave_out_the_seed_that_a_cell_lacks():
    trials = make_trials(lrs=(0.1, 0.2), seeds=(0, 1, 2)).filter(
        ~((f("arm") == "full") & (f("lr") == 0.2) & (f("seed") == 2))
    )

    _, pooled = effects_of(trials.with_columns(where_seed(2, "test_accuracy", 0.9)))

    total = pooled.filter((f("effect") == "effect_total") & (f("estimator") == "arms"))
    assert total.select("num_seeds", "num_cells").unique().rows() == [(2, 2)]
    assert total["estimate"].to_list() == pytest.approx([-0.06, -0.06])

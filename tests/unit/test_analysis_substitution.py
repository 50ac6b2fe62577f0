"""Label smoothing in place of the regularizer: gains by hand, tuned ε, what counts as an answer."""

import polars as pl
import pytest
from analysis_frames import make_trials

from analysis.substitution import SUBSTITUTION, estimate_substitution
from analysis.substitution_answer import ANSWERS, answer_substitution

f = pl.col

#: Test accuracy by arm and ε: λ gains 0.04, 0.01 and −0.02.
LEVELS = {
    ("control", 0.0): 0.50,
    ("control", 0.1): 0.55,
    ("control", 0.2): 0.56,
    ("full", 0.0): 0.54,
    ("full", 0.1): 0.56,
    ("full", 0.2): 0.54,
}


def make_smoothed(levels=LEVELS, *, noise=0.001, **options) -> pl.DataFrame:
    """Return trials of control and full at every ε; validation equals test, seed by seed.

    Noise in `full`: (seed − 1) · `noise`, so that gains over the seeds 0, 1, 2 have that spread.
    """
    frames = []
    for eps in sorted({eps for _, eps in levels}):
        by_arm = {arm: level for (arm, other), level in levels.items() if other == eps}
        scatter = (f("arm") == "full").cast(pl.Float64) * (f("seed") - 1) * noise
        level = f("arm").replace_strict(by_arm, return_dtype=pl.Float64)
        columns = {"test_accuracy": level + scatter, "val_accuracy": level + scatter}
        settings = {"seeds": (0, 1, 2), "label_smoothing": eps, **columns, **options}
        trials = make_trials(arms=tuple(by_arm), levels=by_arm, **settings)
        frames.append(trials.with_columns(trial_id=pl.format("{}-{}", "trial_id", pl.lit(eps))))
    return pl.concat(frames)


def estimates(table: pl.DataFrame, effect: str, rlp_lambda: float | None = 1.0):
    """Return estimates by ε."""
    rows = table.filter(f("effect") == effect, f("rlp_lambda").eq_missing(rlp_lambda))
    return dict(rows.select("label_smoothing", "estimate").iter_rows())


def answer(trials: pl.DataFrame, margin: float | None = None):
    """Return answer and statement at λ = 1."""
    table = estimate_substitution(trials, margin=margin)
    return answer_substitution(table, margin=margin).row(0, named=True)


def test_gains_and_interactions_are_those_computed_by_hand():
    table = estimate_substitution(make_smoothed())

    assert estimates(table, "gain") == pytest.approx({0.0: 0.04, 0.1: 0.01, 0.2: -0.02})
    assert estimates(table, "interaction") == pytest.approx({0.1: 0.03, 0.2: 0.06})
    assert estimates(table, "gain_at_control_eps") == pytest.approx({None: -0.02})
    assert estimates(table, "gain_at_own_eps") == pytest.approx({None: 0.0}, abs=1e-12)
    assert set(table["num_seeds"]) == {3}
    assert set(table["num_cells"]) == {1}


def test_the_table_has_the_columns_it_describes():
    table = estimate_substitution(make_smoothed(lambdas=(1.0, 10.0)))

    assert table.columns == [column.name for column in SUBSTITUTION]
    assert table["rlp_lambda"].unique().sort().to_list() == [None, 1.0, 10.0]
    assert answer_substitution(table).columns == [column.name for column in ANSWERS]


def test_tuned_rows_name_the_smoothing_most_seeds_chose():
    table = estimate_substitution(make_smoothed())

    rows = table.filter(f("effect").str.starts_with("gain_at"), f("rlp_lambda") == 1.0)
    chosen = rows.select("effect", "chosen_full", "chosen_control", "is_at_edge").rows()
    assert chosen == [
        ("gain_at_control_eps", 0.2, 0.2, True),
        ("gain_at_own_eps", 0.1, 0.2, True),
    ]


def test_the_smoothing_of_a_seed_is_chosen_by_the_other_seeds():
    is_first = (f("seed") == 0) & (f("arm") == "control")
    lucky = pl.when(is_first, f("label_smoothing") == 0.1).then(0.9).otherwise("val_accuracy")
    seeds = {"seeds": (0, 1)}

    table = estimate_substitution(make_smoothed(**seeds).with_columns(val_accuracy=lucky))

    # Seed 1 takes the control's ε = 0.1, which seed 0 likes; seed 0 takes 0.2.
    gains = {0: 0.54 - 0.001 - 0.56, 1: 0.56 - 0.55}
    found = estimates(table, "gain_at_control_eps")[None]
    assert found == pytest.approx(sum(gains.values()) / 2)


def test_of_smoothings_that_validate_alike_the_smaller_is_taken():
    table = estimate_substitution(make_smoothed(val_accuracy=0.5))

    rows = table.filter(f("effect") == "gain_at_own_eps")
    assert set(rows["chosen_full"]) == set(rows["chosen_control"]) == {0.0}


def test_one_seed_has_gains_and_no_tuned_rows():
    table = estimate_substitution(make_smoothed(seeds=(1,)))

    assert estimates(table, "gain") == pytest.approx({0.0: 0.04, 0.1: 0.01, 0.2: -0.02})
    assert set(table["effect"]) == {"gain", "interaction"}
    assert table["ci_low"].null_count() == len(table)
    assert answer_substitution(table)["answer"].to_list() == ["unknown"] * 2


def test_gains_at_every_smoothing_stand_on_the_same_learning_rates():
    trials = make_smoothed(lrs=(0.1, 0.2))
    is_lost = (f("lr") == 0.2) & (f("label_smoothing") == 0.1) & (f("arm") == "control")

    table = estimate_substitution(trials.filter(~is_lost))

    assert set(table["num_cells"]) == {1}
    assert set(estimate_substitution(trials)["num_cells"]) == {2}


def test_diverged_trials_are_counted_once_where_they_are_read():
    trials = make_smoothed(lambdas=(1.0, 10.0))
    is_lost = (f("arm") == "control") & (f("label_smoothing") == 0.0) & (f("seed") == 0)
    trials = trials.with_columns(
        status=pl.when(is_lost).then(pl.lit("diverged")).otherwise("status")
    )

    table = estimate_substitution(trials).filter(f("rlp_lambda").is_null())

    counts = table.select("effect", "label_smoothing", "num_diverged").rows()
    assert counts == [
        ("gain", 0.0, 1),
        ("gain", 0.1, 0),
        ("gain", 0.2, 0),
        ("interaction", 0.1, 1),
        ("interaction", 0.2, 1),
        ("gain_at_control_eps", None, 1),
        ("gain_at_own_eps", None, 1),
    ]


@pytest.mark.parametrize(
    "trials",
    [
        make_trials(),
        make_trials(arms=("control",)),
        make_smoothed(status="failed"),
        make_smoothed().filter((f("arm") == "control") | (f("label_smoothing") == 0.1)),
        make_smoothed().filter(
            (f("label_smoothing") == 0.2) == (f("seed") == 0), f("label_smoothing") != 0.1
        ),
    ],
    ids=["one ε", "control alone", "no value", "one ε of full", "no seed with both ε"],
)
def test_where_one_smoothing_is_all_there_is_the_table_is_empty(trials):
    table = estimate_substitution(trials)

    assert table.is_empty()
    assert answer_substitution(table).is_empty()


def test_an_effect_that_is_gone_is_not_called_vanished_without_a_margin():
    found = answer(make_smoothed())

    assert found["answer"] == "not_resolved"
    assert found["statement"] == (
        "At λ = 1 the effect on test accuracy is +4.00 points [+3.75, +4.25] at ε = 0 and 0.00 "
        "points [−0.39, +0.39] with ε tuned (mostly 0.1 with the regularizer, 0.2 without), n = 3, "
        "the largest ε tried being chosen: at the tuned ε it is not told from 0, which is not to "
        "say that it is 0."
    )


@pytest.mark.parametrize(
    ("level_of_full", "noise", "margin", "expected"),
    [
        (0.56, 0.001, 0.005, "vanishes"),
        (0.60, 0.001, 0.005, "remains"),
        (0.555, 0.001, None, "reverses"),
        (0.56, 0.05, None, "not_seen"),
    ],
)
def test_the_answer_follows_the_intervals_and_the_margin(level_of_full, noise, margin, expected):
    levels = LEVELS | {("full", 0.1): level_of_full}

    found = answer(make_smoothed(levels, noise=noise), margin)

    assert found["answer"] == expected
    assert ("; margin ±0.50 points: " in found["statement"]) == (margin is not None)

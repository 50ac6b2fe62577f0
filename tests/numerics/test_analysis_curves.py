"""Known answers for what reads the control as a curve: planted scales and offsets come out.

Structural tables: the outcome is a function of log(κ · lr), so that a planted κ is a learning rate
and nothing else; an offset is what the regularizer does besides.
"""

import itertools

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from analysis.effects import estimate, estimate_effects
from analysis.estimators import ESTIMATORS
from analysis.pairing import pair_arms

f = pl.col
LRS = tuple(0.01 * 2.0**n for n in range(8))
MIDDLE = np.log(LRS[4])


def bump(x: pl.Expr) -> pl.Expr:
    """Return an outcome over log lr with its best lr inside the sweep."""
    return 0.9 - (x - MIDDLE) ** 2 / 10


def line(x: pl.Expr) -> pl.Expr:
    return 0.5 + 0.1 * (x - MIDDLE)


def planted(
    *, kappa=2.0, offset=0.0, outcome=bump, noise=0.0, seeds=4, lrs=LRS, **columns
) -> pl.DataFrame:
    """Return control, full and rescaled trials; the two latter at κ times their lr."""
    generator = np.random.default_rng(11)
    rows = [
        (arm, lr, 0.0 if arm == "control" else 3.0, seed)
        for lr, seed, arm in itertools.product(lrs, range(seeds), ("control", "full", "rescaled"))
    ]
    frame = pl.DataFrame(rows, schema=["arm", "lr", "rlp_lambda", "seed"], orient="row")
    multiplier = pl.when(f("arm") == "control").then(1.0).otherwise(kappa)
    shift = pl.when(f("arm") == "full").then(offset).otherwise(0.0)
    return frame.with_columns(
        trial_id=pl.format("{}-{}-{}", "arm", "lr", "seed"),
        status=pl.lit("completed"),
        label_smoothing=pl.lit(0.0),
        num_random_labels=pl.lit(10),
        num_classes=pl.lit(10),
        lr_multiplier=multiplier,
        test_accuracy=outcome((f("lr") * multiplier).log())
        + shift
        + 0.01 * f("seed")
        + noise * pl.Series(generator.normal(size=len(rows))),
    ).with_columns(**columns)


def per_seed(trials: pl.DataFrame, estimator: str) -> pl.DataFrame:
    """Return what the estimator computes, with lr, in order of lr and seed."""
    paired = pair_arms(trials, "test_accuracy")
    frame = ESTIMATORS[estimator].per_seed(paired)
    cells = paired.cells.drop("base", "rlp_lambda")
    return frame.join(cells, on="cell", validate="m:1").sort("lr", "seed")


@pytest.mark.parametrize("kappa", [0.5, 2.0, 4.0])
def test_curve_equals_the_matched_control_at_its_knots(kappa):
    found = per_seed(planted(kappa=kappa, offset=0.03), "curve").drop_nulls("effect_lr")
    matched = per_seed(planted(kappa=kappa, offset=0.03), "matched")

    columns = ["lr", "seed", "effect_total", "effect_lr", "effect_memorization"]
    assert len(found) == 4 * (8 - abs(int(np.log2(kappa))))
    expected = matched.join(found, on=["lr", "seed"], how="semi").select(columns)
    assert_frame_equal(found.select(columns), expected, abs_tol=1e-12, rel_tol=0)
    assert found["effect_memorization"].to_list() == pytest.approx([0.03] * len(found))


def test_curve_is_missing_where_the_equivalent_lr_lies_outside():
    found = per_seed(planted(kappa=4.0), "curve")

    lost = found.filter(f("effect_lr").is_null())
    assert set(lost["lr"]) == set(LRS[-2:])
    assert lost.select("effect_total", "effect_memorization").null_count().row(0) == (8, 8)
    assert lost["wanted_lr"].min() > LRS[-1] == pytest.approx(lost["swept_high"].max())


@pytest.mark.parametrize("kappa", [None, 0.0, -1.5, float("nan"), float("inf")])
def test_curve_is_missing_without_a_positive_finite_kappa(kappa):
    trials = planted().with_columns(
        lr_multiplier=pl.when(f("lr") > LRS[0]).then(2.0).otherwise(pl.lit(kappa, pl.Float64))
    )

    found = per_seed(trials, "curve").filter(f("lr") == LRS[0])

    assert found["effect_lr"].null_count() == len(found) == 4


def test_curve_of_kappa_one_is_exactly_nothing():
    assert set(per_seed(planted(kappa=1.0, noise=0.02), "curve")["effect_lr"]) == {0.0}


def test_curve_prefers_controls_at_several_extractor_scales():
    at_one = planted(lrs=LRS[:3], extractor_scale=1.0)
    scaled = [
        at_one.filter((f("arm") == "control") & (f("lr") == LRS[1])).with_columns(
            extractor_scale=pl.lit(scale),
            trial_id=pl.format("{}-{}", "trial_id", pl.lit(scale)),
            test_accuracy=f("test_accuracy") + height,
        )
        for scale, height in ((2.0, 0.25), (4.0, 0.5))
    ]

    found = per_seed(pl.concat([at_one, *scaled]), "curve")

    by_lr = dict(found.group_by("lr").agg(f("effect_lr").mean()).iter_rows())
    assert by_lr[LRS[1]] == pytest.approx(0.25)
    plain = dict(per_seed(at_one, "curve").group_by("lr").agg(f("effect_lr").mean()).iter_rows())
    assert by_lr[LRS[0]] == pytest.approx(plain[LRS[0]])
    assert by_lr[LRS[2]] is plain[LRS[2]] is None


def test_kappa_is_read_against_the_control_of_the_same_extractor_scale():
    found = per_seed(planted(kappa=2.0), "curve")

    twice = planted(kappa=2.0, extractor_scale=2.0, lr_multiplier=f("lr_multiplier") * 2)

    columns = ["lr", "seed", "effect_lr"]
    assert_frame_equal(per_seed(twice, "curve").select(columns), found.select(columns))


def test_the_first_leg_of_the_curve_reads_the_kappa_of_the_class_term():
    trials = planted(kappa=1.0)
    class_term = planted(kappa=2.0).filter(f("arm") == "full")
    class_term = class_term.with_columns(arm=pl.lit("class_term"), trial_id="c-" + f("trial_id"))

    found = per_seed(pl.concat([trials, class_term]), "curve").filter(f("lr") < LRS[-1])

    expected = per_seed(planted(kappa=2.0), "curve").filter(f("lr") < LRS[-1])["effect_lr"]
    assert set(found["effect_lr"]) == {0.0}
    assert found["effect_lr_class_term_first"].to_list() == pytest.approx(expected.to_list())


@pytest.mark.parametrize("offset", [-0.05, 0.0, 0.1])
@pytest.mark.parametrize("kappa", [0.5, 1.7, 2.0])
def test_alignment_tells_a_shift_from_an_offset(kappa, offset):
    found = per_seed(planted(kappa=kappa, offset=offset), "alignment").drop_nulls("effect_lr")

    assert found["shift"].to_list() == pytest.approx([np.log(kappa)] * len(found), abs=0.02)
    assert found["effect_memorization"].mean() == pytest.approx(offset, abs=0.002)
    gap = found["effect_lr"] + found["effect_memorization"] - found["effect_total"]
    assert len(found) > 20
    assert gap.abs().max() <= 1e-12


def test_alignment_finds_the_planted_shift_under_noise():
    trials = planted(kappa=1.7, offset=0.05, noise=0.01, seeds=10)

    _, pooled = estimate_effects(trials, ("test_accuracy",), primary="test_accuracy")

    rows = {
        row["effect"]: row
        for row in pooled.filter(
            (f("estimator") == "alignment") & f("rlp_lambda").is_null()
        ).iter_rows(named=True)
    }
    memorization = rows["effect_memorization"]
    assert memorization["ci_low"] < 0.05 < memorization["ci_high"]
    assert memorization["ci_high"] - memorization["ci_low"] < 0.02
    assert rows["effect_total"]["num_cells"] == 7


@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_alignment_is_missing_along_a_straight_line(noise):
    trials = planted(outcome=line, offset=0.05, noise=noise, seeds=8)

    found = estimate(trials, ("test_accuracy",), primary="test_accuracy")

    assert found.cells.filter(f("estimator") == "alignment").is_empty()
    assert any("bends too little" in remark for remark in found.remarks)


def test_alignment_of_identical_arms_is_exactly_nothing():
    twins = planted(kappa=1.0).with_columns(test_accuracy=bump(f("lr").log()) + f("seed") / 100)

    found = per_seed(twins, "alignment")

    for effect in ("effect_total", "effect_lr", "effect_memorization"):
        assert set(found[effect]) == {0.0}


def test_alignment_is_missing_where_the_shift_meets_the_edge():
    found = per_seed(planted(kappa=2.0**5.5), "alignment")

    assert found["effect_lr"].null_count() == len(found) == 32


def test_alignment_takes_four_learning_rates():
    trials = planted(lrs=LRS[3:6])

    found = estimate(trials, ("test_accuracy",), primary="test_accuracy")

    assert found.absent["alignment"] == "it takes 4 lr"


def test_alignment_reads_a_sweep_of_control_and_full_without_kappa():
    trials = planted(kappa=2.0, noise=0.002).filter(f("arm") != "rescaled").drop("lr_multiplier")

    found = estimate(trials, ("test_accuracy",), primary="test_accuracy")

    assert set(found.pooled["estimator"]) == {"arms", "alignment"}
    assert found.absent["curve"] == "no full trial has a finite `lr_multiplier`"


def test_a_shift_that_drifts_over_lr_is_told():
    drifting = bump((f("lr") * (f("lr") / LRS[0]) ** 0.1).log()) + 0.01 * f("seed")
    is_full = f("arm") == "full"
    trials = planted(kappa=1.0, noise=0.003, seeds=8).with_columns(
        test_accuracy=pl.when(is_full).then(drifting).otherwise("test_accuracy")
    )

    remarks = estimate(trials, ("test_accuracy",), primary="test_accuracy").remarks

    assert any("in 1 of 1 rows over lr it drifts (at λ = 3 by +0.1" in text for text in remarks)


@pytest.mark.parametrize("seeds", [1, 2])
@pytest.mark.parametrize("estimator", ["matched", "curve", "alignment"])
def test_a_planted_scale_is_all_learning_rate_with_few_seeds(estimator, seeds):
    trials = planted(kappa=2.0, seeds=seeds)

    _, pooled = estimate_effects(trials, ("test_accuracy",), primary="test_accuracy")

    rows = pooled.filter((f("estimator") == estimator) & (f("rlp_lambda") == 3.0))
    found = dict(rows.select("effect", "estimate").iter_rows())
    assert found["effect_memorization"] == pytest.approx(0.0, abs=2e-3)
    assert found["effect_lr"] == pytest.approx(found["effect_total"], abs=2e-3)
    assert set(rows["num_seeds"]) == {seeds}


def test_a_diverged_control_elsewhere_is_not_counted_in_a_cell():
    is_lost = (f("arm") == "control") & (f("lr") == LRS[-1]) & (f("seed") == 0)
    trials = planted().with_columns(
        status=pl.when(is_lost).then(pl.lit("diverged")).otherwise("status")
    )

    cells, _ = estimate_effects(trials, ("test_accuracy",), primary="test_accuracy")

    curve = cells.filter((f("estimator") == "curve") & (f("effect") == "effect_lr"))
    assert curve["num_diverged"].to_list() == [0] * 7

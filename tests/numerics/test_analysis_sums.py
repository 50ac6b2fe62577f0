"""The identities of the method: parts sum to totals, planted effects come out where they were put.

Random tables with holes: trials that failed or diverged, arms and seeds that are absent.
"""

import itertools

import numpy as np
import polars as pl
import pytest

from analysis.effects import estimate_effects, per_seed_effects
from analysis.estimators import ESTIMATORS
from analysis.pairing import ARMS, pair_arms

f = pl.col
CURVE_LRS = tuple(0.05 * 2.0**n for n in range(7))


def random_trials(
    seed: int, *, share_lost: float, lrs: tuple[float, ...] = (0.1, 0.1 + 0.2, 1.0)
) -> pl.DataFrame:
    """Return a random table of 2 λ, 6 seeds and every arm, some of its trials lost."""
    generator = np.random.default_rng(seed)
    rows = [
        {"arm": arm, "lr": lr, "rlp_lambda": rlp_lambda, "seed": replicate}
        for lr, replicate in itertools.product(lrs, range(6))
        for arm in ARMS
        for rlp_lambda in ((0.0,) if arm == "control" else (0.7, 7.0))
    ]
    frame = pl.DataFrame(rows).with_row_index("trial_id").with_columns(f("trial_id").cast(str))
    ends = generator.choice(
        ["completed", "failed", "diverged"], len(rows), p=[1 - share_lost, share_lost, 0]
    )
    return frame.with_columns(
        status=pl.Series(ends),
        label_smoothing=0.0,
        num_random_labels=10,
        num_classes=10,
        lr_multiplier=pl.Series(generator.uniform(0.5, 2.0, len(rows))),
        **{
            name: pl.Series(generator.uniform(size=len(rows)))
            for name in ("test_accuracy", "test_loss", "random_label_accuracy")
        },
    )


@pytest.mark.parametrize("estimator", sorted(ESTIMATORS))
@pytest.mark.parametrize("seed", range(5))
def test_parts_sum_to_the_total_in_every_cell_and_seed(estimator, seed):
    trials = random_trials(seed, share_lost=0.1, lrs=CURVE_LRS)
    bump = 1 - (f("lr").log() + 0.8) ** 2 / 8 + 0.01 * f("test_accuracy")
    paired = pair_arms(trials.with_columns(test_accuracy=bump), "test_accuracy")

    wide = per_seed_effects(paired, ESTIMATORS[estimator]).filter("is_complete")

    gap = wide["effect_lr"] + wide["effect_memorization"] - wide["effect_total"]
    assert len(wide) > 0
    assert gap.abs().max() <= 1e-12


@pytest.mark.parametrize("share_lost", [0.0, 0.05, 0.2, 0.5])
@pytest.mark.parametrize("seed", range(5))
def test_parts_sum_to_the_total_in_every_estimate(seed, share_lost):
    trials = random_trials(seed, share_lost=share_lost)

    cells, pooled = estimate_effects(
        trials, ("test_accuracy", "random_label_accuracy"), primary="test_accuracy"
    )

    for frame, keys in ((cells, ["lr", "rlp_lambda"]), (pooled, ["rlp_lambda"])):
        basis = [name for name in ("num_seeds", "num_cells") if name in frame.columns]
        index = ["outcome", "estimator", *keys]
        parts = frame.filter(
            f("effect").is_in(["effect_total", "effect_lr", "effect_memorization"])
        )
        wide = parts.pivot("effect", index=[*index, *basis], values="estimate")
        whole = wide.drop_nulls(["effect_lr", "effect_memorization", "effect_total"])
        gap = whole["effect_lr"] + whole["effect_memorization"] - whole["effect_total"]
        assert len(whole) > 0
        if share_lost == 0:
            assert len(whole) == parts.select(index).unique().height
        assert gap.abs().max() <= 1e-12


def test_pooled_estimate_is_the_mean_of_seed_means():
    trials = random_trials(3, share_lost=0.0)
    paired = pair_arms(trials, "test_accuracy").seeds.filter(f("rlp_lambda") == 7.0)
    by_seed = paired.group_by("seed").agg((f("y_full") - f("y_control")).mean().alias("y"))["y"]

    _, pooled = estimate_effects(trials, ("test_accuracy",), primary="test_accuracy")

    row = pooled.filter(
        (f("effect") == "effect_total") & (f("estimator") == "arms") & (f("rlp_lambda") == 7.0)
    ).row(0, named=True)
    half = 2.570581835636314 * by_seed.std() / 6**0.5
    assert row["estimate"] == pytest.approx(by_seed.mean(), abs=1e-12)
    assert row["ci_high"] - row["estimate"] == pytest.approx(half, rel=1e-9)
    assert (row["num_cells"], row["num_seeds"]) == (3, 6)


@pytest.mark.parametrize(
    ("planted", "other"),
    [("class_term", "effect_memorization"), ("uniform_term", "effect_lr")],
)
def test_an_effect_planted_in_one_term_is_found_there_alone(planted, other):
    trials = random_trials(1, share_lost=0.0)
    control = trials.filter(f("arm") == "control").select("lr", "seed", y="test_accuracy")
    shift = pl.when(f("arm").is_in(["full", planted])).then(-0.125).otherwise(0.0)
    trials = trials.join(control, on=["lr", "seed"]).with_columns(test_accuracy=f("y") + shift)

    _, pooled = estimate_effects(trials, ("test_accuracy",), primary="test_accuracy")

    found = dict(
        pooled.filter((f("estimator") == "arms") & f("rlp_lambda").is_null())
        .select("effect", "estimate")
        .iter_rows()
    )
    assert found["effect_total"] == pytest.approx(-0.125, abs=1e-12)
    assert found[other] == pytest.approx(0.0, abs=1e-12)
    assert found["interaction"] == pytest.approx(0.0, abs=1e-12)

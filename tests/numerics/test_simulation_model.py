"""The structural model of simulated sweeps: its identities, and its truths by brute force."""

import math

import numpy as np
import polars as pl
import pytest

from analysis.effects import estimate_effects
from analysis.estimators import ESTIMATORS
from benchmarks.simulation.estimands import ESTIMANDS, true_effects
from benchmarks.simulation.model import (
    ARMS,
    CHANCE,
    Grid,
    Hill,
    Model,
    RandomEffects,
    expected_outcomes,
    log_kappa,
    noise_free,
)
from benchmarks.simulation.scenarios import SCENARIOS
from benchmarks.simulation.sweeps import EXPECTED, simulate, tag_lambda

GRID = Grid(lrs=(0.05, 0.4), lambdas=(1.0, 10.0), smoothings=(0.0, 0.1))
BY_CONTRAST = ("arms", "sham", "matched", "replayed", "projection", "block_mean")
"""Estimators that are contrasts of arms, so that they commute with expectations."""


def draw(num_replicates: int) -> RandomEffects:
    return RandomEffects.draw(np.random.default_rng(1), num_replicates)


def outcome_by_hand(model: Model, arm: str, place, effects) -> float:
    """Return one trial's noise-free score, written out: place is (ε, lr, λ), effects by name."""
    smoothing, lr, rlp_lambda = place
    dose, parts = rlp_lambda / (1 + rlp_lambda), ARMS[arm]
    kappa = parts.kappa_class * model.log_kappa_class * (1 + model.kappa_sd * effects["class"])
    kappa += parts.kappa_uniform * model.log_kappa_uniform * (1 + model.kappa_sd * effects["unif"])
    away = math.log(lr) + kappa * dose - model.shift_sd * effects["shift"] - model.hill.optimum
    curvature = model.hill.left if away < 0 else model.hill.right
    hill = model.hill.height - curvature * away**2 - 0.02 * (smoothing / 0.1 - 1) ** 2
    removed = (parts.recall * model.recall - parts.unlearning * model.unlearning) * dose
    beta = model.beta * (1 + model.beta_sd * effects["beta"])
    extra = parts.beyond_lr * model.beyond_lr + parts.joint * model.joint
    return hill + beta * removed + extra * dose + model.level_sd * effects["level"]


@pytest.mark.parametrize("arm", sorted(ARMS))
def test_an_arm_scores_what_the_formula_written_out_says(arm):
    model = Model(shift_sd=0.3, beta_sd=0.5, kappa_sd=0.3, beyond_lr=0.03, joint=0.02)
    effects = draw(2)
    names = {"level": effects.level, "shift": effects.shift, "beta": effects.beta}
    names |= {"class": effects.kappa_class, "unif": effects.kappa_uniform}

    found = noise_free(model, GRID, arm, effects).y

    lambdas = (0.0,) if arm == "control" else GRID.lambdas
    for (n, e, lr, a), y in np.ndenumerate(found):
        place = (GRID.smoothings[e], GRID.lrs[lr], lambdas[a])
        one = {name: float(values[n]) for name, values in names.items()}
        assert y == pytest.approx(outcome_by_hand(model, arm, place, one), abs=1e-12)


@pytest.mark.parametrize("arm", [arm for arm, parts in ARMS.items() if parts.matched])
def test_a_matched_arm_scores_as_a_control_at_the_equivalent_lr(arm):
    model, effects = Model(shift_sd=0.3, kappa_sd=0.3, beyond_lr=0.1, joint=0.1), draw(1)
    kappa = np.exp(log_kappa(model, GRID, ARMS[arm].matched, effects)).ravel()

    found = noise_free(model, GRID, arm, effects).y

    for number, multiplier in enumerate(kappa):
        moved = Grid(lrs=tuple(multiplier * lr for lr in GRID.lrs), smoothings=GRID.smoothings)
        control = noise_free(model, moved, "control", effects).y[..., 0]
        assert found[..., number] == pytest.approx(control, abs=1e-12)


def test_the_cliff_takes_half_its_height_where_it_stands():
    flat = {"left": 0.0, "right": 0.0, "smoothing_loss": 0.0}
    hill = Hill(**flat, height=0.9, cliff=0.4, cliff_at=0.0, cliff_width=0.1)

    found = hill.accuracy(np.array([-5.0, 0.0, 5.0]), np.array(0.1))

    assert found == pytest.approx([0.9, 0.7, 0.5])


def test_a_trial_past_the_threshold_scores_chance():
    model = Model(diverges_at=math.log(0.1), diverges_sd=0.0)

    found = noise_free(model, GRID, "control", draw(1))

    assert found.has_diverged[0, 0, :, 0].tolist() == [False, True]
    assert found.scored[0, 0, 1, 0] == CHANCE


@pytest.mark.parametrize("name", ["varying_effects", "diverged"])
def test_expected_outcomes_equal_a_brute_force_average(name):
    model, num_replicates = SCENARIOS[name].model, 40_000
    effects = draw(num_replicates)

    expected = expected_outcomes(model, GRID)

    for arm in ("control", "full", "rescaled"):
        scored = noise_free(model, GRID, arm, effects).scored
        error = scored.std(axis=0) / math.sqrt(num_replicates)
        assert (np.abs(scored.mean(axis=0) - expected[arm]) <= 4 * error + 1e-12).all()


def test_every_effect_of_every_estimator_has_a_stated_estimand():
    stated = {(name, effect) for name, effects in ESTIMANDS.items() for effect in effects}

    computed = {(name, effect) for name, each in ESTIMATORS.items() for effect in each.effects}

    assert computed <= stated


@pytest.mark.parametrize("estimator", sorted(ESTIMANDS))
def test_the_parts_of_what_is_estimated_sum_to_the_total(estimator):
    truths = true_effects(SCENARIOS["interaction"].model, GRID)

    wide = truths.filter(pl.col("estimator") == estimator).pivot(
        "effect", index=["label_smoothing", "lr", "rlp_lambda"], values="truth"
    )

    gap = wide["effect_lr"] + wide["effect_memorization"] - wide["effect_total"]
    assert gap.abs().max() < 1e-12


def test_what_the_class_term_does_beyond_lr_is_credited_as_the_scenario_says():
    base, beyond = (
        true_effects(SCENARIOS[name].model, GRID) for name in ("base", "class_beyond_lr")
    )
    keys = ["estimator", "effect", "label_smoothing", "lr", "rlp_lambda"]
    gained = pl.col("truth") - pl.col("truth_base")

    joined = beyond.join(base, on=keys, suffix="_base").filter(pl.col("rlp_lambda") == 1.0)

    found = {key: frame.select(gained).to_series() for key, frame in joined.group_by(keys[:2])}
    credited = {"arms": "effect_lr", "sham": "effect_lr", "matched": "effect_memorization"}
    for estimator, effect in credited.items():
        assert found[estimator, effect].to_list() == pytest.approx([0.015] * 4)
        (other,) = {"effect_lr", "effect_memorization"} - {effect}
        assert found[estimator, other].to_list() == pytest.approx([0.0] * 4, abs=1e-12)


@pytest.mark.parametrize("estimator", BY_CONTRAST)
@pytest.mark.parametrize("name", sorted(SCENARIOS))
def test_an_estimator_finds_its_estimand_in_expected_outcomes(name, estimator):
    scenario = SCENARIOS[name]
    trials = simulate(scenario, range(1), 2).with_columns(status=pl.lit("completed"))
    truths = true_effects(scenario.model, scenario.grid)

    cells, _ = estimate_effects(trials, (EXPECTED,), primary=EXPECTED)

    keys = ["estimator", "effect", "lr", "label_smoothing", "rlp_lambda"]
    found = cells.filter(pl.col("estimator") == estimator).join(truths, on=keys, validate="1:1")
    assert len(found) > 0 or name == "control_and_full"
    assert found.select((pl.col("estimate") - pl.col("truth")).abs().max()).item() in (
        None,
        pytest.approx(0.0, abs=1e-12),
    )


@pytest.mark.parametrize("name", ["noisy_multiplier", "incomplete"])
def test_an_arm_has_the_same_draws_whichever_others_are_drawn(name):
    scenario = SCENARIOS[name]

    alone = simulate(scenario, range(3), 4, arms=["rescaled"])
    among = simulate(scenario, range(3), 4).filter(pl.col("arm") == "rescaled")

    assert alone.drop("trial_id").equals(among.drop("trial_id"))


def test_a_rescaled_trial_is_trained_at_the_multiplier_that_its_seeds_full_measured():
    trials = simulate(SCENARIOS["noisy_multiplier"], range(2), 3)
    place = ["config_sweep", "label_smoothing", "lr", "rlp_lambda", "seed"]

    full, rescaled = (trials.filter(pl.col("arm") == arm) for arm in ("full", "rescaled"))
    pairs = rescaled.join(full, on=place, validate="1:1", suffix="_full")

    assert len(pairs) == len(full)
    assert full["lr_multiplier"].n_unique() == len(full)
    assert (pairs["lr_multiplier_full"] - pairs["matched_multiplier"]).abs().max() < 1e-12


def test_a_measured_multiplier_is_the_true_one_on_average():
    scenario = SCENARIOS["noisy_multiplier"]
    trials = simulate(scenario, range(200), 10, arms=["full"])
    true = np.exp(log_kappa(scenario.model, scenario.grid, "full", draw(1))).ravel()

    means = trials.group_by(pl.col("rlp_lambda").round(3)).agg(pl.col("lr_multiplier").mean())

    assert means.sort("rlp_lambda")["lr_multiplier"].to_list() == pytest.approx(true, rel=0.01)


def test_sweeps_are_told_apart_by_a_lambda_that_moves_less_than_a_millionth():
    tagged = tag_lambda(10.0, range(2000))

    assert len(set(tagged.tolist())) == 2000
    assert tagged[0] == 10.0
    assert np.abs(tagged - 10.0).max() < 1e-6

"""Every effect of random incomplete tables against a plain reference: loops over dictionaries."""

import itertools
import math
import statistics

import numpy as np
import polars as pl
import pytest
from scipy import stats

from analysis.effects import estimate_effects
from analysis.estimators import ESTIMATORS
from analysis.pairing import DIVERGED
from analysis.pooling import largest_block

ARMS = ("control", "full", "class_term", "uniform_term", "sham")
LAMBDAS = (0.7, 7.0)
OUTCOMES = ("test_accuracy", "test_loss", "random_label_accuracy")
AT_CHANCE = {"test_accuracy": 0.1, "test_loss": math.log(10)}
LEGS = {
    "effect_lr_first": ("class_term", "control"),
    "effect_lr_last": ("full", "uniform_term"),
    "effect_memorization_first": ("uniform_term", "control"),
    "effect_memorization_last": ("full", "class_term"),
}


def random_trials(seed: int) -> pl.DataFrame:
    """Return 4 lr, 2 λ, 5 seeds, five arms in random order: some lost, some diverged, some NaN."""
    generator = np.random.default_rng(seed)
    rows = [
        {"arm": arm, "lr": lr, "rlp_lambda": rlp_lambda, "seed": replicate, "config_depth": depth}
        for lr, depth, replicate in itertools.product((0.1, 1.0), (None, 2), range(5))
        for arm in ARMS
        for rlp_lambda in ((0.0,) if arm == "control" else LAMBDAS)
        if generator.uniform() > 0.08
    ]
    frame = pl.DataFrame(rows).with_row_index("trial_id").with_columns(pl.col("trial_id").cast(str))
    ends = generator.choice(["completed", "failed", "diverged"], len(rows), p=[0.86, 0.04, 0.1])
    values = generator.uniform(size=(3, len(rows)))
    values[generator.uniform(size=values.shape) < 0.01] = np.nan
    return frame.with_columns(
        pl.Series("status", ends),
        *(pl.Series(name, row) for name, row in zip(OUTCOMES, values, strict=True)),
        label_smoothing=0.0,
        num_random_labels=10,
        num_classes=10,
    ).sample(fraction=1.0, shuffle=True, seed=seed)


def reference_score(trial: dict, outcome: str, diverged: str) -> float | None:
    value = trial[outcome] if math.isfinite(trial[outcome]) else None
    if trial["status"] == "diverged":
        known = {"chance": AT_CHANCE.get(outcome), "last": value, "exclude": None}
        return None if outcome == "random_label_accuracy" else known[diverged]
    return value if trial["status"] == "completed" else None


def reference_effects(y: dict[str, float | None]) -> dict[str, dict[str, float]]:
    """Return by estimator the effects of one cell and seed that its arms allow."""
    known = {arm: value for arm, value in y.items() if value is not None}
    arms = {leg: known[a] - known[b] for leg, (a, b) in LEGS.items() if {a, b} <= known.keys()}
    sham = {}
    if {"control", "full"} <= known.keys():
        arms["effect_total"] = known["full"] - known["control"]
    if len(arms) == 5:
        arms["effect_lr"] = (arms["effect_lr_first"] + arms["effect_lr_last"]) / 2
        arms["effect_memorization"] = arms["effect_total"] - arms["effect_lr"]
        arms["interaction"] = arms["effect_lr_last"] - arms["effect_lr_first"]
    if {"control", "sham"} <= known.keys():
        sham["effect_lr"] = known["sham"] - known["control"]
    if {"full", "sham"} <= known.keys():
        sham["effect_memorization"] = known["full"] - known["sham"]
    if len(sham) == 2:
        sham["effect_total"] = arms["effect_total"]
    return {"arms": arms, "sham": sham}


Place = tuple[object, int]
Effects = dict[str, float]


def block(places: set[Place]) -> set[Place]:
    """Return the places of the largest block."""
    if not places:
        return set()
    cells, seeds = (sorted({place[axis] for place in places}, key=str) for axis in (0, 1))
    presence = np.array([[(cell, seed) in places for seed in seeds] for cell in cells])
    has_cell, has_seed = largest_block(presence)
    return set(
        itertools.product(itertools.compress(cells, has_cell), itertools.compress(seeds, has_seed))
    )


def values_by_seed(found: dict[Place, Effects], effect: str, names: set[str]) -> list[float]:
    """Return the values that an estimate stands on, averaged over cells, one a seed."""
    complete = {place for place, effects in found.items() if effects.keys() == names}
    totals = block({place for place, effects in found.items() if "effect_total" in effects})
    whole = block(complete)
    is_most = len({seed for _, seed in whole}) >= 2 and 2 * len(whole) >= len(totals)
    is_restricted = is_most or len(whole) >= len(totals)
    places = {place for place, effects in found.items() if effect in effects}
    if complete and (effect != "effect_total" or is_restricted):
        places &= complete
    by_seed: dict[int, list[float]] = {}
    for place in block(places):
        by_seed.setdefault(place[1], []).append(found[place][effect])
    return [statistics.fmean(by_seed[seed]) for seed in sorted(by_seed)]


def infer(values: list[float]) -> dict[str, float | None]:
    """Return the numbers of one estimate, by SciPy and by enumeration."""
    num_seeds, mean = len(values), statistics.fmean(values)
    signs = itertools.product((1, -1), repeat=num_seeds)
    sums = [abs(sum(s * v for s, v in zip(row, values, strict=True))) for row in signs]
    flips = statistics.fmean(total >= abs(sum(values)) - 1e-12 for total in sums)
    low = high = p_value = None
    if num_seeds > 1:
        low, high = stats.t.interval(0.95, num_seeds - 1, loc=mean, scale=stats.sem(values))
        p_value = stats.ttest_1samp(values, 0).pvalue
    return {
        "num_seeds": num_seeds,
        "estimate": mean,
        "ci_low": low,
        "ci_high": high,
        "p_value": p_value,
        "p_sign_flip": flips,
    }


def per_place(trials: pl.DataFrame, outcome: str, diverged: str, estimator: str):
    """Return by cell and seed the effects of an estimator that its arms allow."""
    y = {
        (t["lr"], t["config_depth"], t["rlp_lambda"], t["seed"], t["arm"]): reference_score(
            t, outcome, diverged
        )
        for t in trials.iter_rows(named=True)
    }
    found: dict[float, dict[Place, Effects]] = {}
    for lr, depth, rlp_lambda, seed, arm in y:
        if arm != "control":
            arms = {a: y.get((lr, depth, rlp_lambda, seed, a)) for a in ARMS}
            arms["control"] = y.get((lr, depth, 0.0, seed, "control"))
            place = ((lr, depth, rlp_lambda), seed)
            found.setdefault(rlp_lambda, {})[place] = reference_effects(arms)[estimator]
    return found


def assert_same(row: dict, expected: dict[str, float | None]) -> None:
    for name, number in expected.items():
        assert row[name] == (number if number is None else pytest.approx(number, 1e-9, 1e-12))
    assert row["estimate"] == pytest.approx(expected["estimate"], rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("diverged", DIVERGED)
@pytest.mark.parametrize("estimator", sorted(ESTIMATORS))
@pytest.mark.parametrize("seed", range(2))
def test_every_effect_equals_a_plain_reference(seed, estimator, diverged):
    trials = random_trials(seed)

    cells, pooled = estimate_effects(trials, OUTCOMES, primary="test_loss", diverged=diverged)

    num_rows = 0
    for outcome in OUTCOMES:
        by_lambda = per_place(trials, outcome, diverged, estimator)
        everything = {p: e for found in by_lambda.values() for p, e in found.items()}
        scopes = {(None,): everything} | {(key,): found for key, found in by_lambda.items()}
        for place, effects in everything.items():
            scopes.setdefault(place[0], {})[place] = effects
        for scope, found in scopes.items():
            num_rows += check_scope(cells, pooled, (outcome, estimator, scope), found)
    of_estimator = pl.col("estimator") == estimator
    assert num_rows == len(cells.filter(of_estimator)) + len(pooled.filter(of_estimator)) > 0


def check_scope(cells, pooled, names, found) -> int:
    """Compare all effects of a scope, a cell or a λ or all of them; return how many there are."""
    outcome, estimator, scope = names
    columns = ("lr", "config_depth", "rlp_lambda") if len(scope) == 3 else ("rlp_lambda",)
    rows = (cells if len(scope) == 3 else pooled).filter(
        pl.col("outcome") == outcome,
        pl.col("estimator") == estimator,
        *(pl.col(name).eq_missing(value) for name, value in zip(columns, scope, strict=True)),
    )
    by_effect = {row["effect"]: row for row in rows.iter_rows(named=True)}
    effects = ESTIMATORS[estimator].effects
    known = {e: v for e in effects if (v := values_by_seed(found, e, set(effects)))}
    assert by_effect.keys() == known.keys()
    for effect, values in known.items():
        assert_same(by_effect[effect], infer(values))
    return len(known)

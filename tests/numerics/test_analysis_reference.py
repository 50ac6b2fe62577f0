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

BY_ARMS = ("arms", "matched", "replayed", "sham", "projection", "block_mean")
"""Estimators that read nothing but the arms of a cell and seed."""

ARMS = (
    *("control", "full", "class_term", "uniform_term", "sham", "sham_norm", "class_mean"),
    *("mean_rest", "rescaled", "rescaled_class_term", "rescaled_uniform_term"),
    *("replayed", "replayed_class_term", "replayed_uniform_term", "orthogonal", "grafted"),
)
LAMBDAS = (0.7, 7.0)
OUTCOMES = ("test_accuracy", "test_loss", "random_label_accuracy")
AT_CHANCE = {"test_accuracy": 0.1, "test_loss": math.log(10)}
FURTHER = {
    "specificity",
    "learning_rate_of_class_term",
    "class_term_beyond_lr",
    "uniform_term_last",
    "uniform_term_beyond_lr",
    "direction",
    "step_size",
}

Place = tuple[object, int]
Effects = dict[str, float]


def random_trials(seed: int) -> pl.DataFrame:
    """Return 4 lr, 2 λ, 5 seeds, every arm in random order: some lost, some diverged, some NaN."""
    generator = np.random.default_rng(seed)
    rows = [
        {"arm": arm, "lr": lr, "rlp_lambda": rlp_lambda, "seed": replicate, "config_depth": depth}
        for lr, depth, replicate in itertools.product((0.1, 1.0), (None, 2), range(5))
        for arm in ARMS
        for rlp_lambda in ((0.0,) if arm == "control" else LAMBDAS)
        if generator.uniform() > 0.05
    ]
    frame = pl.DataFrame(rows, infer_schema_length=None).with_row_index("trial_id")
    frame = frame.with_columns(pl.col("trial_id").cast(str))
    ends = generator.choice(["completed", "failed", "diverged"], len(rows), p=[0.9, 0.03, 0.07])
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


def split(known: dict[str, float], lr_arm: str, other: str) -> Effects:
    """Return the effects of a split into two terms."""
    legs = {
        "effect_lr_first": (lr_arm, "control"),
        "effect_lr_last": ("full", other),
        "effect_memorization_first": (other, "control"),
        "effect_memorization_last": ("full", lr_arm),
    }
    found = {leg: known[a] - known[b] for leg, (a, b) in legs.items() if {a, b} <= known.keys()}
    if len(found) == 4:
        found["effect_total"] = known["full"] - known["control"]
        found["effect_lr"] = (found["effect_lr_first"] + found["effect_lr_last"]) / 2
        found["effect_memorization"] = found["effect_total"] - found["effect_lr"]
        found["interaction"] = found["effect_lr_last"] - found["effect_lr_first"]
    return found


def against(known: dict[str, float], middle: str) -> Effects:
    """Return the effects on both sides of an arm between control and full."""
    found = {}
    if {"control", middle} <= known.keys():
        found["effect_lr"] = known[middle] - known["control"]
    if {"full", middle} <= known.keys():
        found["effect_memorization"] = known["full"] - known[middle]
    if len(found) == 2:
        found["effect_total"] = known["full"] - known["control"]
    return found


def reference_effects(y: dict[str, float | None], estimator: str) -> Effects:
    """Return the effects of one cell and seed that its arms allow."""
    known = {arm: value for arm, value in y.items() if value is not None}
    if estimator == "block_mean":
        return split(known, "class_mean", "mean_rest")
    if estimator == "arms":
        found = split(known, "class_term", "uniform_term")
        if {"control", "full"} <= known.keys():
            found["effect_total"] = known["full"] - known["control"]
        return found
    if estimator == "projection":
        return projection(known)
    matched = {"matched": "rescaled"}.get(estimator, estimator)
    found = against(known, matched)
    if estimator == "sham":
        if {"full", "sham_norm"} <= known.keys():
            found["specificity"] = known["full"] - known["sham_norm"]
        return found
    of_class, of_uniform = f"{matched}_class_term", f"{matched}_uniform_term"
    if {"control", "full", "class_term", of_class} <= known.keys():
        found["learning_rate_of_class_term"] = known[of_class] - known["control"]
        found["class_term_beyond_lr"] = known["class_term"] - known[of_class]
        found["uniform_term_last"] = known["full"] - known["class_term"]
    if {"uniform_term", of_uniform} <= known.keys():
        found["uniform_term_beyond_lr"] = known["uniform_term"] - known[of_uniform]
    return found


def projection(known: dict[str, float]) -> Effects:
    """Return the effects by projection; the parts change places in `against`."""
    mirrored = against(known, "orthogonal")
    swapped = {"effect_lr": "effect_memorization", "effect_memorization": "effect_lr"}
    found = {swapped.get(effect, effect): value for effect, value in mirrored.items()}
    for effect, first, second in (
        ("direction", "grafted", "control"),
        ("step_size", "full", "grafted"),
    ):
        if {first, second} <= known.keys():
            found[effect] = known[first] - known[second]
    return found


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
    complete = {place for place, effects in found.items() if effects.keys() >= names - FURTHER}
    totals = block({place for place, effects in found.items() if "effect_total" in effects})
    whole = block(complete)
    is_most = len({seed for _, seed in whole}) >= 2 and 2 * len(whole) >= len(totals)
    is_restricted = is_most or len(whole) >= len(totals)
    places = {place for place, effects in found.items() if effect in effects}
    is_core = effect not in FURTHER
    if complete and is_core and (effect != "effect_total" or is_restricted):
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
            found.setdefault(rlp_lambda, {})[place] = reference_effects(arms, estimator)
    return found


def assert_same(row: dict, expected: dict[str, float | None]) -> None:
    for name, number in expected.items():
        assert row[name] == (number if number is None else pytest.approx(number, 1e-9, 1e-12))
    assert row["estimate"] == pytest.approx(expected["estimate"], rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("diverged", DIVERGED)
@pytest.mark.parametrize("estimator", BY_ARMS)
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

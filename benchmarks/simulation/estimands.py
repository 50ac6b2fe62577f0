"""What each estimator estimates, stated as contrasts of the arms' expected outcomes.

The statements stand apart from the estimators' code, so that a wrong contrast there shows as bias.

- `arms` attributes by **term** (Shapley): `effect_lr` is what the class term contributes, whatever
  it does, half of its interaction with the uniform term included.
- `block_mean` is the same with the other exact split.
- `matched`, `curve`, `alignment` attribute by **mechanism**: `effect_lr` is f(κη) − f(η) at the
  *true* κ of each seed's own `full`, `effect_memorization` the rest of the total.
- `replayed` is `matched` with κ of every interval; the model's κ does not change in time.
- `projection` takes the orthogonal arm for what is no learning rate: `effect_lr` is full − that.
- `sham` takes the sham arm for the learning-rate effect; the uniform term's own pull on the
  learning rate is part of its `effect_memorization`.
"""

from collections.abc import Mapping

import polars as pl

from benchmarks.simulation.model import Floats, Grid, Model, expected_outcomes

Weights = Mapping[str, float]

TOTAL = {"full": 1.0, "control": -1.0}


def _minus(first: str, second: str) -> Weights:
    return {first: 1.0, second: -1.0}


def by_term(class_arm: str, uniform_arm: str) -> dict[str, Weights]:
    """Return the estimands of an exact attribution by two terms."""
    return {
        "effect_total": TOTAL,
        "effect_lr": {class_arm: 0.5, "control": -0.5, "full": 0.5, uniform_arm: -0.5},
        "effect_memorization": {uniform_arm: 0.5, "control": -0.5, "full": 0.5, class_arm: -0.5},
        "interaction": {"full": 1.0, class_arm: -1.0, uniform_arm: -1.0, "control": 1.0},
        "effect_lr_first": _minus(class_arm, "control"),
        "effect_lr_last": _minus("full", uniform_arm),
        "effect_memorization_first": _minus(uniform_arm, "control"),
        "effect_memorization_last": _minus("full", class_arm),
    }


def by_mechanism(equivalent: str) -> dict[str, Weights]:
    """Return the estimands of an attribution to what this arm scores, and the rest."""
    return {
        "effect_total": TOTAL,
        "effect_lr": _minus(equivalent, "control"),
        "effect_memorization": _minus("full", equivalent),
    }


def against(matched: str) -> dict[str, Weights]:
    """Return the estimands of an attribution against controls at a matched learning rate."""
    return {
        **by_mechanism(matched),
        "learning_rate_of_class_term": _minus(f"{matched}_class_term", "control"),
        "class_term_beyond_lr": _minus("class_term", f"{matched}_class_term"),
        "uniform_term_last": _minus("full", "class_term"),
        "uniform_term_beyond_lr": _minus("uniform_term", f"{matched}_uniform_term"),
    }


ESTIMANDS: dict[str, dict[str, Weights]] = {
    "arms": by_term("class_term", "uniform_term"),
    "block_mean": by_term("class_mean", "mean_rest"),
    "sham": {
        "effect_total": TOTAL,
        "effect_lr": _minus("sham", "control"),
        "effect_memorization": _minus("full", "sham"),
        "specificity": _minus("full", "sham_norm"),
    },
    "matched": against("rescaled"),
    "replayed": against("replayed"),
    "projection": {
        "effect_total": TOTAL,
        "effect_lr": _minus("full", "orthogonal"),
        "effect_memorization": _minus("orthogonal", "control"),
        "direction": _minus("grafted", "control"),
        "step_size": _minus("full", "grafted"),
    },
    "curve": {
        **by_mechanism("rescaled"),
        "effect_lr_class_term_first": _minus("rescaled_class_term", "control"),
    },
    "alignment": by_mechanism("rescaled"),
}
"""By estimator and effect: weights of the arms' expected outcomes."""


def contrast(weights: Weights, expected: Mapping[str, Floats]) -> Floats:
    """Return an estimand in every cell, ``[E, L, A]``; expected as `expected_outcomes` returns."""
    return sum(
        (weight * expected[arm] for arm, weight in weights.items()), start=expected["full"] * 0
    )


def true_effects(model: Model, grid: Grid) -> pl.DataFrame:
    """Return one row an estimator, effect and cell.

    Columns `estimator`, `effect`, `label_smoothing`, `lr`, `rlp_lambda`, `truth`.
    """
    expected = expected_outcomes(model, grid)
    cells = (
        pl.DataFrame({"label_smoothing": grid.smoothings})
        .join(pl.DataFrame({"lr": grid.lrs}), how="cross")
        .join(pl.DataFrame({"rlp_lambda": grid.lambdas}), how="cross")
    )
    return pl.concat(
        cells.select(
            pl.lit(estimator).alias("estimator"),
            pl.lit(effect).alias("effect"),
            *cells.columns,
            pl.Series("truth", contrast(weights, expected).ravel()),
        )
        for estimator, effects in ESTIMANDS.items()
        for effect, weights in effects.items()
    )

"""Effects with their intervals: one row a cell, or pooled over cells, for each λ and for all.

An effect needs all the arms it reads. As long as some seed of a scope (a cell, or the cells pooled
over) has every arm of an estimator, the parts stand on those complete seeds only. So does the
total, and the parts sum to it, unless that would throw away most of it: complete seeds must be at
least two, and at least half of those that have the total's own arms; otherwise the total stands on
all of the latter. Where no seed is complete, each effect stands on the seeds with its own arms.
"""

from collections.abc import Sequence

import numpy as np
import polars as pl

from analysis.estimators import ESTIMATORS, Estimator
from analysis.intervals import add_inference, holm, summarize
from analysis.pairing import Diverged, Paired, pair_arms
from analysis.pooling import average_within_seed, keep_blocks

FAMILY_ESTIMATOR = "arms"
FAMILY_EFFECTS = ("effect_total", "effect_lr", "effect_memorization")
"""The confirmatory family: these effects of `arms` on the primary outcome, pooled for each λ."""

MIN_COMPLETE_SEEDS = 2
"""Seeds with every arm from which on the total may keep to them."""

VALUE_COLUMNS = (
    "estimate",
    "ci_low",
    "ci_high",
    "p_value",
    "p_holm",
    "p_sign_flip",
    "p_sign_flip_min",
    "num_seeds",
    "num_diverged",
)


def estimate_effects(
    trials: pl.DataFrame,
    outcomes: Sequence[str],
    *,
    primary: str,
    diverged: Diverged = "chance",
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the effects of every cell, and those pooled over cells (`schema.EFFECTS`, `_POOLED`).

    Args:
        trials: As `load_trials` returns them.
        outcomes: Columns of trials that the effects are on, without repeats.
        primary: The outcome that the confirmatory family is about.
        diverged: What a diverged trial scores.

    Raises:
        ArgumentError: An outcome is unknown.
        SchemaError: Two trials share cell, arm and seed.
    """
    cells: list[pl.DataFrame] = []
    pooled: list[pl.DataFrame] = []
    for outcome in outcomes:
        paired = pair_arms(trials, outcome, diverged=diverged)
        for estimator in ESTIMATORS.values():
            names = {"outcome": outcome, "estimator": estimator.name}
            cells.append(_label(_cell_effects(paired, estimator), names, estimator))
            pooled.append(_label(_pooled_effects(paired, estimator), names, estimator))
    return _in_schema_order(pl.concat(cells)), _with_family(pl.concat(pooled), primary)


def cell_names(effects: pl.DataFrame) -> list[str]:
    """Return the cell columns of a table of cells' effects."""
    end = effects.columns.index("estimator")
    return effects.columns[1:end]


def per_seed_effects(paired: Paired, estimator: Estimator) -> pl.DataFrame:
    """Return one row a cell, seed and effect: `value` (null where missing) and `is_complete`.

    `is_complete`: every effect of the estimator has a value in that cell and seed.
    """
    effects = list(estimator.effects)
    wide = estimator.per_seed(paired.seeds).with_columns(
        is_complete=pl.all_horizontal(pl.col(effects).is_not_null())
    )
    keys = ["cell", "base", "rlp_lambda", "seed", "is_complete"]
    return wide.select(*keys, *effects).unpivot(
        on=effects, index=keys, variable_name="effect", value_name="value"
    )


def _usable(values: pl.DataFrame, scope: list[str]) -> pl.DataFrame:
    """Return the values that estimates of a scope stand on."""
    if values["is_complete"].all():
        return values.drop("is_complete")
    keys = [*scope, "_all"]
    present = values.filter(pl.col("value").is_not_null()).with_columns(_all=pl.lit(0))
    rules = _completeness(present.filter(pl.col("effect") == "effect_total"), scope, keys)
    judged = present.join(rules, on=keys, how="left", validate="m:1", maintain_order="left")
    is_whole_total = (pl.col("effect") == "effect_total") & ~pl.col("is_restricted")
    is_free = ~pl.col("has_complete").fill_null(value=False) | is_whole_total
    return judged.filter(pl.col("is_complete") | is_free).select(
        pl.exclude("is_complete", "_all", "has_complete", "is_restricted")
    )


def _completeness(totals: pl.DataFrame, scope: list[str], keys: list[str]) -> pl.DataFrame:
    """Return for each scope whether a seed is complete, and whether the total keeps to such seeds.

    Compared are the blocks that would be pooled, in places (cell and seed); in a cell, a place is a
    seed. Where the complete block is no smaller than the other, the total keeps to it as well.
    """
    size = [pl.len().alias("places"), pl.col("seed").n_unique().alias("seeds")]
    whole = keep_blocks(totals, scope).group_by(keys).agg(size)
    complete = keep_blocks(totals.filter("is_complete"), scope).group_by(keys).agg(size)
    both = whole.join(complete, on=keys, how="left", suffix="_complete", validate="1:1")
    places, places_complete = pl.col("places"), pl.col("places_complete")
    is_most = (pl.col("seeds_complete") >= MIN_COMPLETE_SEEDS) & (2 * places_complete >= places)
    return both.select(
        *keys,
        has_complete=places_complete.is_not_null(),
        is_restricted=(is_most | (places_complete >= places)).fill_null(value=False),
    )


def _estimate(values: pl.DataFrame, keys: list[str], extra: Sequence[pl.Expr] = ()) -> pl.DataFrame:
    value = pl.col("value")
    grouped = values.sort("seed").group_by(*keys, "effect", maintain_order=True)
    estimates = grouped.agg(*summarize(value), *extra, value.alias("values"))
    return add_inference(estimates).drop("values", "sd")


def _cell_effects(paired: Paired, estimator: Estimator) -> pl.DataFrame:
    values = _usable(per_seed_effects(paired, estimator), ["cell"])
    estimates = _estimate(values, ["cell"])
    counted = estimates.join(
        _count_diverged(paired, estimator, ["cell"]), on=["cell", "effect"], validate="1:1"
    )
    return counted.join(paired.cells.drop("base"), on="cell", validate="m:1")


def _pooled_effects(paired: Paired, estimator: Estimator) -> pl.DataFrame:
    values = per_seed_effects(paired, estimator)
    scopes = []
    for scope in (["rlp_lambda"], []):
        averaged = average_within_seed(_usable(values, scope), scope)
        estimates = _estimate(averaged, scope, [pl.col("num_cells").first()])
        counts = _count_diverged(paired, estimator, scope)
        counted = estimates.join(counts, on=[*scope, "effect"], validate="1:1")
        if not scope:
            counted = counted.with_columns(rlp_lambda=pl.lit(None, pl.Float64))
        scopes.append(counted)
    return pl.concat(scopes, how="diagonal")


def _count_diverged(paired: Paired, estimator: Estimator, scope: list[str]) -> pl.DataFrame:
    """Return `num_diverged` for each effect: diverged trials of its arms, each counted once.

    A control trial serves several λ; in a scope over all of them it still counts once.
    """
    is_first = pl.struct("base", "seed").is_first_distinct()
    has_twins = "cell" not in scope and paired.seeds["diverged_control"].sum() > 0
    counts = {
        arm: (
            pl.col(f"diverged_{arm}").filter(is_first)
            if arm == "control" and has_twins
            else pl.col(f"diverged_{arm}")
        ).sum()
        for arm in {arm for arms in estimator.arms.values() for arm in arms}
    }
    exprs = [
        pl.sum_horizontal([counts[arm] for arm in arms]).cast(pl.Int64).alias(effect)
        for effect, arms in estimator.arms.items()
    ]
    wide = paired.seeds.group_by(scope).agg(exprs) if scope else paired.seeds.select(exprs)
    return wide.unpivot(
        on=list(estimator.effects),
        index=scope,
        variable_name="effect",
        value_name="num_diverged",
    )


def _label(frame: pl.DataFrame, names: dict[str, str], estimator: Estimator) -> pl.DataFrame:
    order = {effect: number for number, effect in enumerate(estimator.effects)}
    rank = pl.col("effect").replace_strict(order, return_dtype=pl.Int64)
    scope = "cell" if "cell" in frame.columns else "rlp_lambda"
    return frame.sort(pl.col(scope), rank, nulls_last=True).with_columns(
        *(pl.lit(value).alias(name) for name, value in names.items()),
        p_holm=pl.lit(None, pl.Float64),
    )


def _in_schema_order(effects: pl.DataFrame) -> pl.DataFrame:
    identity = ["outcome", "lr", "rlp_lambda", "label_smoothing"]
    known = {*identity, "estimator", "effect", *VALUE_COLUMNS, "cell"}
    further = [name for name in effects.columns if name not in known]
    return effects.select(*identity, *further, "estimator", "effect", *VALUE_COLUMNS)


def is_family(primary: str) -> pl.Expr:
    """Return whether a row of pooled effects belongs to the confirmatory family."""
    return (
        (pl.col("outcome") == primary)
        & (pl.col("estimator") == FAMILY_ESTIMATOR)
        & pl.col("effect").is_in(FAMILY_EFFECTS)
        & pl.col("rlp_lambda").is_not_null()
    )


def _with_family(pooled: pl.DataFrame, primary: str) -> pl.DataFrame:
    family = pooled.select(is_family(primary).alias("is_family"))["is_family"].to_numpy()
    p_values = pooled["p_value"].fill_null(float("nan")).to_numpy()
    adjusted = np.full(len(pooled), np.nan)
    adjusted[family] = holm(p_values[family])
    p_holm = pl.Series("p_holm", adjusted, dtype=pl.Float64).fill_nan(None)
    columns = ["outcome", "rlp_lambda", "estimator", "effect", *VALUE_COLUMNS, "num_cells"]
    return pooled.with_columns(p_holm).select(columns)

"""The numbers of the analysis in pandas, as someone who knows pandas would write them.

    python -m benchmarks.baselines.pandas_analysis DIR OUTPUT [--drawn-only]

Reads ``DIR/trials`` and ``DIR/epochs`` and writes to OUTPUT, as Parquet: effects of every cell and
pooled over cells, with t intervals, t tests and sign-flip tests over seeds; means of every cell and
arm with intervals; learning curves. Only the columns that this needs are read, groups are by
vectorized aggregations, nothing is looped over but outcomes and metrics. With `--drawn-only` a
filter leaves out the evaluations that no curve is drawn of, as the package does. The t quantiles
come from SciPy and the sign-flip test is the analysis' own NumPy function, so that it costs both
alike.

What the package's analysis does beside this, and is timed with it there: it checks the schema and
every value, treats trials that diverged or are missing, finds the largest block of cells and seeds
to pool over, and writes notes and a verdict. The tables that both are timed on are whole.
"""

import argparse
import json
import resource
import time
from pathlib import Path

import numpy as np
import pandas as pd  # type: ignore[import-untyped]  # it has no stubs
from scipy import stats

from analysis.canvas import spread_out
from analysis.intervals import sign_flip
from rlp_sweeps.schema import CONFIG_COLUMNS

OUTCOMES = ("test_accuracy", "test_loss", "random_label_accuracy")
CELL_METRICS = (
    *("test_accuracy", "val_accuracy", "train_accuracy", "test_loss", "random_label_accuracy"),
    *("memorization", "lr_multiplier", "equivalent_lr"),
)
CURVES = ("val_accuracy", "test_accuracy", "random_label_accuracy")
CELL = ["lr", "rlp_lambda", "label_smoothing"]
BASE = ["lr", "label_smoothing"]
MAX_PANELS = 4
NO_SPREAD = 1e-12
TABLES = ("effects", "pooled", "cells", "curves")


def load_trials(directory: Path) -> pd.DataFrame:
    """Return the completed trials, each once.

    Raises:
        ValueError: Another setting than lr, λ, ε, arm and seed varies.
    """
    settings = [column.name for column in CONFIG_COLUMNS if column.role == "config"]
    columns = ["trial_id", "status", *settings, *CELL_METRICS]
    trials = pd.read_parquet(directory / "trials", columns=columns).drop_duplicates("trial_id")
    varying = {name for name in settings if trials[name].nunique(dropna=False) > 1}
    if not varying <= {*CELL, "arm", "seed"}:
        msg = f"only {CELL}, arm and seed may vary here, but {sorted(varying)} do."
        raise ValueError(msg)
    return trials[trials["status"] == "completed"]


def load_epochs(directory: Path, trial_ids: list[str] | None) -> pd.DataFrame:
    """Return the evaluations of these trials, or of all, each once."""
    filters = None if trial_ids is None else [("trial_id", "in", trial_ids)]
    columns = ["trial_id", "epoch", *CURVES]
    epochs = pd.read_parquet(directory / "epochs", columns=columns, filters=filters)
    return epochs.drop_duplicates(["trial_id", "epoch"])


def pair(trials: pd.DataFrame, outcome: str) -> pd.DataFrame:
    """Return one row a cell and seed with a column an arm; control serves every λ of its cell."""
    is_control = trials["arm"] == "control"
    wide = trials[~is_control].set_index([*CELL, "seed", "arm"])[outcome].unstack("arm")
    control = trials[is_control].set_index([*BASE, "seed"])[outcome].rename("control")
    return wide.join(control, on=[*BASE, "seed"])


def per_seed_effects(paired: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the effects by estimator, one row a cell and seed."""
    control, full, sham = paired["control"], paired["full"], paired["sham"]
    class_term, uniform_term = paired["class_term"], paired["uniform_term"]
    arms = pd.DataFrame(
        {
            "effect_total": full - control,
            "effect_lr": (class_term - control + full - uniform_term) / 2,
            "effect_memorization": (uniform_term - control + full - class_term) / 2,
            "interaction": full - class_term - uniform_term + control,
            "effect_lr_first": class_term - control,
            "effect_lr_last": full - uniform_term,
            "effect_memorization_first": uniform_term - control,
            "effect_memorization_last": full - class_term,
        }
    )
    shams = pd.DataFrame(
        {
            "effect_total": full - control,
            "effect_lr": sham - control,
            "effect_memorization": full - sham,
        }
    )
    return {"arms": arms, "sham": shams}


def over_seeds(effects: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Return mean, interval and p values of every effect over seeds, one row a key and effect."""
    ordered = effects.sort_index()
    grouped = ordered.groupby(keys, sort=True) if keys else ordered.groupby(lambda _: 0)
    moments = grouped.agg(["mean", "std", "count"])
    parts = []
    for effect in effects.columns:
        part = moments[effect].reset_index()
        low, high, p_value = t_inference(part["mean"], part["std"], part["count"])
        values = ordered[effect].to_numpy().reshape(len(part), -1)
        parts.append(
            part.assign(
                effect=effect,
                ci_low=low,
                ci_high=high,
                p_value=p_value,
                p_sign_flip=sign_flip(values),
            )
        )
    return pd.concat(parts).rename(columns={"mean": "estimate", "count": "num_seeds"})


def t_inference(
    mean: pd.Series, sd: pd.Series, num_seeds: pd.Series
) -> tuple[pd.Series, pd.Series, pd.Series]:
    """Return both ends of the 95 % t interval and the two-sided p of no effect.

    Without spread over seeds there is none, unless the mean is 0.
    """
    error = sd / np.sqrt(num_seeds)
    half = stats.t.ppf(0.975, num_seeds - 1) * error
    p_value = pd.Series(2 * stats.t.sf((mean / error).abs(), num_seeds - 1), index=mean.index)
    is_flat = sd <= NO_SPREAD
    half = half.mask(is_flat, np.where(mean == 0, 0.0, np.nan))
    return mean - half, mean + half, p_value.mask(is_flat, np.where(mean == 0, 1.0, np.nan))


def estimate_effects(trials: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the effects of every cell, and those averaged over cells within seed."""
    of_cells, pooled = [], []
    for outcome in OUTCOMES:
        for estimator, effects in per_seed_effects(pair(trials, outcome)).items():
            names = {"outcome": outcome, "estimator": estimator}
            of_cells.append(over_seeds(effects, CELL).assign(**names))
            by_lambda = effects.groupby(["rlp_lambda", "seed"]).mean()
            by_seed = effects.groupby("seed").mean()
            pooled.append(over_seeds(by_lambda, ["rlp_lambda"]).assign(**names))
            pooled.append(over_seeds(by_seed, []).assign(rlp_lambda=np.nan, **names))
    return pd.concat(of_cells), pd.concat(pooled)


def summarize_cells(trials: pd.DataFrame) -> pd.DataFrame:
    """Return mean, standard deviation and interval of every metric by cell and arm."""
    moments = trials.groupby([*CELL, "arm"])[list(CELL_METRICS)].agg(["mean", "std", "count"])
    columns: dict[str, pd.Series] = {}
    for metric in CELL_METRICS:
        mean, sd, count = (moments[metric][name] for name in ("mean", "std", "count"))
        low, high, _ = t_inference(mean, sd, count)
        ends = {"": mean, "_sd": sd, "_ci_low": low, "_ci_high": high, "_num_seeds": count}
        columns |= {f"{metric}{end}": values for end, values in ends.items()}
    return pd.DataFrame(columns).reset_index()


def drawn_trials(trials: pd.DataFrame) -> pd.DataFrame:
    """Return the trials that curves are drawn of: at the largest λ and in the control arm."""
    lrs = spread_out(sorted(trials["lr"].unique().tolist()), MAX_PANELS)
    is_drawn = (trials["arm"] == "control") | (trials["rlp_lambda"] == trials["rlp_lambda"].max())
    return trials.loc[is_drawn & trials["lr"].isin(lrs), ["trial_id", "lr", "rlp_lambda", "arm"]]


def draw_curves(drawn: pd.DataFrame, epochs: pd.DataFrame) -> pd.DataFrame:
    """Return mean and range of the curves by lr, arm and epoch."""
    joined = epochs.merge(drawn, on="trial_id", validate="m:1")
    grouped = joined.groupby(["lr", "rlp_lambda", "arm", "epoch"])[list(CURVES)]
    moments = grouped.agg(["mean", "min", "max", "count"])
    parts = [moments[metric].reset_index().assign(metric=metric) for metric in CURVES]
    return pd.concat(parts).rename(columns={"min": "low", "max": "high", "count": "num_trials"})


def main(given: list[str] | None = None) -> None:
    """Analyze a directory; print seconds and peak memory as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--drawn-only", action="store_true")
    arguments = parser.parse_args(given)
    start, cpu_start = time.perf_counter(), time.process_time()
    trials = load_trials(arguments.directory)
    drawn = drawn_trials(trials)
    trial_ids = drawn["trial_id"].tolist() if arguments.drawn_only else None
    epochs = load_epochs(arguments.directory, trial_ids)
    loaded = time.perf_counter()
    tables = (*estimate_effects(trials), summarize_cells(trials), draw_curves(drawn, epochs))
    end = time.perf_counter()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(
        json.dumps(
            {
                "time_s": end - start,
                "cpu_s": time.process_time() - cpu_start,
                "load_s": loaded - start,
                "peak_bytes": peak,
            }
        )
    )
    for name, table in zip(TABLES, tables, strict=True):
        table.reset_index(drop=True).to_parquet(arguments.output / f"{name}.parquet")


if __name__ == "__main__":
    main()

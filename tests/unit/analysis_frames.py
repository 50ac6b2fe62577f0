"""Small trials tables for the tests of the analysis, with the columns any program can write."""

import itertools
import json
from pathlib import Path

import polars as pl

ARMS = ("control", "full", "class_term", "uniform_term", "sham")

#: Outcome of each arm in the table of `make_trials`, before the seed's own level is added.
LEVELS = {"control": 0.5, "full": 0.44, "class_term": 0.52, "uniform_term": 0.46, "sham": 0.51}


def make_trials(
    *, arms=ARMS, lrs=(0.1,), lambdas=(1.0,), seeds=(0, 1), levels=LEVELS, **columns
) -> pl.DataFrame:
    """Return one row a trial; `columns` replace or add whole columns, as values or expressions."""
    points = [
        (arm, lr, 0.0 if arm == "control" else rlp_lambda, seed)
        for lr, seed, arm in itertools.product(lrs, seeds, arms)
        for rlp_lambda in (lambdas[:1] if arm == "control" else lambdas)
    ]
    frame = pl.DataFrame(points, schema=["arm", "lr", "rlp_lambda", "seed"], orient="row")
    level = pl.col("arm").replace_strict(levels, return_dtype=pl.Float64)
    frame = frame.with_columns(
        trial_id=pl.format("{}-{}-{}-{}", "arm", "lr", "rlp_lambda", "seed"),
        status=pl.lit("completed"),
        label_smoothing=pl.lit(0.0),
        num_random_labels=pl.lit(10),
        num_classes=pl.lit(4),
        train_accuracy=pl.lit(0.9),
        val_accuracy=level,
        test_accuracy=level + 0.01 * pl.col("seed"),
        test_loss=1 - level + 0.02 * pl.col("seed"),
        random_label_accuracy=level + 0.1,
        lr_multiplier=pl.when(pl.col("arm") != "control").then(1.5),
    )
    return frame.with_columns(
        **{name: v if isinstance(v, pl.Expr) else pl.lit(v) for name, v in columns.items()}
    )


def write_directory(folder: Path, trials: pl.DataFrame, *, epochs=None) -> Path:
    """Write a run directory that holds these tables, and return it."""
    (folder / "trials").mkdir(parents=True)
    trials.write_parquet(folder / "trials" / "part.parquet")
    if epochs is not None:
        (folder / "epochs").mkdir()
        epochs.write_parquet(folder / "epochs" / "part.parquet")
    return folder


def write_plan(directory: Path, trial_ids, *, arms=None, sweep_name=None) -> None:
    """Write a manifest that plans these trials into a run directory; `arms` by trial id."""
    trials = [
        {"trial_id": name, "config": {"arm": arms[name]}} if arms else {"trial_id": name}
        for name in trial_ids
    ]
    plan = {"schema_version": 1, "sweep_name": sweep_name, "trials": trials}
    (directory / "manifest.json").write_text(json.dumps(plan))


def make_epochs(trials: pl.DataFrame, *, num_epochs: int = 3) -> pl.DataFrame:
    """Return one row a trial and epoch, with metrics that grow."""
    epochs = trials.join(pl.DataFrame({"epoch": range(1, num_epochs + 1)}), how="cross")
    names = ("val_accuracy", "test_accuracy", "random_label_accuracy")
    grown = [pl.col(name) * pl.col("epoch") / num_epochs for name in names]
    return epochs.select("trial_id", "epoch", *grown)


def where_arm(arm: str, column: str, value) -> pl.Expr:
    """Return the column with this value in the rows of one arm."""
    is_arm = pl.col("arm") == arm
    return pl.when(is_arm).then(pl.lit(value)).otherwise(pl.col(column)).alias(column)


def where_seed(seed: int, column: str, value) -> pl.Expr:
    """Return the column with this value in the rows of one seed."""
    is_seed = pl.col("seed") == seed
    return pl.when(is_seed).then(pl.lit(value)).otherwise(pl.col(column)).alias(column)

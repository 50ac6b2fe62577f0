"""A small sweep whose report is looked at: trials and epochs that were never trained."""

import itertools
from pathlib import Path

import polars as pl

LEVELS = {"control": 0.9, "full": 0.85, "class_term": 0.92, "uniform_term": 0.84, "sham": 0.91}


def write_sweep(directory: Path) -> None:
    """Write the tables of five arms at two learning rates, two seeds and one λ."""
    points = itertools.product(LEVELS, (0.1, 1.0), (0, 1))
    trials = pl.DataFrame(list(points), schema=["arm", "lr", "seed"], orient="row").with_columns(
        trial_id=pl.format("{}-{}-{}", "arm", "lr", "seed"),
        status=pl.lit("completed"),
        rlp_lambda=pl.when(pl.col("arm") == "control").then(0.0).otherwise(10.0),
        label_smoothing=0.0,
        num_random_labels=10,
        train_accuracy=0.99,
        val_accuracy=0.9,
        test_accuracy=pl.col("arm").replace_strict(LEVELS) + pl.col("seed") * pl.col("lr") / 50,
        test_loss=0.3,
        random_label_accuracy=pl.col("arm").replace_strict(LEVELS) ** 2,
        lr_multiplier=pl.lit(None, pl.Float64),
    )
    epochs = trials.join(pl.DataFrame({"epoch": [1, 2, 3]}), how="cross")
    for name, frame in {"trials": trials, "epochs": epochs}.items():
        (directory / name).mkdir(parents=True)
        frame.write_parquet(directory / name / "part.parquet")

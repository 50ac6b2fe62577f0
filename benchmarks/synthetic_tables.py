"""Tables of a sweep that nobody trained, of any size: every column of the schema, written in parts.

    python -m benchmarks.synthetic_tables DIR [--seeds 10 --lrs 40 --smoothings 20 --lambdas 31]

The design is crossed: lr × ε × seed × (one control and four regularized arms for each λ). Effects
are planted, accuracies are multiples of 1/600 as those of a test set of 600 samples, every trial
completed. The default is 1,000,000 trials with ten evaluations each.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from rlp_sweeps.column import Column
from rlp_sweeps.schema import EPOCHS, TRIALS

REGULARIZED_ARMS = ("full", "class_term", "uniform_term", "sham")
ROW_GROUP_ROWS = 65_536
TRIALS_A_PART = 100_000
_TEST_SAMPLES = 600
_POLARS_TYPES = {"str": pl.String, "f64": pl.Float64, "i64": pl.Int64, "bool": pl.Boolean}
_EFFECTS = {"control": 0.0, "full": 0.03, "class_term": 0.02, "uniform_term": 0.01, "sham": 0.018}


@dataclass(frozen=True, kw_only=True, slots=True)
class Design:
    """Sizes of a crossed design.

    Attributes:
        seeds: Replicates.
        lrs: Learning rates.
        smoothings: Values of ε.
        lambdas: Values of λ > 0.
        evaluations: Rows of `epochs` a trial.
    """

    seeds: int = 10
    lrs: int = 40
    smoothings: int = 20
    lambdas: int = 31
    evaluations: int = 10

    @property
    def num_trials(self) -> int:
        """Rows of `trials`."""
        return self.seeds * self.lrs * self.smoothings * (1 + self.lambdas * len(REGULARIZED_ARMS))


FULL = Design()
QUICK = Design(seeds=4, lrs=2, smoothings=2, lambdas=3, evaluations=3)


def write_tables(directory: Path, design: Design) -> None:
    """Write ``trials/`` and ``epochs/`` of a foreign run directory: as Parquet parts, no manifest.

    Both tables hold every column of the schema; one part at a time is in memory.
    """
    for table in ("trials", "epochs"):
        (directory / table).mkdir(parents=True)
    for number, trials in enumerate(_trial_parts(design)):
        name = f"part-{number:04d}.parquet"
        _write(trials, directory / "trials" / name)
        _write(_epochs_of(trials, design, number), directory / "epochs" / name)


def _write(frame: pl.DataFrame, path: Path) -> None:
    frame.write_parquet(path, compression="zstd", row_group_size=ROW_GROUP_ROWS)


def _trial_parts(design: Design) -> Iterator[pl.DataFrame]:
    for start in range(0, design.num_trials, TRIALS_A_PART):
        stop = min(start + TRIALS_A_PART, design.num_trials)
        yield _trials(np.arange(start, stop), design)


def _trials(numbers: npt.NDArray[np.int64], design: Design) -> pl.DataFrame:
    """Return the trials of these numbers, in the order of the schema's columns."""
    random = np.random.default_rng([0, int(numbers[0])])
    per_place = 1 + design.lambdas * len(REGULARIZED_ARMS)
    place, within = np.divmod(numbers, per_place)
    place, seed = np.divmod(place, design.seeds)
    lr, smoothing = np.divmod(place, design.smoothings)
    lambda_number, arm_number = np.divmod(within - 1, len(REGULARIZED_ARMS))
    is_control = within == 0
    arm = np.where(is_control, "control", np.array(REGULARIZED_ARMS)[arm_number])
    effect = np.vectorize(_EFFECTS.get, otypes=[float])(arm)
    strength = np.where(is_control, 0.0, 0.1 * 1.3 ** lambda_number.astype(float))
    noise = random.normal(0, 0.01, len(numbers))
    test_accuracy = _quantized(0.7 + effect * np.tanh(strength) + 0.002 * seed + noise)
    drawn = pl.DataFrame(
        {
            "trial_id": [f"{number:016x}" for number in numbers],
            "status": np.full(len(numbers), "completed"),
            "arm": arm,
            "lr": 0.001 * 1.2 ** lr.astype(float),
            "rlp_lambda": strength,
            "label_smoothing": smoothing / (2.0 * design.smoothings),
            "seed": seed,
            "test_accuracy": test_accuracy,
            "train_accuracy": _quantized(np.minimum(1.0, test_accuracy + 0.2)),
            "val_accuracy": _quantized(test_accuracy + random.normal(0, 0.01, len(numbers))),
            "test_loss": np.round(1.5 - test_accuracy, 4),
            "random_label_accuracy": _quantized(0.5 - effect + noise),
            "lr_multiplier": np.round(1.0 + effect * strength, 4),
        }
    ).with_columns(
        memorization=(pl.col("random_label_accuracy") - 0.1) / 0.9,
        equivalent_lr=pl.col("lr_multiplier") * pl.col("lr"),
    )
    return _completed(drawn, TRIALS, random)


def _epochs_of(trials: pl.DataFrame, design: Design, number: int) -> pl.DataFrame:
    """Return the evaluations of these trials, one after the other within a trial."""
    random = np.random.default_rng([1, number])
    num_rows = len(trials) * design.evaluations
    epoch = np.tile(np.arange(1, design.evaluations + 1), len(trials))
    share = epoch / design.evaluations
    final = np.repeat(trials["test_accuracy"].to_numpy(), design.evaluations)
    noise = random.normal(0, 0.01, num_rows)
    drawn = pl.DataFrame(
        {
            "trial_id": trials["trial_id"].repeat_by(design.evaluations).explode(),
            "epoch": epoch,
            "val_accuracy": _quantized(final * share + noise),
            "test_accuracy": _quantized(final * share),
            "random_label_accuracy": _quantized(0.1 + 0.3 * share + noise),
        }
    )
    return _completed(drawn, EPOCHS, random)


def _quantized(share: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.round(np.clip(share, 0.0, 1.0) * _TEST_SAMPLES) / _TEST_SAMPLES


def _completed(
    drawn: pl.DataFrame, columns: tuple[Column, ...], random: np.random.Generator
) -> pl.DataFrame:
    """Return the frame with every column of the schema: fixed settings, the rest in [0, 1)."""
    values: dict[str, pl.Expr | pl.Series] = {}
    for column in columns:
        dtype = _POLARS_TYPES[column.dtype]
        if column.name in drawn.columns:
            values[column.name] = pl.col(column.name).cast(dtype)
        elif column.role == "config" or column.dtype != "f64":
            values[column.name] = pl.lit(_FIXED.get(column.name), dtype).alias(column.name)
        else:
            drawn_values = np.round(random.random(len(drawn)), 3)
            values[column.name] = pl.Series(column.name, drawn_values)
    return drawn.select(**values)


_FIXED: dict[str, str | int | float | bool] = {
    "num_random_labels": 10,
    "weight_decay": 0.0,
    "momentum": 0.9,
    "extractor_scale": 1.0,
    "dataset": "digits",
    "augmentation": "none",
    "backbone": "small_cnn",
    "dropout": 0.0,
    "head": "nested_joint",
    "head_weight_decay": 0.0,
    "optimizer": "sgd",
    "nesterov": False,
    "schedule": "cosine",
    "warmup_epochs": 0,
    "num_epochs": 10,
    "batch_size": 64,
    "precision": "fp32",
    "eval_every": 1,
    "num_classes": 10,
    "engine": "grouped",
    "device": "cpu",
    "hostname": "node-0",
    "code_version": "0.1.0",
}


def add_sizes(parser: argparse.ArgumentParser) -> None:
    """Add one option for each size of a `Design`."""
    for name in ("seeds", "lrs", "smoothings", "lambdas", "evaluations"):
        parser.add_argument(f"--{name}", type=int, default=getattr(FULL, name))


def main() -> None:
    """Write the tables of one design."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=Path)
    add_sizes(parser)
    arguments = vars(parser.parse_args())
    directory = arguments.pop("directory")
    write_tables(directory, Design(**arguments))


if __name__ == "__main__":
    main()

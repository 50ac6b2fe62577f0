"""What the analysis promises to everything around it: its imports, its tables' columns."""

import pkgutil
import subprocess
import sys

import polars as pl
import pytest

import analysis
from analysis.border import DTYPES
from analysis.effects import FAMILY_EFFECTS, estimate_effects
from analysis.estimators import ESTIMATORS
from analysis.figures import FIGURES
from analysis.pairing import ARMS, Paired, pair_arms
from rlp_sweeps.effect_columns import EFFECTS, EFFECTS_POOLED
from rlp_sweeps.schema import STATUSES

MODULES = sorted(module.name for module in pkgutil.iter_modules(analysis.__path__))


def two_trials(**columns) -> pl.DataFrame:
    """Return a control and a full trial."""
    frame = pl.DataFrame({"arm": ["control", "full"], "rlp_lambda": [0.0, 1.0]})
    return frame.with_columns(
        trial_id=pl.col("arm"),
        status=pl.lit("completed"),
        lr=pl.lit(0.1),
        label_smoothing=pl.lit(0.0),
        seed=pl.lit(0),
        num_random_labels=pl.lit(10),
        num_classes=pl.lit(10),
        test_accuracy=pl.lit(0.5),
    ).with_columns(**{name: pl.lit(value) for name, value in columns.items()})


def test_no_module_of_the_analysis_imports_a_training_or_tracking_library():
    imports = ", ".join(f"analysis.{name}" for name in MODULES)
    heavy = "{'torch', 'torchvision', 'ray', 'mlflow', 'optuna', 'matplotlib', 'pandas'}"
    code = f"import sys, {imports}; print(sorted({heavy} & set(sys.modules)))"

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )

    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("status", STATUSES)
def test_effects_have_the_columns_and_types_of_the_schema(status):
    frames = estimate_effects(
        two_trials(status=status), ("test_accuracy",), primary="test_accuracy"
    )

    for frame, columns in zip(frames, (EFFECTS, EFFECTS_POOLED), strict=True):
        expected = {column.name: DTYPES[column.dtype] for column in columns}
        assert dict(frame.schema) == expected
        assert frame.columns == list(expected)


def paired_trials(*, lost: str | None = None) -> Paired:
    """Return trials of every arm at five lr, one arm without a value; κ = 1, y bends over lr."""
    trials = pl.concat(
        two_trials(arm=arm, rlp_lambda=0.0 if arm == "control" else 1.0)
        .head(1)
        .with_columns(
            trial_id=pl.format("{}-{}", pl.lit(arm), pl.lit(n)),
            lr=pl.lit(0.1 * 2.0**n),
            test_accuracy=pl.lit(None if arm == lost else 0.5 + 0.01 * n**2, pl.Float64),
            lr_multiplier=pl.lit(1.0),
        )
        for arm in ARMS
        for n in range(5)
    )
    return pair_arms(trials, "test_accuracy")


@pytest.mark.parametrize("estimator", ESTIMATORS.values(), ids=lambda estimator: estimator.name)
def test_every_estimator_gives_total_and_parts_of_the_arms_it_names(estimator):
    values = estimator.per_seed(paired_trials())

    assert set(FAMILY_EFFECTS) <= set(estimator.effects) <= set(values.columns)
    assert len(values) == 5
    assert values.select(estimator.effects).null_count().row(0) == (0,) * len(estimator.effects)
    assert set(estimator.further) <= set(estimator.effects)


@pytest.mark.parametrize("estimator", ESTIMATORS.values(), ids=lambda estimator: estimator.name)
def test_every_effect_is_missing_without_an_arm_it_names(estimator):
    for lost in sorted({arm for arms in estimator.arms.values() for arm in arms}):
        found = estimator.per_seed(paired_trials(lost=lost))
        for effect, read in estimator.arms.items():
            assert set(found[effect].is_null()) == {lost in read}


def test_every_figure_has_a_name_of_its_own():
    assert len(set(FIGURES)) == len(FIGURES) == 9

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
from rlp_sweeps.schema import EFFECTS, EFFECTS_POOLED, STATUSES

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


@pytest.mark.parametrize("estimator", ESTIMATORS.values(), ids=lambda estimator: estimator.name)
def test_every_estimator_gives_total_and_parts_of_the_arms_it_names(estimator):
    arms = {arm for arms in estimator.arms.values() for arm in arms}
    paired = pl.DataFrame({f"y_{arm}": [0.1 * n] for n, arm in enumerate(sorted(arms))})

    values = estimator.per_seed(paired)

    assert set(FAMILY_EFFECTS) <= set(estimator.effects) <= set(values.columns)
    assert values.select(estimator.effects).null_count().row(0) == (0,) * len(estimator.effects)


@pytest.mark.parametrize("estimator", ESTIMATORS.values(), ids=lambda estimator: estimator.name)
def test_every_effect_is_missing_without_an_arm_it_names(estimator):
    arms = sorted({arm for arms in estimator.arms.values() for arm in arms})

    for lost in arms:
        values = {f"y_{arm}": [None if arm == lost else 0.5] for arm in arms}
        found = estimator.per_seed(pl.DataFrame(values, schema_overrides={f"y_{lost}": pl.Float64}))
        for effect, read in estimator.arms.items():
            assert found[effect].is_null().item() == (lost in read)


def test_every_figure_has_a_name_of_its_own():
    assert len(set(FIGURES)) == len(FIGURES) == 5

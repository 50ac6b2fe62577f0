import json
import math
import re
from dataclasses import fields

import pytest

from rlp_sweeps.config import TrialConfig
from rlp_sweeps.schema import CONFIG_COLUMNS, EPOCHS, METRICS, STATUSES
from rlp_sweeps.tracking import mlflow_records as records
from rlp_sweeps.tracking.addresses import without_password
from rlp_sweeps.tracking.mlflow_address import default_tracking_uri
from rlp_sweeps.tracking.mlflow_records import Point, final_point
from rlp_sweeps.tracking.mlflow_views import view_tags
from rlp_sweeps.tracking.parquet import to_table

CONFIG = TrialConfig(arm="full", lr=1e-05, rlp_lambda=10, seed=3).to_dict()
TRIAL = {"test_loss": 0.5, "metrics_epoch": 3, "epochs_completed": 4, "finished_at_ms": 900}


def test_every_setting_of_a_trial_is_a_column_and_a_param() -> None:
    names = {field.name for field in fields(TrialConfig)}

    assert names == {column.name for column in CONFIG_COLUMNS} == set(records.params_of(CONFIG))


def test_a_trials_settings_are_a_valid_row() -> None:
    row = {"trial_id": "a1", "status": "completed", **CONFIG}

    stored = to_table("trials", [row]).to_pylist()[0]

    assert {name: stored[name] for name in CONFIG} == CONFIG


def test_params_of_a_stored_row_equal_those_of_the_settings() -> None:
    stored = to_table("trials", [{"trial_id": "a1", "status": "failed", **CONFIG}]).to_pylist()[0]

    assert records.params_of(stored) == records.params_of(CONFIG)


def test_params_read_back_exactly() -> None:
    params = records.params_of(CONFIG)

    assert (float(params["lr"]), params["seed"], params["train_samples"]) == (1e-05, "3", "none")


@pytest.mark.parametrize("status", STATUSES)
def test_every_status_has_a_word_in_mlflow(status: str) -> None:
    assert records.RUN_STATUS[status] in {"FINISHED", "FAILED", "KILLED"}


def test_curves_are_metrics_of_both_tables() -> None:
    assert set(records.EPOCH_METRICS) <= set(METRICS) <= {column.name for column in EPOCHS}
    assert len(records.EPOCH_METRICS) <= 10


@pytest.mark.parametrize("name", [*METRICS, records.EPOCH_COUNTER])
def test_every_metric_name_is_one_that_mlflow_takes(name: str) -> None:
    assert re.fullmatch(r"[\w./ :-]+", name)


def test_run_name_reads_as_arm_lr_lambda_epsilon_seed() -> None:
    assert records.run_name(CONFIG) == "full lr=1e-05 λ=10 ε=0 seed 3"


@pytest.mark.parametrize("value", [None, math.nan, math.inf])
def test_epoch_points_leave_out_what_is_not_finite(value: float | None) -> None:
    row = {"epoch": 2, "logged_at_ms": 7, "train_loss": value, "val_loss": 0.5}

    assert records.epoch_points(row) == [Point("epoch", 2.0, 7, 2), Point("val_loss", 0.5, 7, 2)]


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        (None, Point("test_loss", 0.5, 900, 4)),
        (Point("test_loss", 0.5, 800, 3), None),
        (Point("test_loss", 0.7, 800, 3), Point("test_loss", 0.5, 900, 4)),
        (Point("test_loss", 0.7, 800, 4), Point("test_loss", 0.5, 900, 4)),
        (Point("test_loss", 0.7, 950, 4), Point("test_loss", 0.5, 951, 4)),
        (Point("test_loss", 0.7, 950, 9), Point("test_loss", 0.5, 951, 9)),
    ],
)
def test_final_point_is_the_last_in_mlflows_order(
    last: Point | None, expected: Point | None
) -> None:
    assert final_point(TRIAL, "test_loss", last) == expected


def test_final_tags_keep_the_end_of_a_long_trace() -> None:
    trial = {"status": "failed", "error": "x" * 9000 + "the reason"}

    tags = records.final_tags(trial, 0)

    assert tags["status"] == "failed"
    assert tags["error"].endswith("the reason")
    assert len(tags["error"]) <= 500


def test_default_store_stands_beside_the_runs() -> None:
    assert default_tracking_uri("/data/runs/demo") == "sqlite:////data/runs/mlflow.db"


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("http://u:s3cret@host:5000/x", "http://host:5000/x"),
        ("postgresql://u:s3@cret@host/db", "postgresql://host/db"),
        ("sqlite:////data/mlflow.db", "sqlite:////data/mlflow.db"),
    ],
)
def test_an_address_is_shown_without_its_password(uri: str, shown: str) -> None:
    assert without_password(uri) == shown


def test_a_cell_is_shared_by_arms_and_seeds_and_by_no_other_setting() -> None:
    cell = records.cell_name(CONFIG)

    assert re.fullmatch(r"lr=1e-05 λ=10 ε=0 #[0-9a-f]{6}", cell)
    assert records.cell_name({**CONFIG, "arm": "sham", "seed": 4}) == cell
    others = ({"lr": 2e-05}, {"dropout": 0.5}, {"num_epochs": 77}, {"weight_decay": 0.1})
    assert cell not in {records.cell_name({**CONFIG, **other}) for other in others}


def test_views_name_columns_of_the_tables_and_fit_into_a_tag() -> None:
    names = {column.name for column in CONFIG_COLUMNS} | set(METRICS)

    for text in view_tags().values():
        view = json.loads(text)
        columns = [
            re.fullmatch(r"(?:tags|params|metrics)\.`(\w+)`", c) for c in view["selectedColumns"]
        ]
        charts = view["compareRunCharts"]
        assert {column[1] for column in columns if column} <= names
        assert None not in columns
        assert set(charts[0]["selectedMetrics"]) <= set(METRICS)
        assert {chart["metricKey"] for chart in charts[1:]} <= set(records.EPOCH_METRICS)
        assert len(text) <= 5000  # of MLflow's database

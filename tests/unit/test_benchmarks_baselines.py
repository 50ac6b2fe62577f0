import math

import numpy as np
import polars as pl
import pytest
import torch

from analysis.load import load_epochs, load_sweep
from benchmarks.analysis_size import KEYS, compare_tables
from benchmarks.baselines import own_analysis, pandas_analysis, trial
from benchmarks.baselines.task import FULL, METRICS, QUICK, Task
from benchmarks.passes import largest_difference
from benchmarks.sweeps import count_logged
from benchmarks.synthetic_tables import QUICK as QUICK_DESIGN
from benchmarks.synthetic_tables import Design, write_tables
from rlp_sweeps.schema import EPOCHS, TRIALS
from rlp_sweeps.training.losses import random_label_loss, regularizer_terms, smoothed_cross_entropy


def test_full_designs_have_the_sizes_that_the_table_names():
    assert len(FULL.points) == 64
    assert (Design().num_trials, Design().num_trials * Design().evaluations) == (10**6, 10**7)


def test_the_space_of_this_tool_has_the_points_of_the_others():
    names: dict[str, object] = {}

    exec(QUICK.as_space(), names)
    grid = [(t["lr"], t["rlp_lambda"], t["seed"]) for t in names["SPACE"].grid()]

    assert sorted(grid) == sorted((p["lr"], p["rlp_lambda"], p["seed"]) for p in QUICK.points)


def test_a_task_survives_its_file(tmp_path):
    QUICK.save(tmp_path / "task.json")

    assert Task.load(tmp_path / "task.json") == QUICK


def test_the_baselines_step_has_the_loss_of_this_package():
    network = trial.Network(4)
    images_NCHW, labels_N = torch.randn(6, 1, 8, 8), torch.arange(6)
    random_labels_N = torch.arange(6) % 4

    loss = trial._loss(network, (images_NCHW, labels_N, random_labels_N), 0.7, 4)

    logits_NK, features_ND = network(images_NCHW)
    adversary, observer = (
        head(features_ND).view(-1, 10, 4) for head in (network.adversary, network.observer)
    )
    expected = smoothed_cross_entropy(logits_NK, labels_N, 0.0)
    expected = expected + random_label_loss(adversary, labels_N, random_labels_N)
    expected = expected + random_label_loss(observer, labels_N, random_labels_N)
    expected = expected + 0.7 * sum(regularizer_terms(adversary, labels_N))
    torch.testing.assert_close(loss, expected)


def test_the_regularizer_leaves_the_baselines_heads_alone():
    torch.manual_seed(0)
    network = trial.Network(4)
    batch = (torch.randn(6, 1, 8, 8), torch.arange(6), torch.arange(6) % 4)

    gradients = []
    for rlp_lambda in (0.0, 5.0):
        loss = trial._loss(network, batch, rlp_lambda, 4)
        gradients.append(torch.autograd.grad(loss, network.adversary.weight)[0])

    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("uses_loader", [True, False])
def test_a_baseline_trial_reports_every_metric_of_every_epoch(uses_loader):
    reports = {}

    trial.train_trial(
        QUICK.points[-1],
        QUICK,
        arrays=trial.load_digits_arrays(),
        uses_loader=uses_loader,
        report=reports.__setitem__,
    )

    assert list(reports) == [1, 2]
    assert set(reports[2]) == set(METRICS)
    assert all(math.isfinite(value) for value in reports[2].values())
    assert reports[2]["test_accuracy"] > 0.5


def test_baseline_splits_have_the_sizes_of_this_package():
    splits = trial.split(trial.load_digits_arrays(), seed=0, num_random_labels=10)

    assert [len(s[1]) for s in (splits.train, splits.val, splits.test)] == [999, 199, 599]


def test_one_pass_has_the_gradients_of_the_other_ways():
    assert largest_difference() < 1e-12


def test_an_mlflow_store_that_lacks_values_is_refused(tmp_path):
    import sqlite3

    with sqlite3.connect(tmp_path / "mlflow.db") as connection:
        connection.execute("create table metrics (key text, run_uuid text, step int)")
    connection.close()

    with pytest.raises(RuntimeError, match="must hold 16 values of 'train_accuracy', but holds 0"):
        count_logged(tmp_path / "mlflow.db", QUICK)


def test_synthetic_tables_are_whole_and_pass_the_border(tmp_path):
    write_tables(tmp_path / "tables", QUICK_DESIGN)

    trials, _ = load_sweep([tmp_path / "tables"])
    epochs = load_epochs([tmp_path / "tables"])

    assert (len(trials), len(epochs)) == (208, 624)
    for table, columns in (("trials", TRIALS), ("epochs", EPOCHS)):
        schema = pl.read_parquet_schema(tmp_path / "tables" / table / "part-0000.parquet")
        assert list(schema) == [column.name for column in columns]


def test_pandas_has_the_numbers_of_the_analysis(tmp_path):
    write_tables(tmp_path / "tables", QUICK_DESIGN)
    outputs = {"own": own_analysis.main, "pandas": pandas_analysis.main}

    for name, run in outputs.items():
        (tmp_path / name).mkdir()
        run([str(tmp_path / "tables"), str(tmp_path / name)])

    compare_tables(tmp_path / "own", tmp_path / "pandas")


@pytest.mark.parametrize("value", [1.001, None, np.inf])
def test_tables_that_differ_are_told(tmp_path, value):
    for folder, number in (("own", 1.0), ("other", value)):
        (tmp_path / folder).mkdir()
        for name, keys in KEYS.items():
            columns = {key: [0.1] if key in ("lr", "rlp_lambda") else ["x"] for key in keys}
            frame = pl.DataFrame({**columns, "rlp_lambda": [0.1], "estimate": [number]})
            frame.write_parquet(tmp_path / folder / f"{name}.parquet")

    with pytest.raises(RuntimeError, match="must have the same numbers in 'effects'"):
        compare_tables(tmp_path / "own", tmp_path / "other")

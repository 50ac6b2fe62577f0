"""Memorization scores from the command line: trained, kept, analyzed, asked by SQL."""

import json
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

pytestmark = pytest.mark.slow

STUDY = """from rlp_sweeps.spaces import ChoiceAxis, SearchSpace

SPACE = SearchSpace(
    axes={"lr": ChoiceAxis(choices=(0.1,))},
    arms=("control",),
    num_seeds=6,
    fixed={
        "rlp_lambda": 0.0,
        "backbone": "mlp",
        "val_samples": 100,
        "test_samples": 100,
        "subset_share": 0.7,
        "label_corruption": 0.2,
        "corruption_seed": 0,
        "num_epochs": 15,
        "eval_every": 15,
        "batch_size": 64,
    },
)
"""


def rlp_sweeps(*arguments: str, cwd: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "rlp_sweeps", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_sweep_over_subsets_tells_planted_labels_by_their_scores(tmp_path: Path) -> None:
    (tmp_path / "study.py").write_text(STUDY)
    options = ("--output", "sweep", "--keep-samples", "--device", "cpu", "--group-size", "6")

    said = rlp_sweeps("run", "study.py", *options, cwd=tmp_path)
    sql = "SELECT trial_id, count(*) AS n, count(DISTINCT sample_id) AS ids FROM samples GROUP BY 1"
    asked = json.loads(rlp_sweeps("query", "sweep", sql, "--format", "json", cwd=tmp_path))

    assert "Memorization scores: control: 6 networks" in " ".join(said.split())
    assert [(row["n"], row["ids"]) for row in asked] == [(1797, 1797)] * 6
    trials = pl.read_parquet(tmp_path / "sweep" / "trials" / "*.parquet")
    samples = pl.read_parquet(tmp_path / "sweep" / "samples" / "*.parquet")
    recorded = trials.select("trial_id", "train_accuracy").sort("trial_id")
    seen = samples.filter("is_trained").group_by("trial_id").agg(pl.col("is_correct").mean())
    assert recorded["train_accuracy"].to_list() == pytest.approx(
        seen.sort("trial_id")["is_correct"].to_list()
    )
    (row,) = pl.read_parquet(tmp_path / "sweep/analysis/score_comparison.parquet").to_dicts()
    assert row["num_planted"] > 200
    assert row["auroc_score_ci_low"] > 0.7
    assert row["mean_num_seen"] + row["mean_num_unseen"] == pytest.approx(6)

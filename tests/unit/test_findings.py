"""docs/findings.md holds nothing that no run backs, and every recipe's claims as they stand."""

import json

import numpy as np
import polars as pl
import pytest
from scipy import stats

from analysis.claims import judge
from benchmarks.findings import (
    FOLDER,
    PAGE,
    as_json,
    evidence_of,
    read_evidence,
    to_markdown,
    with_table,
)
from rlp_sweeps.claims import Claim
from rlp_sweeps.config import TrialConfig
from rlp_sweeps.errors import RunDirectoryError
from rlp_sweeps.recipes import list_recipes, load_space
from rlp_sweeps.schema import METRICS, TRIALS

EVIDENCE = read_evidence()
STUDIES = [name for name in list_recipes() if load_space(name).space.claims]
SIZES = [f"{name}:{size}" for name in STUDIES for size in load_space(name).sizes[1:]]
ROWS = [
    pytest.param(found, row, id=f"{found['recipe']}: {row['text']}")
    for found in EVIDENCE
    for row in found["claims"]
]
MEASURED = [column.name for column in TRIALS if column.required and column.name in METRICS]
SETTINGS = ("text", "source", "quantity", "measure", "expects", "bound", "unit")


def claim_of(recipe: str, text: str) -> Claim:
    (claim,) = [claim for claim in load_space(recipe).space.claims if claim.text == text]
    return claim


def test_every_study_with_claims_has_the_evidence_of_its_small_size_and_others_are_sizes():
    names = {load_space(found["recipe"]).name for found in EVIDENCE}
    references = {found["recipe"] for found in EVIDENCE}

    assert {path.stem for path in FOLDER.glob("*.json")} == names
    assert {reference for reference in references if ":" not in reference} == set(STUDIES)
    assert references <= {*STUDIES, *SIZES}


@pytest.mark.parametrize("found", EVIDENCE, ids=[found["recipe"] for found in EVIDENCE])
def test_the_evidence_is_of_the_recipe_as_it_stands(found):
    space = load_space(found["recipe"]).space

    assert [row["text"] for row in found["claims"]] == [claim.text for claim in space.claims]
    assert sum(found["num_trials"].values()) == sum(1 for _ in space.grid())
    assert set(found["num_trials"]) <= {"completed", "diverged"}


@pytest.mark.parametrize(("found", "row"), ROWS)
def test_a_row_is_the_interval_over_its_seeds_and_what_that_says(found, row):
    claim = claim_of(found["recipe"], row["text"])
    seeds, values = zip(*row["values"], strict=True) if row["values"] else ((), ())

    assert all(row[name] == as_json(getattr(claim, name)) for name in SETTINGS if name in row)
    if values:
        assert set(seeds) <= set(load_space(found["recipe"]).space.seeds)
        assert row["num_replicates"] == len(values) > 1
        assert row["estimate"] == pytest.approx(np.mean(values))
        low, high = min(values), max(values)
        if row["ci_low"] is not None and low != high:
            sem = stats.sem(values)
            low, high = stats.t.interval(0.95, len(values) - 1, loc=np.mean(values), scale=sem)
            assert (row["ci_low"], row["ci_high"]) == pytest.approx((low, high))
        assert row["result"] == judge(claim, low, high)
    else:
        assert row["result"] == judge(claim, row["ci_low"], row["ci_high"])


def test_the_page_holds_the_table_of_the_evidence():
    page = PAGE.read_text(encoding="utf-8")

    assert with_table(page, to_markdown(EVIDENCE)) == page


def test_a_run_with_other_settings_backs_nothing(tmp_path):
    space = load_space("rising_memorization").space.override({"num_epochs": "1"})
    manifest = {"sweep_name": "rising_memorization", "space": space.to_dict(), "trials": []}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))

    with pytest.raises(RunDirectoryError, match=r"differs from 'rising_memorization' in \['fixed'"):
        evidence_of(tmp_path)


def test_a_run_of_another_size_backs_rows_that_say_so(tmp_path):
    named = load_space("depth_profile:paper")
    trials = [TrialConfig.from_dict(trial) for trial in named.space.grid()]
    manifest = {
        "sweep_name": named.name,
        "space": {**named.space.to_dict(), "data_dir": "elsewhere"},
        "trials": [{"trial_id": trial.trial_id, **trial.to_dict()} for trial in trials],
        "code_version": "1",
    }
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    (tmp_path / "trials").mkdir()
    rows = pl.DataFrame(
        [{"trial_id": t.trial_id, "status": "completed", **t.to_dict()} for t in trials],
        infer_schema_length=None,
    ).with_columns(pl.lit(0.5).alias(name) for name in MEASURED)
    rows.write_parquet(tmp_path / "trials" / "a.parquet")

    found = evidence_of(tmp_path)

    command = "rlp-sweeps run depth_profile:paper --set data_dir=FOLDER"
    assert (found["recipe"], found["command"]) == ("depth_profile:paper", command)
    assert "| `depth_profile:paper` |" in to_markdown([found])


def test_an_unfinished_run_backs_nothing(tmp_path):
    space = load_space("rising_memorization").space
    manifest = {"sweep_name": "rising_memorization", "space": space.to_dict(), "trials": [1, 2]}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    (tmp_path / "trials").mkdir()
    pl.DataFrame({"status": ["completed"]}).write_parquet(tmp_path / "trials" / "a.parquet")

    with pytest.raises(RunDirectoryError, match="must come from a finished run"):
        evidence_of(tmp_path)

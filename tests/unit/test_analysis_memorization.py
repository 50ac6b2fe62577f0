"""Memorization scores and influences of learners that are known by construction."""

import json
import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from analysis_frames import where_seed, write_directory
from sample_frames import (
    NUM_CLASSES,
    answer_constantly,
    draw_seen,
    found,
    look_up,
    make_samples,
    make_seeds,
    turn_seen,
    write_sampled,
)

from analysis import influences
from analysis.influences import find_influences
from analysis.memorization import MAX_TOLD
from analysis.memorization_scores import compare_scores, score_samples
from analysis.query import query
from analysis.samples import find_samples
from analysis.tables import analyze
from rlp_sweeps.errors import SchemaError
from rlp_sweeps.schema import TABLES

TEN = make_seeds(10)


# --- scores -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("learner", "score"), [(look_up, 1.0), (answer_constantly, 0.0)])
def test_a_lookup_table_scores_1_and_a_constant_learner_0(
    tmp_path: Path, learner, score: float
) -> None:
    samples = make_samples(TEN, draw_seen(10, 30), learner)

    scores = score_samples(found(tmp_path, TEN, samples), TEN)

    assert scores["memorization_score"].drop_nulls().unique().to_list() == [score]
    assert scores["se"].drop_nulls().unique().to_list() == [0.0]
    assert len(scores) == 30


def test_counts_scores_and_errors_are_those_by_hand(tmp_path: Path) -> None:
    trials = make_seeds(5)
    is_seen = np.array([[True], [True], [True], [False], [False]])
    samples = make_samples(trials, is_seen, look_up).with_columns(
        is_correct=pl.Series([True, True, False, True, False]),
        rlp_confidence=pl.Series([0.9, 0.6, 0.3, 0.1, 0.1], dtype=pl.Float32),
    )

    (row,) = score_samples(found(tmp_path, trials, samples), trials).to_dicts()

    assert (row["num_seen"], row["num_unseen"]) == (3, 2)
    assert row["memorization_score"] == pytest.approx(2 / 3 - 1 / 2, abs=1e-15)
    assert row["se_bound"] == pytest.approx(0.5 * math.sqrt(1 / 3 + 1 / 2), abs=1e-15)
    assert row["se"] == pytest.approx(math.sqrt(2 / 9 / 2 + 1 / 4 / 1), abs=1e-15)
    assert row["rlp_confidence"] == pytest.approx(0.6, abs=1e-7)  # over those that saw it


def test_the_error_bound_is_the_papers_at_its_shares(tmp_path: Path) -> None:
    is_seen = np.arange(10)[:, None] < 7

    samples = make_samples(TEN, is_seen, look_up)
    (row,) = score_samples(found(tmp_path, TEN, samples), TEN).to_dicts()

    assert row["se_bound"] == pytest.approx(0.5 * math.sqrt(1 / (0.7 * 10) + 1 / (0.3 * 10)))


def test_a_sample_never_left_out_or_never_seen_has_no_score(tmp_path: Path) -> None:
    is_seen = turn_seen(30)
    is_seen[:, 0], is_seen[:, 1] = True, False

    scores = score_samples(found(tmp_path, TEN, make_samples(TEN, is_seen, look_up)), TEN)

    first, second = scores.head(2).to_dicts()
    nulls = ("memorization_score", "se_bound", "se")
    assert [first[name] for name in nulls] == [second[name] for name in nulls] == [None] * 3
    assert (first["num_seen"], first["accuracy_seen"], first["num_unseen"]) == (10, 1.0, 0)
    assert (second["num_seen"], second["rlp_confidence"]) == (0, None)
    assert scores[2:]["memorization_score"].null_count() == 0


def test_one_network_has_no_scores_and_the_analysis_says_why(tmp_path: Path) -> None:
    trials = make_seeds(1)
    samples = make_samples(trials, draw_seen(1, 30), look_up)

    result = analyze([write_sampled(tmp_path, trials, samples)])

    assert result.memorization is not None
    assert result.memorization.scores["memorization_score"].null_count() == 30
    assert "no sample was both seen and left out by the 1 network; a sweep" in result.verdict


def test_cells_and_arms_have_scores_of_their_own(tmp_path: Path) -> None:
    both = pl.concat(
        make_seeds(10, lr=lr, trial_id=pl.format("{}-{}", pl.lit(lr), "seed")) for lr in (0.1, 0.2)
    )
    tables = [
        make_samples(both.filter(pl.col("lr") == lr), draw_seen(10, 30), learner)
        for lr, learner in ((0.1, look_up), (0.2, answer_constantly))
    ]

    scores = score_samples(found(tmp_path, both, pl.concat(tables)), both)

    means = dict(scores.group_by("lr").agg(pl.col("memorization_score").mean()).iter_rows())
    assert means == {0.1: 1.0, 0.2: 0.0}
    assert scores["num_seen"].max() <= 10


@pytest.mark.parametrize("status", ["diverged", "stopped", "failed"])
def test_only_completed_trials_count(tmp_path: Path, status: str) -> None:
    trials = TEN.with_columns(where_seed(3, "status", status))
    samples = make_samples(TEN, draw_seen(10, 30), look_up)

    scores = score_samples(found(tmp_path, trials, samples), trials)

    assert (scores["num_seen"] + scores["num_unseen"]).unique().to_list() == [9]


def test_a_label_that_changes_between_trials_is_scored_by_itself(tmp_path: Path) -> None:
    samples = make_samples(TEN, draw_seen(10, 8), look_up).with_columns(
        label=pl.when((pl.col("sample_id") == 0) & (pl.col("trial_id") < "control-0.1-0.0-4"))
        .then(pl.lit(3, pl.Int32))
        .otherwise("label")
    )

    scores = score_samples(found(tmp_path, TEN, samples), TEN)

    rows = scores.filter(pl.col("sample_id") == 0)
    assert rows["label"].to_list() == [0, 3]
    assert rows["is_planted"].to_list() == [False, True]
    assert (rows["num_seen"] + rows["num_unseen"]).to_list() == [6, 4]


# --- comparison -------------------------------------------------------------------------------


def test_a_planted_label_that_is_known_by_heart_is_told_from_the_others(tmp_path: Path) -> None:
    labels = np.arange(40) % NUM_CLASSES
    is_planted = np.arange(40) < 6
    truth = np.where(is_planted, (labels + 1) % NUM_CLASSES, labels)
    is_seen = draw_seen(10, 40)

    def learn(given: np.ndarray, seen: np.ndarray) -> np.ndarray:
        return np.where(seen, given, truth)

    samples = make_samples(TEN, is_seen, learn, true_labels=truth, rlp=np.linspace(0.9, 0.1, 40))
    compared = compare_scores(score_samples(found(tmp_path, TEN, samples), TEN))

    (row,) = compared.to_dicts()
    assert row["num_planted"] == 6
    assert (row["auroc_score"], row["auroc_score_ci_low"]) == (1.0, None)  # no spread, no interval
    assert row["auroc_rlp"] == 1.0
    assert row["memorized_share"] == pytest.approx(6 / row["num_samples"])
    assert row["reliability"] == pytest.approx(1.0)  # every score is without error
    assert row["spearman_true"] is None  # all of them score 0
    assert 0 < row["spearman_ci_low"] < row["spearman"] < row["spearman_ci_high"] < 1


def test_reliability_is_0_where_scores_are_noise(tmp_path: Path) -> None:
    trials = make_seeds(40)
    samples = make_samples(trials, draw_seen(40, 2000), look_up)
    coin = np.random.default_rng(1).random(len(samples)) < 0.6
    samples = samples.with_columns(is_correct=pl.Series(coin))

    (row,) = compare_scores(score_samples(found(tmp_path, trials, samples), trials)).to_dicts()

    assert abs(row["reliability"]) < 0.1
    assert row["auroc_score"] is None
    assert row["se_bound"] >= 0.5 * math.sqrt(1 / 28 + 1 / 12)


# --- influences -------------------------------------------------------------------------------


def influence_case(folder: Path, *, has_test_set: bool, num_trials: int = 60):
    """Sample 0 alone decides whether the sample 1 of the test set is predicted right."""
    trials = make_seeds(num_trials)
    is_seen = draw_seen(num_trials, 12, share=0.5)
    samples = make_samples(trials, is_seen, answer_constantly)
    knows = pl.Series(np.repeat(is_seen[:, 0], 12))
    decided = pl.when(pl.col("sample_id") == 1).then(knows).otherwise(pl.col("is_correct"))
    decided_rows = samples.with_columns(is_correct=decided)
    if has_test_set:
        tests = decided_rows.with_columns(split=pl.lit("test"), is_trained=pl.lit(value=False))
        decided_rows = pl.concat([samples, tests])
    return found(folder, trials, decided_rows), trials, is_seen


@pytest.mark.parametrize("has_test_set", [True, False])
def test_the_one_sample_that_decides_another_is_found(tmp_path: Path, has_test_set: bool) -> None:
    samples, trials, is_seen = influence_case(tmp_path, has_test_set=has_test_set)

    table = find_influences(samples, trials).table

    (row,) = table.to_dicts()
    asked = np.ones(60, bool) if has_test_set else ~is_seen[:, 1]
    assert (row["sample_id"], row["test_id"], row["influence"]) == (0, 1, 1.0)
    assert row["test_split"] == ("test" if has_test_set else "pool")
    assert row["num_seen"] == (is_seen[:, 0] & asked).sum()
    assert row["num_seen"] + row["num_unseen"] == asked.sum()
    assert row["se_bound"] == pytest.approx(
        0.5 * math.sqrt(1 / row["num_seen"] + 1 / row["num_unseen"])
    )


def test_blocks_of_influences_join_without_a_seam(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples, trials, _ = influence_case(tmp_path, has_test_set=True)
    monkeypatch.setattr(influences, "MIN_STANDARD_ERRORS", 0.0)
    monkeypatch.setattr(influences, "MIN_INFLUENCE", 0.0)
    whole = find_influences(samples, trials).table

    monkeypatch.setattr(influences, "_BLOCK", 25)

    assert len(whole) == 12 * 12
    assert find_influences(samples, trials).table.equals(whole)


def test_influences_are_those_of_a_loop_over_pairs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trials, is_seen = make_seeds(20), draw_seen(20, 9, share=0.5)
    correct = np.random.default_rng(3).random((20, 9)) < 0.5
    samples = make_samples(trials, is_seen, look_up).with_columns(
        is_correct=pl.Series(correct.ravel())
    )
    monkeypatch.setattr(influences, "MIN_STANDARD_ERRORS", 0.0)
    monkeypatch.setattr(influences, "MIN_INFLUENCE", 0.0)

    table = find_influences(found(tmp_path, trials, samples), trials).table

    pairs = {(r["sample_id"], r["test_id"]): r["influence"] for r in table.iter_rows(named=True)}
    for (i, j), value in pairs.items():
        asked = ~is_seen[:, j]
        with_i, without_i = asked & is_seen[:, i], asked & ~is_seen[:, i]
        assert value == pytest.approx(
            correct[with_i, j].mean() - correct[without_i, j].mean(), abs=1e-6
        )
    assert len(pairs) == 9 * 8  # a sample is never a test sample where it was seen


def test_too_many_influences_are_cut_or_left_out_with_a_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples, trials, _ = influence_case(tmp_path, has_test_set=True)
    monkeypatch.setattr(influences, "MIN_STANDARD_ERRORS", 0.0)
    monkeypatch.setattr(influences, "MIN_INFLUENCE", 0.0)
    monkeypatch.setattr(influences, "MAX_INFLUENCES", 5)
    cut = find_influences(samples, trials)

    monkeypatch.setattr(influences, "MAX_MARKS", 100)
    left_out = find_influences(samples, trials)

    assert (len(cut.table), cut.table["influence"][0]) == (5, 1.0)
    assert "Of 144 influences of arm control at lr 0.1 the largest 5 are written" in cut.notes[0]
    assert left_out.table.is_empty()
    assert "100 trials times samples are the most" in left_out.notes[0]


# --- files ------------------------------------------------------------------------------------


def test_analyze_writes_the_tables_of_the_schema_and_tells_them(tmp_path: Path) -> None:
    samples = make_samples(TEN, turn_seen(40), look_up)
    directory = write_sampled(tmp_path, TEN, samples)

    result = analyze([directory])

    for name in ("memorization_scores", "influences", "score_comparison"):
        table = pl.read_parquet(directory / "analysis" / f"{name}.parquet")
        assert table.columns == [column.name for column in TABLES[name]]
    assert "control: 10 networks, 40 samples, each seen by 7.0 and unseen by 3.0" in result.verdict
    assert "does not exist, because one of them is the same in all samples." in result.verdict
    assert "No mislabelled samples were planted among them." in result.verdict
    (row,) = json.loads(json.dumps(result.to_json()))["score_comparison"]
    assert (row["mean_score"], row["reliability"]) == (1.0, None)
    report = (directory / "analysis" / "report.html").read_text()
    assert 'id="scores"' in report
    assert 'id="figure-memorization_scores"' in report
    (asked,) = query(directory, "SELECT count(*) AS n FROM memorization_scores").to_dicts()
    assert asked == {"n": 40}


def test_a_run_without_samples_has_no_scores(tmp_path: Path) -> None:
    result = analyze([write_directory(tmp_path / "run", TEN)])

    assert result.memorization is None
    assert result.to_json()["score_comparison"] is None
    assert 'id="scores"' not in (tmp_path / "run" / "analysis" / "report.html").read_text()


def test_many_cells_are_told_in_a_few_paragraphs_controls_first(tmp_path: Path) -> None:
    trials = pl.concat(
        make_seeds(4, lr=lr, arm=arm, rlp_lambda=0.0 if arm == "control" else 1.0).with_columns(
            trial_id=pl.format("{}-{}-{}", pl.lit(arm), pl.lit(lr), "seed")
        )
        for arm in ("full", "control")
        for lr in (0.1, 0.2, 0.3)
    )
    samples = make_samples(trials, draw_seen(24, 10), look_up)

    result = analyze([write_sampled(tmp_path, trials, samples)])

    told = [p.text for p in result.further_paragraphs if p.lead == "Memorization scores"]
    assert len(told) == MAX_TOLD + 1
    assert [text.split(",")[0] for text in told[:4]] == ["control"] * 3 + ["full"]
    assert "control, lr 0.1" in told[0]
    assert told[-1] == "2 further cells and arms stand in score_comparison.parquet."


def test_trials_of_two_directories_are_scored_together_and_once(tmp_path: Path) -> None:
    is_seen = draw_seen(10, 30)
    samples = make_samples(TEN, is_seen, look_up)
    first = write_sampled(tmp_path / "a", TEN[:6], samples.head(6 * 30))
    second = write_sampled(tmp_path / "b", TEN[4:], samples.tail(6 * 30))

    result = analyze([first, second])

    assert result.memorization is not None
    scores = result.memorization.scores
    assert (scores["num_seen"] + scores["num_unseen"]).unique().to_list() == [10]
    assert scores["num_seen"].to_list() == is_seen.sum(0).tolist()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda rows: rows.drop("is_correct"), "'is_correct': 'missing, not Boolean'"),
        (lambda rows: rows.with_columns(is_correct=pl.lit("yes")), "'is_correct': 'String, not"),
        (lambda rows: pl.concat([rows, rows.head(1)]), "samples of trial '.*' stand twice"),
    ],
)
def test_samples_that_break_the_schema_are_refused(tmp_path: Path, change, says: str) -> None:
    samples = change(make_samples(TEN, draw_seen(10, 5), look_up))

    with pytest.raises(SchemaError, match=says):
        find_influences(found(tmp_path, TEN, samples), TEN)


def test_a_broken_file_of_samples_is_named(tmp_path: Path) -> None:
    directory = write_sampled(tmp_path, TEN, make_samples(TEN, draw_seen(10, 5), look_up))
    (directory / "manifest.json").write_text('{"schema_version": 1}')
    (directory / "samples" / "broken.parquet").write_bytes(b"PAR1 and no more")

    with pytest.raises(
        SchemaError, match=r"broken\.parquet cannot be read: .* without its samples"
    ):
        find_samples([directory], TEN, None)

"""The verdict and the notes: words that follow from the numbers."""

import json
import re

import polars as pl
import pytest
from analysis_frames import ARMS, make_trials, where_arm, where_seed, write_directory

from analysis.canvas import spread_out
from analysis.load import load_trials
from analysis.result import build_analysis
from analysis.wording import format_p, format_short, format_value, quantity_of

f = pl.col


def analysis_of(tmp_path, trials: pl.DataFrame, **options):
    """Return the analysis of a directory that holds these trials; writes nothing."""
    loaded = load_trials([write_directory(tmp_path / "run", trials)])
    epochs = pl.DataFrame(schema={"trial_id": pl.String, "epoch": pl.Int64})
    return build_analysis(loaded, epochs, **options)


def test_verdict_gives_total_parts_and_their_basis_in_points(tmp_path):
    analysis = analysis_of(tmp_path, make_trials(lrs=(0.1, 0.2), seeds=range(3)))

    first = str(analysis.paragraphs[0])

    assert first.startswith("At λ = 1: the regularizer changed test accuracy by −6.00 points [")
    assert "(n = 3 seeds, 2 cells, p < 0.001 after Holm)" in first
    assert "0.00 points [0.00, 0.00] came with the class term (not resolved" in first
    assert "−6.00 points [−6.00, −6.00] with the uniform term" in first
    assert "The two interact (−4.00 points" in first


def test_verdict_says_what_is_not_resolved(tmp_path):
    jump = pl.when(f("arm") == "full").then(f("seed") % 2 * 0.3 - 0.09).otherwise(0.0)
    trials = make_trials(seeds=range(4)).with_columns(test_accuracy=f("test_accuracy") + jump)

    first = str(analysis_of(tmp_path, trials).paragraphs[0])

    assert "an effect of the regularizer on test accuracy is not resolved, p = " in first
    assert "An interaction of the two is not resolved" in first


def test_verdict_never_calls_the_class_term_a_learning_rate(tmp_path):
    verdict = analysis_of(tmp_path, make_trials()).verdict

    sentences = [part for part in verdict.split(". ") if "learning rate" in part]
    assert len(sentences) == 1
    assert "is not tested here" in sentences[0]


def test_verdict_tells_what_memorization_did(tmp_path):
    verdict = analysis_of(tmp_path, make_trials()).verdict

    assert "Memorization at λ = 1: random-label accuracy" in verdict
    assert "Sham at λ = 1: with nothing to unlearn" in verdict
    assert "κ: at λ = 1 full 1.5, class_term 1.5, uniform_term 1.5, sham 1.5" in verdict


def test_verdict_of_one_seed_says_that_there_is_no_interval(tmp_path):
    verdict = analysis_of(tmp_path, make_trials(seeds=(0,))).verdict

    assert "not resolved, because one seed gives no interval" in verdict
    assert "(one seed, no interval)" in verdict
    assert "n = 1 seed, 1 cell)" in verdict


def test_verdict_without_the_term_arms_gives_the_total_alone(tmp_path):
    verdict = analysis_of(tmp_path, make_trials(arms=("control", "full"))).verdict

    assert "It cannot be split" in verdict
    assert "What this does not say" not in verdict


def test_verdict_without_full_says_that_the_total_is_unknown(tmp_path):
    verdict = analysis_of(tmp_path, make_trials(arms=("control", "class_term", "sham"))).verdict

    assert "the total effect on test accuracy is unknown" in verdict


def test_verdict_of_control_and_sham_alone_tells_what_the_sham_did(tmp_path):
    verdict = analysis_of(tmp_path, make_trials(arms=("control", "sham"))).verdict

    assert "changed test accuracy by +1.00 points" in verdict
    assert "having something to unlearn" not in verdict


def test_verdict_speaks_of_all_lambdas_at_once_where_they_are_many(tmp_path):
    trials = make_trials(lambdas=tuple(float(n) for n in range(1, 9)))

    verdict = analysis_of(tmp_path, trials).verdict

    assert verdict.startswith("Over all λ: ")
    assert "Measured multiplier κ: over all λ full 1.5" in verdict
    assert "At λ" not in verdict


@pytest.mark.parametrize(
    ("trials", "reason"),
    [
        (make_trials(arms=ARMS[1:]), "there is no control trial"),
        (make_trials(arms=("control",)), "every trial is a control"),
        (make_trials(status="failed"), "none of the 10 trials was trained to its end"),
        (make_trials(status="diverged"), "every trial that was trained to its end diverged"),
        (
            make_trials(seeds=(0,)).with_columns(where_arm("control", "seed", 7)),
            "no regularized trial shares its cell and seed with a control",
        ),
    ],
)
def test_verdict_says_why_there_is_nothing_to_separate(tmp_path, trials, reason):
    analysis = analysis_of(tmp_path, trials)

    assert analysis.paragraphs[0].lead == "Nothing to separate"
    assert reason in analysis.paragraphs[0].text


def test_verdict_counts_diverged_and_failed_trials_by_arm(tmp_path):
    trials = make_trials().with_columns(where_arm("full", "status", "diverged"))
    trials = trials.with_columns(where_arm("sham", "status", "failed"))

    analysis = analysis_of(tmp_path, trials)

    assert "Trials: of 10, 2 diverged (full 2); 2 failed (sham 2)." in analysis.verdict
    assert "(n = 2 seeds, 1 cell, 2 diverged" in analysis.verdict
    assert analysis.num_trials == {
        "completed": 6,
        "diverged": 2,
        "stopped": 0,
        "failed": 2,
        "total": 10,
    }


@pytest.mark.parametrize(
    ("trials", "options", "note"),
    [
        (make_trials(status=where_arm("full", "status", "diverged")), {}, "score at chance"),
        (
            make_trials(status=where_arm("full", "status", "diverged")),
            {"diverged": "last"},
            "last finite evaluation",
        ),
        (make_trials(status=where_arm("sham", "status", "stopped")), {}, "2 trials stopped"),
        (
            make_trials(status=where_arm("sham", "status", "diverged")).drop("num_classes"),
            {},
            "2 diverged trials without `num_classes`",
        ),
        (make_trials(test_loss=None), {}, "10 completed trials without a finite test_loss"),
        (make_trials(arm=where_arm("sham", "arm", "grafted")), {}, r"Arms \['grafted'\]"),
        (
            make_trials(rlp_lambda=where_arm("sham", "rlp_lambda", 0.0)),
            {},
            "2 trials of regularized arms at λ = 0",
        ),
        (
            make_trials().filter((f("arm") != "control") | (f("seed") == 0)),
            {},
            "1 cell and seed without a control trial",
        ),
        (make_trials(optimizer="adamw"), {}, "Optimizer adamw"),
        (
            make_trials(seeds=(0, 1, 2)).filter((f("arm") != "full") | (f("seed") != 1)),
            {},
            "estimator arms pools 1 of 1 cells over 2 of 3 seeds",
        ),
    ],
)
def test_notes_say_what_the_data_lack(tmp_path, trials, options, note):
    notes = analysis_of(tmp_path, trials, **options).notes

    assert re.search(note, "\n".join(notes))


def test_notes_are_empty_where_nothing_lacks(tmp_path):
    assert analysis_of(tmp_path, make_trials(optimizer="sgd")).notes == ()


def test_notes_on_pooling_stop_after_some_lambdas(tmp_path):
    trials = make_trials(lambdas=tuple(float(n) for n in range(1, 10)), seeds=(0, 1, 2))
    trials = trials.filter((f("arm") != "full") | (f("seed") != 1))

    notes = analysis_of(tmp_path, trials).notes

    assert notes[-1].startswith("So it is at 12 further λ")


def test_to_json_is_finite_and_holds_verdict_and_pooled_rows(tmp_path):
    trials = make_trials(seeds=(0,), test_loss=where_seed(0, "test_loss", float("nan")))

    text = json.dumps(analysis_of(tmp_path, trials).to_json(), allow_nan=False)

    values = json.loads(text)
    assert values["verdict"].startswith("At λ = 1")
    assert values["pooled"][0]["ci_low"] is None
    assert values["num_trials"]["total"] == 5


@pytest.mark.parametrize(
    ("outcome", "text"),
    [
        ("test_accuracy", "−1.23 points"),
        ("test_loss", "−0.0123 nats"),
        ("lr_multiplier", "−0.0123"),
        ("head_rank", "−0.0123"),
    ],
)
def test_quantities_are_written_in_their_unit(outcome, text):
    assert quantity_of(outcome).with_interval(-0.0123, None, None) == text


def test_numbers_in_prose_have_a_true_minus_and_no_negative_zero():
    quantity = quantity_of("test_accuracy")

    assert quantity.with_interval(-0.00001, -0.1, 0.2) == "0.00 points [−10.00, +20.00]"
    assert quantity.with_interval(None, None, None) == "–"
    assert format_p(0.0004) == "p < 0.001"
    assert format_p(0.0412) == "p = 0.041"
    assert (format_value(0.1 + 0.2), format_value(0.1), format_value(None)) == (
        "0.30000000000000004",
        "0.1",
        "–",
    )
    assert format_short(0.1 + 0.2) == "0.3"


def test_spread_out_keeps_both_ends():
    assert spread_out([1.0, 2.0, 3.0, 4.0, 5.0], 3) == [1.0, 3.0, 5.0]
    assert spread_out([1.0, 2.0], 3) == [1.0, 2.0]
    assert spread_out([1.0, 2.0, 3.0], 1) == [3.0]

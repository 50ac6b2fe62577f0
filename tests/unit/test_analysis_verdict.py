"""The verdict and the notes: words that follow from the numbers."""

import json
import re

import polars as pl
import pytest
from analysis_frames import (
    ARMS,
    make_trials,
    where_arm,
    where_seed,
    write_directory,
    write_plan,
)

from analysis.canvas import spread_out
from analysis.load import load_sweep
from analysis.result import build_analysis
from analysis.wording import format_p, format_short, format_value, quantity_of

f = pl.col
SHAM_LEAD = "with nothing to unlearn, the same regularizer changed test accuracy by"


def analysis_of(tmp_path, trials: pl.DataFrame, *, plan=None, **options):
    """Return the analysis of a directory that holds these trials; writes no result."""
    directory = write_directory(tmp_path / "run", trials)
    if plan is not None:
        write_plan(directory, plan)
    loaded, origin = load_sweep([directory])
    epochs = pl.DataFrame(schema={"trial_id": pl.String, "epoch": pl.Int64})
    return build_analysis(loaded, epochs, origin=origin, **options)


def test_verdict_gives_total_parts_and_their_basis_in_points(tmp_path):
    jitter = pl.when(f("arm") == "full").then((f("seed") - 1) / 1e4).otherwise(0.0)
    trials = make_trials(lrs=(0.1, 0.2), seeds=range(3))
    trials = trials.with_columns(test_accuracy=f("test_accuracy") + jitter)

    first = str(analysis_of(tmp_path, trials).paragraphs[0])

    assert first.startswith("At λ = 1: the regularizer changed test accuracy by −6.00 points [")
    assert "(n = 3 seeds, 2 cells, p < 0.001 after Holm)" in first
    assert "0.00 points [−0.01, +0.01] came with the class term (not resolved" in first
    assert "−6.00 points [−6.01, −5.99] with the uniform term" in first
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

    basis = "n = 2 seeds, 1 cell; not resolved, with no spread over seeds, so no interval"
    assert f"by the observer head, changed by −6.00 points ({basis}): 0.00 points" in verdict
    assert f"Sham at λ = 1: {SHAM_LEAD} +1.00 points ({basis}); having" in verdict
    assert f"having something to unlearn added −7.00 points ({basis})." in verdict
    assert "κ: at λ = 1 full 1.5, class_term 1.5, uniform_term 1.5, sham 1.5" in verdict


def test_memorization_and_sham_carry_their_number_of_diverged(tmp_path):
    is_lost = (f("arm") == "full") & (f("seed") == 0)
    status = pl.when(is_lost).then(pl.lit("diverged")).otherwise("status")

    verdict = analysis_of(tmp_path, make_trials(seeds=range(3), status=status)).verdict

    basis = "n = 2 seeds, 1 cell, 1 diverged; not resolved"
    assert f"observer head, changed by −6.00 points ({basis}" in verdict
    assert "to unlearn added −13.33 points [" in verdict
    assert "(n = 3 seeds, 1 cell, 1 diverged; not resolved)" in verdict


def test_multiplier_is_told_as_a_median_with_the_number_missing(tmp_path):
    values = {0: 1.0, 1: 2.0, 2: 90.0, 3: float("nan")}
    kappa = f("seed").replace_strict(values, return_dtype=pl.Float64)
    is_read = f("arm").is_in(["full", "class_term"])
    trials = make_trials(seeds=range(4), lr_multiplier=pl.when(is_read).then(kappa))
    trials = trials.with_columns(where_arm("class_term", "lr_multiplier", -1.5))

    verdict = analysis_of(tmp_path, trials).verdict

    assert "κ: at λ = 1 full 2 (1 of 4 missing), class_term −1.5, uniform_term – (4 of" in verdict
    assert "(medians over cells and seeds; 1: no net pull" in verdict


def test_verdict_of_one_seed_says_that_there_is_no_interval(tmp_path):
    verdict = analysis_of(tmp_path, make_trials(seeds=(0,))).verdict

    assert "not resolved, because one seed gives no interval" in verdict
    assert "(one seed, no interval)" in verdict
    assert "n = 1 seed, 1 cell)" in verdict


def test_verdict_without_spread_over_seeds_resolves_nothing(tmp_path):
    analysis = analysis_of(tmp_path, make_trials(seeds=(0, 1)))

    first = str(analysis.paragraphs[0])
    reason = "not resolved, with no spread over seeds, so no interval"
    assert f"an effect of the regularizer on test accuracy is {reason}: −6.00 points (n" in first
    assert f"−6.00 points with the uniform term ({reason})" in first


def test_verdict_tells_parts_that_stand_on_other_seeds_than_the_total(tmp_path):
    trials = make_trials(seeds=(0, 1, 2)).filter((f("arm") != "class_term") | (f("seed") == 1))

    verdict = analysis_of(tmp_path, trials).verdict

    assert "−6.00 points (n = 3 seeds, 1 cell). On other seeds (n = 1 seed, 1 cell), 0" in verdict
    assert "so no interval); on other seeds (n = 1 seed, 1 cell), 0.00 points came" in verdict
    assert "Of that" not in verdict


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

    assert (
        "Trials: of 10 that are here, 2 diverged (full 2); 2 failed (sham 2)." in analysis.verdict
    )
    assert "(n = 2 seeds, 1 cell, 2 diverged" in analysis.verdict
    assert analysis.num_trials == {
        "completed": 6,
        "diverged": 2,
        "stopped": 0,
        "failed": 2,
        "total": 10,
    }


def test_verdict_and_notes_say_that_a_sweep_is_not_finished(tmp_path):
    trials = make_trials()
    plan = [*trials["trial_id"], *(f"later-{number}" for number in range(155))]

    analysis = analysis_of(tmp_path, trials, plan=plan)

    lacking = "10 of 165 planned trials have a row: the sweep is not finished."
    assert analysis.notes == (lacking,)
    ended = "All 10 that are here were trained to their end; none diverged."
    assert str(analysis.paragraphs[-2]) == f"Trials: {lacking} {ended}"


def test_verdict_calls_a_sweep_whole_where_every_planned_trial_has_a_row(tmp_path):
    trials = make_trials()

    analysis = analysis_of(tmp_path, trials, plan=trials["trial_id"])

    assert "Trials: all 10 planned were trained to their end" in analysis.verdict
    assert analysis.notes == ()


@pytest.mark.parametrize("plan", [None, []], ids=["foreign", "search"])
def test_verdict_without_a_plan_speaks_of_the_trials_that_are_here(tmp_path, plan):
    verdict = analysis_of(tmp_path, make_trials(), plan=plan).verdict

    assert "Trials: all 10 that are here were trained to their end" in verdict


def test_notes_tell_trials_with_other_outcomes_in_a_later_directory(tmp_path):
    first = write_directory(tmp_path / "a", make_trials())
    second = write_directory(tmp_path / "b", make_trials(test_loss=0.1))
    trials, origin = load_sweep([first, second])

    notes = build_analysis(trials, trials.select("trial_id").clear(), origin=origin).notes

    assert notes == (
        "10 trials with other outcomes in a later directory: the row of the first directory is "
        "kept.",
    )


@pytest.mark.parametrize(
    ("trials", "options", "note"),
    [
        (make_trials(status=where_arm("full", "status", "diverged")), {}, "score at chance"),
        (
            make_trials(status=where_arm("full", "status", "diverged")),
            {},
            "In random-label outcomes they count as missing, whatever is asked",
        ),
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
            "arms pools 1 of 1 cells over 2 of 3 seeds: elsewhere control or full has no value",
        ),
        (
            make_trials(seeds=(0, 1, 2)).filter((f("arm") != "class_term") | (f("seed") != 1)),
            {},
            "over 2 of 3 seeds: elsewhere control, full, class_term or uniform_term has no value, "
            "and the total stands on the same seeds as its parts",
        ),
        (
            make_trials(lrs=(0.1, 0.2), seeds=(0, 1, 2)).filter(
                (f("arm") != "full") | (f("seed") != f("lr") * 10)
            ),
            {},
            "arms pools 2 of 2 cells over 1 of 3 seeds: cells lack different seeds",
        ),
        (
            make_trials(seeds=(0, 1, 2)).filter((f("arm") != "class_term") | (f("seed") == 1)),
            {},
            "At λ = 1, the total effect on test_accuracy stands on 3 seeds and 1 cell, its parts "
            "on 1 seed and 1 cell, because few have all four arms: the parts do not stand on",
        ),
        (
            make_trials(seeds=(0, 1, 2)).filter((f("arm") != "class_term") | (f("seed") == 1)),
            {},
            "Cells whose total .* stands on more seeds than its parts, .*: 1",
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

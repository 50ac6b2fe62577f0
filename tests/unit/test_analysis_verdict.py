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
NOT_ESTIMATED = (
    "Not estimated: matched (no trial of arm rescaled, which `rlp-sweeps follow-up DIR` adds); "
    "replayed (no trial of arm replayed, which `rlp-sweeps follow-up DIR --replay` adds); curve "
    "(it takes control trials at two or more lr); alignment (it takes 4 lr); projection (no trial "
    "of arm orthogonal); block_mean (no trial of arm class_mean, mean_rest)."
)
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


@pytest.mark.parametrize(("num_seeds", "floor"), [(2, "p = 0.5."), (5, "p = 0.062."), (6, None)])
def test_verdict_says_what_counts_as_resolved_and_what_few_seeds_can_show(
    tmp_path, num_seeds, floor
):
    noise = (f("trial_id").hash(3) % 1000) / 200_000
    trials = make_trials(lambdas=(1.0, 10.0), seeds=range(num_seeds))
    trials = trials.with_columns(test_accuracy=f("test_accuracy") + noise)

    paragraphs = dict(analysis_of(tmp_path, trials).paragraphs)

    assert "p < 0.05 after Holm's adjustment over all 6 of them" in paragraphs["How sure"]
    says = f"With {num_seeds} seeds the intervals and p values take the differences between seeds"
    assert (says in paragraphs["How sure"]) == (floor is not None)
    assert paragraphs["How sure"].endswith(f"cannot go below {floor}" if floor else "excludes 0.")


def test_verdict_without_a_family_speaks_of_intervals_alone(tmp_path):
    trials = make_trials(arms=("control", "sham"))

    paragraphs = dict(analysis_of(tmp_path, trials).paragraphs)

    assert "Holm" not in paragraphs["How sure"]


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
    assert analysis.notes == (lacking, NOT_ESTIMATED)
    ended = "All 10 that are here were trained to their end; none diverged."
    assert str(analysis.paragraphs[-2]) == f"Trials: {lacking} {ended}"


def test_verdict_calls_a_sweep_whole_where_every_planned_trial_has_a_row(tmp_path):
    trials = make_trials()

    analysis = analysis_of(tmp_path, trials, plan=trials["trial_id"])

    assert "Trials: all 10 planned were trained to their end" in analysis.verdict
    assert analysis.notes == (NOT_ESTIMATED,)


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
        NOT_ESTIMATED,
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
            "2 trials diverged; in the effects they count as missing in class accuracies and "
            "losses, because without `num_classes` chance is unknown; add that column",
        ),
        (make_trials(test_loss=None), {}, "10 completed trials without a finite test_loss"),
        (make_trials(arm=where_arm("sham", "arm", "tangled")), {}, r"Arms \['tangled'\]"),
        (
            make_trials(rlp_lambda=where_arm("sham", "rlp_lambda", 0.0)),
            {},
            "2 trials of regularized arms at λ = 0",
        ),
        (
            make_trials().filter((f("arm") != "control") | (f("seed") == 0)),
            {},
            "1 cell and seed has no control trial that was trained to its end, and no effect "
            r"against it: lr=0\.1, label_smoothing=0, seed 1\. Train them with arm='control'",
        ),
        (make_trials(optimizer="adamw"), {}, "Optimizer adamw"),
        (
            make_trials(hostname=pl.when(f("arm") == "sham").then(pl.lit("simulated-spot-3"))),
            {},
            "2 trials of a simulation, recorded elsewhere or made up by a formula",
        ),
        (make_trials(point=f("seed")), {}, "2 points of a search: effects pooled over them"),
        (
            make_trials(
                code_version=pl.when(f("arm") == "full").then(pl.lit("2")).otherwise("arm")
            ),
            {},
            "Trials of 5 versions of the code: 2, class_term, control, sham, uniform_term",
        ),
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


@pytest.mark.parametrize("num_known", [0, 1, 2])
def test_one_note_tells_what_diverged_trials_score(tmp_path, num_known):
    trials = make_trials(status=where_arm("full", "status", "diverged"))
    is_known = f("seed") < num_known
    trials = trials.with_columns(num_classes=pl.when(is_known).then(f("num_classes")))

    notes = [note for note in analysis_of(tmp_path, trials).notes if "diverged" in note]

    says = {
        0: "they count as missing in class accuracies",
        1: "1 scores at chance (accuracy 1/K, loss log K) and 1 counts as missing in class",
        2: "they score at chance (accuracy 1/K, loss log K). In random-label",
    }
    assert len(notes) == 1
    assert says[num_known] in notes[0]
    assert ("chance (" in notes[0]) == (num_known > 0)


def test_notes_name_cells_and_seeds_without_a_control_up_to_a_bound(tmp_path):
    lrs = tuple(number / 10 for number in range(1, 8))
    is_lost = (f("arm") == "control") & ((f("seed") < 8) | (f("lr") > 0.6))
    trials = make_trials(lrs=lrs, lambdas=(1.0, 10.0), seeds=range(9)).filter(~is_lost)

    notes = [n for n in analysis_of(tmp_path, trials).notes if "no control" in n]

    assert len(notes) == 1
    assert notes[0].startswith("57 cells and seeds have no control trial")
    assert ": lr=0.1, label_smoothing=0, seeds 0, 1, 2, 3, 4, 5 and 2 more; lr=0.2" in notes[0]
    assert notes[0].endswith("; and 3 further cells. Train them with arm='control', rlp_lambda=0.")


def test_a_control_that_failed_is_named_as_missing(tmp_path):
    is_lost = (f("arm") == "control") & (f("seed") == 1)
    trials = make_trials(status=pl.when(is_lost).then(pl.lit("failed")).otherwise("status"))

    notes = "\n".join(analysis_of(tmp_path, trials).notes)

    assert "label_smoothing=0, seed 1. Train them" in notes


def test_notes_of_five_arms_name_what_is_not_estimated_in_one_sentence(tmp_path):
    assert analysis_of(tmp_path, make_trials(optimizer="sgd")).notes == (NOT_ESTIMATED,)


def test_notes_say_where_the_equivalent_lr_lies_outside_the_sweep(tmp_path):
    notes = analysis_of(tmp_path, make_trials(lrs=(0.1, 0.125), lr_multiplier=1.25)).notes

    assert notes[0] == (
        "Estimator curve has no value in 2 of 4 cells and seeds: in 1 of 2 cells the equivalent "
        "lr, 0.156, lies outside the swept 0.1 … 0.125, and nothing is extrapolated."
    )
    assert "curve" not in notes[1]


def test_notes_do_not_list_estimators_where_there_is_no_total(tmp_path):
    notes = analysis_of(tmp_path, make_trials(arms=("control", "sham"))).notes

    assert not any("Not estimated" in note for note in notes)


def test_notes_on_pooling_stop_after_some_lambdas(tmp_path):
    trials = make_trials(lambdas=tuple(float(n) for n in range(1, 10)), seeds=(0, 1, 2))
    trials = trials.filter((f("arm") != "full") | (f("seed") != 1))

    notes = analysis_of(tmp_path, trials).notes

    assert notes[-2].startswith("So it is at 12 further λ")


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

"""What stands beside the effects: by mechanism, against tuned controls, per dose, in words."""

import math

import polars as pl
import pytest
from analysis_frames import make_trials, write_directory
from scipy import stats

from analysis.figure_estimators import draw_estimators, estimators_data
from analysis.figure_shift import draw_shift, shift_data
from analysis.load import load_trials
from analysis.result import build_analysis
from analysis.secondary import default_margin, with_secondary
from analysis.tables import analyze
from analysis.verdict_mechanism import tost_of
from rlp_sweeps.errors import ArgumentError

f = pl.col
LEVELS = {"control": 0.50, "full": 0.54, "class_term": 0.55, "uniform_term": 0.48}
LEVELS |= {"rescaled": 0.53, "rescaled_class_term": 0.549, "rescaled_uniform_term": 0.49}
LRS = (0.01, 0.03, 0.1)


def trials_of(levels=LEVELS, *, noise=0.00005, **settings) -> pl.DataFrame:
    """Trials of these levels, scattered a little over seeds; κ 1.5 in every regularized arm."""
    trials = make_trials(arms=tuple(levels), levels=levels, seeds=(0, 1, 2, 3), **settings)
    scatter = (f("trial_id").hash(7) % 1000) / 1000 - 0.5
    return trials.with_columns(test_accuracy=f("test_accuracy") + noise * scatter)


def analysis_of(tmp_path, trials: pl.DataFrame, **options):
    loaded = load_trials([write_directory(tmp_path / "run", trials)])
    empty = pl.DataFrame(schema={"trial_id": pl.String, "epoch": pl.Int64})
    return with_secondary(build_analysis(loaded, empty), **options)


def said(analysis, lead: str) -> str:
    """The paragraph whose lead begins like this."""
    (text,) = [p.text for p in analysis.further_paragraphs if p.lead.startswith(lead)]
    return text


def test_the_verdict_parts_the_total_by_mechanism(tmp_path):
    analysis = analysis_of(tmp_path, trials_of())

    text = said(analysis, "By mechanism")

    assert "the control trained at the learning rate that full amounts to" in text
    assert "test accuracy by +3.0" in text
    assert "beyond that learning rate the regularizer added +1.0" in text


def test_the_class_term_is_called_a_learning_rate_only_where_that_was_shown(tmp_path):
    text = said(analysis_of(tmp_path, trials_of()), "The class term")

    assert "within ±0.50 points it is a learning rate (two one-sided tests, p < 0.001)" in text


def test_under_adam_a_matched_control_is_no_learning_rate(tmp_path):
    analysis = analysis_of(tmp_path, trials_of(optimizer="adamw"))

    text = said(analysis, "By mechanism")
    assert "at full's κ, a gradient scale and under adamw no learning rate, changed" in text
    assert "beyond that gradient scale the regularizer added +1.0" in text
    assert "within ±0.50 points it is a gradient scale" in said(analysis, "The class term")
    assert "beyond a control at its own gradient scale" in said(analysis, "The uniform term")
    assert "under adamw a direction of gradients" in analysis.verdict
    (note,) = [note for note in analysis.notes if note.startswith("Optimizer adamw")]
    assert "`equivalent_lr` = κη is no learning rate" in note
    assert "Rescaled and replayed controls are at equal gradient scale" in note
    assert "Do not read curve" in note
    without = [p.text for p in analysis.further_paragraphs if not p.lead.startswith("By mech")]
    assert not any("learning rate" in text for text in without)


def test_under_adam_curve_stands_in_the_tables_and_not_in_the_verdict(tmp_path):
    kappa = pl.when(f("arm") == "control").then(1.0).otherwise(2.0)
    trials = trials_of(lrs=(0.1, 0.2, 0.4), lr_multiplier=kappa)

    of_sgd = analysis_of(tmp_path / "sgd", trials)
    of_adam = analysis_of(tmp_path / "adamw", trials.with_columns(optimizer=pl.lit("adamw")))

    assert ", curve " in said(of_sgd, "effect_lr by estimator at λ = 1")
    assert "curve" not in said(of_adam, "effect_lr by estimator at λ = 1")
    assert "curve" in set(of_adam.effects["estimator"])


def test_cells_that_cancel_are_no_learning_rate(tmp_path):
    up = pl.when((f("arm") == "class_term") & (f("lr") == LRS[0])).then(0.03)
    down = pl.when((f("arm") == "class_term") & (f("lr") == LRS[2])).then(-0.03)
    moved = up.otherwise(0.0) + down.otherwise(0.0)
    trials = trials_of(lrs=LRS)

    text = said(
        analysis_of(tmp_path, trials.with_columns(f("test_accuracy") + moved)), "The class term"
    )

    assert "but 2 of 3 cells lie beyond it: no learning rate's" in text


def test_arms_at_chance_are_no_learning_rate(tmp_path):
    lost = f("arm").is_in(["class_term", "rescaled_class_term"]) & (f("lr") == LRS[2])
    status = pl.when(lost).then(pl.lit("diverged")).otherwise(pl.lit("completed"))

    text = said(analysis_of(tmp_path, trials_of(lrs=LRS, status=status)), "The class term")

    assert "of its trials diverged" in text
    assert "it is a learning rate" not in text


def test_a_dose_of_exactly_nothing_is_told(tmp_path):
    forgot = pl.when(f("arm") == "full").then(0.2).otherwise(0.5) + 0.003 * f("seed")
    same = trials_of(LEVELS | {"rescaled": LEVELS["full"]}, noise=0.0)
    trials = same.with_columns(random_label_accuracy=forgot + (f("trial_id").hash(1) % 10) / 1e4)

    text = said(analysis_of(tmp_path, trials), "Dose and response")

    assert "changed by 0.00 points" in text


def test_doses_compare_no_other_settings_than_pairing_does(tmp_path):
    apart = pl.when(f("arm") == "rescaled").then(1e-2).otherwise(0.0)

    analysis = analysis_of(tmp_path, trials_of(weight_decay=apart))

    assert analysis.secondary.dose_response.is_empty()
    assert any("matched (no cell and seed" in note for note in analysis.notes)


def test_a_class_term_beyond_the_margin_is_called_by_its_term(tmp_path):
    far = LEVELS | {"rescaled_class_term": 0.52}

    text = said(analysis_of(tmp_path, trials_of(far)), "The class term")

    assert "it added +3.0" in text
    assert "was not shown" in text
    assert "the class term's contribution, not a learning rate's" in text


def test_a_wider_margin_changes_the_word_and_is_stated(tmp_path):
    far = LEVELS | {"rescaled_class_term": 0.52}

    text = said(analysis_of(tmp_path, trials_of(far), margin=0.05), "The class term")

    assert "within ±5.00 points it is a learning rate" in text


def test_a_margin_must_be_positive(tmp_path):
    with pytest.raises(ArgumentError, match="`margin > 0` must hold"):
        analysis_of(tmp_path, trials_of(), margin=-1.0)


def test_the_uniform_term_is_told_beyond_its_own_learning_rate(tmp_path):
    text = said(analysis_of(tmp_path, trials_of()), "The uniform term")

    assert "alone, beyond the learning rate that it amounts to, it added −1.0" in text


def test_estimators_are_set_side_by_side_with_their_cells(tmp_path):
    text = said(analysis_of(tmp_path, trials_of(lrs=LRS)), "effect_lr by estimator")

    assert "by term arms +5.5" in text
    assert "by mechanism matched +3.0" in text
    assert "in 3 cells" in text


def test_without_rescaled_trials_nothing_is_said_of_mechanisms(tmp_path):
    plain = {name: LEVELS[name] for name in ("control", "full", "class_term", "uniform_term")}

    analysis = analysis_of(tmp_path, trials_of(plain))

    assert not [p for p in analysis.further_paragraphs if "mechanism" in p.lead]


def test_the_tuned_control_is_told_with_both_choices_and_budgets(tmp_path):
    text = said(analysis_of(tmp_path, trials_of(lrs=LRS)), "Tuned against tuned")

    assert "3 configurations against 3: +" in text
    assert "full at the configuration that validates best on the other seeds" in text


def test_dose_and_response_is_told_per_tenth_of_memorization(tmp_path):
    forgot = pl.when(f("arm") == "full").then(0.2).otherwise(0.5) + 0.003 * f("seed")
    trials = trials_of(random_label_accuracy=forgot + (f("trial_id").hash(1) % 10) / 1e4)

    text = said(analysis_of(tmp_path, trials), "Dose and response")

    assert "per tenth of memorization removed at the matched κ (removed 0.33" in text


def test_losses_have_no_margin_by_convention():
    assert default_margin("test_loss") is None
    assert default_margin("val_accuracy") == 0.005


def test_a_pooled_row_gives_the_two_one_sided_tests_of_its_seeds():
    values = [0.001, 0.003, -0.002, 0.002]
    mean, error = sum(values) / 4, stats.sem(values)
    half = stats.t.ppf(0.975, 3) * error
    row = {"estimate": mean, "ci_low": mean - half, "ci_high": mean + half, "num_seeds": 4}

    found = tost_of(row, 0.004)

    sides = [
        stats.ttest_1samp(values, 0.004, alternative="less").pvalue,
        stats.ttest_1samp(values, -0.004, alternative="greater").pvalue,
    ]
    assert found == pytest.approx(max(sides), abs=1e-12)


def test_seeds_that_are_all_alike_are_equivalent():
    row = {"estimate": 0.0, "ci_low": 0.0, "ci_high": 0.0, "num_seeds": 3}

    assert tost_of(row, 0.004) == 0.0


@pytest.mark.parametrize("ends", [(None, None), (0.1, 0.1)])
def test_without_an_interval_or_spread_there_is_no_test(ends):
    low, high = ends

    assert tost_of({"estimate": 0.1, "ci_low": low, "ci_high": high, "num_seeds": 3}, 1.0) is None


def test_the_estimators_figure_draws_every_pooled_total_and_part(tmp_path):
    analysis = analysis_of(tmp_path, trials_of(lrs=LRS))

    data, figure = estimators_data(analysis), draw_estimators(analysis)

    assert set(data["estimator"]) >= {"arms", "matched"}
    assert set(data["effect"]) == {"effect_total", "effect_lr", "effect_memorization"}
    assert figure is not None
    assert "matched" in figure.svg


def test_one_estimator_alone_is_no_agreement(tmp_path):
    plain = {name: LEVELS[name] for name in ("control", "full", "class_term", "uniform_term")}

    assert draw_estimators(analysis_of(tmp_path, trials_of(plain))) is None


def test_the_shift_figure_puts_full_at_its_equivalent_learning_rate(tmp_path):
    analysis = analysis_of(tmp_path, trials_of(lrs=LRS))

    full = shift_data(analysis).filter(f("arm") == "full").sort("lr")

    assert full["equivalent_lr"].to_list() == pytest.approx([1.5 * lr for lr in LRS])
    assert draw_shift(analysis) is not None


def test_the_shift_is_not_drawn_from_too_few_learning_rates(tmp_path):
    assert draw_shift(analysis_of(tmp_path, trials_of())) is None


def test_analyze_writes_the_secondary_tables_and_tells_them_in_json(tmp_path):
    directory = write_directory(tmp_path / "run", trials_of(lrs=LRS))

    result = analyze([directory])

    written = {path.stem for path in (directory / "analysis").glob("*.parquet")}
    assert {"tuned", "tuned_choices", "tuned_curve", "substitution", "dose_response"} <= written
    secondary = result.to_json()["secondary"]
    assert secondary["margin"] == 0.005
    assert all(math.isfinite(row["estimate"]) for row in secondary["tuned"])
    assert "By mechanism" in (directory / "analysis" / "report.html").read_text()

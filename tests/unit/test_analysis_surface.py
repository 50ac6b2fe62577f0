"""The response surface: when there is one, where it is read, and what it says."""

import numpy as np
import polars as pl
import pytest
from analysis_frames import make_trials, write_directory
from polars.testing import assert_frame_equal
from scipy.spatial import ConvexHull

from analysis import surface_design
from analysis.load import load_trials
from analysis.query import query
from analysis.report import render_report
from analysis.result import build_analysis
from analysis.secondary import with_secondary
from analysis.surface import estimate_surface
from analysis.surface_design import is_inside
from analysis.surface_effects import CONTRASTS
from analysis.surface_words import LEAD, tell_surface
from analysis.tables import analyze
from benchmarks.simulation.model import Model
from benchmarks.simulation.scenarios import Scenario
from benchmarks.simulation.surface import simulate_search, true_effects
from rlp_sweeps.effect_columns import EFFECTS_SURFACE, EFFECTS_SURFACE_POOLED, SURFACE_CHECKS
from rlp_sweeps.errors import ArgumentError

f = pl.col
SMOOTH = Model(noise_sd=0.001)


def search(*, model=SMOOTH, seed=0, num_points=30, num_seeds=3, **design) -> pl.DataFrame:
    """Trials of a search whose arms are smooth surfaces and a little noise."""
    generator = np.random.default_rng(seed)
    design |= {"num_points": num_points, "num_seeds": num_seeds}
    return simulate_search(Scenario(says="", model=model), generator, **design)


@pytest.fixture(scope="module")
def trials() -> pl.DataFrame:
    return search()


@pytest.fixture(scope="module")
def found(trials):
    return estimate_surface(trials)


def complete(trials: pl.DataFrame) -> pl.DataFrame:
    """The trials with the columns that a run directory must hold."""
    accuracy = f("test_accuracy")
    return trials.with_columns(
        train_accuracy=accuracy.clip(0, 1),
        val_accuracy=accuracy.clip(0, 1),
        test_loss=1 - accuracy,
        random_label_accuracy=pl.lit(0.5),
        num_random_labels=pl.lit(10),
        lr_multiplier=pl.when(f("arm") != "control").then(1.5),
    )


def test_a_planted_smooth_surface_is_found(found):
    truth = true_effects(SMOOTH, found.effects)

    error = found.effects["estimate"] - truth

    assert len(found.effects) >= 4 * 10
    assert error.abs().max() < 0.006
    assert (error**2).mean() ** 0.5 < 0.0015


def test_parts_sum_to_the_total_in_every_cell_and_pool(found):
    for table in (found.effects, found.pooled):
        by_effect = {e: table.filter(f("effect") == e)["estimate"] for e in CONTRASTS}

        rest = by_effect["effect_total"] - by_effect["effect_lr"]

        assert (rest - by_effect["effect_memorization"]).abs().max() < 1e-12


def test_tables_have_the_columns_of_the_schema(found):
    tables = {"effects": EFFECTS_SURFACE, "pooled": EFFECTS_SURFACE_POOLED}
    tables |= {"checks": SURFACE_CHECKS}

    for name, columns in tables.items():
        assert getattr(found, name).columns == [column.name for column in columns]
        assert not getattr(found, name).is_empty()


def test_pooled_effects_are_means_over_the_cells_of_a_lambda(found):
    means = found.effects.group_by("rlp_lambda", "effect").agg(f("estimate").mean())

    both = found.pooled.join(means, on=["rlp_lambda", "effect"], validate="1:1")

    assert len(both) == len(found.pooled) == 3 * 4
    assert (both["estimate"] - both["estimate_right"]).abs().max() < 1e-12
    assert (found.pooled["num_cells"] + found.pooled["num_cells_outside"]).unique().item() == 5


def test_the_order_of_the_rows_changes_nothing(trials, found):
    shuffled = estimate_surface(trials.sample(fraction=1.0, shuffle=True, seed=5))

    for name in ("effects", "pooled", "checks"):
        assert_frame_equal(getattr(shuffled, name), getattr(found, name), check_exact=True)


def test_what_seeds_share_cancels(trials, found):
    level = f("seed").replace_strict({0: 0.3, 1: -0.1, 2: 0.0}, return_dtype=pl.Float64)

    moved = estimate_surface(trials.with_columns(f("test_accuracy") + level))

    names = ["estimate", "ci_low", "ci_high"]
    assert_frame_equal(moved.effects.select(names), found.effects.select(names), abs_tol=1e-6)


@pytest.mark.parametrize("lost", [0, 5])
def test_a_grid_has_no_surface_and_nothing_is_said(lost):
    lrs = (0.01, 0.03, 0.1, 0.3)
    grid = make_trials(lrs=lrs, lambdas=(1.0, 3.0, 10.0)).filter(f("arm") != "sham")
    cell = pl.struct("lr", "rlp_lambda").rank("dense")

    found = estimate_surface(grid.filter((f("arm") == "control") | (cell > lost)))

    assert found.effects.is_empty()
    assert found.notes == ()


def test_less_than_eight_points_have_no_surface_and_nothing_is_said():
    found = estimate_surface(search(num_points=7))

    assert found.pooled.is_empty()
    assert found.checks.columns == [column.name for column in SURFACE_CHECKS]
    assert found.notes == ()


def test_without_full_trials_there_is_no_surface(trials):
    assert estimate_surface(trials.filter(f("arm") != "full")).notes == ()


@pytest.mark.parametrize(
    ("column", "why"),
    [
        (pl.lit("a") + (f("lr") > 0.1).cast(pl.String), "config_x varies and is no number"),
        (pl.when(f("lr") > 0.1).then(1.0), "config_x varies and is no number"),
        (f("lr") > 0.1, "config_x varies and is no number"),
    ],
)
def test_an_axis_that_is_no_number_is_named_in_a_note(trials, column, why):
    found = estimate_surface(trials.with_columns(config_x=column))

    assert found.effects.is_empty()
    assert len(found.notes) == 1
    assert found.notes[0].startswith("No response surface, although the sampled cells are no grid")
    assert why in found.notes[0]


@pytest.mark.parametrize(("limit", "why"), [("MAX_POINTS", "30 points"), ("MAX_AXES", "2 axes")])
def test_a_design_that_is_too_large_is_told_in_a_note(trials, monkeypatch, limit, why):
    monkeypatch.setattr(surface_design, limit, 1)

    found = estimate_surface(trials)

    assert found.pooled.is_empty()
    assert why in found.notes[0]


def test_an_arm_with_few_points_leaves_the_total(trials):
    lost = (f("arm") == "class_term") & (f("lr") > f("lr").unique().sort().gather(5).first())

    found = estimate_surface(trials.filter(~lost))

    assert found.pooled["effect"].unique().item() == "effect_total"
    assert "no parts of the total: class_term has 6 distinct points" in found.notes[0]


def test_a_control_with_few_points_has_no_surface(trials):
    levels = 2.0 ** f("lr").log(2).round(0)
    few = trials.with_columns(lr=levels).unique(["arm", "seed", "lr", "rlp_lambda"], keep="first")

    found = estimate_surface(few)

    assert found.pooled.is_empty()
    assert "control has 7 distinct points" in found.notes[0]


def test_reference_levels_are_middles_of_equal_parts(trials, found):
    sampled = trials.filter(f("rlp_lambda") > 0)["rlp_lambda"].log()
    low, high = sampled.min(), sampled.max()

    read = found.pooled["rlp_lambda"].unique().sort().log().to_list()

    assert read == pytest.approx([low + (high - low) * part for part in (1 / 6, 1 / 2, 5 / 6)])
    assert found.effects["lr"].n_unique() == 5


def test_no_row_lies_outside_the_sampled_points():
    trials = search(num_points=40)
    corner = f("lr").log() + pl.when(f("rlp_lambda") > 0).then(f("rlp_lambda").log()) > 0.0
    trials = trials.filter(~corner.fill_null(value=False))

    found = estimate_surface(trials)

    points = trials.filter(f("arm") == "full").select(f("lr", "rlp_lambda").log()).unique()
    hull = ConvexHull(points.to_numpy()).equations
    read = found.effects.select(f("lr", "rlp_lambda").log()).to_numpy()
    assert (read @ hull[:, :-1].T + hull[:, -1] <= 1e-9).all()
    assert 0 < found.pooled["num_cells_outside"].max() < 5


def test_points_on_a_line_have_no_reference_cell_inside(trials):
    on_line = trials.with_columns(
        rlp_lambda=pl.when(f("arm") != "control").then(f("lr") * 10).otherwise(0.0)
    )

    found = estimate_surface(on_line)

    assert found.effects.is_empty()
    assert "none of its reference cells lies inside" in found.notes[0]


def test_one_axis_is_inside_between_its_ends():
    at = np.array([[-0.1], [0.0], [0.5], [1.0], [1.1]])

    inside = is_inside(np.array([[0.0], [1.0], [0.2]]), at)

    assert inside.tolist() == [False, True, True, True, False]


def test_one_seed_has_estimates_and_no_intervals(trials):
    found = estimate_surface(trials.filter(f("seed") == 0))

    for table in (found.effects, found.pooled):
        assert table["estimate"].null_count() == 0
        for name in ("ci_low", "ci_high", "interpolation_share"):
            assert table[name].null_count() == len(table)


def test_two_seeds_have_intervals_with_both_parts(trials):
    found = estimate_surface(trials.filter(f("seed") < 2))

    assert found.effects["ci_low"].null_count() == 0
    assert (found.effects["ci_low"] <= found.effects["estimate"]).all()
    assert found.effects["interpolation_share"].is_between(0, 1).all()


def test_a_constant_arm_is_its_value(trials):
    is_control = f("arm") == "control"
    level = pl.when(is_control).then(0.5).otherwise(f("test_accuracy"))

    found = estimate_surface(trials.with_columns(test_accuracy=level))

    control = found.checks.row(by_predicate=f("arm") == "control", named=True)
    assert control["noise_sd"] == 0.0
    assert control["loo_r2"] is None
    assert found.effects["ci_low"].null_count() == 0


def test_arms_that_are_all_the_same_constant_have_no_effect(trials):
    found = estimate_surface(trials.with_columns(test_accuracy=pl.lit(0.5)))

    for name in ("estimate", "ci_low", "ci_high"):
        assert found.pooled[name].to_list() == [0.0] * len(found.pooled)


def test_ties_in_axes_and_outcomes_are_no_trouble(trials):
    rounded = trials.with_columns(f("test_accuracy").round(2), f("lr").log10().round(1))
    rounded = rounded.with_columns(lr=10 ** f("lr")).unique(
        ["arm", "seed", "lr", "rlp_lambda"], keep="first", maintain_order=True
    )

    found = estimate_surface(rounded)

    assert found.effects["ci_low"].null_count() == 0
    assert found.checks["num_points"].to_list()[0] < found.checks["num_points"].to_list()[1]


def test_diverged_trials_score_as_they_are_told_and_are_counted(trials):
    is_lost = (f("arm") == "full") & (f("lr") > 0.4)
    lost = trials.with_columns(status=pl.when(is_lost).then(pl.lit("diverged")).otherwise("status"))
    num = lost.filter(f("status") == "diverged").height

    at_chance, left_out = (estimate_surface(lost, diverged=d) for d in ("chance", "exclude"))

    assert at_chance.pooled["num_diverged"].unique().item() == num > 0
    assert left_out.pooled["num_diverged"].unique().item() == 0
    full = [s.checks.filter(f("arm") == "full")["num_points"].item() for s in (at_chance, left_out)]
    assert full == [30, 30 - num // 3]


def test_a_lost_trial_takes_its_point_or_its_seed_out(trials):
    found = estimate_surface(trials.filter(f("trial_id") != "0"))

    points = dict(found.checks.select("arm", "num_points").iter_rows())
    assert points == {"control": 29, "full": 30, "class_term": 30, "uniform_term": 30}
    assert found.pooled["num_seeds"].unique().item() == 3


def test_every_numeric_setting_that_varies_is_an_axis():
    trials = search(num_points=40, num_seeds=2, samples_smoothing=True)

    found = estimate_surface(trials)

    assert found.axes == ("lr", "rlp_lambda", "label_smoothing")
    assert found.effects["label_smoothing"].n_unique() == 2
    assert (found.pooled["num_cells"] + found.pooled["num_cells_outside"]).unique().item() == 10


def test_a_further_axis_has_a_column_of_its_own(trials):
    decay = (f("lr").hash(1) % 100) / 1e5

    found = estimate_surface(trials.with_columns(weight_decay=decay))

    assert found.effects.columns[3:6] == ["label_smoothing", "weight_decay", "estimator"]
    assert found.effects["weight_decay"].n_unique() == 2


def test_a_surface_of_noise_is_told_to_explain_nothing(trials):
    noise = (f("trial_id").hash(11) % 1000) / 1000

    found = estimate_surface(trials.with_columns(test_accuracy=noise))

    assert any("explains nothing" in note for note in found.notes)


def test_an_unknown_outcome_is_refused(trials):
    with pytest.raises(ArgumentError, match="unknown outcome"):
        estimate_surface(trials, "accuracy")


def test_reference_cells_of_one_lambda_alone_stand_at_it(trials):
    decay = (f("lr").hash(1) % 1000) / 1e5
    one = trials.with_columns(
        weight_decay=decay, rlp_lambda=pl.when(f("arm") != "control").then(2.0).otherwise(0.0)
    )

    found = estimate_surface(one)

    assert found.axes == ("lr", "weight_decay")
    assert found.pooled["rlp_lambda"].unique().to_list() == [2.0]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (f("seed") == 0, "without an interval (one seed)"),
        (f("lr") > 0, "without an interval (no spread over seeds)"),
    ],
)
def test_a_total_without_an_interval_says_why(trials, change, why):
    step = 0.5 + 0.25 * (f("arm") == "full").cast(pl.Float64)
    flat = trials.with_columns(test_accuracy=step).filter(change)

    (paragraph,) = tell_surface(estimate_surface(flat))

    assert why in paragraph.text
    assert "not told from 0" not in paragraph.text


@pytest.fixture(scope="module")
def analyzed(tmp_path_factory, trials):
    """A run directory of a search, analyzed."""
    directory = tmp_path_factory.mktemp("surface") / "run"
    write_directory(directory, complete(trials))
    return directory, analyze([directory])


def test_the_tables_are_written_and_can_be_queried(analyzed):
    directory, result = analyzed

    for name in ("effects_surface", "effects_surface_pooled", "surface_checks"):
        table = query(directory, f"SELECT * FROM {name}")
        assert_frame_equal(table, result.secondary.tables()[name])
        assert len(result.to_json()["secondary"][name]) == len(table)


def test_the_verdict_says_that_it_is_model_based(analyzed):
    (text,) = [p.text for p in analyzed[1].further_paragraphs if p.lead == LEAD]

    assert "these effects on test accuracy are model-based" in text
    assert "over lr, rlp_lambda, through 30 points with n = 3 seeds" in text
    assert "so that λ are averaged over different cells" in text
    assert text.count("full changed it by") == 3
    assert "of this the class term by" in text


def test_the_report_has_a_section_of_it(analyzed):
    page = (analyzed[0] / "analysis" / "report.html").read_text(encoding="utf-8")

    assert "Response surface (model-based)</h2>" in page
    assert page.count("<td>surface</td>") == 12


def test_notes_of_the_surface_stand_among_the_notes(tmp_path, trials):
    labelled = complete(trials).with_columns(
        config_kind=pl.when(f("lr") > 0.1).then(pl.lit("a")).otherwise(pl.lit("b"))
    )

    loaded = load_trials([write_directory(tmp_path / "run", labelled)])
    empty = pl.DataFrame(schema={"trial_id": pl.String, "epoch": pl.Int64})
    result = with_secondary(build_analysis(loaded, empty))

    assert any("config_kind varies and is no number" in note for note in result.notes)
    assert not [p for p in result.further_paragraphs if p.lead == LEAD]
    assert "Response surface (model-based)" not in render_report(result, [])

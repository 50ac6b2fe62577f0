"""Files and report of an analysis: what is written, and that nothing is fetched or injected."""

import html
import re

import polars as pl
import pytest
from analysis_frames import ARMS, make_epochs, make_trials, where_arm, write_directory

from analysis.canvas import canvas
from analysis.estimators import EFFECTS_OF_CONTRACT, ESTIMATORS
from analysis.figure_attribution import draw_attribution
from analysis.figure_curves import draw_curves
from analysis.figure_maps import color_limits, draw_heat_map
from analysis.figure_plane import draw_plane
from analysis.load import load_trials
from analysis.pairing import ARMS as EVERY_ARM
from analysis.reading import write_reading
from analysis.report import render_report
from analysis.report_script import SCRIPT
from analysis.result import build_analysis
from analysis.tables import analyze
from rlp_sweeps.errors import ArgumentError, RunDirectoryError

f = pl.col
HOSTILE = "<script>alert('x')</script>"


def noisy(trials: pl.DataFrame) -> pl.DataFrame:
    """Return the trials with a small difference between seeds in every arm."""
    noise = (f("trial_id").hash(3) % 1000) / 200_000
    return trials.with_columns(test_accuracy=f("test_accuracy") + noise)


def analysis_of(tmp_path, trials: pl.DataFrame, *, epochs=None, **options):
    """Return the analysis of a directory that holds these tables; writes nothing."""
    loaded = load_trials([write_directory(tmp_path / "run", trials)])
    empty = pl.DataFrame(schema={"trial_id": pl.String, "epoch": pl.Int64})
    return build_analysis(loaded, empty if epochs is None else epochs, **options)


@pytest.fixture(scope="module")
def analyzed(tmp_path_factory):
    """Return a directory that was analyzed, and its analysis; its texts are hostile."""
    trials = make_trials(
        lrs=(0.1, 0.2),
        lambdas=(1.0, 10.0),
        config_name=f"{HOSTILE}$x_" + f("lr").cast(str),
        status=where_arm("sham", "status", "failed"),
        error=f"Traceback\n\nValueError: {HOSTILE}\n",
    )
    directory = tmp_path_factory.mktemp("analyzed") / "run"
    write_directory(directory, trials, epochs=make_epochs(trials))
    return directory, analyze([directory])


@pytest.fixture(scope="module")
def page(analyzed) -> str:
    """Return the analyzed directory's report."""
    return (analyzed[0] / "analysis" / "report.html").read_text(encoding="utf-8")


def test_analyze_writes_tables_figures_and_report(analyzed):
    directory, result = analyzed
    output = directory / "analysis"

    for name, table in (("effects", result.effects), ("effects_pooled", result.effects_pooled)):
        written = pl.read_parquet(output / f"{name}.parquet")
        legs = pl.read_parquet(output / f"{name}_legs.parquet")
        assert len(written) + len(legs) == len(table)
        assert not set(written["effect"]) & set(legs["effect"])
    assert pl.read_parquet(output / "cells.parquet").equals(result.cells)
    names = {path.name for path in (output / "figures").iterdir()}
    drawn = {"attribution", "heat_map_outcome", "heat_map_memorization", "memorization_plane"}
    drawn |= {"learning_curves"}
    assert names == {f"{name}.{end}" for name in drawn for end in ("svg", "parquet")}
    assert not [path for path in output.iterdir() if path.name.startswith(".")]


def test_report_escapes_what_comes_from_the_data(page):
    assert re.findall(r"<script[^>]*>", page) == ["<script>"]  # its own
    assert f"<script>{SCRIPT}</script>" in page
    assert "ValueError: &lt;script&gt;" in page
    assert "&lt;script&gt;alert('x')&lt;/script&gt;$x_0.1" in page


def test_report_fetches_nothing(page):
    assert not re.findall(r"(?i)https?:|//[a-z]|@import|<link|<img|<iframe", page)
    assert "fetch" not in SCRIPT
    addresses = re.findall(r"(?:src|href)=\"(#|data:text/csv;|)", page)
    assert set(addresses) == {"#", "data:text/csv;"}
    assert set(re.findall(r"url\((.)", page)) <= {"#"}


def test_report_has_no_id_twice_and_no_dead_reference(page):
    ids = re.findall(r"\sid=\"([^\"]+)\"", page)

    assert len(ids) == len(set(ids))
    assert set(re.findall(r"(?:href=\"|url\()#([^\")]+)", page)) <= set(ids)


def test_report_describes_every_figure(page):
    figures = re.findall(r"<figure id=\"figure-(\w+)\">(.*?)</figure>", page, re.DOTALL)

    assert len(figures) == 5
    for name, figure in figures:
        assert f'role="group" tabindex="0" aria-labelledby="title-{name}"' in figure
        assert re.search(r"<svg role=\"img\" aria-label=\"[^\"]*\d[^\"]*\"", figure)
        assert re.search(r"<figcaption>\S", figure)


def test_marks_of_a_drawing_tell_value_interval_and_number(tmp_path):
    figure = draw_attribution(analysis_of(tmp_path, noisy(make_trials(seeds=(0, 1, 2)))))

    titles = re.findall(r"<title>([^<]+)</title>", figure.svg)

    assert len(titles) == len(figure.data)
    number = r"[+−][\d.]+"
    told = rf"pooled, λ 1 · class term\n{number} points \[{number}, {number}\]\nn = 3 seeds"
    assert re.fullmatch(told, html.unescape(titles[0]))
    assert "pooled, λ 1: total (full − control) " in figure.alt


def test_a_mark_lies_where_its_value_is_drawn():
    with canvas(width=4, height=2, name="place") as (drawing, sheet):
        axes = drawing.add_subplot()
        axes.plot([0, 1, 2], [3, 4, 7], gid="line")
        sheet.mark(axes, [2], [7], "the last")
        sheet.mark(axes, [9], [5], "beyond the panel")

    line = re.search(r"<g id=\"line\">\s*<path d=\"[^\"]*L ([\d.]+) ([\d.]+)", sheet.svg)
    first, beyond = re.findall(
        r"<rect x=\"([\d.]+)\" y=\"([\d.]+)\" width=\"10.0\" height=\"10.0\">", sheet.svg
    )
    ends = [float(number) for number in re.findall(r"L ([\d.]+) ([\d.]+)", line[0])[-1]]
    assert [float(number) + 5 for number in first] == pytest.approx(ends, abs=0.1)
    assert ends[0] < float(beyond[0]) + 5 < 288


def test_report_says_how_to_read_it_on_its_own_numbers(tmp_path):
    analysis = analysis_of(tmp_path, noisy(make_trials(lambdas=(1.0, 10.0), seeds=(0, 1, 2))))

    steps = dict(write_reading(analysis))

    pooled = analysis.effects_pooled.filter(
        f("outcome") == "test_accuracy", f("estimator") == "arms", f("rlp_lambda") == 10.0
    )
    total = pooled.filter(f("effect") == "effect_total")["estimate"][0]
    assert (
        f"at λ = 10 it is {100 * total:+.2f} points [".replace("-", "−")
        in (steps["Is there an effect"])
    )
    assert steps["Which part carries it"].count("+") >= 1
    assert render_report(analysis, []).count(steps["Which part carries it"]) == 1


def test_report_of_trials_that_cannot_be_separated_says_how_to_read_the_rest(tmp_path):
    analysis = analysis_of(tmp_path, make_trials(arms=("control",)))

    leads = [step.lead for step in write_reading(analysis)]

    assert leads == ["What was compared", "How far it goes"]


def test_drawing_again_gives_the_same_bytes(analyzed):
    _, analysis = analyzed

    first, second = draw_attribution(analysis), draw_attribution(analysis)

    assert first.svg == second.svg
    assert render_report(analysis, [first]) == render_report(analysis, [second])


def test_analyze_removes_its_old_figures_and_nothing_else(tmp_path):
    directory = write_directory(tmp_path / "run", make_trials(arms=("control",)))
    (directory / "analysis" / "figures").mkdir(parents=True)
    (directory / "analysis" / "own.txt").write_text("mine")
    (directory / "analysis" / "figures" / "learning_curves.svg").write_text("old")

    analyze([directory])

    assert (directory / "analysis" / "own.txt").read_text() == "mine"
    assert not (directory / "analysis" / "figures" / "learning_curves.svg").exists()


def test_analyze_writes_where_it_is_told_and_reads_directories_together(tmp_path):
    first = write_directory(tmp_path / "a", make_trials(seeds=(0,), arms=("control",)))
    second = write_directory(tmp_path / "b", make_trials(seeds=(0, 1), arms=("control",)))

    result = analyze([first, second], output=tmp_path / "out")

    assert result.num_trials["total"] == 2
    assert (tmp_path / "out" / "report.html").exists()
    assert not (first / "analysis").exists()


def test_analyze_refuses_an_output_that_cannot_be_written(tmp_path):
    directory = write_directory(tmp_path / "run", make_trials())
    (tmp_path / "file").write_text("no folder")

    with pytest.raises(RunDirectoryError, match="output folder must be writable"):
        analyze([directory], output=tmp_path / "file")


def test_analyze_refuses_an_unknown_outcome_before_it_writes(tmp_path):
    directory = write_directory(tmp_path / "run", make_trials())

    with pytest.raises(ArgumentError, match="unknown outcome"):
        analyze([directory], outcome="accuracy")
    assert not (directory / "analysis").exists()


def test_report_names_each_failed_trial_with_the_last_line_of_its_error(tmp_path):
    trials = make_trials().with_columns(where_arm("sham", "status", "failed"))
    error = pl.when(f("seed") == 0).then(pl.lit("Traceback\n  line\nRuntimeError: boom\n"))

    page = render_report(analysis_of(tmp_path, trials.with_columns(error=error)), [])

    assert re.search(
        r"sham-0.1-1.0-0</strong> \(sham, lr 0.1, λ 1, seed 0\) failed: <code>Runt", page
    )
    assert "no error was recorded" in page


def test_report_of_one_seed_has_no_intervals(tmp_path):
    page = render_report(analysis_of(tmp_path, make_trials(seeds=(0,))), [])

    assert "no interval: one seed" in page
    assert not re.search(r"<td>[^<]*\[", page)


def test_report_shows_the_rest_of_long_tables_as_a_number(tmp_path, monkeypatch):
    monkeypatch.setattr("analysis.report_tables.MAX_ROWS", 2)
    monkeypatch.setattr("analysis.report.MAX_FAILED", 1)
    trials = make_trials().with_columns(where_arm("sham", "status", "failed"))

    page = render_report(analysis_of(tmp_path, trials), [])

    assert "The first 2 of" in page
    assert "and 1 more" in page


def test_sampled_points_are_a_scatter_and_the_largest_cells(tmp_path):
    lrs = tuple(0.001 * 1.37**n for n in range(30))
    analysis = analysis_of(tmp_path, noisy(make_trials(lrs=lrs, arms=ARMS[:4])))

    heat_map = draw_heat_map(analysis, "test_accuracy", name="map", color_map="viridis")
    attribution = draw_attribution(analysis)

    assert heat_map.caption.endswith("Each point is one sampled cell.")
    assert "The 24 of 30 cells with the largest effects." in attribution.caption
    assert attribution.data["line"].max() == 24


def test_attribution_pools_all_lambdas_where_they_are_many(tmp_path):
    trials = make_trials(lambdas=tuple(float(n) for n in range(1, 9)), seeds=(0,))

    data = draw_attribution(analysis_of(tmp_path, trials)).data

    assert data.filter("is_pooled")["label"].unique().to_list() == ["pooled, all λ"]


def test_attribution_writes_estimates_beyond_the_axis_in_numbers(tmp_path):
    is_full = f("arm") == "full"
    collapse = pl.when(is_full & (f("lr") == 0.8)).then(-0.4).otherwise(0.0)
    rise = pl.when(is_full & (f("lr") == 0.7)).then(0.4).otherwise(0.0)
    trials = noisy(make_trials(lrs=(0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8), seeds=range(3)))
    trials = trials.with_columns(test_accuracy=f("test_accuracy") + collapse + rise)

    figure = draw_attribution(analysis_of(tmp_path, trials))

    assert "estimates lie beyond the axis" in figure.caption
    assert re.search(r"◂ −4[56]\.", figure.svg)
    assert re.search(r"\+3[345]\.\d\d ▸", figure.svg)


def test_figures_leave_a_place_empty_where_panels_do_not_fill_the_rows(tmp_path):
    trials = make_trials(lambdas=(1.0, 2.0, 3.0), arms=ARMS[:4], lrs=(0.1, 0.2, 0.3, 0.4, 0.5))
    analysis = analysis_of(tmp_path, trials)

    plane = draw_plane(analysis)
    heat_map = draw_heat_map(analysis, "memorization", name="map", color_map="magma")

    assert plane.data["rlp_lambda"].n_unique() == 3
    assert set(heat_map.data["arm"]) == {"full", "class_term", "uniform_term"}


def test_curves_show_the_largest_lambda_and_at_most_four_lrs(tmp_path):
    trials = make_trials(lambdas=(1.0, 2.0), lrs=(0.1, 0.2, 0.3, 0.4, 0.5))
    analysis = analysis_of(tmp_path, trials, epochs=make_epochs(trials))

    data = draw_curves(analysis).data

    assert set(data["rlp_lambda"]) == {0.0, 2.0}
    assert data["lr"].n_unique() == 4
    assert set(data["num_trials"]) == {2}


def test_figures_of_many_cells_draw_an_even_choice(tmp_path, monkeypatch):
    monkeypatch.setattr("analysis.figure_plane.MAX_CELLS", 2)
    monkeypatch.setattr("analysis.figure_maps.MAX_LRS", 3)
    trials = make_trials(lrs=(0.1, 0.2, 0.3, 0.4, 0.5), arms=("control", "full"))
    analysis = analysis_of(tmp_path, trials)

    plane = draw_plane(analysis)
    heat_map = draw_heat_map(analysis, "memorization", name="map", color_map="magma")

    assert plane.data["lr"].to_list() == [0.1, 0.4]
    assert sorted(heat_map.data["lr"].unique()) == [0.1, 0.3, 0.5]
    assert heat_map.caption.endswith("3 values of lr are drawn, evenly chosen.")


def test_figures_without_data_are_not_drawn(tmp_path):
    analysis = analysis_of(tmp_path, make_trials(status="failed"))

    assert draw_attribution(analysis) is None
    assert draw_plane(analysis) is None
    assert draw_curves(analysis) is None
    assert draw_heat_map(analysis, "memorization", name="map", color_map="magma") is None


def test_effects_hold_the_contracts_names_and_the_legs_stand_beside_them(analyzed):
    output = analyzed[0] / "analysis"

    effects = pl.read_parquet(output / "effects_pooled.parquet")["effect"]
    legs = pl.read_parquet(output / "effects_pooled_legs.parquet")["effect"]

    assert set(effects) == {"effect_total", "effect_lr", "effect_memorization", "interaction"}
    assert all(name.endswith(("_first", "_last")) for name in legs)


def test_a_table_of_every_arm_gives_every_estimator_in_files_and_report(tmp_path):
    levels = {arm: 0.5 + 0.01 * number for number, arm in enumerate(EVERY_ARM)}
    trials = make_trials(
        arms=EVERY_ARM, levels=levels, lrs=tuple(0.1 * 2.0**n for n in range(6)), seeds=(0, 1, 2)
    )
    bend = (f("lr") / 0.4).log() ** 2 / 20
    trials = noisy(trials.with_columns(test_accuracy=f("test_accuracy") - bend))
    assert "matched_multiplier" not in trials.columns
    directory = write_directory(tmp_path / "run", trials)

    analyze([directory])

    output = directory / "analysis"
    effects = pl.read_parquet(output / "effects.parquet").filter(f("outcome") == "test_accuracy")
    legs = pl.read_parquet(output / "effects_pooled_legs.parquet")
    assert set(effects["estimator"]) == set(ESTIMATORS)
    assert set(effects["effect"]) == set(EFFECTS_OF_CONTRACT)
    assert {"class_term_beyond_lr", "effect_lr_class_term_first"} <= set(legs["effect"])
    assert "class term beyond learning rate" in (output / "report.html").read_text("utf-8")


def test_a_few_broken_cells_do_not_take_the_colour_scale() -> None:
    assert color_limits(pl.Series([0.8 + n / 100 for n in range(10)]))[2] == "neither"
    low, high, extend = color_limits(pl.Series([0.1, *(0.9 + n / 1000 for n in range(40))]))
    assert (low > 0.85, round(high, 3), extend) == (True, 0.939, "min")
    assert color_limits(pl.Series([9.0, *(0.9 + n / 1000 for n in range(40))]))[2] == "max"
    assert color_limits(pl.Series([0.5, 0.5]))[1] > 0.5

"""Lines of equal equivalent learning rate over the maps: where they run, where there are none."""

import numpy as np
import polars as pl
import pytest
from analysis_frames import make_trials, where_arm, write_directory

from analysis.canvas import canvas
from analysis.figure_contours import draw_contours
from analysis.figure_maps import draw_heat_map
from analysis.load import load_trials
from analysis.result import build_analysis

f = pl.col
LRS = (0.1, 0.2, 0.4, 0.8)
LINES = 'id="equivalent-lr-'


def map_of(tmp_path, trials: pl.DataFrame):
    """Return the map of test accuracy of these trials."""
    loaded = load_trials([write_directory(tmp_path / "run", trials)])
    epochs = pl.DataFrame(schema={"trial_id": pl.String, "epoch": pl.Int64})
    analysis = build_analysis(loaded, epochs)
    return draw_heat_map(analysis, "test_accuracy", name="map", color_map="viridis")


def drawn(equivalent_lrs, lrs=LRS) -> tuple[dict[float, list[list[float]]], list[str]]:
    """Return the places that each lr's line runs through, and the texts of the labels."""
    with canvas(width=4, height=3, name="map") as (drawing, _):
        axes = drawing.subplots()
        draw_contours(axes, np.asarray(equivalent_lrs), lrs, name="full")
        lines = {
            round(float(np.exp(level)), 9): np.concatenate(segments).tolist()
            for contours in axes.collections
            for level, segments in zip(contours.levels, contours.allsegs, strict=True)
        }
        return lines, [text.get_text() for text in axes.texts]


def test_a_line_runs_through_the_cells_that_amount_to_one_lr():
    kappas = np.array([[1.0], [2.0], [4.0]])

    lines, labels = drawn(kappas * LRS)

    assert sorted(lines) == [0.2, 0.4, 0.8]
    for wanted in ([2.5, 0.5], [1.5, 1.5], [0.5, 2.5]):
        assert any(place == pytest.approx(wanted) for place in lines[0.4])
    assert labels == ["0.2", "0.4", "0.8"]


def test_labels_between_the_same_rows_keep_apart():
    squeezed = np.array([LRS, np.array(LRS) ** 4])

    _, labels = drawn(squeezed)

    assert 1 <= len(labels) < len(LRS)


@pytest.mark.parametrize(
    "equivalent_lrs",
    [
        [LRS],
        [[0.1], [0.3]],
        [[np.nan] * 4] * 3,
        [LRS, [np.nan] * 4],
        [[0.15] * 4] * 2,
    ],
    ids=["one λ", "one lr", "no κ", "κ of the control alone", "between the swept lr"],
)
def test_without_cells_to_draw_between_there_is_no_line(equivalent_lrs):
    assert drawn(equivalent_lrs, LRS[: len(equivalent_lrs[0])]) == ({}, [])


def test_the_maps_table_holds_the_mean_equivalent_lr(tmp_path):
    trials = make_trials(lrs=LRS, lambdas=(1.0, 10.0), arms=("control", "full"))
    of_seeds = pl.when(f("arm") == "full").then(1.0 + f("seed"))

    data = map_of(tmp_path, trials.with_columns(lr_multiplier=of_seeds)).data

    found = dict(data.filter(f("rlp_lambda") == 10.0).select("lr", "equivalent_lr").iter_rows())
    assert found == pytest.approx({lr: 1.5 * lr for lr in LRS})
    control = data.filter(f("rlp_lambda") == 0)
    assert control["equivalent_lr"].to_list() == pytest.approx(control["lr"].to_list())


def test_every_arm_with_a_multiplier_has_its_lines_and_the_caption_explains_them(tmp_path):
    trials = make_trials(lrs=LRS, lambdas=(1.0, 10.0), arms=("control", "full", "sham"))

    both = map_of(tmp_path, trials)
    one = map_of(tmp_path / "b", trials.with_columns(where_arm("sham", "lr_multiplier", None)))

    assert [f"{LINES}{arm}" in both.svg for arm in ("full", "sham")] == [True, True]
    assert [f"{LINES}{arm}" in one.svg for arm in ("full", "sham")] == [True, False]
    assert "White lines join cells of one equivalent lr κη" in both.caption
    assert "no learning rate" not in both.caption


@pytest.mark.parametrize("kappa", [None, 0.0, -2.0])
def test_cells_whose_multiplier_is_missing_or_not_positive_are_left_out(tmp_path, kappa):
    regularized = pl.when(f("arm") != "control").then(pl.lit(kappa, pl.Float64))
    trials = make_trials(lrs=LRS, lambdas=(1.0, 10.0), lr_multiplier=regularized)

    figure = map_of(tmp_path, trials)

    assert figure.data.filter(f("rlp_lambda") > 0)["equivalent_lr"].null_count() == 4 * 2 * 4
    assert LINES not in figure.svg
    assert "equivalent" not in figure.caption


@pytest.mark.parametrize("grid", [{"lrs": (0.1,)}, {"lambdas": (1.0,)}, {"arms": ("full",)}])
def test_a_map_of_few_cells_is_drawn(tmp_path, grid):
    figure = map_of(tmp_path, make_trials(**{"lrs": LRS, "lambdas": (1.0,), **grid}))

    assert (LINES in figure.svg) == (grid == {"lambdas": (1.0,)})


def test_sampled_points_have_no_lines_and_the_caption_says_so(tmp_path):
    lrs = tuple(0.001 * 1.37**n for n in range(30))

    figure = map_of(tmp_path, make_trials(lrs=lrs, arms=("control", "full")))

    assert LINES not in figure.svg
    assert "The points form no grid for lines of equal equivalent lr κη." in figure.caption


def test_the_caption_does_not_call_it_a_learning_rate_under_adam(tmp_path):
    trials = make_trials(lrs=LRS, lambdas=(1.0, 10.0), optimizer="adamw")

    assert "Under adamw κη is no learning rate" in map_of(tmp_path, trials).caption

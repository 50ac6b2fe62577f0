"""Probes in the analysis: intervals over seeds, the layer that validates best, what is drawn."""

import math
from pathlib import Path

import polars as pl
import pytest
from analysis_frames import make_trials, write_directory
from polars.testing import assert_frame_equal

from analysis.figure_depth import depth_data, draw_depth
from analysis.load import load_trials
from analysis.load_probes import load_probes
from analysis.probes import with_probes
from analysis.query import query
from analysis.result import Analysis, build_analysis
from analysis.tables import analyze
from rlp_sweeps.errors import SchemaError

f = pl.col
PLACES = [("pixels", 0, "pixels")]
PLACES += [(s, n, f"conv{n}") for s in ("trained", "random_init") for n in (1, 2)]
FLOOR = [("gaussian", n, f"conv{n}") for n in (1, 2)]


def make_probes(trials: pl.DataFrame, *, trained_shift: float = 0.0) -> pl.DataFrame:
    """Return kNN, MASC of both label sets and offline heads of every trial, at two layers.

    Test accuracies fall with the layer and validation accuracies rise; both grow with the seed.
    """
    kinds = [(p, "masc", s) for p in PLACES for s in ("true", "trained")]
    kinds += [(p, "knn", "true") for p in PLACES]
    kinds += [(p, "rlp_offline", "random") for p in PLACES + FLOOR]
    rows = [
        {"source": source, "layer": layer, "attach_point": name, "probe": probe, "label_set": kind}
        for (source, layer, name), probe, kind in kinds
    ]
    is_random = f("label_set") == "random"
    shift = pl.when(label_set="trained").then(trained_shift).otherwise(0.0)
    value = 0.5 - 0.1 * f("layer") + 0.02 * f("seed") ** 2 + shift
    return (
        trials.select("trial_id", "seed")
        .join(pl.DataFrame(rows), how="cross")
        .with_columns(
            pooling=pl.lit("average"),
            val_accuracy=pl.when(~is_random).then(0.1 * f("layer")),
            test_accuracy=pl.when(~is_random).then(value),
            memorization=pl.when(is_random).then(value),
        )
        .drop("seed")
    )


def probed(tmp_path: Path, trials: pl.DataFrame, probes: pl.DataFrame) -> Analysis:
    loaded = load_trials([write_directory(tmp_path / "run", trials)])
    epochs = pl.DataFrame(schema={"trial_id": pl.String, "epoch": pl.Int64})
    return with_probes(build_analysis(loaded, epochs), probes)


def write_probed(folder: Path, trials: pl.DataFrame, probes: pl.DataFrame) -> Path:
    write_directory(folder, trials)
    (folder / "probes").mkdir()
    for (trial_id,), rows in probes.group_by("trial_id"):
        rows.write_parquet(folder / "probes" / f"{trial_id}.parquet")
    return folder


def test_profile_is_the_mean_over_seeds_with_a_t_interval(tmp_path):
    trials = make_trials(seeds=(0, 1, 2), lambdas=(1.0, 10.0))

    profile = probed(tmp_path, trials, make_probes(trials)).probed.profile

    (row,) = profile.filter(
        arm="full", rlp_lambda=10.0, source="trained", probe="knn", layer=2
    ).to_dicts()
    half = 4.302652729911275 * 0.02 * math.sqrt(13 / 3) / math.sqrt(3)  # seeds² are 0, 1, 4
    mean = 0.3 + 0.02 * 5 / 3
    assert row["estimate"] == pytest.approx(mean)
    assert (row["ci_low"], row["ci_high"]) == pytest.approx((mean - half, mean + half))
    assert (row["num_seeds"], row["metric"], row["attach_point"]) == (3, "test_accuracy", "conv2")
    assert len(profile) == 9 * 22  # control, and four arms at two λ, each with 22 rows


def test_profile_of_random_labels_is_their_memorization(tmp_path):
    trials = make_trials(seeds=(0,), arms=("control",))

    profile = probed(tmp_path, trials, make_probes(trials)).probed.profile

    rows = profile.filter(probe="rlp_offline")
    assert set(rows["metric"]) == {"memorization"}
    assert rows.filter(source="gaussian")["estimate"].to_list() == pytest.approx([0.4, 0.3])
    assert rows["ci_low"].null_count() == len(rows)


def test_layer_is_chosen_by_validation_and_the_lowest_of_equal_ones(tmp_path):
    trials = make_trials(seeds=(0, 1))
    probes = make_probes(trials)
    level = probes.with_columns(
        val_accuracy=pl.when(probe="knn").then(0.9).otherwise("val_accuracy")
    )

    layers = probed(tmp_path, trials, level).probed.layers.filter(arm="full", source="trained")

    found = layers.select("probe", "label_set", "attach_point", "val_accuracy", "estimate")
    expected = pl.DataFrame(
        {
            "probe": ["knn", "masc", "masc"],
            "label_set": ["true", "trained", "true"],
            "attach_point": ["conv1", "conv2", "conv2"],
            "val_accuracy": [0.9, 0.2, 0.2],
            "estimate": [0.41, 0.31, 0.31],
        }
    )
    assert_frame_equal(found, expected)


def test_every_panel_of_the_figure_has_the_references_that_its_probe_has(tmp_path):
    trials = make_trials(lambdas=(1.0, 10.0), lrs=(0.1, 0.2))

    data = depth_data(probed(tmp_path, trials, make_probes(trials)))

    panels = data.partition_by("rlp_lambda", "probe", "label_set", as_dict=True)
    assert {key[:2] for key in panels} == {
        (value, probe) for value in (1.0, 10.0) for probe in ("rlp_offline", "knn", "masc")
    }
    for (_, probe, _), panel in panels.items():
        chance = {"gaussian"} if probe == "rlp_offline" else set()
        assert set(panel["source"]) == {"trained", "random_init", "pixels"} | chance
        assert panel.filter(source="pixels")["layer"].to_list() == [0]
        for source in {"random_init"} | chance:
            assert panel.filter(source=source)["layer"].to_list() == [1, 2]
        assert set(panel.filter(source="trained")["arm"]) == set(trials["arm"])


def test_figure_averages_cells_within_a_seed_before_seeds(tmp_path):
    trials = make_trials(arms=("control",), lrs=(0.1, 0.2, 0.4), seeds=(0, 1))
    missing = trials.filter(~((f("seed") == 1) & (f("lr") > 0.1)))  # seed 1 has one cell, not three

    data = depth_data(probed(tmp_path, missing, make_probes(missing)))

    row = data.filter(source="trained", probe="knn", layer=1).row(0, named=True)
    assert row["estimate"] == pytest.approx((0.40 + 0.42) / 2)
    assert (row["num_seeds"], row["num_cells"], row["rlp_lambda"]) == (2, 3, None)


@pytest.mark.parametrize(("shift", "label_sets"), [(0.0, {"true"}), (-0.2, {"true", "trained"})])
def test_labels_trained_on_are_drawn_where_they_differ_from_true_ones(tmp_path, shift, label_sets):
    trials = make_trials()

    analysis = probed(tmp_path, trials, make_probes(trials, trained_shift=shift))

    assert set(depth_data(analysis).filter(probe="masc")["label_set"]) == label_sets
    assert ("labels trained on" in draw_depth(analysis).svg) == (len(label_sets) == 2)


def test_analyze_writes_probes_and_removes_them_with_their_rows(tmp_path):
    trials = make_trials()
    directory = write_probed(tmp_path / "run", trials, make_probes(trials))

    result = analyze([directory])

    output = directory / "analysis"
    assert pl.read_parquet(output / "probe_profile.parquet").equals(result.probed.profile)
    assert query(directory, "SELECT * FROM probe_layers").equals(result.probed.layers)
    assert (output / "figures" / "probe_depth.svg").exists()
    page = (output / "report.html").read_text(encoding="utf-8")
    assert "What the layers hold" in page
    assert "Class probes at the layer whose validation accuracy" in page
    for path in (directory / "probes").iterdir():
        path.unlink()
    assert analyze([directory]).probed is None
    assert not list(output.rglob("probe_*"))


def test_a_row_of_several_directories_is_read_in_the_first(tmp_path):
    trials = make_trials(seeds=(0,))
    probes = make_probes(trials)
    first = write_probed(tmp_path / "a", trials, probes)
    second = write_probed(tmp_path / "b", trials, probes.with_columns(test_accuracy=pl.lit(0.0)))

    found = load_probes([first, second])

    found = found.select(probes.columns)
    assert_frame_equal(found, probes, check_row_order=False)


def test_probes_of_stopped_trials_are_left_out(tmp_path):
    trials = make_trials(status="stopped")

    assert probed(tmp_path, trials, make_probes(trials)).probed is None


def test_observers_that_blew_up_are_counted_in_a_note(tmp_path):
    trials = make_trials()
    ids = trials["trial_id"].to_list()
    online = pl.DataFrame(
        {
            "trial_id": [*ids[:2], ids[1], ids[2]],
            "attach_point": ["conv2", "conv2", "conv1", "conv1"],
            "layer": [2, 2, 1, 1],
            "memorization": [None, None, math.nan, 0.5],
        }
    ).with_columns(
        source=pl.lit("trained"),
        pooling=pl.lit("average"),
        probe=pl.lit("rlp_online"),
        label_set=pl.lit("random"),
    )

    analysis = probed(tmp_path, trials, online)

    assert analysis.notes[-1].startswith(
        "2 completed trial(s) have observers that blew up, at conv1 (1), conv2 (2): what they"
    )
    assert analysis.probed.rows.height == 1
    whole = probed(tmp_path / "whole", trials, online[3:])
    assert not [note for note in whole.notes if "blew up, at" in note]


def test_probes_without_a_column_of_their_key_are_refused(tmp_path):
    trials = make_trials()
    directory = write_probed(tmp_path / "run", trials, make_probes(trials).drop("layer"))

    with pytest.raises(SchemaError, match=r"probes of .* break the schema: {'layer': 'missing"):
        load_probes([directory])

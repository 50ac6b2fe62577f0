"""Benign or malign memorization: verdicts on written-out trials and probes."""

import polars as pl
import pytest
from analysis_frames import make_trials, write_directory

from analysis.benign import best_neighbours, judge_memorization
from analysis.benign_words import tell_memorization
from analysis.load_probes import load_probes
from analysis.query import query
from analysis.tables import analyze
from rlp_sweeps.benign_columns import BENIGN
from rlp_sweeps.errors import ArgumentError, SchemaError
from rlp_sweeps.probe_columns import PROBES

SEEDS = (0, 1, 2)
RECALLED = (0.998, 0.999, 1.0)


def trials_of(*accuracies: float, **columns) -> pl.DataFrame:
    """Control trials on random class labels, one a seed, with these training accuracies."""
    frame = make_trials(arms=("control",), seeds=tuple(range(len(accuracies))), **columns)
    corruption = {} if "label_corruption" in columns else {"label_corruption": 1.0}
    return frame.with_columns(
        pl.Series("train_accuracy", accuracies), **{n: pl.lit(v) for n, v in corruption.items()}
    )


def probes_of(trials: pl.DataFrame, **accuracies: tuple[float, ...]) -> pl.DataFrame:
    """kNN at one layer of each source, validating as it tests."""
    rows = [
        {"trial_id": trial_id, "source": source, "attach_point": "linear", "pooling": "average"}
        | {"probe": "knn", "label_set": "true", "layer": 1}
        | {"val_accuracy": accuracy, "test_accuracy": accuracy}
        for source, values in accuracies.items()
        for trial_id, accuracy in zip(trials["trial_id"], values, strict=True)
    ]
    return pl.DataFrame(rows)


def judge_one(trials: pl.DataFrame, probes: pl.DataFrame, **options) -> dict[str, object]:
    return judge_memorization(trials, probes, **options).row(0, named=True)


BETTER = {
    "trained": (0.80, 0.82, 0.81),
    "random_init": (0.60, 0.61, 0.62),
    "pixels": (0.70, 0.71, 0.70),
}


def test_a_network_that_memorizes_and_separates_classes_is_benign() -> None:
    trials = trials_of(*RECALLED)

    row = judge_one(trials, probes_of(trials, **BETTER))

    assert (row["verdict"], row["reason"]) == ("benign", None)
    assert row["train_accuracy"] == pytest.approx(0.999)
    assert row["train_accuracy_ci_low"] == pytest.approx(0.999 - 4.302653 * 0.001 / 3**0.5)
    assert row["over_random_init"] == pytest.approx(0.20)  # 0.20, 0.21, 0.19
    assert row["over_random_init_ci_low"] == pytest.approx(0.20 - 4.302653 * 0.01 / 3**0.5)
    assert row["over_pixels"] == pytest.approx((0.10 + 0.11 + 0.11) / 3)
    assert (row["num_seeds"], row["num_probed_seeds"], row["attach_point"]) == (3, 3, "linear")


@pytest.mark.parametrize("reference", ["random_init", "pixels"])
def test_a_network_that_beats_one_reference_alone_is_malign(reference: str) -> None:
    trials = trials_of(*RECALLED)

    row = judge_one(trials, probes_of(trials, **{**BETTER, reference: (0.80, 0.81, 0.82)}))

    assert row["verdict"] == "malign"
    assert row[f"over_{reference}_ci_low"] < 0


def test_seeds_pair_a_network_with_its_own_references() -> None:
    trials = trials_of(*RECALLED)
    levels = (0.2, 0.5, 0.8)  # seeds differ far more than the networks of a seed
    probes = probes_of(
        trials,
        trained=tuple(x + d for x, d in zip(levels, (0.05, 0.06, 0.055), strict=True)),
        random_init=levels,
        pixels=levels,
    )

    assert judge_one(trials, probes)["verdict"] == "benign"


@pytest.mark.parametrize(
    ("accuracies", "verdict"),
    [
        ((0.90, 0.91, 0.92), "not memorizing"),
        ((0.985, 0.999, 0.998), "not memorizing"),  # mean above the bound, interval not
        ((0.995, 0.995, 0.995), "benign"),  # no spread, every seed above
        ((0.99, 0.99, 0.99), "not memorizing"),  # at the bound
    ],
    ids=str,
)
def test_memorizing_takes_the_interval_above_the_bound(accuracies, verdict) -> None:
    trials = trials_of(*accuracies)

    assert judge_one(trials, probes_of(trials, **BETTER))["verdict"] == verdict


def test_another_bound_can_be_given() -> None:
    trials = trials_of(0.90, 0.91, 0.92)
    probes = probes_of(trials, **BETTER)

    row = judge_one(trials, probes, memorized_above=0.8)

    assert (row["verdict"], row["memorized_above"]) == ("benign", 0.8)
    with pytest.raises(ArgumentError, match="`0 <= memorized_above < 1` must hold"):
        judge_memorization(trials, probes, memorized_above=99.0)


def test_one_seed_gives_no_verdict() -> None:
    trials = trials_of(1.0)
    probes = probes_of(trials, **{name: values[:1] for name, values in BETTER.items()})

    row = judge_one(trials, probes)

    assert (row["verdict"], row["reason"]) == (None, "no verdict from one seed")
    assert row["over_pixels"] == pytest.approx(0.10)


def test_without_probes_benign_is_not_told_from_malign() -> None:
    trials = trials_of(*RECALLED)
    nothing = probes_of(trials, **BETTER).clear()

    row = judge_one(trials, nothing)
    in_one = judge_one(trials, probes_of(trials[:1], **{n: v[:1] for n, v in BETTER.items()}))

    assert (row["verdict"], row["reason"]) == (None, "not probed")
    assert (in_one["verdict"], in_one["reason"]) == (None, "probed in one seed")
    (said,) = tell_memorization(judge_memorization(trials, nothing))
    assert "memorizing, but not probed" in said.text
    assert "`run --probe knn`" in said.text
    assert "rlp-sweeps probe DIR --probes knn" in said.text


def test_layers_are_chosen_on_validation_the_lowest_of_equal_ones() -> None:
    keys = {"trial_id": "a", "pooling": "average", "probe": "knn", "label_set": "true"}
    rows = [
        ("trained", "one", 1, 0.7, 0.3),
        ("trained", "two", 2, 0.7, 0.9),
        ("trained", "three", 3, 0.6, 1.0),
        ("random_init", "one", 1, 0.4, 0.41),
        ("random_init", "two", 2, 0.5, 0.42),
        ("pixels", "pixels", 0, 0.5, 0.43),
    ]
    names = ("source", "attach_point", "layer", "val_accuracy", "test_accuracy")
    probes = pl.DataFrame([keys | dict(zip(names, row, strict=True)) for row in rows])

    (row,) = best_neighbours(probes).to_dicts()

    assert row == {"trial_id": "a", "knn_trained": 0.3, "knn_random_init": 0.42} | {
        "knn_pixels": 0.43,
        "attach_point": "one",
    }


def test_cells_are_judged_apart_and_true_labels_not_at_all() -> None:
    frames = [
        trials_of(*values, label_corruption=p, num_views=k, trial_id=pl.format("{}", "seed") + name)
        for name, values, p, k in (
            ("a", RECALLED, 1.0, 2),
            ("b", (0.5, 0.6, 0.7), 1.0, 4),
            ("c", RECALLED, 0.0, 0),
        )
    ]
    trials = pl.concat(frames)

    table = judge_memorization(trials, probes_of(frames[0], **BETTER))

    found = table.select("num_views", "label_corruption", "verdict").rows()
    assert found == [(2, 1.0, "benign"), (4, 1.0, "not memorizing")]


def test_diverged_trials_are_counted_and_left_out() -> None:
    trials = trials_of(*RECALLED, 0.1).with_columns(
        status=pl.when(pl.col("seed") == 3).then(pl.lit("diverged")).otherwise("status")
    )
    probes = probes_of(trials[:3], **BETTER)

    row = judge_one(trials, probes)

    assert (row["verdict"], row["num_seeds"], row["num_diverged"]) == ("benign", 3, 1)


def test_a_cell_whose_trials_all_diverged_has_no_verdict() -> None:
    trials = trials_of(0.1, 0.1, status="diverged")
    table = judge_memorization(trials, probes_of(trials, **{n: v[:2] for n, v in BETTER.items()}))

    assert table.row(0, named=True)["verdict"] is None
    assert (
        "no verdict from no seed. No trial was completed. 2 more"
        in next(tell_memorization(table)).text
    )


def test_the_table_has_the_columns_of_the_schema() -> None:
    trials = trials_of(*RECALLED, num_views=2)

    table = judge_memorization(trials, probes_of(trials, **BETTER))

    assert table.columns == [column.name for column in BENIGN]
    dtypes = {"f64": pl.Float64, "i64": pl.Int64, "str": pl.String}
    assert dict(table.schema) == {column.name: dtypes[column.dtype] for column in BENIGN}


def test_the_sentence_tells_the_numbers_that_it_stands_on() -> None:
    trials = trials_of(*RECALLED)

    (said,) = tell_memorization(judge_memorization(trials, probes_of(trials, **BETTER)))

    assert said.text.startswith("control at lr 0.1, rlp_lambda 0, label_smoothing 0: benign. ")
    assert "random labels trained on is 0.9990 [0.9965, 1.0015], bound 0.99 (n = 3" in said.text
    assert "kNN on true labels scores 0.8100 on test, +20.00 points [+17.52, +22.48]" in said.text


def test_many_cells_are_counted() -> None:
    lrs = tuple(0.01 * k for k in range(1, 15))
    trials = make_trials(arms=("control",), lrs=lrs, seeds=SEEDS, label_corruption=1.0)

    (said,) = tell_memorization(judge_memorization(trials, probes_of(trials[:1], trained=(0.5,))))

    assert said.text.startswith("of 14 cells and arms: not memorizing 14;")


def test_analyze_writes_the_table_and_says_the_verdict(tmp_path) -> None:
    trials = trials_of(*RECALLED)
    directory = write_directory(tmp_path / "run", trials)
    (directory / "probes").mkdir()
    probes_of(trials, **BETTER).write_parquet(directory / "probes" / "part.parquet")

    result = analyze([directory])

    assert "Random class labels: control at lr 0.1" in result.verdict
    assert result.to_json()["benign"][0]["verdict"] == "benign"
    assert query(directory, "SELECT verdict FROM benign").item() == "benign"
    report = (directory / "analysis" / "report.html").read_text(encoding="utf-8")
    assert ": benign. Accuracy on the random labels" in report


def test_a_sweep_on_true_labels_has_no_such_verdict(tmp_path) -> None:
    directory = write_directory(tmp_path / "run", make_trials(seeds=SEEDS))

    result = analyze([directory])

    assert result.benign is not None
    assert result.benign.is_empty()
    assert "Random class labels" not in result.verdict
    assert pl.read_parquet(directory / "analysis" / "benign.parquet").is_empty()


def test_probes_are_read_where_the_trial_is_and_checked_against_the_schema(tmp_path) -> None:
    trials = trials_of(*RECALLED)
    first, second = (write_directory(tmp_path / name, trials) for name in "ab")
    for directory, level in ((first, 0.1), (second, 0.9)):
        (directory / "probes").mkdir()
        probes = probes_of(trials, trained=(level,) * 3)
        probes.write_parquet(directory / "probes" / "part.parquet")

    loaded = load_probes([first, second])

    assert loaded["test_accuracy"].to_list() == [0.1] * 3
    assert set(loaded.columns) == {column.name for column in PROBES}
    probes.drop("probe").write_parquet(second / "probes" / "part.parquet")
    with pytest.raises(SchemaError, match=r"probes of .*'probe': 'missing, not String'"):
        load_probes([first, second])

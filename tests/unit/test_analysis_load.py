"""The border: what a run directory may look like, and what is refused."""

import json

import polars as pl
import pytest
from analysis_frames import (
    make_epochs,
    make_trials,
    where_arm,
    where_seed,
    write_directory,
    write_plan,
)
from polars.testing import assert_frame_equal

from analysis.cells import summarize_cells
from analysis.load import load_epochs, load_sweep, load_trials
from analysis.pairing import cell_columns, pair_arms
from analysis.tables import analyze
from rlp_sweeps.errors import RunDirectoryError, SchemaError


def test_load_trials_returns_values_unrounded(tmp_path):
    odd = 0.1 + 0.2
    directory = write_directory(tmp_path / "a", make_trials(lrs=(odd,), lambdas=(1 / 3,)))

    trials = load_trials([directory])

    assert trials["lr"].unique().to_list() == [odd]
    assert set(trials["rlp_lambda"]) == {0.0, 1 / 3}


def test_load_trials_joins_files_with_other_columns_and_narrower_types(tmp_path):
    directory = write_directory(tmp_path / "a", make_trials(seeds=(0,), momentum=0.9))
    narrow = make_trials(seeds=(1,)).with_columns(
        pl.col("seed").cast(pl.Int32), pl.col("test_loss").cast(pl.Float32)
    )
    narrow.write_parquet(directory / "trials" / "other.parquet")

    trials = load_trials([directory])

    assert trials.schema["seed"] == pl.Int64
    assert trials.schema["test_loss"] == pl.Float64
    assert trials["momentum"].null_count() == 5
    assert len(trials) == 10


def test_rows_older_than_a_setting_are_in_the_cell_of_its_default(tmp_path):
    directory = write_directory(tmp_path / "a", make_trials(seeds=(0,)))
    make_trials(seeds=(1,), label_corruption=0.0).write_parquet(directory / "trials" / "b.parquet")

    trials = load_trials([directory])

    assert trials["label_corruption"].to_list() == [0.0] * 10
    assert "label_corruption" not in cell_columns(trials)


def test_a_share_of_corrupted_labels_that_varies_tells_cells_apart(tmp_path):
    frames = [
        make_trials(
            label_corruption=p,
            trial_id=pl.format("{}", pl.lit(p)) + pl.col("arm") + pl.col("seed").cast(pl.String),
        )
        for p in (0.0, 0.8)
    ]

    trials = load_trials([write_directory(tmp_path / "a", pl.concat(frames))])

    assert cell_columns(trials)[-1] == "label_corruption"
    assert summarize_cells(trials).height == 10  # two cells, five arms


def test_load_trials_takes_whole_numbers_categories_and_untyped_nulls(tmp_path):
    foreign = make_trials(lr_multiplier=None).with_columns(
        pl.col("rlp_lambda").cast(pl.Int64), pl.col("arm").cast(pl.Categorical)
    )
    directory = write_directory(tmp_path / "a", foreign)

    trials = load_trials([directory])

    assert trials.schema["rlp_lambda"] == pl.Float64
    assert trials.schema["arm"] == pl.String
    assert trials.schema["lr_multiplier"] == pl.Float64


@pytest.mark.parametrize(
    "name", ["lr", "rlp_lambda", "label_smoothing", "weight_decay", "config_gain"]
)
@pytest.mark.parametrize("folders", [("a", "a"), ("a", "b")], ids=["within", "across"])
@pytest.mark.parametrize("dtype", [pl.Float32, pl.Float16])
def test_load_trials_refuses_a_value_of_two_precisions(tmp_path, name, folders, dtype):
    is_control = pl.col("arm") == "control"
    value = pl.when(is_control & (pl.lit(name) == "rlp_lambda")).then(0.0).otherwise(0.1)
    trials = make_trials(**{name: value})
    first = write_directory(tmp_path / "a", trials.filter(is_control | (pl.col("seed") == 0)))
    second = tmp_path / folders[1]
    (second / "trials").mkdir(parents=True, exist_ok=True)
    narrow = trials.filter(~is_control & (pl.col("seed") == 1)).with_columns(
        pl.col(name).cast(dtype)
    )
    narrow.write_parquet(second / "trials" / "narrow.parquet")

    says = (
        rf"`{name}` is Float\d\d in .*narrow\.parquet and Float64 in .*part\.parquet, so that 0\.1"
    )
    with pytest.raises(SchemaError, match=rf"{says} is 0\.\d+ there .*; write `{name}` as Float64"):
        load_trials(list(dict.fromkeys([first, second])))


def test_load_trials_pairs_mixed_precisions_that_say_the_same(tmp_path):
    trials = make_trials(lrs=(0.5,))
    directory = write_directory(tmp_path / "a", trials.filter(pl.col("arm") == "control"))
    narrow = trials.filter(pl.col("arm") != "control").with_columns(
        pl.col("lr", "rlp_lambda", "label_smoothing", "test_accuracy").cast(pl.Float32)
    )
    narrow.write_parquet(directory / "trials" / "narrow.parquet")

    seeds = pair_arms(load_trials([directory]), "test_accuracy").seeds

    assert seeds.select("y_control", "y_full").null_count().row(0) == (0, 0)


def test_load_trials_widens_a_table_of_one_narrow_precision(tmp_path):
    narrow = make_trials().with_columns(pl.col("lr", "rlp_lambda").cast(pl.Float32))
    directory = write_directory(tmp_path / "a", narrow)

    trials = load_trials([directory])

    assert trials["lr"].unique().to_list() == [0.10000000149011612]
    assert pair_arms(trials, "test_accuracy").seeds["y_control"].null_count() == 0


def test_load_trials_ignores_foreign_columns_but_configuration(tmp_path):
    foreign = make_trials(favourite_colour="green", config_depth=3, hostname=7, dropout="half")
    foreign = foreign.with_columns(nesterov=True)
    directory = write_directory(tmp_path / "a", foreign)

    columns = load_trials([directory]).columns

    assert "config_depth" in columns
    assert {"dropout", "nesterov"} <= set(columns)
    assert not {"favourite_colour", "hostname"} & set(columns)


def test_load_trials_computes_memorization_and_equivalent_lr_where_missing(tmp_path):
    directory = write_directory(tmp_path / "a", make_trials(random_label_accuracy=0.55, seeds=(0,)))

    trials = load_trials([directory])

    assert trials["memorization"].to_list() == pytest.approx([0.5] * 5)
    equivalent = dict(trials.select("arm", "equivalent_lr").iter_rows())
    assert equivalent["control"] == pytest.approx(0.1)
    assert equivalent["full"] == pytest.approx(0.15)


def test_load_trials_keeps_a_given_memorization(tmp_path):
    directory = write_directory(tmp_path / "a", make_trials(memorization=0.25))

    assert set(load_trials([directory])["memorization"]) == {0.25}


@pytest.mark.parametrize(
    ("broken", "problem"),
    [
        (make_trials().drop("rlp_lambda"), r"\{'rlp_lambda': 'missing, not Float64'\}"),
        (make_trials(lr="0.1"), r"\{'lr': 'String, not Float64'\}"),
        (make_trials(seed=0.5), r"\{'seed': 'Float64, not Int64'\}"),
        (make_trials(arm=1), r"\{'arm': 'Int32, not String'\}"),
        (make_trials(num_classes="ten"), r"\{'num_classes': 'String, not Int64'\}"),
        (make_trials(memorization="much"), r"\{'memorization': 'String, not Float64'\}"),
    ],
)
def test_load_trials_refuses_missing_and_mistyped_columns(tmp_path, broken, problem):
    directory = write_directory(tmp_path / "a", broken)

    expected = f"trials of .*a break the schema: {problem}. Was it written by another version"
    with pytest.raises(SchemaError, match=expected):
        load_trials([directory])


def test_load_trials_names_the_file_that_breaks_the_schema(tmp_path):
    directory = write_directory(tmp_path / "a", make_trials())
    make_trials().drop("lr").write_parquet(directory / "trials" / "old.parquet")

    with pytest.raises(SchemaError, match=r"trials of .*old\.parquet break the schema"):
        load_trials([directory])


@pytest.mark.parametrize("content", [b"", b"PAR1", b"no parquet at all, but long enough"])
def test_load_trials_names_an_unreadable_file(tmp_path, content):
    directory = write_directory(tmp_path / "a", make_trials())
    (directory / "trials" / "torn.parquet").write_bytes(content)

    with pytest.raises(SchemaError, match=r"torn\.parquet cannot be read"):
        load_trials([directory])


@pytest.mark.parametrize(
    ("name", "is_ours", "says"),
    [
        (
            "trials/torn",
            False,
            r"a has no manifest\.json, so that no .* the program that wrote it, or",
        ),
        ("trials/torn", True, r"`rlp-sweeps resume .*a` trains its trial again\."),
        ("trials/0-compacted", True, r"trains every trial that is in no other file again\."),
        ("epochs/torn", True, "remove it and go without its epochs"),
        ("epochs/torn", False, r"the program that wrote it, or remove it"),
    ],
)
def test_load_sweep_says_what_to_do_about_a_corrupt_file(tmp_path, name, is_ours, says):
    trials = make_trials()
    directory = write_directory(tmp_path / "a", trials, epochs=make_epochs(trials))
    (directory / f"{name}.parquet").write_bytes(b"no parquet at all, but long enough")
    if is_ours:
        write_plan(directory, trials["trial_id"])

    with pytest.raises(SchemaError, match=says):
        load_trials([directory]) if name.startswith("trials") else load_epochs([directory])


def test_load_trials_names_a_file_with_a_whole_footer_and_torn_pages(tmp_path):
    directory = write_directory(tmp_path / "a", make_trials(seeds=range(200)))
    path = directory / "trials" / "part.parquet"
    content = bytearray(path.read_bytes())
    content[4:2000] = b"\xff" * 1996
    path.write_bytes(bytes(content))

    with pytest.raises(SchemaError, match=r"part\.parquet cannot be read"):
        load_trials([directory])


def test_load_trials_refuses_configuration_of_two_kinds(tmp_path):
    directory = write_directory(tmp_path / "a", make_trials(config_a=pl.lit([1, 2])))
    other = make_trials(seeds=(5,), config_a=pl.struct(x=1))
    other.write_parquet(directory / "trials" / "other.parquet")

    with pytest.raises(SchemaError, match="same type in every part file"):
        load_trials([directory])


def test_load_trials_leaves_out_files_that_are_still_written(tmp_path):
    directory = write_directory(tmp_path / "a", make_trials())
    (directory / "trials" / ".part-2.parquet").write_bytes(b"half")

    assert len(load_trials([directory])) == 10


def test_load_trials_refuses_a_folder_that_does_not_exist(tmp_path):
    with pytest.raises(RunDirectoryError, match=r"must exist, but there is no folder .*nowhere"):
        load_trials([tmp_path / "nowhere"])


def test_load_trials_refuses_a_folder_without_trials(tmp_path):
    with pytest.raises(RunDirectoryError, match=r"it has neither manifest\.json nor"):
        load_trials([tmp_path])


def test_load_trials_refuses_no_folder_at_all():
    with pytest.raises(RunDirectoryError, match="at least one run directory"):
        load_trials([])


def test_load_trials_refuses_a_newer_schema_version(tmp_path):
    directory = write_directory(tmp_path / "a", make_trials())
    (directory / "manifest.json").write_text(json.dumps({"schema_version": 99}))

    with pytest.raises(RunDirectoryError, match=r"schema_version=99. Read it with a newer"):
        load_trials([directory])


def test_load_trials_refuses_a_broken_manifest(tmp_path):
    directory = write_directory(tmp_path / "a", make_trials())
    (directory / "manifest.json").write_text('{"schema_version": 1')

    with pytest.raises(RunDirectoryError, match="must be JSON"):
        load_trials([directory])


def test_load_trials_takes_a_manifest_of_this_version(tmp_path):
    directory = write_directory(tmp_path / "a", make_trials())
    (directory / "manifest.json").write_text('{"schema_version": 1}')

    assert len(load_trials([directory])) == 10


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"status": "done"}, r"status in .* but got \['done'\]"),
        ({"lr": pl.lit(None, pl.Float64)}, r"no nulls, but got \{'lr': 10\}"),
        ({"rlp_lambda": 1.0}, "0 in arm 'control'"),
        ({"rlp_lambda": -1.0}, "`rlp_lambda >= 0`"),
        ({"rlp_lambda": float("nan")}, "`rlp_lambda` must be finite"),
        ({"lr": float("nan")}, "`lr` must be finite in .*a, but got nan"),
        ({"label_smoothing": float("inf")}, "`label_smoothing` must be finite in .*a, but got inf"),
        ({"test_accuracy": 67.5}, "`0 <= test_accuracy <= 1` must .* 67.5; shares are never perc"),
        ({"random_label_accuracy": -0.5}, "`0 <= random_label_accuracy <= 1` must hold in .*-0.5"),
    ],
)
def test_load_trials_refuses_values_the_schema_does_not_know(tmp_path, wrong, message):
    directory = write_directory(tmp_path / "a", make_trials(**wrong))

    with pytest.raises(SchemaError, match=message):
        load_trials([directory])


def test_load_trials_takes_shares_at_their_ends_and_missing_ones(tmp_path):
    ends = pl.col("seed").replace_strict({0: 1.0 + 1e-7, 1: float("nan")}, return_dtype=pl.Float64)
    directory = write_directory(tmp_path / "a", make_trials(train_accuracy=ends, val_accuracy=0.0))

    assert len(load_trials([directory])) == 10


def test_load_trials_reads_a_row_once_from_its_part_and_the_compacted_file(tmp_path):
    directory = write_directory(tmp_path / "a", make_trials())
    make_trials().write_parquet(directory / "trials" / "compacted.parquet")

    trials = load_trials([directory])

    assert len(trials) == trials["trial_id"].n_unique() == 10


def test_load_trials_prefers_the_finished_row_of_a_trial_that_failed_before(tmp_path):
    directory = write_directory(tmp_path / "a", make_trials(status="failed", test_accuracy=None))
    make_trials().write_parquet(directory / "trials" / "retried.parquet")

    assert set(load_trials([directory])["status"]) == {"completed"}


def test_load_trials_refuses_two_ends_of_one_trial_in_a_directory(tmp_path):
    directory = write_directory(tmp_path / "a", make_trials())
    make_trials(test_accuracy=0.1).write_parquet(directory / "trials" / "other.parquet")

    with pytest.raises(SchemaError, match="a trial must have one end, but trial_id='class_term"):
        load_trials([directory])


@pytest.mark.parametrize(
    "other",
    [{"lr": 0.2}, {"label_smoothing": 0.1}, {"seed": 7}, {"config_depth": 4}, {"momentum": None}],
    ids=lambda other: next(iter(other)),
)
@pytest.mark.parametrize("folders", [("a", "a"), ("a", "b")], ids=["within", "across"])
def test_load_trials_refuses_one_id_of_two_configurations(tmp_path, folders, other):
    base = {"config_depth": 3, "momentum": 0.9, "trial_id": "t-" + pl.col("arm")}
    first = write_directory(tmp_path / "a", make_trials(seeds=(0,), **base))
    second = tmp_path / folders[1]
    (second / "trials").mkdir(parents=True, exist_ok=True)
    twin = make_trials(seeds=(0,), **(base | {"status": "failed"} | other))
    twin.write_parquet(second / "trials" / "other.parquet")

    where = ", ".join(str(folder) for folder in dict.fromkeys([first, second]))
    expected = rf"\['t-class_term', 't-control', 't-full'\] and 2 further in {where} differ"
    with pytest.raises(SchemaError, match=rf"{expected}: .*{next(iter(other))}.* its own trial_id"):
        load_trials(list(dict.fromkeys([first, second])))


def test_load_trials_takes_no_column_that_a_file_lacks_for_a_difference(tmp_path):
    directory = write_directory(tmp_path / "a", make_trials(status="failed"))
    make_trials(momentum=0.9).write_parquet(directory / "trials" / "retried.parquet")

    assert set(load_trials([directory])["momentum"]) == {0.9}


def test_load_sweep_counts_trials_with_other_outcomes_in_a_later_directory(tmp_path):
    first = write_directory(tmp_path / "a", make_trials())
    second = write_directory(
        tmp_path / "b", make_trials(val_accuracy=where_seed(0, "val_accuracy", 0.25))
    )
    third = write_directory(tmp_path / "c", make_trials(status="stopped", test_loss=9.0))

    assert load_sweep([first, second, third])[1].num_twofold == 5
    assert load_sweep([first, third, first])[1].num_twofold == 0


def test_load_sweep_reads_what_the_manifests_plan(tmp_path):
    first = write_directory(tmp_path / "a", make_trials())
    second = write_directory(tmp_path / "b", make_trials())
    write_plan(first, ["x", "y"])

    assert load_sweep([first])[1].planned == {"x", "y"}
    assert load_sweep([first])[1].is_planned
    assert not load_sweep([first, second])[1].is_planned


@pytest.mark.parametrize("trials", [{"x": 1}, ["x"], [{"id": "x"}]])
def test_load_sweep_refuses_a_plan_that_is_no_list_of_trials(tmp_path, trials):
    directory = write_directory(tmp_path / "a", make_trials())
    (directory / "manifest.json").write_text(json.dumps({"trials": trials}))

    with pytest.raises(RunDirectoryError, match=r"list of objects with a `trial_id`"):
        load_sweep([directory])


def test_load_trials_refuses_a_manifest_that_is_no_object(tmp_path):
    directory = write_directory(tmp_path / "a", make_trials())
    (directory / "manifest.json").write_text("[]")

    with pytest.raises(RunDirectoryError, match=r"must be a JSON object, but .* holds list"):
        load_trials([directory])


def test_load_trials_keeps_the_earlier_directory_of_a_trial(tmp_path):
    first = write_directory(tmp_path / "a", make_trials(seeds=(0,)))
    second = write_directory(tmp_path / "b", make_trials(test_accuracy=0.1))

    trials = load_trials([first, second])

    assert len(trials) == 10
    assert (trials.filter(pl.col("seed") == 0)["test_accuracy"] > 0.1).all()
    assert (trials.filter(pl.col("seed") == 1)["test_accuracy"] == 0.1).all()


def test_load_epochs_returns_an_empty_frame_without_epochs(tmp_path):
    directory = write_directory(tmp_path / "a", make_trials())

    epochs = load_epochs([directory], columns=["trial_id", "epoch", "val_accuracy"])

    assert epochs.is_empty()
    assert epochs.columns == ["trial_id", "epoch", "val_accuracy"]


def test_load_epochs_reads_each_evaluation_once(tmp_path):
    trials = make_trials()
    written = make_epochs(trials)
    directory = write_directory(tmp_path / "a", trials, epochs=written)
    written.write_parquet(directory / "epochs" / "compacted.parquet")

    epochs = load_epochs([directory]).select(written.columns)

    assert_frame_equal(epochs, written, check_row_order=False, check_column_order=False)


def test_load_epochs_follows_the_directory_of_the_kept_trial_row(tmp_path):
    trials = make_trials(seeds=(0,))
    stale = make_epochs(trials).with_columns(val_accuracy=0.0)
    broken = trials.with_columns(where_arm("full", "status", "failed"))
    first = write_directory(tmp_path / "a", broken, epochs=stale)
    second = write_directory(tmp_path / "b", trials, epochs=make_epochs(trials, num_epochs=2))
    kept = load_sweep([first, second])[1].kept

    epochs = load_epochs([first, second], kept=kept)

    is_full = pl.col("trial_id").str.starts_with("full")
    assert epochs.filter(is_full)["epoch"].to_list() == [1, 2]
    assert (epochs.filter(is_full)["val_accuracy"] > 0).all()
    assert set(epochs.filter(~is_full)["val_accuracy"]) == {0.0}
    assert len(epochs) == 4 * 3 + 2


def test_load_epochs_never_mixes_directories_within_a_trial(tmp_path):
    trials = make_trials(seeds=(0,))
    first = write_directory(tmp_path / "a", trials, epochs=make_epochs(trials, num_epochs=2))
    second = write_directory(tmp_path / "b", trials, epochs=make_epochs(trials, num_epochs=5))

    assert set(load_epochs([first, second])["epoch"]) == {1, 2}


def test_analyze_draws_the_epochs_of_the_kept_trial_row(tmp_path):
    trials = make_trials()
    stale = make_epochs(trials).with_columns(val_accuracy=0.0)
    first = write_directory(
        tmp_path / "a", trials.with_columns(status=pl.lit("failed")), epochs=stale
    )
    second = write_directory(tmp_path / "b", trials, epochs=make_epochs(trials))

    epochs = analyze([first, second], output=tmp_path / "out").epochs

    assert len(epochs) == 30
    assert (epochs["val_accuracy"] > 0).all()


def test_load_epochs_reads_the_trials_that_are_asked_for(tmp_path):
    trials = make_trials(seeds=(0,))
    written = make_epochs(trials)
    directory = write_directory(tmp_path / "a", trials, epochs=written)
    asked = trials["trial_id"].head(2)

    epochs = load_epochs([directory], trial_ids=asked).select(written.columns)

    expected = written.filter(pl.col("trial_id").is_in(asked.implode()))
    assert_frame_equal(epochs, expected, check_row_order=False)


def test_load_epochs_refuses_a_table_without_its_key(tmp_path):
    trials = make_trials()
    directory = write_directory(tmp_path / "a", trials, epochs=make_epochs(trials).drop("epoch"))

    with pytest.raises(SchemaError, match=r"epochs of .* \{'epoch': 'missing, not Int64'\}"):
        load_epochs([directory])


def test_load_trials_refuses_tables_without_a_row(tmp_path):
    directory = write_directory(tmp_path / "a", make_trials().clear())

    with pytest.raises(RunDirectoryError, match=r"at least one trial, but .* have no row"):
        load_trials([directory])


@pytest.mark.parametrize("has_multiplier", [True, False])
def test_rescaled_trials_join_the_cell_they_are_matched_to_wherever_their_kappa_stands(
    tmp_path, has_multiplier
) -> None:
    levels = {"control": 0.5, "full": 0.44, "rescaled": 0.47}
    trials = make_trials(arms=tuple(levels), levels=levels, extractor_scale=1.0)
    is_rescaled = pl.col("arm") == "rescaled"
    kappa = pl.when(is_rescaled).then(2.5)
    if has_multiplier:
        trials = trials.with_columns(matched_multiplier=kappa)
    else:
        trials = trials.with_columns(extractor_scale=kappa.otherwise(1.0))

    loaded = load_trials([write_directory(tmp_path / "a", trials)])

    assert loaded["extractor_scale"].to_list() == [1.0] * len(trials)
    assert cell_columns(loaded) == ["lr", "rlp_lambda", "label_smoothing"]

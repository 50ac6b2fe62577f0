"""Probing a run directory: what is chosen, written, shared, gone on with and said."""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from threadpoolctl import threadpool_info

from rlp_sweeps.cli import main
from rlp_sweeps.errors import ProbeError, SchemaError
from rlp_sweeps.orchestration import probe_tasks
from rlp_sweeps.orchestration.planner import SweepPlan, plan_sweep
from rlp_sweeps.orchestration.probe_fit import left_out_of_plan
from rlp_sweeps.orchestration.probing import ProbedTrial, probe_sweep
from rlp_sweeps.orchestration.progress import RunOptions
from rlp_sweeps.orchestration.rows import take_over
from rlp_sweeps.orchestration.sweep import resume_sweep
from rlp_sweeps.probes import ProbeOptions, data_key, probe_references, reference_key
from rlp_sweeps.spaces import ChoiceAxis, SearchSpace
from rlp_sweeps.tracking.kept_weights import keep_weights, kept_weights, weights_folder
from rlp_sweeps.tracking.probe_rows import (
    ask_for_probes,
    asked_probes,
    read_probes,
    write_probe_error,
    write_probes,
)
from rlp_sweeps.tracking.run_directory import RunDirectory, build_manifest
from rlp_sweeps.training.datasets import split_dataset
from rlp_sweeps.training.loop import GroupContext, train_group

SPACE = SearchSpace(
    axes={"lr": ChoiceAxis(choices=(0.1,)), "rlp_lambda": ChoiceAxis(choices=(1,), control=0.0)},
    arms=("control", "full"),
    num_seeds=2,
    fixed={
        "train_samples": 64,
        "val_samples": 32,
        "test_samples": 32,
        "backbone": "mlp",
        "batch_size": 32,
        "num_epochs": 1,
    },
)
KNN = ProbeOptions(probes=("knn",))
CPU = RunOptions(device="cpu")
Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def lay_out(path: Path, space: SearchSpace = SPACE) -> tuple[RunDirectory, SweepPlan]:
    plan = plan_sweep(space, name="demo", device="cpu", engine="sequential", group_size=4)
    manifest = build_manifest(
        plan_id=plan.plan_id,
        sweep_name=plan.name,
        space=plan.space.to_dict(),
        configs=plan.trials,
        settings=plan.settings(),
    )
    return RunDirectory.create(path, manifest), plan


def train_into(path: Path, *, keeps: bool = True, space: SearchSpace = SPACE) -> RunDirectory:
    """Train the space into a run directory, in this process."""
    directory, plan = lay_out(path, space)
    if keeps:
        keep_weights(directory)
    context = GroupContext(
        group_id="g", data_dir=plan.data_dir, weights_folder=weights_folder(directory)
    )
    for group in plan.groups:
        train_group(
            group.trials,
            context=context,
            report=lambda progress: (),
            record=lambda result: directory.write_trial(result.trial, result.epochs),
        )
    return directory


@pytest.fixture
def directory(tmp_path: Path) -> RunDirectory:
    return train_into(tmp_path / "sweep")


def ids_of(directory: RunDirectory) -> list[str]:
    return sorted(directory.finished_trials())


def test_every_trial_with_weights_is_probed_once(directory: RunDirectory) -> None:
    heard: list[ProbedTrial] = []

    first = probe_sweep(directory.path, options=KNN, run_options=CPU, on_trial=heard.append)
    second = probe_sweep(directory.path, options=KNN, run_options=CPU, on_trial=heard.append)

    assert (first.num_probed, first.num_complete) == (4, 0)
    assert (second.num_probed, second.num_complete) == (0, 4)
    assert sorted(trial.config.trial_id for trial in heard) == ids_of(directory)
    assert [(trial.number, trial.num_trials) for trial in heard] == [(n, 4) for n in (1, 2, 3, 4)]
    rows = read_probes(directory).to_pylist()
    assert Counter((row["trial_id"], row["source"]) for row in rows) == {
        (i, source): n
        for i in ids_of(directory)
        for source, n in {"pixels": 1, "random_init": 2, "trained": 2}.items()
    }


def test_further_probes_and_poolings_join_the_rows_that_are_there(directory: RunDirectory) -> None:
    trial_id = ids_of(directory)[0]

    for options in (
        KNN,
        ProbeOptions(probes=("knn", "class_mean")),
        ProbeOptions(probes=("knn",), pooling="flatten"),
    ):
        probe_sweep(directory.path, options=options, run_options=CPU, trial_ids=[trial_id])

    rows = read_probes(directory).to_pylist()
    assert {row["trial_id"] for row in rows} == {trial_id}
    assert Counter((row["probe"], row["pooling"]) for row in rows) == {
        ("knn", "average"): 5,
        ("class_mean", "average"): 10,
        ("knn", "flatten"): 5,
    }


def test_observers_have_one_row_a_place_whatever_the_pooling(directory: RunDirectory) -> None:
    trial_id = ids_of(directory)[0]

    for pooling in ("flatten", "average"):
        options = ProbeOptions(probes=("rlp_online", "knn"), pooling=pooling)
        probe_sweep(directory.path, options=options, run_options=CPU, trial_ids=[trial_id])

    rows = read_probes(directory).to_pylist()
    assert Counter((row["probe"], row["pooling"]) for row in rows) == {
        ("rlp_online", "average"): 1,
        ("knn", "flatten"): 5,
        ("knn", "average"): 5,
    }


def test_the_observers_of_all_places_have_a_row_each(tmp_path: Path) -> None:
    space = SPACE.override({"attach_points": "hidden1", "observed_attach_points": "all"})
    directory = train_into(tmp_path / "places", space=space)

    probe_sweep(directory.path, options=ProbeOptions(probes=("rlp_online",)), run_options=CPU)

    trials = {row["trial_id"]: row for row in directory.read_trials().to_pylist()}
    rows = read_probes(directory).to_pylist()
    assert Counter((row["attach_point"], row["layer"]) for row in rows) == {
        ("hidden1", 1): 4,
        ("hidden2", 2): 4,
    }
    for row in rows:
        if row["attach_point"] == "hidden1":
            assert row["train_accuracy"] == trials[row["trial_id"]]["random_label_accuracy"]


def test_observers_of_fixed_views_read_those_of_their_own_augmentation(tmp_path: Path) -> None:
    space = SPACE.override({"augmentation": "crop,p3", "num_views": "2"})
    directory = train_into(tmp_path / "views", space=space)

    probe_sweep(directory.path, options=ProbeOptions(probes=("rlp_online",)), run_options=CPU)

    trials = {row["trial_id"]: row for row in directory.read_trials().to_pylist()}
    rows = read_probes(directory).to_pylist()
    assert len(rows) == len(trials) == 8
    for row in rows:
        assert row["train_accuracy"] == trials[row["trial_id"]]["random_label_accuracy"]
        assert row["num_train_samples"] == 2 * 64


def test_references_are_the_same_whatever_the_views_are_made_by() -> None:
    plan = plan_sweep(
        SPACE.override({"augmentation": "crop,p3", "num_views": "2"}),
        name="demo",
        device="cpu",
        engine="sequential",
    )
    one, other = {
        c.augmentation: c for c in plan.trials if c.seed == 0 and c.arm == "full"
    }.values()

    found = [
        probe_references(
            config,
            split_dataset(config, data_dir="", device=torch.device("cpu")),
            options=ProbeOptions(probes=("rlp_offline", "class_mean")),
        )
        for config in (one, other)
    ]

    assert reference_key(one) == reference_key(other)
    assert data_key(one) != data_key(other)
    first, second = ([replace(row, probe_time_s=0.0) for row in rows] for rows in found)
    assert first == second


def test_trials_of_one_seed_share_their_references(
    directory: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds = []
    probe_references = probe_tasks.probe_references

    def counted(config, data, **options):
        seeds.append(config.seed)
        return probe_references(config, data, **options)

    monkeypatch.setattr(probe_tasks, "probe_references", counted)

    probe_sweep(directory.path, options=KNN, run_options=CPU)

    assert sorted(seeds) == [0, 1]


def test_an_interrupted_probing_keeps_what_is_probed(
    directory: RunDirectory, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rlp_sweeps.cli.probing._print_trial", interrupt)

    status = main(["probe", str(directory.path), "--probes", "knn", "--device", "cpu"])

    assert status == 130
    assert "interrupted; what is probed is kept" in capsys.readouterr().err
    assert len(set(read_probes(directory)["trial_id"].to_pylist())) == 1


def interrupt(trial: ProbedTrial) -> None:
    raise KeyboardInterrupt


def test_the_command_says_a_line_a_trial_and_a_summary(
    directory: RunDirectory, capsys: Capture
) -> None:
    trial_id = ids_of(directory)[0]
    argv = ["probe", str(directory.path), "--device", "cpu"]

    assert main([*argv, "--trials", f"{trial_id},"]) == 0

    line, summary = capsys.readouterr().out.splitlines()
    assert line.startswith(f"[1/1] {trial_id} ")
    for name in ("rlp_online", "rlp_offline", "knn", "masc", "class_mean", "lda", "linear"):
        assert f"{name} " in line
    assert summary == f"probes: {directory.path / 'probes'} (1 trials probed, 0 had their rows)"


def test_the_command_prints_its_result_alone_as_a_line_or_as_json(
    directory: RunDirectory, capsys: Capture
) -> None:
    argv = ["probe", str(directory.path), "--device", "cpu", "--trials", ids_of(directory)[0]]

    assert main([*argv, "--probes", "knn", "--quiet"]) == 0
    summary = f"probes: {directory.path / 'probes'} (1 trials probed, 0 had their rows)\n"
    assert capsys.readouterr().out == summary
    assert main([*argv, "--probes", "lda", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)

    assert (found["num_probed"], found["failed"]) == (1, [])


def test_query_sees_probes(directory: RunDirectory, capsys: Capture) -> None:
    probe_sweep(directory.path, options=KNN, run_options=CPU)
    sql = (
        "SELECT arm, count(*) AS n FROM probes JOIN trials ON probes.trial_id = trials.trial_id "
        "WHERE source = 'trained' GROUP BY arm ORDER BY arm"
    )

    assert main(["query", str(directory.path), sql, "--format", "json"]) == 0

    assert json.loads(capsys.readouterr().out) == [
        {"arm": "control", "n": 4},
        {"arm": "full", "n": 4},
    ]


def test_weights_that_cannot_be_read_are_named_and_the_others_probed(
    directory: RunDirectory, capsys: Capture
) -> None:
    broken = kept_weights(directory)[ids_of(directory)[0]]
    broken.write_bytes(b"PK and then nothing")

    status = main(["probe", str(directory.path), "--probes", "knn", "--device", "cpu"])

    out, err = capsys.readouterr()
    assert status == 1
    assert f"{broken} must be whole, but it is no zip file to its end; remove it, and train" in err
    assert "(3 trials probed, 0 had their rows, 1 unreadable)" in out


def test_a_trial_whose_probe_raises_is_named_and_the_others_probed(
    directory: RunDirectory, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = ids_of(directory)[0]
    probe_trained = probe_tasks.probe_trained

    def broken_once(network, config, data, **options):
        if config.trial_id == broken:
            raise ZeroDivisionError("by zero")
        return probe_trained(network, config, data, **options)

    monkeypatch.setattr(probe_tasks, "probe_trained", broken_once)

    status = main(["probe", str(directory.path), "--probes", "knn", "--device", "cpu"])

    out, err = capsys.readouterr()
    assert status == 1
    assert f"trial {broken} could not be probed: ZeroDivisionError: by zero" in err
    assert "(3 trials probed, 0 had their rows, 1 failed)" in out
    assert set(read_probes(directory)["trial_id"].to_pylist()) == {*ids_of(directory)} - {broken}


def test_probes_compute_with_the_threads_of_their_cores_alone(
    directory: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def count(*args, **options):
        blas = {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}
        seen.append((torch.get_num_threads(), blas))
        return []

    monkeypatch.setattr(probe_tasks, "probe_trained", count)
    torch.set_num_threads(3)

    probe_sweep(directory.path, options=KNN, run_options=CPU)

    assert seen == [(1, {1})] * 4
    assert torch.get_num_threads() == 3


def test_probes_that_no_trial_has_samples_for_are_refused(tmp_path: Path) -> None:
    small = replace(SPACE, fixed={**SPACE.fixed, "train_samples": 16, "batch_size": 8})
    directory = train_into(tmp_path / "sweep", space=small)

    with pytest.raises(ProbeError, match="20 neighbours of 16 training samples; leave 'knn' out"):
        probe_sweep(directory.path, options=KNN, run_options=CPU)
    assert not (directory.path / "probes").exists()


@pytest.mark.parametrize(
    "thinned",
    [{"train_fraction": 0.25}, {"imbalance_factor": 8.0}, {"subset_share": 0.25}],
    ids=str,
)
def test_probes_are_refused_by_the_samples_that_are_trained_on(thinned: dict[str, float]) -> None:
    fixed = {**SPACE.fixed, "dataset": "synthetic:1,4,4,2,160", "batch_size": 8}
    planned = [
        plan_sweep(replace(SPACE, fixed={**fixed, **further}), name="demo", device="cpu")
        for further in ({}, {**thinned, "train_samples": 32})
    ]
    few = planned[1].trials[0]

    assert left_out_of_plan(planned[0], ("knn",)) == ()
    with pytest.raises(ProbeError, match=r"20 neighbours of \d+ training samples") as raised:
        left_out_of_plan(planned[1], ("knn",))

    data = split_dataset(few, data_dir="", device=torch.device("cpu"))
    assert f"of {len(data.train_labels_N)} training" in str(raised.value)


MIXED = replace(
    SPACE,
    axes={"lr": ChoiceAxis(choices=(0.1,)), "train_samples": ChoiceAxis(choices=(16, 64))},
    arms=("control",),
    fixed={**{k: v for k, v in SPACE.fixed.items() if k != "train_samples"}, "batch_size": 8},
)
VIEWED = replace(
    SPACE,
    axes={"lr": ChoiceAxis(choices=(0.1,)), "view_labels": ChoiceAxis(choices=("same", "random"))},
    arms=("control",),
    fixed={**SPACE.fixed, "label_corruption": 1.0, "num_views": 2, "augmentation": "crop"},
)


def test_a_probe_that_fits_some_kinds_of_trials_leaves_the_others_out_in_a_sentence() -> None:
    sentences = [
        left_out_of_plan(plan_sweep(space, name="demo", device="cpu"), ("knn", "rlp_offline"))
        for space in (MIXED, VIEWED)
    ]

    assert sentences[0] == (
        "1 of 2 kinds of trial go without 'knn': `neighbours <= training samples` must hold for "
        "the probe 'knn', but got 20 neighbours of 16 training samples.",
    )
    assert sentences[1][0].startswith("1 of 2 kinds of trial go without 'rlp_offline': the probes")


@pytest.mark.parametrize("space", [MIXED, VIEWED], ids=["samples", "views"])
def test_trials_are_probed_by_what_fits_them_and_then_have_all_their_rows(
    space: SearchSpace, tmp_path: Path, capsys: Capture
) -> None:
    directory = train_into(tmp_path / "sweep", space=space)
    command = ["probe", str(directory.path), "--probes", "knn,rlp_offline", "--device", "cpu"]

    first, (out, err) = main(command), capsys.readouterr()
    second, (again, _) = main(command), capsys.readouterr()

    assert (first, second) == (0, 0)
    assert "(4 trials probed, 0 had their rows)" in out
    assert "(0 trials probed, 4 had their rows)" in again
    assert "2 of 4 trials go without" in err
    found = Counter((r["trial_id"], r["probe"]) for r in read_probes(directory).to_pylist())
    rare, common = ("knn", "rlp_offline") if space is MIXED else ("rlp_offline", "knn")
    assert Counter(probe for _, probe in found) == {rare: 2, common: 4}


def test_a_resumed_sweep_names_the_ways_out_until_a_trial_is_probed(
    directory: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rlp_sweeps.orchestration.sweep_tracking.sync_within", lambda *args: None)
    first = ids_of(directory)[0]
    ask_for_probes(directory, ("knn",))
    write_probe_error(directory, first, "a sentence.")

    before = resume_sweep(directory.path, options=CPU)
    probe_sweep(directory.path, options=KNN, run_options=CPU)
    after = resume_sweep(directory.path, options=CPU)

    (said,) = before.unprobed
    assert f"`rlp-sweeps probe {directory.path} --probes knn --trials {first}` tries again" in said
    assert f"remove {directory.path / 'probes' / first}.error" in said
    assert (before.exit_status, after.exit_status, after.unprobed) == (1, 0, ())


def test_reused_trials_bring_their_probes(directory: RunDirectory, tmp_path: Path) -> None:
    probe_sweep(directory.path, options=KNN, run_options=CPU)
    expected = read_probes(directory).to_pylist()
    for name, asks in (("with", True), ("without", False)):
        newer, _ = lay_out(tmp_path / name)
        if asks:
            ask_for_probes(newer, ("knn",))

        take_over(newer, [directory.path], ids_of(directory))

        assert read_probes(newer).to_pylist() == expected
        assert asked_probes(newer) == (("knn",) if asks else ())


def test_trials_that_lack_a_probe_that_is_asked_for_are_not_reused(
    directory: RunDirectory, tmp_path: Path
) -> None:
    first = ids_of(directory)[0]
    flat = ProbeOptions(probes=("knn", "lda"), pooling="flatten")
    for options in (KNN, flat):
        probe_sweep(directory.path, options=options, run_options=CPU, trial_ids=[first])
    taken = {}

    for name, asked in (("one", ("knn",)), ("two", ("knn", "lda")), ("none", ())):
        newer, _ = lay_out(tmp_path / name)
        if asked:
            ask_for_probes(newer, asked)
        taken[name] = sorted(take_over(newer, [directory.path], ids_of(directory)))

    assert taken == {"one": [first], "two": [], "none": ids_of(directory)}


def test_a_sweep_that_kept_no_weights_is_refused(tmp_path: Path) -> None:
    directory = train_into(tmp_path / "sweep", keeps=False)

    with pytest.raises(ProbeError, match=r"no finished trial of .* run SPACE --keep-weights"):
        probe_sweep(directory.path, options=KNN, run_options=CPU)
    assert not (directory.path / "probes").exists()


def test_a_trial_without_weights_cannot_be_asked_for(directory: RunDirectory) -> None:
    with pytest.raises(ProbeError, match=r"\['nobody'\] must be finished and have kept"):
        probe_sweep(directory.path, options=KNN, run_options=CPU, trial_ids=["nobody"])


def test_weights_without_a_row_are_left_alone(directory: RunDirectory) -> None:
    first = ids_of(directory)[0]
    (directory.path / "trials" / f"{first}.parquet").unlink()

    outcome = probe_sweep(directory.path, options=KNN, run_options=CPU)

    assert outcome.num_probed == 3


def test_stopped_trials_are_probed_where_they_are_named_alone(directory: RunDirectory) -> None:
    (row, *_) = directory.read_trials().to_pylist()
    directory.write_trial({**row, "status": "stopped"}, epochs=[])

    unnamed = probe_sweep(directory.path, options=KNN, run_options=CPU)
    named = probe_sweep(
        directory.path, options=KNN, run_options=CPU, trial_ids=[str(row["trial_id"])]
    )

    assert (unnamed.num_probed, named.num_probed) == (3, 1)


def test_reused_trials_bring_their_weights_where_weights_are_kept(
    directory: RunDirectory, tmp_path: Path
) -> None:
    for name, keeps in (("with", True), ("without", False)):
        newer, _ = lay_out(tmp_path / name)
        if keeps:
            keep_weights(newer)

        write_probes(directory, "a1", [ROW])
        write_probes(directory, ids_of(directory)[0], [{**ROW, "trial_id": ids_of(directory)[0]}])
        take_over(newer, [directory.path], ids_of(directory))

        assert read_probes(newer)["trial_id"].to_pylist() == ids_of(directory)[:1]
        assert sorted(kept_weights(newer)) == (ids_of(directory) if keeps else [])
        assert ids_of(newer) == ids_of(directory)


# --- the table --------------------------------------------------------------------------------

ROW: dict[str, Any] = {
    "trial_id": "a1",
    "source": "trained",
    "attach_point": "conv1",
    "pooling": "average",
    "probe": "knn",
    "label_set": "true",
    "test_accuracy": 0.5,
}


def test_probe_rows_are_read_back_typed_and_replaced_as_a_whole(directory: RunDirectory) -> None:
    write_probes(directory, "a1", [ROW, {**ROW, "probe": "lda"}])
    write_probes(directory, "a1", [{**ROW, "converged": True, "max_gradient": float("nan")}])

    (row,) = read_probes(directory).to_pylist()

    assert {k: row[k] for k in ROW} == ROW
    assert (row["converged"], row["max_gradient"], row["train_accuracy"]) == (True, None, None)
    assert read_probes(directory, ["b2"]).num_rows == 0


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda row: [row, row], "one row a probe and place, but some come twice"),
        (lambda row: [{**row, "trial_id": "b2"}], r"must carry its id, but got \['b2'\]"),
        (lambda row: [{**row, "accuracy": 1.0}], r"must be declared in the schema.*'accuracy'"),
        (lambda row: [{k: v for k, v in row.items() if k != "probe"}], "`probe` must be given"),
    ],
)
def test_probe_rows_that_are_wrong_are_refused(
    directory: RunDirectory, change: Callable[[dict[str, Any]], list[dict[str, Any]]], says: str
) -> None:
    with pytest.raises(SchemaError, match=says):
        write_probes(directory, "a1", change(ROW))


def test_a_corrupt_part_of_probes_is_named_with_its_way_out(directory: RunDirectory) -> None:
    write_probes(directory, "a1", [ROW])
    (directory.path / "probes" / "a1.parquet").write_bytes(b"PAR1 and then nothing")

    with pytest.raises(SchemaError, match=r"a1\.parquet is not .*`rlp-sweeps probe .*` writes it"):
        read_probes(directory)

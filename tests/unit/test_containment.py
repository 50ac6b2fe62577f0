"""A run directory that somebody else has made: nothing is written, removed or sent outside it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from analysis_frames import make_trials, write_directory

from analysis.tables import analyze
from rlp_sweeps.containment import check_links
from rlp_sweeps.errors import RunDirectoryError, SchemaError
from rlp_sweeps.tracking import files, mlflow_sweep
from rlp_sweeps.tracking.kept_weights import drop_weights_of, take_weights
from rlp_sweeps.tracking.mlflow_store import MlflowTarget
from rlp_sweeps.tracking.probe_rows import clear_probe_error, write_probes
from rlp_sweeps.tracking.run_directory import RunDirectory, build_manifest
from rlp_sweeps.tracking.sample_rows import write_samples
from rlp_sweeps.training.checkpoint import save_checkpoint

REFUSAL = r"must lie within its folder, but .* leads out of it, to .*"
UPWARDS = ["../victim", "/etc/victim", "a/b", "..", ".hidden", "a\0b", "a\\b", ""]


@pytest.fixture
def directory(tmp_path: Path) -> RunDirectory:
    manifest = build_manifest(plan_id="p", sweep_name="s", space={}, configs=[])
    return RunDirectory.create(tmp_path / "run", manifest)


@pytest.mark.parametrize(
    "name",
    [
        "trials",
        "checkpoints",
        "weights",
        "logs",
        "analysis",
        "search",
        "attempt.json",
        ".driver.lock",
    ],
)
def test_a_driver_refuses_a_link_that_leads_out(directory: RunDirectory, name: str) -> None:
    victim = directory.path.parent / "victim"
    victim.mkdir()
    if (directory.path / name).is_dir():
        (directory.path / name).rmdir()
    (directory.path / name).symlink_to(victim)

    with pytest.raises(RunDirectoryError, match=REFUSAL), directory.held():
        pass

    assert list(victim.iterdir()) == []


def test_a_driver_refuses_links_to_files_that_it_would_go_on_writing(
    directory: RunDirectory,
) -> None:
    victim = directory.path.parent / "victim"
    victim.write_text("precious")
    (directory.path / "search").mkdir()
    (directory.path / "search" / "points.jsonl").symlink_to(victim)

    with pytest.raises(RunDirectoryError, match=REFUSAL):
        RunDirectory.create(directory.path, {"plan_id": "p"})


def test_a_driver_refuses_a_log_that_is_a_link_which_leads_out(directory: RunDirectory) -> None:
    victim = directory.path.parent / "victim"
    victim.write_text("precious")
    (directory.path / "logs").mkdir()
    (directory.path / "logs" / "g1.log").symlink_to(victim)

    with pytest.raises(RunDirectoryError, match=REFUSAL), directory.held():
        pass


def test_links_within_a_directory_and_to_it_are_fine(directory: RunDirectory) -> None:
    (directory.path / "latest").symlink_to("trials")
    link = directory.path.parent / "link"
    link.symlink_to(directory.path)

    with RunDirectory.open(link).held():
        check_links(link)


def test_a_part_file_that_is_a_link_is_replaced_and_not_written_through(
    directory: RunDirectory,
) -> None:
    victim = directory.path.parent / "victim"
    victim.write_text("precious")
    for table in ("trials", "epochs"):
        (directory.path / table / "a1.parquet").symlink_to(victim)

    directory.write_trial({"trial_id": "a1", "status": "failed"}, [])
    directory.compact()

    assert victim.read_text() == "precious"
    assert directory.finished_trials() == {"a1": "failed"}


def test_a_checkpoint_is_not_written_through_a_link(directory: RunDirectory) -> None:
    victim = directory.path.parent / "victim"
    victim.write_text("precious")
    path = directory.checkpoint_path("g1")
    path.symlink_to(victim)

    save_checkpoint(path, {"epoch": 1})

    assert victim.read_text() == "precious"


def test_an_analysis_is_not_written_through_a_link(tmp_path: Path) -> None:
    directory = write_directory(tmp_path / "run", make_trials())
    (tmp_path / "victim").mkdir()
    (directory / "analysis").symlink_to(tmp_path / "victim")

    with pytest.raises(RunDirectoryError, match=REFUSAL):
        analyze([directory])

    assert list((tmp_path / "victim").iterdir()) == []


def test_figures_that_are_links_are_not_sent_to_mlflow(directory: RunDirectory) -> None:
    secret = directory.path.parent / "credentials"
    secret.write_text("AKIA")
    figures = directory.path / "analysis" / "figures"
    figures.mkdir(parents=True)
    (figures / "curve.svg").symlink_to(secret)

    with pytest.raises(RunDirectoryError, match=r"curve\.svg leads out of it"):
        mlflow_sweep.log_sweep_artifacts(MlflowTarget("sqlite:///x.db", "1", "2"), directory)


def write_no_sample(directory: RunDirectory, trial_id: str) -> None:
    block = {"split": ["pool"], "sample_id": [0], "is_trained": [True], "is_correct": [True]}
    write_samples(directory, trial_id, [block])


TOUCHES: dict[str, Callable[[RunDirectory, str], object]] = {
    "write_trial": lambda d, i: d.write_trial({"trial_id": i, "status": "failed"}, []),
    "read_ended": lambda d, i: d.read_ended([i], epoch_columns=()),
    "checkpoint_path": RunDirectory.checkpoint_path,
    "log_path": RunDirectory.log_path,
    "remove_checkpoint": RunDirectory.remove_checkpoint,
    "write_probes": lambda d, i: write_probes(d, i, []),
    "clear_probe_error": clear_probe_error,
    "drop_weights_of": drop_weights_of,
    "take_weights": lambda d, i: take_weights(d, d, i),
    "write_samples": write_no_sample,
}


@pytest.mark.parametrize("name", UPWARDS)
@pytest.mark.parametrize("touch", TOUCHES.values(), ids=TOUCHES)
def test_no_id_names_a_file_elsewhere(
    directory: RunDirectory, touch: Callable[[RunDirectory, str], object], name: str
) -> None:
    with pytest.raises(SchemaError, match="an id must be usable as a file name"):
        touch(directory, name)


@pytest.mark.parametrize("sweep_id", ["../../up", "/etc", "x' or '1'='1", "", None, 7, "A" * 32])
def test_a_sweep_is_named_as_no_path_and_no_query_can_be(
    directory: RunDirectory, sweep_id: object
) -> None:
    manifest = {**directory.manifest, "sweep_id": sweep_id}
    files.write_text_atomically(directory.path / "manifest.json", json.dumps(manifest))

    with pytest.raises(RunDirectoryError, match="must be 32 hexadecimal digits"):
        RunDirectory.open(directory.path)

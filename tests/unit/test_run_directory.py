import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from rlp_sweeps.config import TrialConfig
from rlp_sweeps.errors import RunDirectoryError, SchemaError
from rlp_sweeps.orchestration.gathering import Gathering
from rlp_sweeps.tracking import files, manifest, parquet
from rlp_sweeps.tracking.corrupt_parts import set_aside_corrupt_parts
from rlp_sweeps.tracking.holder import time_there
from rlp_sweeps.tracking.run_directory import COMPACTED_NAME, RunDirectory, build_manifest

CONFIG = TrialConfig(arm="full", lr=0.1, rlp_lambda=1.0, seed=0)


def make_manifest(plan_id: str = "p1") -> dict[str, Any]:
    return build_manifest(
        plan_id=plan_id, sweep_name="demo", space={"claim": "c"}, configs=[CONFIG]
    )


def write(directory: RunDirectory, trial_id: str, status: str = "completed", num_epochs: int = 2):
    epochs = [{"trial_id": trial_id, "epoch": e + 1} for e in range(num_epochs)]
    directory.write_trial({"trial_id": trial_id, "status": status}, epochs)


def epoch_keys(directory: RunDirectory) -> list[tuple[str, int]]:
    table = directory.read_epochs()
    return list(zip(table["trial_id"].to_pylist(), table["epoch"].to_pylist(), strict=True))


@pytest.fixture
def directory(tmp_path: Path) -> RunDirectory:
    return RunDirectory.create(tmp_path / "run", make_manifest())


class Killed(BaseException):
    """Stands for a process that ends here."""


def kill(*args: object, **kwargs: object) -> None:
    raise Killed


def test_create_makes_folders_and_manifest_below_missing_parents(tmp_path: Path) -> None:
    directory = RunDirectory.create(tmp_path / "a" / "b", make_manifest())

    assert sorted(path.name for path in directory.path.iterdir()) == [
        "checkpoints",
        "epochs",
        "manifest.json",
        "trials",
    ]


def test_create_again_with_the_same_plan_keeps_trials_and_manifest(directory: RunDirectory) -> None:
    write(directory, "a1")

    again = RunDirectory.create(directory.path, make_manifest())

    assert again.manifest["sweep_id"] == directory.manifest["sweep_id"]
    assert again.finished_trials() == {"a1": "completed"}


def test_create_refuses_a_directory_of_another_plan(directory: RunDirectory) -> None:
    with pytest.raises(RunDirectoryError, match=r"holds another sweep .*choose another --output"):
        RunDirectory.create(directory.path, make_manifest("p2"))


def test_create_refuses_a_folder_with_other_files_and_leaves_it_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("")

    with pytest.raises(RunDirectoryError, match=r"holds \['thesis.tex'\]"):
        RunDirectory.create(tmp_path, make_manifest())

    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_create_refuses_a_file(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")

    with pytest.raises(RunDirectoryError, match="is a file; choose another --output"):
        RunDirectory.create(tmp_path / "run", make_manifest())


def test_create_refuses_a_path_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(RunDirectoryError, match="must be writable, but it is not"):
        RunDirectory.create(tmp_path / "file" / "run", make_manifest())


def test_create_refuses_a_uri_of_an_unknown_store() -> None:
    with pytest.raises(RunDirectoryError, match="must be a folder or s3://BUCKET/PREFIX, but got"):
        RunDirectory.create("gs://bucket/run", make_manifest())


def test_create_takes_up_what_an_interrupted_create_left(tmp_path: Path) -> None:
    (tmp_path / "trials").mkdir()
    (tmp_path / ".manifest.json.123.tmp").write_text("{")

    assert RunDirectory.create(tmp_path, make_manifest()).manifest["plan_id"] == "p1"


def refuse_writing(path: Path, *args: object, **kwargs: object) -> None:
    raise OSError(30, "Read-only file system", str(path))


def test_create_without_write_permission_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "write_bytes", refuse_writing)

    with pytest.raises(RunDirectoryError, match=r"must be writable.*Read-only file system"):
        RunDirectory.create(tmp_path / "a" / "run", make_manifest())

    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_create_refuses_a_folder_without_write_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)

    with pytest.raises(RunDirectoryError, match="must be writable"):
        RunDirectory.create(tmp_path / "run", make_manifest())


def test_create_that_fails_at_the_manifest_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "write_text", refuse_writing)

    with pytest.raises(RunDirectoryError, match="must be writable"):
        RunDirectory.create(tmp_path / "run", make_manifest())

    assert list(tmp_path.iterdir()) == []


def test_resume_of_a_directory_that_became_read_only_is_refused(
    directory: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "write_bytes", refuse_writing)

    with pytest.raises(RunDirectoryError, match="must be writable"):
        RunDirectory.create(directory.path, make_manifest())


def test_open_refuses_an_absent_folder(tmp_path: Path) -> None:
    with pytest.raises(RunDirectoryError, match="must exist, but there is no folder"):
        RunDirectory.open(tmp_path / "none")


def test_open_refuses_a_folder_without_manifest(tmp_path: Path) -> None:
    with pytest.raises(RunDirectoryError, match=r"it has no manifest\.json"):
        RunDirectory.open(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "must be readable JSON"),
        ("[]", "must hold a JSON object"),
        ("{}", "must state `schema_version`, but got None"),
        ('{"schema_version": "1"}', "must state `schema_version`, but got '1'"),
        ('{"schema_version": 99}', "schema_version=99; use a newer rlp-sweeps"),
    ],
)
def test_open_refuses_a_manifest_it_cannot_read(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "manifest.json").write_text(text)

    with pytest.raises(RunDirectoryError, match=message):
        RunDirectory.open(tmp_path)


def test_open_changes_no_file(directory: RunDirectory) -> None:
    old = directory.path / "trials" / ".a.parquet.0.tmp"
    old.write_bytes(b"")
    os.utime(old, (0, 0))

    RunDirectory.open(directory.path).finished_trials()

    assert old.exists()


def test_run_directory_pickles_as_its_path(directory: RunDirectory) -> None:
    blob = pickle.dumps(directory)

    assert pickle.loads(blob).path == directory.path
    assert len(blob) < 500


def test_write_trial_is_read_back_typed(directory: RunDirectory) -> None:
    directory.write_trial(
        {"trial_id": "a1", "status": "completed", "lr": 0.1, "test_loss": float("nan")},
        [{"trial_id": "a1", "epoch": 1, "train_loss": 0.5}],
    )

    row = directory.read_trials().to_pylist()[0]
    assert (row["lr"], row["test_loss"]) == (0.1, None)
    assert directory.read_epochs()["train_loss"].to_pylist() == [0.5]


def test_write_trial_of_one_without_an_epoch(directory: RunDirectory) -> None:
    write(directory, "a1", "failed", num_epochs=0)

    assert directory.finished_trials() == {"a1": "failed"}
    assert epoch_keys(directory) == []


def test_write_trial_writes_nothing_when_a_row_is_refused(directory: RunDirectory) -> None:
    with pytest.raises(SchemaError, match="lamda"):
        directory.write_trial(
            {"trial_id": "a1", "status": "failed"}, [{"trial_id": "a1", "epoch": 1, "lamda": 1.0}]
        )

    assert list(directory.path.glob("*/*")) == []


def test_write_trial_refuses_epochs_of_another_trial(directory: RunDirectory) -> None:
    with pytest.raises(SchemaError, match=r"must carry its id, but got \['b2'\]"):
        directory.write_trial(
            {"trial_id": "a1", "status": "failed"}, [{"trial_id": "b2", "epoch": 1}]
        )


def test_write_trial_refuses_two_rows_of_one_evaluation(directory: RunDirectory) -> None:
    with pytest.raises(SchemaError, match=r"one row an evaluation, but got epochs \[1, 1\]"):
        directory.write_trial(
            {"trial_id": "a1", "status": "failed"}, [{"trial_id": "a1", "epoch": 1}] * 2
        )


@pytest.mark.parametrize("trial_id", ["../up", ".hidden", "", "0-compacted", "a/b"])
def test_write_trial_refuses_an_id_that_is_no_file_name(
    directory: RunDirectory, trial_id: str
) -> None:
    with pytest.raises(SchemaError, match="usable as a file name"):
        directory.write_trial({"trial_id": trial_id, "status": "failed"}, [])


def test_a_trial_killed_while_its_row_is_written_is_not_finished(
    directory: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(directory, "a1")
    original = parquet.write_part

    def die_at_the_row(table: Any, path: Path) -> None:
        kill() if path.parent.name == "trials" else original(table, path)

    monkeypatch.setattr(parquet, "write_part", die_at_the_row)
    with pytest.raises(Killed):
        write(directory, "b2")

    assert directory.finished_trials() == {"a1": "completed"}
    assert epoch_keys(directory) == [("a1", 1), ("a1", 2)]


def test_a_killed_writer_leaves_nothing_that_a_reader_sees(directory: RunDirectory) -> None:
    script = f"""
import os, pathlib
from rlp_sweeps.tracking import files
from rlp_sweeps.tracking.run_directory import RunDirectory
files.os.replace = lambda *a: os._exit(9)
RunDirectory(pathlib.Path({str(directory.path)!r})).write_trial(
    {{"trial_id": "a1", "status": "completed"}}, [{{"trial_id": "a1", "epoch": 1}}])
"""
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 9

    left = list((directory.path / "epochs").iterdir())
    assert len(left) == 1
    assert files.is_temporary(left[0])
    assert list(directory.path.glob("*/*.parquet")) == []
    assert directory.finished_trials() == {}


def test_a_failed_write_leaves_no_temporary_file(
    directory: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "replace", refuse_writing)

    with pytest.raises(OSError, match="Read-only"):
        write(directory, "a1")

    assert list(directory.path.glob("*/*")) == []


def test_remove_temporary_files_spares_those_of_a_writer_at_work(directory: RunDirectory) -> None:
    old, new = (directory.path / "trials" / f".{name}.parquet.0.tmp" for name in "ab")
    old.write_bytes(b"")
    new.write_bytes(b"")
    os.utime(old, (0, 0))

    assert directory.remove_temporary_files() == 1

    assert (old.exists(), new.exists()) == (False, True)


def test_remove_temporary_files_takes_those_that_a_clock_set_back_has_left(
    directory: RunDirectory,
) -> None:
    left = directory.path / "trials" / ".a.parquet.0.tmp"
    left.write_bytes(b"")
    ahead = time_there(directory.path) + 86_400
    os.utime(left, (ahead, ahead))

    assert directory.remove_temporary_files() == 1

    assert not left.exists()


def test_driver_that_leaves_nothing_to_train_removes_what_its_own_killed_writers_left(
    directory: RunDirectory,
) -> None:
    gathering = Gathering(directory)
    gathering.begin()
    left = directory.path / "checkpoints" / ".a.pt.0.tmp"
    left.write_bytes(b"")

    gathering.clear()

    assert not left.exists()


def test_driver_with_nothing_to_train_removes_the_folder_of_a_killed_attempt(
    directory: RunDirectory,
) -> None:
    left = directory.path / ".attempt-0a1b2c3d"
    left.mkdir()

    Gathering(directory).begin()

    assert not left.exists()


def test_driver_removes_what_was_half_written_before_its_start(directory: RunDirectory) -> None:
    before, after = (directory.path / "epochs" / f".{name}.parquet.0.tmp" for name in "ab")
    before.write_bytes(b"")
    started = time_there(directory.path)
    after.write_bytes(b"")
    os.utime(after, (started + 5, started + 5))

    assert directory.remove_temporary_files(before=started) == 1

    assert (before.exists(), after.exists()) == (False, True)


@pytest.mark.parametrize("table", ["trials", "epochs"])
def test_corrupt_part_is_set_aside_with_its_trial_which_is_then_not_finished(
    directory: RunDirectory, table: str
) -> None:
    write(directory, "a1")
    write(directory, "b2")
    part = directory.path / table / "b2.parquet"
    part.write_bytes(part.read_bytes()[:-9])

    (note,) = set_aside_corrupt_parts(directory)
    directory.compact()

    assert f"{table}/b2.parquet is not" in note
    assert note.endswith(f"moved into {directory.path}/corrupt, and its trial is trained again.")
    assert directory.finished_trials() == {"a1": "completed"}
    assert sorted(path.name for path in (directory.path / "corrupt").iterdir()) == [
        "epochs-b2.parquet",
        "trials-b2.parquet",
    ]


def test_compact_keeps_a_trials_row_a_part_while_its_epochs_are_one(
    directory: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(directory, "a1")
    monkeypatch.setattr(parquet, "write_compacted", kill)

    with pytest.raises(Killed):
        directory.compact()
    (directory.path / "epochs" / "a1.parquet").write_bytes(b"rubbish")
    set_aside_corrupt_parts(directory)

    assert directory.finished_trials() == {}


def test_finished_trials_names_a_corrupt_part(directory: RunDirectory) -> None:
    (directory.path / "trials" / "b2.parquet").write_bytes(b"rubbish")

    with pytest.raises(SchemaError, match=r"trials/b2\.parquet is not"):
        directory.finished_trials()


def test_compact_leaves_one_sorted_file_a_table(directory: RunDirectory) -> None:
    for trial_id in ("b2", "a1"):
        write(directory, trial_id)

    directory.compact()

    assert [path.name for path in directory.path.glob("*/*")] == [COMPACTED_NAME] * 2
    stored = pq.read_table(directory.path / "epochs" / COMPACTED_NAME)
    assert stored["trial_id"].to_pylist() == ["a1", "a1", "b2", "b2"]
    assert set(directory.finished_trials()) == {"a1", "b2"}


def test_compact_twice_changes_nothing(directory: RunDirectory) -> None:
    write(directory, "a1")
    directory.compact()
    before = (directory.path / "trials" / COMPACTED_NAME).stat()

    directory.compact()

    assert (directory.path / "trials" / COMPACTED_NAME).stat() == before


def test_compact_of_an_empty_sweep_writes_no_file(directory: RunDirectory) -> None:
    directory.compact()

    assert list(directory.path.glob("*/*")) == []


def test_compact_merges_later_parts(directory: RunDirectory) -> None:
    write(directory, "a1")
    directory.compact()
    write(directory, "b2")

    assert set(directory.finished_trials()) == {"a1", "b2"}
    directory.compact()

    assert set(directory.finished_trials()) == {"a1", "b2"}
    assert len(epoch_keys(directory)) == 4


def test_a_trial_written_again_replaces_its_compacted_rows(directory: RunDirectory) -> None:
    write(directory, "a1", "failed", num_epochs=3)
    directory.compact()

    write(directory, "a1", "completed", num_epochs=1)

    for _ in range(2):
        assert directory.finished_trials() == {"a1": "completed"}
        assert epoch_keys(directory) == [("a1", 1)]
        directory.compact()


def test_compact_keeps_epochs_of_a_trial_that_has_no_row_yet(directory: RunDirectory) -> None:
    write(directory, "a1")
    table = parquet.to_table("epochs", [{"trial_id": "b2", "epoch": 1}])
    parquet.write_part(table, directory.path / "epochs" / "b2.parquet")

    directory.compact()

    assert (directory.path / "epochs" / "b2.parquet").exists()
    assert epoch_keys(directory) == [("a1", 1), ("a1", 2)]


@pytest.mark.parametrize("num_steps", range(9))
def test_compact_killed_at_any_step_loses_and_doubles_nothing(
    directory: RunDirectory, monkeypatch: pytest.MonkeyPatch, num_steps: int
) -> None:
    write(directory, "a1")
    write(directory, "b2")
    steps = iter(range(num_steps))

    def die_after(original: Callable[..., Any]) -> Callable[..., Any]:
        def step(*args: Any, **kwargs: Any) -> Any:
            return original(*args, **kwargs) if next(steps, None) is not None else kill()

        return step

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", die_after(os.replace))
        patch.setattr(Path, "unlink", die_after(Path.unlink))
        try:
            directory.compact()
        except Killed:
            assert num_steps < 7
    for _ in range(2):
        assert sorted(directory.read_trials()["trial_id"].to_pylist()) == ["a1", "b2"]
        assert epoch_keys(directory) == [("a1", 1), ("a1", 2), ("b2", 1), ("b2", 2)]
        directory.compact()


def test_compact_spares_a_part_that_is_rewritten_meanwhile(
    directory: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(directory, "a1", "failed")
    original = parquet.write_compacted

    def rewrite_first(table: str, rows: Any, path: Path, **options: Any) -> None:
        original(table, rows, path, **options)
        if table == "trials":
            write(directory, "a1", "completed")

    monkeypatch.setattr(parquet, "write_compacted", rewrite_first)
    directory.compact()

    assert directory.finished_trials() == {"a1": "completed"}


def test_a_reader_repeats_when_a_compaction_takes_its_files_away(
    directory: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(directory, "a1")
    original = parquet.read_files
    calls: list[str] = []

    def compact_first(table: str, paths: Any, **kwargs: Any) -> Any:
        calls.append(table)
        if len(calls) == 1:
            directory.compact()
        return original(table, paths, **kwargs)

    monkeypatch.setattr(parquet, "read_files", compact_first)

    assert directory.finished_trials() == {"a1": "completed"}


def test_only_one_driver_at_a_time_holds_a_directory(directory: RunDirectory) -> None:
    with (
        directory.held(),
        pytest.raises(RunDirectoryError, match=f"but process {os.getpid()} on .* runs the one in"),
        RunDirectory.open(directory.path).held(),
    ):
        pass

    with RunDirectory.open(directory.path).held():
        assert RunDirectory.open(directory.path).finished_trials() == {}


def test_a_killed_driver_holds_nothing(directory: RunDirectory) -> None:
    script = f"""
import os, pathlib
from rlp_sweeps.tracking.run_directory import RunDirectory
with RunDirectory(pathlib.Path({str(directory.path)!r})).held():
    os._exit(9)
"""
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 9

    with directory.held():
        pass


def test_checkpoint_is_removed_once_and_again(directory: RunDirectory) -> None:
    directory.checkpoint_path("g1").write_bytes(b"weights")

    directory.remove_checkpoint("g1")
    directory.remove_checkpoint("g1")

    assert list((directory.path / "checkpoints").iterdir()) == []


def test_manifest_states_plan_versions_and_machine(directory: RunDirectory) -> None:
    stored = json.loads((directory.path / "manifest.json").read_text())

    assert stored["trials"] == [{"trial_id": CONFIG.trial_id, "config": CONFIG.to_dict()}]
    assert stored["schema_version"] == 1
    assert stored["code_version"] == manifest.code_version()
    assert stored["packages"]["pyarrow"] == __import__("pyarrow").__version__
    assert stored["machine"]["num_cpus"] == os.cpu_count()


def test_manifest_holds_no_environment_and_no_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "s3cret")
    monkeypatch.setattr(sys, "argv", ["rlp-sweeps", "--tracking-uri", "http://u:s3cret@host"])

    assert "s3cret" not in json.dumps(make_manifest())


def test_two_sweeps_of_one_plan_have_ids_of_their_own() -> None:
    assert make_manifest()["sweep_id"] != make_manifest()["sweep_id"]


def test_code_version_is_the_plain_version_outside_a_checkout(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    manifest.code_version.cache_clear()
    monkeypatch.setattr(manifest, "_git_state", lambda: None)

    version = manifest.code_version()

    manifest.code_version.cache_clear()
    assert version == manifest.rlp_sweeps.__version__


def test_code_version_names_commit_and_uncommitted_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    manifest.code_version.cache_clear()
    monkeypatch.setattr(manifest, "_git_state", lambda: {"commit": "a" * 40, "is_dirty": True})

    version = manifest.code_version()

    manifest.code_version.cache_clear()
    assert version.endswith("+gaaaaaaaaaaaa.dirty")

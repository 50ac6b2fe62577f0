import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

from rlp_sweeps.config import TrialConfig
from rlp_sweeps.errors import CheckpointError, RunDirectoryError
from rlp_sweeps.orchestration.points import AskedPoint, PointLog
from rlp_sweeps.stores import as_path, put
from rlp_sweeps.tracking import files, parquet, store_lock
from rlp_sweeps.tracking.corrupt_parts import set_aside_corrupt_parts
from rlp_sweeps.tracking.driver_process import Holder
from rlp_sweeps.tracking.holder import lost_holder, read_holder
from rlp_sweeps.tracking.kept_weights import keep_weights, kept_weights, weights_folder
from rlp_sweeps.tracking.leftovers import Size, removable, remove, touched_at
from rlp_sweeps.tracking.run_directory import RunDirectory, build_manifest
from rlp_sweeps.tracking.store_lock import Seen, StoreLock, read_lock, take_lock
from rlp_sweeps.training.checkpoint import load_checkpoint, save_checkpoint

CONFIG = TrialConfig(arm="full", lr=0.1, rlp_lambda=1.0, seed=0)


def make_manifest(plan_id: str = "p1") -> dict[str, Any]:
    return build_manifest(plan_id=plan_id, sweep_name="demo", space={}, configs=[CONFIG])


def write(directory: RunDirectory, trial_id: str, status: str = "completed") -> None:
    epochs = [{"trial_id": trial_id, "epoch": epoch} for epoch in (1, 2)]
    directory.write_trial({"trial_id": trial_id, "status": status}, epochs)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def ignore() -> None:
    """Hear of a lost lock, and do nothing."""


@pytest.fixture
def directory(bucket: str) -> RunDirectory:
    return RunDirectory.create(f"{bucket}/runs/demo", make_manifest())


class Killed(BaseException):
    """Stands for a process that ends here."""


def kill(*args: object, **kwargs: object) -> None:
    raise Killed


def test_a_directory_in_a_store_gives_back_what_was_written(directory: RunDirectory) -> None:
    write(directory, "a1")
    write(directory, "b2", "failed")

    again = RunDirectory.open(str(directory.path))

    assert again.finished_trials() == {"a1": "completed", "b2": "failed"}
    assert again.read_epochs()["trial_id"].to_pylist() == ["a1", "a1", "b2", "b2"]
    assert again.manifest == directory.manifest


def test_creation_leaves_the_manifest_alone_in_a_store(directory: RunDirectory) -> None:
    assert names_in(directory.path) == ["manifest.json"]


def test_create_refuses_a_prefix_of_another_plan_and_one_with_other_files(
    directory: RunDirectory, bucket: str
) -> None:
    put(as_path(f"{bucket}/thesis/thesis.tex"), b"")

    with pytest.raises(RunDirectoryError, match="holds another sweep"):
        RunDirectory.create(directory.path, make_manifest("p2"))
    with pytest.raises(RunDirectoryError, match=r"holds \['thesis.tex'\]"):
        RunDirectory.create(f"{bucket}/thesis", make_manifest())


def test_open_refuses_a_prefix_that_holds_nothing(bucket: str) -> None:
    with pytest.raises(RunDirectoryError, match=r"must exist, but there is no folder s3://"):
        RunDirectory.open(f"{bucket}/nothing")


def test_the_manifest_holds_no_credentials(directory: RunDirectory) -> None:
    assert b"very-secret-key" not in (directory.path / "manifest.json").read_bytes()


def test_compact_leaves_one_file_and_every_row_once(directory: RunDirectory) -> None:
    for trial_id in ("a1", "b2"):
        write(directory, trial_id)
        directory.compact()

    assert names_in(directory.path / "trials") == ["0-compacted.parquet"]
    assert directory.finished_trials() == {"a1": "completed", "b2": "completed"}
    assert directory.read_epochs()["epoch"].to_pylist() == [1, 2, 1, 2]


@pytest.mark.parametrize("name", ["write_compacted", "remove_unchanged"])
def test_an_interrupted_compaction_neither_loses_nor_doubles_rows(
    directory: RunDirectory, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    write(directory, "a1")
    write(directory, "b2")
    with monkeypatch.context() as patch:
        patch.setattr(parquet if name == "write_compacted" else files, name, kill)
        with pytest.raises(Killed):
            directory.compact()

    for _ in range(2):
        assert sorted(directory.read_trials()["trial_id"].to_pylist()) == ["a1", "b2"]
        assert directory.read_epochs()["epoch"].to_pylist() == [1, 2, 1, 2]
        directory.compact()
    assert names_in(directory.path / "trials") == ["0-compacted.parquet"]


def test_compact_spares_a_part_that_is_rewritten_meanwhile(
    directory: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(directory, "a1", "failed")
    original = parquet.write_compacted

    def rewrite_first(table: str, *args: Any, **options: Any) -> None:
        original(table, *args, **options)
        if table == "trials":
            write(directory, "a1", "completed")

    monkeypatch.setattr(parquet, "write_compacted", rewrite_first)
    directory.compact()

    assert directory.finished_trials() == {"a1": "completed"}


def test_a_suspended_compaction_overwrites_no_later_one(
    directory: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(directory, "a1")
    original = parquet.write_compacted
    later = RunDirectory.open(directory.path)

    def write_late(*args: Any, **options: Any) -> None:
        monkeypatch.setattr(parquet, "write_compacted", original)
        write(later, "b2")
        later.compact()
        original(*args, **options)

    monkeypatch.setattr(parquet, "write_compacted", write_late)
    with pytest.raises(RunDirectoryError, match="another one has written it meanwhile"):
        directory.compact()

    assert sorted(later.finished_trials()) == ["a1", "b2"]


def test_a_writer_that_is_killed_midway_leaves_no_visible_file(bucket: str) -> None:
    code = (
        "import sys, time; from rlp_sweeps.stores import as_path\n"
        "from rlp_sweeps.tracking.files import write_atomically\n"
        "def half(path):\n"
        "    path.write_bytes(b'half'); print('half', flush=True); time.sleep(60)\n"
        "write_atomically(as_path(sys.argv[1]), half)"
    )
    command = [sys.executable, "-c", code, f"{bucket}/a/trials/a1.parquet"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "half\n"
        writer.send_signal(signal.SIGKILL)

    assert not as_path(f"{bucket}/a/trials").exists()


def test_a_held_directory_is_refused_with_its_holders_name(directory: RunDirectory) -> None:
    other = RunDirectory.open(directory.path)

    with directory.held():
        assert other.is_held()
        refusal = pytest.raises(RunDirectoryError, match=rf"process {os.getpid()} on .*wait for")
        with refusal, other.held():
            pass
    assert not other.is_held()
    with other.held():
        pass


def test_the_lock_of_a_directory_in_a_store_is_the_only_signature_of_its_holder(
    directory: RunDirectory,
) -> None:
    with directory.held() as this:
        signed, names = read_holder(directory.path), names_in(directory.path)

    assert signed == this
    assert names == [".driver.lock", "manifest.json"]
    assert read_holder(directory.path) is None


def test_a_driver_elsewhere_without_a_sign_of_life_is_lost(
    directory: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    foreign_lock(directory.path / ".driver.lock")
    fresh = directory.is_held()
    monkeypatch.setattr(store_lock, "STALE_AFTER_S", -1.0)

    lost = lost_holder(directory.path)

    assert fresh
    assert not directory.is_held()
    assert str(lost).startswith("process 1 on node7 (since ")


def test_a_lock_of_an_earlier_format_is_named_with_the_command_that_removes_it(
    directory: RunDirectory,
) -> None:
    path = directory.path / ".driver.lock"
    put(path, b'{"token": "t", "pid": 1, "hostname": "node7", "written_at_ms": 1}')

    with pytest.raises(RunDirectoryError, match="it lacks 'beat'") as refused:
        directory.is_held()

    assert f"`aws s3 rm {path}` removes it" in str(refused.value)
    assert str(path).startswith("s3://")


def test_one_of_many_takers_at_once_gets_the_lock(bucket: str) -> None:
    path = as_path(f"{bucket}/a/.driver.lock")
    taken: list[StoreLock | Seen] = []

    threads = [
        threading.Thread(target=lambda: taken.append(take_lock(path, on_loss=ignore)))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    (lock,) = [one for one in taken if isinstance(one, StoreLock)]
    assert len(taken) == 6
    lock.release()


def foreign_lock(path: Path, *, pid: int = 1) -> None:
    """Write the lock of a process of another machine."""
    holder = Holder(
        token="t",
        hostname="node7",
        boot="another",
        pid=pid,
        started="1",
        since_ms=1_700_000_000_000,
    )
    put(path, json.dumps({**asdict(holder), "beat": 0, "is_released": False}).encode())


def test_a_stale_lock_is_taken_over_by_one_of_many(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = as_path(f"{bucket}/a/.driver.lock")
    foreign_lock(path)
    fresh = take_lock(path, on_loss=ignore)
    monkeypatch.setattr(store_lock, "STALE_AFTER_S", 2.0)
    time.sleep(3.1)  # the store's clock shows seconds
    taken: list[StoreLock | Seen] = []

    threads = [
        threading.Thread(target=lambda: taken.append(take_lock(path, on_loss=ignore)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert isinstance(fresh, Seen)
    assert fresh.describe().startswith("process 1 on node7, seen")
    (lock,) = [one for one in taken if isinstance(one, StoreLock)]
    lock.release()


def test_signs_of_life_keep_a_lock_from_growing_stale(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_lock, "BEAT_S", 0.2)
    monkeypatch.setattr(store_lock, "STALE_AFTER_S", 2.5)
    path = as_path(f"{bucket}/a/.driver.lock")
    lock = take_lock(path, on_loss=ignore)
    time.sleep(3.5)

    other = take_lock(path, on_loss=ignore)

    assert isinstance(lock, StoreLock)
    assert isinstance(other, Seen)
    lock.release()


def test_a_lock_whose_holder_was_killed_on_this_machine_is_free_at_once(
    directory: RunDirectory,
) -> None:
    code = (
        "import sys, time; from rlp_sweeps.tracking.run_directory import RunDirectory\n"
        "with RunDirectory.open(sys.argv[1]).held():\n"
        "    print('held', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", code, str(directory.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert directory.is_held()
        holder.send_signal(signal.SIGKILL)
        holder.wait()

    assert not directory.is_held()
    with directory.held():
        pass


def taken_over(path: Path, monkeypatch: pytest.MonkeyPatch) -> StoreLock:
    """Take over a lock whose holder is taken to be dead."""
    with monkeypatch.context() as patch:
        patch.setattr(store_lock, "STALE_AFTER_S", -1.0)
        for _ in range(50):  # a sign of life may come between the look and the taking
            later = take_lock(path, on_loss=ignore)
            if isinstance(later, StoreLock):
                return later
    pytest.fail("the lock could not be taken over")


def test_a_driver_that_lost_its_lock_compacts_no_more(
    directory: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_lock, "BEAT_S", 60.0)
    write(directory, "a1")
    with directory.held():
        later = taken_over(directory.path / ".driver.lock", monkeypatch)
        with pytest.raises(RunDirectoryError, match="another one has taken it over"):
            directory.compact()
    later.release()

    assert names_in(directory.path / "trials") == ["a1.parquet"]


def test_a_holder_hears_that_its_lock_was_taken_over(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_lock, "BEAT_S", 0.2)
    path = as_path(f"{bucket}/a/.driver.lock")
    heard = threading.Event()
    lock = take_lock(path, on_loss=heard.set)

    later = taken_over(path, monkeypatch)

    assert heard.wait(5.0)
    assert isinstance(lock, StoreLock)
    lock.release()  # takes nothing from the later one
    seen = read_lock(path)
    assert seen is not None
    assert seen.is_held
    later.release()


def test_a_sign_of_life_whose_answer_was_lost_loses_no_lock(bucket: str) -> None:
    path = as_path(f"{bucket}/a/.driver.lock")
    lock = take_lock(path, on_loss=ignore)
    assert isinstance(lock, StoreLock)
    written = json.loads(path.read_bytes())
    put(path, json.dumps({**written, "beat": 7}).encode())

    lock.check()

    seen = read_lock(path)
    assert seen is not None
    assert (seen.holder.token, seen.beat) == (written["token"], 1)
    lock.release()


def test_a_store_that_ignores_conditions_is_refused(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    original: Callable[..., str] = store_lock.put

    def without_condition(path: Path, data: bytes, **options: Any) -> str:
        return original(path, data, **{**options, "condition": None})

    monkeypatch.setattr(store_lock, "put", without_condition)

    with pytest.raises(RunDirectoryError, match="must honour conditional writes"):
        RunDirectory.create(f"{bucket}/runs/demo", make_manifest())


def test_a_corrupt_part_in_a_store_is_set_aside(directory: RunDirectory) -> None:
    write(directory, "a1")
    write(directory, "b2")
    put(directory.path / "trials" / "a1.parquet", b"no parquet")

    (note,) = set_aside_corrupt_parts(directory)

    assert f"moved into {directory.path}/corrupt" in note
    assert names_in(directory.path / "corrupt") == ["epochs-a1.parquet", "trials-a1.parquet"]
    assert directory.finished_trials() == {"b2": "completed"}


def test_a_checkpoint_in_a_store_is_read_back(directory: RunDirectory) -> None:
    path = directory.checkpoint_path("g1")
    save_checkpoint(path, {"epoch": 3, "weights": torch.arange(5)})

    state = load_checkpoint(path, torch.device("cpu"))

    assert state["epoch"] == 3
    assert state["weights"].tolist() == [0, 1, 2, 3, 4]
    put(path, path.read_bytes()[:-30])
    with pytest.raises(CheckpointError, match="must be whole"):
        load_checkpoint(path, torch.device("cpu"))
    directory.remove_checkpoint("g1")
    with pytest.raises(CheckpointError, match="must be whole"):
        load_checkpoint(path, torch.device("cpu"))


def test_that_weights_are_kept_is_remembered_in_a_store(directory: RunDirectory) -> None:
    before = weights_folder(directory)

    keep_weights(directory)

    assert before is None
    assert weights_folder(directory) == directory.path / "weights"
    assert kept_weights(directory) == {}


def test_points_of_a_search_are_written_down_one_after_the_other(directory: RunDirectory) -> None:
    log = PointLog.of(directory.path)
    log.extend([AskedPoint(0, {"lr": 0.1})])
    log.extend([AskedPoint(1, {"lr": 0.2}), AskedPoint(2, {"lr": 0.3})])

    assert [point.params["lr"] for point in log.read()] == [0.1, 0.2, 0.3]


def test_leftovers_in_a_store_are_counted_and_removed(directory: RunDirectory) -> None:
    (directory.path / "weights" / "a.pt").write_bytes(b"12345")

    assert removable(directory)["weights"] == Size(num_files=1, num_bytes=5)
    assert touched_at(directory.path) > time.time() - 600
    remove(directory, ["weights"])

    assert removable(directory)["weights"] == Size()
    assert (directory.path / "manifest.json").exists()

"""The log of a group: lines with times, appended, bounded, and never in the way."""

import errno
import os
import re
import threading
from datetime import UTC, datetime

import pytest

from rlp_sweeps.stores import as_path
from rlp_sweeps.tracking import group_log, log_text
from rlp_sweeps.tracking.group_log import MAX_BYTES, MAX_LINE, GroupLog, add_line, read_log
from rlp_sweeps.tracking.run_directory import RunDirectory, build_manifest

ID = "3f2a1b9c4d5e6f70"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "logs" / "g1.log"


def told(path):
    return [(line.source, line.text) for line in read_log(path)]


def test_lines_are_read_as_they_were_written_each_with_its_time(path):
    before = datetime.now(UTC)
    log = GroupLog(path)

    log.write_all(
        [("group", "start 1:\n  indented"), (ID, "epoch 1/2"), ("a-longer-source-id", "")]
    )

    lines = read_log(path)  # though nothing was flushed or closed
    assert told(path) == [
        ("group", "start 1:"),
        ("group", "  indented"),
        (ID, "epoch 1/2"),
        ("a-longer-source-id", ""),
    ]
    assert all(abs((line.time - before).total_seconds()) < 60 for line in lines)
    assert [str(line) for line in lines] == path.read_text().split("\n")[:-1]


def test_a_later_attempt_goes_on_and_knows_how_many_there_were(path):
    for number in (1, 2):
        log = GroupLog(path)
        assert log.num_starts == number - 1
        log.write("group", f"start {number}: 4 trials")
        log.close()

    assert told(path) == [("group", "start 1: 4 trials"), ("group", "start 2: 4 trials")]


def test_a_log_stays_below_its_bound_keeps_both_ends_and_says_what_went(path):
    log = GroupLog(path)

    sizes = []
    for number in range(30_000):
        log.write("stdout", f"line {number} {'x' * 60}")
        sizes.append(path.stat().st_size)

    lines = read_log(path)
    cuts = [line for line in lines if line.text.startswith("cut: ")]
    assert max(sizes) <= MAX_BYTES
    assert (lines[0].text[:7], lines[-1].text[:11]) == ("line 0 ", "line 29999 ")
    (cut,) = cuts
    written = sum(len(f"line {n} {'x' * 60}") + 42 + 1 for n in range(30_000))
    missing = int(re.search(r"cut: (\d+) bytes", cut.text)[1])
    assert cut.source == "group"
    assert missing + path.stat().st_size - len(f"{cut}\n") == written
    assert [p.name for p in path.parent.iterdir()] == ["g1.log"]


def test_a_text_larger_than_the_bound_is_cut_before_it_is_written(path):
    GroupLog(path).write("stdout", "\n".join(f"{n}" for n in range(300_000)))

    lines = read_log(path)
    assert path.stat().st_size < MAX_BYTES
    assert (lines[0].text, lines[-1].text) == ("0", "299999")


def test_one_endless_line_is_cut_and_says_so(path):
    GroupLog(path).write("stdout", "x" * (MAX_LINE + 7))

    assert told(path) == [("stdout", "x" * MAX_LINE + "… (7 more characters)")]


def test_no_character_of_a_line_commands_a_terminal(path):
    GroupLog(path).write("stdout", "\x1b[2Jgone\u2028é\ud800\tλ")

    assert told(path) == [("stdout", r"\x1b[2Jgone\u2028é\ud800" + "\tλ")]


def test_a_full_disk_loses_lines_counts_them_and_raises_nothing(path, monkeypatch):
    log = GroupLog(path)
    monkeypatch.setattr(group_log, "_RETRY_AFTER_S", 0.0)

    def full(handle, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(log_text.os, "write", full)
        log.write("stdout", "one\ntwo")
        log.write("stdout", "three")
    log.write("stdout", "four")

    assert told(path) == [
        ("group", "3 line(s) are missing: there was no room for them"),
        ("stdout", "four"),
    ]


def test_a_line_that_found_room_for_a_part_of_it_spoils_no_other(path, monkeypatch):
    log = GroupLog(path)
    monkeypatch.setattr(group_log, "_RETRY_AFTER_S", 0.0)
    write = os.write
    room = [40]

    def nearly_full(handle, data):
        if not room[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        num_written = write(handle, data[: room[0]])
        room[0] -= num_written
        return num_written

    with monkeypatch.context() as patch:
        patch.setattr(log_text.os, "write", nearly_full)
        log.write("stdout", "torn")
    log.write("stdout", "whole")

    assert told(path)[-1] == ("stdout", "whole")
    assert len(path.read_text().split("\n")[0]) == 40


def test_a_log_whose_folder_cannot_be_made_is_silent(tmp_path):
    (tmp_path / "logs").write_text("a file")

    log = GroupLog(tmp_path / "logs" / "g1.log")
    log.write("group", "start 1:")
    log.close()

    assert (tmp_path / "logs").read_text() == "a file"


def test_a_log_that_is_a_link_is_not_written_through(tmp_path, path):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    path.parent.mkdir()
    path.symlink_to(victim)

    GroupLog(path).write("group", "start 1:")

    assert victim.read_text() == "precious"


def test_who_hangs_while_it_writes_holds_nobody_up(path, monkeypatch):
    monkeypatch.setattr(group_log, "_LOCK_PATIENCE_S", 0.05)
    log, is_held, may_end = GroupLog(path), threading.Event(), threading.Event()

    def hang(text):
        is_held.set()
        may_end.wait(10)

    thread = threading.Thread(target=lambda: log._does(hang))
    thread.start()
    is_held.wait(10)
    log.write("group", "lost")  # returns
    may_end.set()
    thread.join()
    log.write("group", "written")

    assert [text for _, text in told(path)][-1] == "written"


def test_a_closed_log_and_that_of_a_forked_process_are_silent(path, monkeypatch):
    log = GroupLog(path)
    log.write("group", "start 1:")
    with monkeypatch.context() as patch:
        patch.setattr(log, "_pid", -1)
        log.write("stdout", "of a child")
    log.close()
    log.write("stdout", "late")

    assert told(path) == [("group", "start 1:")]


def test_what_a_crashed_process_left_is_read_without_a_time(path):
    GroupLog(path).write("group", "start 1:")
    with path.open("a") as file:
        file.write("Fatal Python error: Segmentation fault\n  File x.py, line 3")

    add_line(path, "its process was lost")

    assert told(path)[1:] == [
        ("crash", "Fatal Python error: Segmentation fault"),
        ("crash", "  File x.py, line 3"),
        ("group", "its process was lost"),
    ]
    assert read_log(path)[1].time is None


def test_a_line_is_added_to_no_log_that_is_not_there(path):
    add_line(path, "its process was lost")

    assert not path.parent.exists()
    assert read_log(path) == []


def test_whoever_keeps_the_file_open_is_told_when_it_is_another_one(path):
    handles = []
    log = GroupLog(path, on_file=handles.append)

    for _ in range(3):
        log.write("stdout", "\n".join(["x" * 1000] * 240))
        log.write("stdout", "\n".join(["x" * 1000] * 240))

    assert len(handles) > 1
    assert os.fstat(handles[-1]).st_ino == path.stat().st_ino


def test_a_driver_removes_what_a_process_left_that_was_killed_while_it_cut(tmp_path):
    manifest = build_manifest(plan_id="p", sweep_name="s", space={}, configs=[])
    directory = RunDirectory.create(tmp_path / "run", manifest)
    GroupLog(directory.log_path("g1")).write("group", "start 1:")
    left = directory.path / "logs" / ".g1.log.123456789abc.tmp"
    left.touch()

    directory.remove_temporary_files(before=left.stat().st_mtime + 1)

    assert [path.name for path in (directory.path / "logs").iterdir()] == ["g1.log"]


def test_in_a_store_a_log_is_sent_whole_and_goes_on(bucket):
    path = as_path(f"{bucket}/run/logs/g1.log")
    for number in (1, 2):
        log = GroupLog(path)
        log.write("group", f"start {number}: 4 trials")
        sent = len(read_log(path))
        log.close()

    assert sent == 1  # of the second, nothing before its end
    assert told(path) == [("group", "start 1: 4 trials"), ("group", "start 2: 4 trials")]


def test_a_store_that_is_away_raises_nothing(bucket, monkeypatch):
    def away(*arguments, **options):
        raise OSError(errno.EIO, "away")

    log = GroupLog(as_path(f"{bucket}/run/logs/g1.log"))
    log.write("group", "start 1:")
    monkeypatch.setattr(log_text, "put", away)

    log.close()

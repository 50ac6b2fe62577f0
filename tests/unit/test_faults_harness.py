import contextlib
import importlib
import os
import random
import sqlite3
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import polars as pl
import pytest

from benchmarks.faults import plants
from benchmarks.faults.__main__ import (
    BEGIN,
    END,
    PAGE,
    draw_kinds,
    parse_kinds,
    still_missing,
    with_table,
)
from benchmarks.faults.campaign import OneSweep
from benchmarks.faults.checks import ORPHANS_AFTER_S, Reference, leftovers, orphans
from benchmarks.faults.faults import AT_ANY_TIME, PLANTED, fill_disk, spoilable
from benchmarks.faults.log import KINDS, Injection, read_log, to_markdown
from benchmarks.faults.moments import Moment, Spans
from benchmarks.faults.plants import FOLDER_VARIABLE, fired, plant
from benchmarks.faults.processes import tree_of
from benchmarks.faults.space import GROUP_SIZE, NUM_TRIALS
from benchmarks.faults.surroundings import (
    SYNC_TRIES,
    BrokenPlaceError,
    Surroundings,
    synced,
)
from benchmarks.faults.sweep import HOOKS, Sweep
from benchmarks.options import ROOT
from rlp_sweeps.tracking.group_log import GroupLog

KILL = Injection(
    time="2026-01-01T00:00:00.000+00:00",
    sweep="sweep-a",
    kind="driver",
    process="driver",
    pid=7,
    phase="training",
    counts=True,
    rows_before=3,
    rows_after=3,
    recover_s=4.0,
)


def test_log_of_injections_reads_back(tmp_path):
    log = tmp_path / "faults.jsonl"
    log.write_text(f"{KILL.to_json()}\n{replace(KILL, pid=8).to_json()}\n")

    assert read_log([log, log])[1:3] == [replace(KILL, pid=8), KILL]


def test_table_counts_what_came_before_a_sweeps_end():
    late = replace(KILL, phase="ended", counts=False)
    second = replace(KILL, sweep="sweep-b", recover_s=8.0, rows_lost=1)

    lines = to_markdown([KILL, second, late]).splitlines()

    assert lines[2] == "| SIGKILL of the driver | 2 | 2 | 1 | 0 | 0 | 0 | 0 | 0 | 6.0 s |"
    assert lines[3].startswith("| **all** | 2 | 2 | 1 |")
    assert lines[-1].startswith("2 of them were kills. 1 came after the sweep's end")


def test_table_shows_what_a_late_fault_found_at_its_sweeps_end():
    late = replace(KILL, phase="ended", counts=False, rows_lost=2)

    lines = to_markdown([KILL, late]).splitlines()

    assert lines[2].startswith("| SIGKILL of the driver | 1 | 1 | 2 |")


def test_table_says_in_how_many_sweeps_something_gave_up():
    given_up = replace(KILL, gave_up="exit 2: the MLflow store must answer")

    lines = to_markdown([KILL, given_up]).splitlines()

    assert lines[-1].endswith("do not count. In 1 sweeps a command or the harness gave up.")


def test_what_came_too_late_is_missing_until_it_was_injected():
    late = replace(KILL, kind="part_truncated", phase="ended", counts=False)
    drawn = ["driver", "part_truncated", "part_truncated"]

    missing = still_missing(drawn, [KILL, late, replace(late, counts=True), late])

    assert missing == ["part_truncated"]


def test_page_takes_the_table_between_its_markers():
    page = with_table(f"a {BEGIN} old {END} z", "new")

    assert page == f"a {BEGIN}\n\nnew\n{END} z"
    assert PAGE.read_text().count(BEGIN) == 1


def test_every_fault_is_drawn_where_there_is_room():
    kinds = draw_kinds(list(KINDS), 200, random.Random(0))

    assert len(kinds) == 200
    assert set(kinds) == set(KINDS)
    assert set(KINDS) >= PLANTED
    assert kinds.count("driver") > kinds.count("head")


def test_unknown_fault_is_refused():
    with pytest.raises(ValueError, match="must name faults out of"):
        parse_kinds("driver,earthquake")


def test_a_value_that_differs_in_its_last_bit_is_found_but_not_in_a_trial_made_to_fail():
    rows = {"trial_id": ["a", "b"], "status": ["completed"] * 2, "test_loss": [0.1, 0.2]}
    trials = pl.DataFrame({**rows, "error": [None, None]}, schema_overrides={"error": pl.String})
    reference = Reference(trials, trials.clear())
    is_first = pl.col("trial_id") == "a"
    nudged = trials.with_columns(
        test_loss=pl.when(is_first).then(np.nextafter(0.1, 1)).otherwise(0.2)
    )
    failed = trials.with_columns(
        status=pl.when(is_first).then(pl.lit("failed")).otherwise("status"),
        error=pl.when(is_first).then(pl.lit("ArithmeticError: planted")),
    )

    found = [reference.num_changed(frame) for frame in (trials, nudged, failed, trials.tail(1))]

    assert found == [0, 1, 0, 0]


def _replace_twice(folder, tmp_path, name):
    """Move two files in a process of that name; return its exit status."""
    script = tmp_path / name
    script.write_text(
        "import os, pathlib\n"
        f"folder = pathlib.Path({str(tmp_path)!r})\n"
        "for number in range(2):\n"
        "    (folder / 'a').write_text('')\n"
        "    os.replace(folder / 'a', folder / f'{number}.parquet')\n"
    )
    path = f"{HOOKS}{os.pathsep}{ROOT}"
    environment = {**os.environ, "PYTHONPATH": path, FOLDER_VARIABLE: str(folder)}
    return subprocess.run([sys.executable, script], env=environment, check=False).returncode


def test_plant_fires_once_in_a_process_of_its_role_at_its_file(tmp_path):
    folder = tmp_path / "plants"
    rule = {"site": "replace", "path": r"/1\.parquet$", "action": "kill"}
    plant(folder, "p", role="worker", **rule)

    names = ("other.py", "default_worker.py", "default_worker.py")
    statuses = [_replace_twice(folder, tmp_path, name) for name in names]

    assert statuses == [0, -9, 0]
    assert fired(folder, "p")["path"] == str(tmp_path / "1.parquet")


def test_places_of_plants_are_functions_of_the_program():
    for module, (owner, name, _) in plants.PLACES.items():
        holder = importlib.import_module(module)
        assert callable(getattr(holder if owner is None else getattr(holder, owner), name))


def test_logs_are_no_leftovers_but_what_was_left_of_cutting_one_is(tmp_path):
    GroupLog(tmp_path / "logs" / "g1.log").write("group", "start 1: 2 trial(s)")
    left = tmp_path / "logs" / ".g1.log.123456789abc.tmp"
    left.touch()

    assert leftovers(tmp_path, []) == [str(left)]


def test_processes_below_one_are_found():
    script = "import subprocess; subprocess.run(['sleep', '30'])"
    parent = subprocess.Popen([sys.executable, "-c", script])
    try:
        while not (tree := tree_of(parent.pid)) or "sleep" not in tree[0].command:
            assert parent.poll() is None
        tree[0].kill()
        parent.wait(timeout=20)
    finally:
        parent.kill()

    assert not tree[0].is_alive()


def test_disk_is_filled_to_its_last_byte(tmp_path, monkeypatch):
    written = []

    class Small:
        def __enter__(self):
            return self

        def __exit__(self, *error):
            return None

        def write(self, content):
            if sum(written) + len(content) > 2_500_001:
                raise OSError(28, "no space left on device")
            written.append(len(content))

    monkeypatch.setattr("pathlib.Path.open", lambda *a, **k: Small())
    fill_disk(tmp_path)

    assert sum(written) == 2_500_001


class Training:
    """A sweep in training; between two looks a trial ends."""

    def __init__(self):
        self.num_left = NUM_TRIALS
        self.now = SimpleNamespace(is_over=False)

    def phase(self):
        return "training"

    def wait(self, until, *, timeout_s):
        while not until() and self.num_left:
            self.num_left -= 1


@pytest.mark.parametrize(("first_file", "then_left"), [(5, GROUP_SIZE), (11, 1)])
def test_moment_waits_for_a_file_and_comes_before_the_last_trials_are_trained(
    first_file, then_left
):
    sweep = Training()

    def there():
        return NUM_TRIALS - sweep.num_left >= first_file

    Moment("training", delay_s=3600.0).await_in(sweep, there)

    assert sweep.num_left == then_left


def test_moment_in_training_comes_within_the_share_that_is_left():
    spans, rng = Spans(starting=1.0, training=120.0, ending=1.0), random.Random(0)

    moments = [Moment.draw("worker", spans, rng, num_left=3) for _ in range(200)]

    assert 20.0 < max(moment.delay_s for moment in moments) <= 30.0


def test_files_to_spoil_are_checkpoints_or_rows_of_single_trials(tmp_path):
    for name in ("trials/a", "trials/0-compacted", "trials/.b", "epochs/a"):
        path = tmp_path / f"{name}.parquet"
        path.parent.mkdir(exist_ok=True)
        path.touch()
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "g.pt").touch()

    sweep = SimpleNamespace(directory=tmp_path)
    found = [spoilable(kind, sweep) for kind in ("part_truncated", "checkpoint_flipped")]

    assert [path.relative_to(tmp_path).as_posix() for path in found[0]] == [
        "trials/a.parquet",
        "epochs/a.parquet",
    ]
    assert [path.name for path in found[1]] == ["g.pt"]


def test_what_a_killed_driver_was_writing_is_no_phase_of_the_next_one(tmp_path):
    sweep = Sweep(tmp_path / "sweep", tmp_path)
    sweep.attempts = [SimpleNamespace(is_over=False, started_at_s=1000.0, process=Mock(pid=0))]
    (sweep.directory / "trials").mkdir(parents=True)
    left = sweep.directory / "trials" / ".0-compacted.parquet.ab.tmp"
    left.touch()

    phases = []
    for written_at_s in (990.0, 1010.0):
        os.utime(left, times=(written_at_s, written_at_s))
        phases.append(sweep.phase())

    assert phases == ["starting", "compacting"]


class Clock:
    """Time that goes by while somebody sleeps."""

    def __init__(self):
        self.now = 0.0

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.now += max(seconds, 1.0)


def test_orphans_are_processes_that_outlive_the_agents_of_a_killed_head(monkeypatch):
    clock = Clock()
    monkeypatch.setattr("benchmarks.faults.checks.time", clock)
    agent = SimpleNamespace(pid=1, is_alive=lambda: clock.now < 70.0)
    worker = SimpleNamespace(pid=2, is_alive=lambda: True)

    found = [orphans([agent], "no such marker"), orphans([agent, worker], "no such marker")]

    assert found == [[], [worker]]
    assert clock.now > ORPHANS_AFTER_S


def _one_sweep(place, kinds, shown):
    campaign = SimpleNamespace(show=shown.append, rng=random.Random(0))
    return OneSweep(campaign, place, kinds)


def test_faults_of_training_wait_for_the_next_sweep_where_every_trial_has_its_row(tmp_path):
    kinds = ["worker", "part_truncated", "sigint"]
    sweep = _one_sweep(Surroundings(tmp_path / "home"), kinds, [])
    trials = sweep._sweep.directory / "trials"
    trials.mkdir(parents=True)
    for number in range(NUM_TRIALS):
        (trials / f"{number}.parquet").touch()

    drawn = [sweep._next_kind(), sweep._next_kind()]

    assert drawn == ["sigint", None]
    assert kinds == ["worker", "part_truncated"]
    assert set(KINDS) > AT_ANY_TIME


class BrokenPlace(Surroundings):
    """One that cannot be mended."""

    def mend(self):
        raise BrokenPlaceError("the MLflow server must answer")


def test_sweep_in_a_broken_place_is_noted_and_given_up(tmp_path):
    kinds, shown = ["worker", "driver"], []
    sweep = _one_sweep(BrokenPlace(tmp_path / "home"), kinds, shown)

    injections = list(sweep.run())

    assert (injections, kinds) == ([], ["driver"])
    assert "is given up: the MLflow server must answer" in shown[0]


def test_sync_that_gives_up_is_called_again_and_what_it_said_is_kept():
    answers = iter(["exit 2: no answer", ""])

    said = [synced(lambda: next(answers)), synced(lambda: "exit 2: refused")]

    assert said == [["exit 2: no answer"], ["exit 2: refused"] * SYNC_TRIES]


def test_place_that_is_opened_again_keeps_what_a_killed_server_had_written(tmp_path):
    first = tmp_path / "first.db"
    with contextlib.closing(sqlite3.connect(first)) as store:
        store.execute("PRAGMA journal_mode = WAL")
        store.execute("CREATE TABLE runs (name TEXT)")
        store.execute("CREATE TABLE tags (name TEXT)")
    place = Surroundings(tmp_path / "served", store=first)

    with contextlib.closing(sqlite3.connect(place.store)) as server:  # its log stays behind
        server.execute("INSERT INTO runs VALUES ('a run')")
        server.commit()
        server.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        server.execute("INSERT INTO tags VALUES ('a tag')")
        server.commit()
        again = Surroundings(tmp_path / "served", store=first)

        with contextlib.closing(sqlite3.connect(again.store)) as reader:
            written = reader.execute("SELECT name FROM runs UNION SELECT name FROM tags")
            assert written.fetchall() == [("a run",), ("a tag",)]

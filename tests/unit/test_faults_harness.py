import importlib
import os
import random
import subprocess
import sys
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from benchmarks.faults import plants
from benchmarks.faults.__main__ import BEGIN, END, PAGE, draw_kinds, parse_kinds, with_table
from benchmarks.faults.checks import Reference
from benchmarks.faults.faults import PLANTED, fill_disk
from benchmarks.faults.log import KINDS, Injection, read_log, to_markdown
from benchmarks.faults.plants import FOLDER_VARIABLE, fired, plant
from benchmarks.faults.processes import tree_of
from benchmarks.faults.sweep import HOOKS
from benchmarks.options import ROOT

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

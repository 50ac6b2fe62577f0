"""The store under whatever order of writes, compactions, kills, full disks and readers.

A model says what must be seen. A row that was written is never lost, none stands twice, and no
reader, at any instant of a write or a compaction, sees half of one. A kill leaves everything as it
is: what would be tidied up after an exception is not.
"""

import errno
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from rlp_sweeps.schema import STATUSES
from rlp_sweeps.tracking import files, held_directory, parquet
from rlp_sweeps.tracking.run_directory import RunDirectory, build_manifest

MAX_STEPS = 14
"""Touches of the file system that a write or a compaction of this size takes."""

trial_ids = st.sampled_from(["a1", "b2", "c3"])
faults = st.none() | st.tuples(
    st.sampled_from(["killed", "disk full", "looked at", "overtaken"]),
    st.integers(0, MAX_STEPS),
)
Fault = tuple[str, int] | None
Seen = tuple[int, int | None]
"""A trial as a reader sees it: the write that its row is of, and that its evaluations are of."""


class Killed(BaseException):
    """Stands for a process that ends here."""


class Steps:
    """Every touch of the file system within a block, of which one meets with a fault."""

    def __init__(self, fault: Fault, *, act: Callable[[str], None]) -> None:
        self._kind, self._left = fault or ("", -1)
        self._act = act
        self._is_dead = False
        self._is_suspended = False
        self._stack = ExitStack()

    def __enter__(self) -> "Steps":
        writes = parquet._write

        def torn_write(rows: Any, path: Path, **options: Any) -> None:
            path.write_bytes(b"PAR1 torn")
            self._step("a torn file")
            writes(rows, path, **options)

        for owner, name in ((os, "replace"), (os, "fsync"), (Path, "unlink")):
            touch = patch.object(owner, name, self._guarded(getattr(owner, name), name))
            self._stack.enter_context(touch)
        self._stack.enter_context(patch.object(parquet, "_write", torn_write))
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def _guarded(self, touch: Callable[..., Any], name: str) -> Callable[..., Any]:
        def step(*args: Any, **kwargs: Any) -> Any:
            self._step(name)
            return touch(*args, **kwargs)

        return step

    def _step(self, name: str) -> None:
        if self._is_suspended:
            return
        self._left -= 1
        if self._is_dead or (self._left == -1 and self._kind == "killed"):
            self._is_dead = True
            raise Killed
        if self._left == -1 and self._kind == "disk full":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if self._left == -1 and self._kind:
            self._is_suspended = True
            try:
                self._act(f"{self._kind} before {name}")
            finally:
                self._is_suspended = False


class Store(RuleBasedStateMachine):
    """A run directory, its writers, its driver and its readers."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="rlp-store-"))
        manifest = build_manifest(plan_id="p", sweep_name="s", space={}, configs=[])
        RunDirectory.create(self.root / "run", manifest)
        self.version = 0
        self.numbers: dict[int, tuple[str, int]] = {}
        self.possible: dict[str, set[Seen | None]] = {}

    def teardown(self) -> None:
        shutil.rmtree(self.root)

    @property
    def directory(self) -> RunDirectory:
        """The directory as another process opens it."""
        return RunDirectory.open(self.root / "run")

    @rule(trial_id=trial_ids, status=st.sampled_from(STATUSES), n=st.integers(0, 3), fault=faults)
    def write(self, trial_id: str, status: str, n: int, fault: Fault) -> None:
        """Write a trial, for the first time or again."""
        self.version += 1
        new, self.numbers[self.version] = self.version, (status, n)
        before = self.possible.get(trial_id, {None})
        between = {old and (old[0], new) for old in before}  # evaluations come before their row
        self.possible[trial_id] = before | between | {(new, new)}

        def act(when: str) -> None:
            self.look()
            if "overtaken" in when:
                other = {"a1": "b2", "b2": "c3", "c3": "a1"}[trial_id]
                self.write(other, "completed", 1, None)

        if self._do(lambda: self._write(trial_id, new), fault, act):
            self.possible[trial_id] = {(new, new)}

    def _write(self, trial_id: str, version: int) -> None:
        status, n = self.numbers[version]
        row = {"trial_id": trial_id, "status": status, "point": version}
        epochs = [{"trial_id": trial_id, "epoch": e + 1, "step": version} for e in range(n)]
        self.directory.write_trial(row, epochs)

    @rule(fault=faults, trial_id=trial_ids)
    def compact(self, fault: Fault, trial_id: str) -> None:
        """Compact, while readers look on and a worker of an earlier attempt may still write."""

        def act(when: str) -> None:
            self.look()
            if "overtaken" in when and "unlink" not in when:
                self.write(trial_id, "completed", 2, None)

        self._do(self.directory.compact, fault, act)

    @rule(trial_id=trial_ids, step=st.integers(0, 6))
    def overtake(self, trial_id: str, step: int) -> None:
        """Compact, and write one of the trials once more in the middle of it."""
        self.compact(("overtaken", step), trial_id)

    def _do(self, work: Callable[[], None], fault: Fault, act: Callable[[str], None]) -> bool:
        """Do something that meets with a fault, and return whether it was done."""
        with suppress(Killed, OSError), Steps(fault, act=act):
            work()
            return True
        return False

    @rule()
    def tidy(self) -> None:
        """Remove what killed writers left, when none is at work."""
        with patch.object(held_directory, "_STALE_AFTER_S", -1.0):
            self.directory.remove_temporary_files()

        left = [path for path in (self.root / "run").rglob("*") if files.is_temporary(path)]
        assert left == []

    @invariant()
    def settle(self) -> None:
        """Look when nobody is at work: what is seen then is what stays."""
        for trial_id, seen in self.look().items():
            self.possible[trial_id] = {seen}

    def look(self) -> dict[str, Seen | None]:
        """Read everything, hold it against the model, and return it."""
        directory = self.directory
        rows, epochs = directory.read_trials().to_pylist(), directory.read_epochs().to_pylist()
        assert directory.finished_trials() == {row["trial_id"]: row["status"] for row in rows}
        assert max(Counter(row["trial_id"] for row in rows).values(), default=1) == 1
        seen: dict[str, Seen | None] = dict.fromkeys(self.possible)
        for row in rows:
            trial_id, version = row["trial_id"], row["point"]
            assert row["status"] == self.numbers[version][0]
            own = [(e["epoch"], e["step"]) for e in epochs if e["trial_id"] == trial_id]
            seen[trial_id] = (version, self._version_of(trial_id, version, own))
        for trial_id, one in seen.items():
            assert one in self.possible[trial_id], (trial_id, one, self.possible[trial_id])
        return seen

    def _version_of(self, trial_id: str, row: int, epochs: list[tuple[int, int]]) -> int:
        """Return the write that these evaluations are of: all of one, and of it all."""
        among = {seen[1] for seen in self.possible[trial_id] if seen and seen[0] == row}
        for version in sorted(filter(None, among), reverse=True):
            if epochs == [(e + 1, version) for e in range(self.numbers[version][1])]:
                return version
        raise AssertionError((trial_id, row, epochs, among))


def test_no_row_is_lost_or_doubled_or_half_seen_whatever_happens() -> None:
    run_state_machine_as_test(Store, settings=settings(max_examples=30, stateful_step_count=12))

"""A campaign: faults in random order, in sweep after sweep, each checked by the undisturbed one."""

import random
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.faults import checks
from benchmarks.faults.faults import (
    AT_ANY_TIME,
    ENDS_DRIVER,
    PLANTED,
    SPOILS,
    TRIAL_TIMEOUT_S,
    Hit,
    fill_disk,
    hit_of,
    place,
    spoil,
    spoilable,
    strike,
    take_back,
)
from benchmarks.faults.log import Injection
from benchmarks.faults.moments import ATTEMPT_TIMEOUT_S, Moment, measured
from benchmarks.faults.space import NUM_TRIALS
from benchmarks.faults.surroundings import (
    BrokenPlaceError,
    Served,
    SmallDisk,
    Surroundings,
    TwoNodes,
    fresh_name,
)
from benchmarks.faults.sweep import Sweep
from rlp_sweeps.errors import RlpSweepsError

PLACES: dict[str, type[Surroundings]] = {
    "mlflow": Served,
    "disk_full": SmallDisk,
    "node": TwoNodes,
    "head": TwoNodes,
}
"""Where the sweeps of a fault stand; the others in a folder."""

MAX_ATTEMPTS = 40
"""Drivers of one sweep."""

HARNESS_ERRORS = (BrokenPlaceError, AssertionError, OSError, subprocess.SubprocessError)
"""What goes wrong beside a sweep: it is noted, and the campaign goes on."""


class Campaign:
    """Injects faults and yields what became of each.

    Attributes:
        reference: The undisturbed sweep's rows.
    """

    def __init__(
        self, folder: Path, *, rng: random.Random, show: Callable[[str], None] = print
    ) -> None:
        """Run the undisturbed sweep.

        Args:
            folder: Everything is written below it.
            rng: Chooses moments, victims and the order of faults.
            show: Takes sentences on how it goes.
        """
        self._rng = rng
        self._show = show
        self._folder = folder
        self._home = Surroundings(folder / "home")
        undisturbed = Sweep(self._home.folder / "undisturbed", self._home.logs)
        self._spans = measured(undisturbed)
        self.reference = checks.Reference.read(undisturbed.directory)
        statuses = self.reference.trials["status"].value_counts().rows()
        show(f"undisturbed: {dict(statuses)}, {self._spans}")

    def run(self, kinds: list[str]) -> Iterator[Injection]:
        """Inject these faults, those that share their surroundings into sweeps in turn."""
        for surroundings in sorted({PLACES.get(kind, Surroundings) for kind in kinds}, key=str):
            here = [kind for kind in kinds if PLACES.get(kind, Surroundings) is surroundings]
            try:
                yield from self._run_in(surroundings, here)
            except HARNESS_ERRORS as error:
                self.show(f"{surroundings.__name__} cannot be had: {error}")

    def _run_in(self, surroundings: type[Surroundings], kinds: list[str]) -> Iterator[Injection]:
        place_of_all = self._home
        if surroundings is not Surroundings:
            folder = self._folder / surroundings.__name__.lower()
            place_of_all = surroundings(folder, store=self._home.store)
        try:
            while kinds:
                yield from OneSweep(self, place_of_all, kinds).run()
        finally:
            place_of_all.close()

    @property
    def rng(self) -> random.Random:
        """Its randomness."""
        return self._rng

    def moment(self, kind: str, sweep: Sweep) -> Moment:
        """Return a random moment for a fault in what is left of a sweep."""
        return Moment.draw(kind, self._spans, self._rng, num_left=sweep.num_left)

    def show(self, sentence: str) -> None:
        """Say how it goes."""
        self._show(sentence)


class OneSweep:
    """A sweep from its start to its end, with as many faults as come in between."""

    def __init__(self, campaign: Campaign, place_: Surroundings, kinds: list[str]) -> None:
        """Prepare it.

        Args:
            campaign: Whose it is.
            place_: Where it stands.
            kinds: Faults to inject; those that were injected are removed.
        """
        self._campaign = campaign
        self._place = place_
        self._kinds = kinds
        self._sweep = Sweep(place_.folder / fresh_name(), place_.logs)
        self._open: list[tuple[Injection, float, int]] = []
        self._done: list[Injection] = []
        self._gave_up: list[str] = []

    def run(self) -> Iterator[Injection]:
        """Inject until the sweep is complete; yield what became of each fault."""
        try:
            self._inject_all()
        except HARNESS_ERRORS as error:
            self._campaign.show(f"{self._sweep.directory} is given up: {error}")
            self._gave_up.append(f"{type(error).__name__}: {error}")
            self._end_driver()
        yield from self._checked_at_the_end()

    def _inject_all(self) -> None:
        while not self._has_ended():
            if len(self._sweep.attempts) >= MAX_ATTEMPTS:
                self._campaign.show(f"{self._sweep.directory.name} does not end")
                break
            kind = self._next_kind()
            if kind is None:
                self._start()
                self._until_over()
            else:
                self._inject(kind)

    def _has_ended(self) -> bool:
        """Whether the last driver has let go of the sweep, with a row for every trial."""
        attempts = self._sweep.attempts
        if not attempts or not attempts[-1].is_over:
            return False
        if (self._sweep.directory / "driver.json").exists():
            return False  # Ray has ended it, with the status of a sweep that has failed trials
        return attempts[-1].process.returncode in (0, 1) and self._sweep.is_complete

    def _next_kind(self) -> str | None:
        is_new = not (self._sweep.directory / "manifest.json").exists()
        can_train = not self._sweep.is_complete
        for kind in self._kinds:
            if (kind != "driver_creating" or is_new) and (can_train or kind in AT_ANY_TIME):
                self._kinds.remove(kind)
                return kind
        return None

    def _start(self, *further: str) -> None:
        """Start a driver unless one is at work."""
        self._place.mend()
        if self._sweep.attempts and not self._sweep.now.is_over:
            return
        if self._campaign.rng.random() < 0.5:  # or else while the last one's processes still end
            known = [p for attempt in self._sweep.attempts for p in attempt.known.values()]
            self._wait(lambda: not any(p.is_alive() for p in known), timeout_s=60.0)
        self._sweep.options = self._place.options()
        self._sweep.environment = self._place.environment()
        self._sweep.start(*further)

    def _inject(self, kind: str) -> None:
        if kind in PLANTED:
            self._inject_planted(kind)
        elif kind in SPOILS:
            self._inject_spoilt(kind)
        else:
            self._inject_at_a_moment(kind)

    def _inject_planted(self, kind: str) -> None:
        """Plant it, start a driver anew, and wait until it fires."""
        self._end_driver()
        name = f"{kind}-{len(self._done)}"
        place(kind, name, self._sweep, self._campaign.rng)
        self._start(*(["--trial-timeout", str(TRIAL_TIMEOUT_S)] if kind == "hangs" else []))
        sweep = self._sweep
        self._wait(lambda: hit_of(kind, name, sweep) or sweep.now.is_over)
        hit = hit_of(kind, name, sweep)
        take_back(name, sweep)
        self._note(kind, hit, phase=sweep.phase() if kind not in ENDS_DRIVER else _phase_of(kind))

    def _inject_spoilt(self, kind: str) -> None:
        """Kill the driver while it trains, and spoil files."""
        self._end_driver()
        self._start()
        moment = self._campaign.moment("worker", self._sweep)  # as a worker's: in training
        moment.await_in(self._sweep, lambda: spoilable(kind, self._sweep))
        phase = self._sweep.phase()
        self._end_driver()
        hit = None if phase == "ended" else spoil(kind, self._sweep, self._campaign.rng)
        self._note(kind, hit, phase=phase)

    def _inject_at_a_moment(self, kind: str) -> None:
        self._start()
        moment = self._campaign.moment(kind, self._sweep)
        is_hurried = moment.phase == "training" and kind not in AT_ANY_TIME
        there = (lambda: True) if is_hurried else None  # not too late where all goes faster
        came = moment.await_in(self._sweep, there)
        phase = self._sweep.phase()
        hit = self._strike(kind) if came else None
        self._note(kind, hit, phase=phase)

    def _strike(self, kind: str) -> Hit | None:
        if kind == "disk_full":
            ballast = fill_disk(self._place.folder)
            self._wait(lambda: self._sweep.now.is_over, timeout_s=self._campaign.rng.uniform(2, 8))
            ballast.unlink()
            return Hit("disk")
        if isinstance(self._place, Served):
            pid = self._place.pid
            self._place.kill()
            return Hit("mlflow", pid)
        if isinstance(self._place, TwoNodes):
            pid = self._place.kill(kind)
            hit = None if pid is None else Hit(kind, pid)
            if kind == "head":
                self._until_over()
            self._place.has_settled(kind)
            return hit
        return strike(kind, self._sweep, self._campaign.rng)

    def _note(self, kind: str, hit: Hit | None, *, phase: str) -> None:
        """Wait for the driver's end where the fault ends it, and check the rows."""
        sweep, struck = self._sweep, time.monotonic()
        before = sweep.finished() - {hit.was_trial if hit else None}
        if hit is None:
            has_ended = phase == "ended" or (sweep.now.is_over and kind not in SPOILS)
            phase = "ended" if has_ended else "nothing to hit"
        elif kind in ENDS_DRIVER:
            self._until_over()
            witnesses = [p for p in sweep.now.known.values() if "farewell" in p.command]
            self._wait(lambda: not any(p.is_alive() for p in witnesses), timeout_s=15.0)
        rows = checks.read_rows(sweep.directory)
        is_read = hit is None or hit.was_trial is None
        injection = Injection(
            time=datetime.now(UTC).isoformat(timespec="milliseconds"),
            sweep=sweep.directory.name,
            kind=kind,
            process="" if hit is None else hit.process,
            pid=0 if hit is None else hit.pid,
            phase=phase,
            counts=hit is not None and phase != "ended",
            rows_before=len(before),
            rows_after=len(rows),
            rows_lost=len(before - set(rows["trial_id"])) if is_read else 0,
            rows_twice=len(rows) - rows["trial_id"].n_unique(),
            numbers_changed=self._campaign.reference.num_changed(rows),
            exit_status=sweep.now.process.poll(),
            seen=sweep.now.last_sentence,
            has_traceback="Traceback" in sweep.now.said,
        )
        self._campaign.show(f"{kind} at {phase}: {injection.rows_before} rows, {injection.seen}")
        self._open.append((injection, struck, len(sweep.finished())))

    def _until_over(self) -> None:
        self._wait(lambda: self._sweep.now.is_over)
        if not self._sweep.now.is_over:
            self._campaign.show(f"a driver does not end: {self._sweep.directory}")
            self._end_driver()

    def _end_driver(self) -> None:
        if self._sweep.attempts and not self._sweep.now.is_over:
            self._sweep.now.processes("worker")
            with suppress(ProcessLookupError):
                self._sweep.now.process.kill()
            self._sweep.now.process.wait()

    def _wait(self, until: Callable[[], object], *, timeout_s: float = ATTEMPT_TIMEOUT_S) -> None:
        """Wait, and see meanwhile whether the sweep has recovered."""

        def look() -> object:
            self._see_recovery()
            return until()

        self._sweep.wait(look, timeout_s=timeout_s)

    def _see_recovery(self) -> None:
        """Close the injections after which a further trial has its row, or all have ended."""
        if not self._open:
            return
        num_rows, now = len(self._sweep.finished()), time.monotonic()
        has_ended = self._has_ended()
        still = []
        for injection, struck, num_then in self._open:
            if num_rows > num_then or has_ended:
                self._done.append(replace(injection, recover_s=round(now - struck, 2)))
            else:
                still.append((injection, struck, num_then))
        self._open = still

    def _checked_at_the_end(self) -> Iterator[Injection]:
        """Yield the injections; the last one carries what is wrong with the sweep as a whole.

        A sweep that the harness gave up cannot be held against the undisturbed one.
        """
        faults: dict[str, int] = {}
        if not self._gave_up:
            self._see_recovery()
            self._gave_up += self._place.complete(self._sweep)
            faults = self._final_faults()
        for sentence in self._gave_up:
            self._campaign.show(f"{self._sweep.directory.name}: {sentence}")
        if any(faults.values()):
            self._campaign.show(f"{self._sweep.directory} is not as it must be: {faults}")
        elif not self._gave_up:
            self._remove()
        done = self._done + [injection for injection, _, _ in self._open]
        if done:
            last = done.pop()
            summed = {name: getattr(last, name) + value for name, value in faults.items()}
            done.append(replace(last, gave_up="; ".join(self._gave_up), **summed))
        yield from done

    def _final_faults(self) -> dict[str, int]:
        sweep, reference = self._sweep, self._campaign.reference
        known = [p for attempt in sweep.attempts for p in attempt.known.values()]
        alive = checks.orphans(known, str(sweep.plants))
        pids = [attempt.process.pid for attempt in sweep.attempts]
        left = checks.leftovers(sweep.directory, pids)
        for thing in (*alive, *left):
            self._campaign.show(f"left behind: {thing}")
        try:
            trials, epochs = checks.read_tables(sweep.directory)
        except RlpSweepsError as error:
            self._gave_up.append(f"its rows cannot be read: {error}")
            return {"rows_lost": NUM_TRIALS}
        changed = reference.num_changed(trials) + reference.num_changed_epochs(epochs, trials)
        return {
            "rows_lost": len(reference.trial_ids - set(trials["trial_id"])),
            "rows_twice": checks.num_twice(sweep.directory),
            "numbers_changed": changed,
            "num_orphans": len(alive),
            "num_leftovers": len(left),
            "num_runs_off": checks.num_runs_off(
                self._place.store, sweep.directory.name, len(trials)
            ),
        }

    def _remove(self) -> None:
        shutil.rmtree(self._sweep.directory)
        for path in self._place.logs.glob(f"{self._sweep.directory.name}*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _phase_of(kind: str) -> str:
    return {"driver_creating": "starting", "driver_compacting": "compacting"}.get(kind, "ending")

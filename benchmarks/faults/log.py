"""The log of injections, one JSON object a line, and the table that is made of it."""

import json
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

KINDS = {
    "worker": "SIGKILL of a worker",
    "worker_writing": "SIGKILL of a worker between a trial's epochs and its row",
    "worker_checkpoint": "SIGKILL of a worker while it writes a checkpoint",
    "raylet": "SIGKILL of the raylet of the sweep's own cluster",
    "gcs": "SIGKILL of the head (GCS) of the sweep's own cluster",
    "node": "SIGKILL of a node of a cluster of two",
    "head": "SIGKILL of the head (GCS) of a cluster of two",
    "driver": "SIGKILL of the driver",
    "driver_creating": "SIGKILL of the driver while it creates the run directory",
    "driver_compacting": "SIGKILL of the driver while it compacts",
    "driver_syncing": "SIGKILL of the driver while it completes MLflow",
    "sigint": "SIGINT of the driver",
    "sigterm": "SIGTERM of the driver",
    "mlflow": "SIGKILL of the MLflow server",
    "disk_full": "disk full for seconds",
    "checkpoint_truncated": "checkpoint truncated",
    "checkpoint_flipped": "a bit of a checkpoint flipped",
    "part_truncated": "part file truncated",
    "part_flipped": "a bit of a part file flipped",
    "raises": "trial raises",
    "hangs": "trial hangs",
    "leaks": "trial leaks memory",
    "clock_worker": "a worker's clock off by a day",
    "clock_files": "clock set back or forth: files off by a day",
}
"""What each fault is called in the table."""

KILLS = frozenset(
    kind
    for kind in KINDS
    if kind.split("_")[0] in ("worker", "raylet", "gcs", "node", "head", "driver", "mlflow")
)
"""Faults that are a SIGKILL."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Injection:
    """One fault and what became of it.

    Attributes:
        time: When, in UTC.
        sweep: The sweep that it went into; sweeps of one log have different names.
        kind: One of `KINDS`.
        process: What was hit: a process's kind, or a file's path within the run directory.
        pid: Its process; 0 for a file.
        phase: The sweep's phase: starting, training, writing, compacting, ending, ended.
        counts: It was injected before the sweep's end.
        rows_before: Finished trials as it was injected.
        rows_after: Finished trials as the driver had ended, or as the sweep had gone on.
        rows_lost: Finished trials that lack in `rows_after`, and trials that lack at the sweep's
            end.
        rows_twice: Trials with two rows.
        numbers_changed: Values that are not those of the undisturbed sweep.
        num_orphans: Processes of drivers that outlived the sweep by two and a half minutes.
        num_runs_off: MLflow runs that lack, are there twice or are open still at the sweep's end.
        num_leftovers: Temporary files and folders that the sweep's end left.
        exit_status: Of the driver that was hit; None where it went on.
        seen: The last sentence of the driver that was hit.
        has_traceback: The driver printed one.
        recover_s: Seconds until the next trial had its row, or the sweep its end.
        gave_up: What `sync` said at the sweep's end before it was called again, or what ended the
            sweep from outside, so that its end was not looked at.
    """

    time: str
    sweep: str
    kind: str
    process: str
    pid: int
    phase: str
    counts: bool
    rows_before: int
    rows_after: int
    rows_lost: int = 0
    rows_twice: int = 0
    numbers_changed: int = 0
    num_orphans: int = 0
    num_runs_off: int = 0
    num_leftovers: int = 0
    exit_status: int | None = None
    seen: str = ""
    has_traceback: bool = False
    recover_s: float | None = None
    gave_up: str = ""

    def to_json(self) -> str:
        """Return the injection as one line."""
        return json.dumps(asdict(self), ensure_ascii=False)


def read_log(paths: Iterable[Path]) -> list[Injection]:
    """Return the injections of several logs, in their order."""
    lines = [line for path in paths for line in path.read_text(encoding="utf-8").splitlines()]
    return [Injection(**json.loads(line)) for line in lines if line.strip()]


def to_markdown(injections: Sequence[Injection]) -> str:
    """Return the table: fault, times injected, sweeps, what was lost, time to recover.

    What is wrong at a sweep's end stands with its last fault, also where that one came too late.
    """
    lines = [
        "| fault | injected | sweeps | rows lost | rows twice | numbers changed | orphans | "
        "files left behind | MLflow runs off | median time to recover |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    counted = [one for one in injections if one.counts]
    for kind, name in KINDS.items():
        of_kind = [one for one in injections if one.kind == kind]
        if of_kind:
            lines.append(_line(name, of_kind))
    lines.append(_line("**all**", injections))
    num_late = len(injections) - len(counted)
    num_kills = sum(one.kind in KILLS for one in counted)
    lines += [
        "",
        f"{num_kills} of them were kills. {num_late} came after the sweep's end, or found nothing "
        "to hit, and do not count.",
    ]
    num_given_up = sum(bool(one.gave_up) for one in injections)
    if num_given_up:
        lines[-1] += f" In {num_given_up} sweeps a command or the harness gave up."
    return "\n".join(lines) + "\n"


def _line(name: str, injections: Sequence[Injection]) -> str:
    counted = [one for one in injections if one.counts]
    times = [one.recover_s for one in counted if one.recover_s is not None]
    cells = [
        name,
        len(counted),
        len({one.sweep for one in counted}),
        sum(one.rows_lost for one in injections),
        sum(one.rows_twice for one in injections),
        sum(one.numbers_changed for one in injections),
        sum(one.num_orphans for one in injections),
        sum(one.num_leftovers for one in injections),
        sum(one.num_runs_off for one in injections),
        f"{statistics.median(times):.1f} s" if times else "–",
    ]
    return "| " + " | ".join(str(cell) for cell in cells) + " |"

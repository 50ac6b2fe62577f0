"""Run directories below a folder, one line each."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from rlp_sweeps.cli import options as opt
from rlp_sweeps.cli.options import say
from rlp_sweeps.errors import RlpSweepsError, RunDirectoryError
from rlp_sweeps.stores import is_remote
from rlp_sweeps.views.progress_state import in_words

_DEPTH = 3
"""Folders below the one that is named in which run directories are looked for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """One run directory.

    Attributes:
        directory: Where it is.
        space: The recipe's name.
        state: ``at work``, ``done`` or ``unfinished``.
        num_planned: Trials of its plan.
        counts: Rows by status.
        wall_time_s: Seconds in which a driver trained.
        device_hours: Hours of a GPU, or of a core, that groups held.
        num_bytes: Size of its files.
        touched_at: When the last of them was written, s since 1970.
        verdict: The pooled total effect at the largest λ and its parts; None before an analysis.
    """

    directory: str
    space: str
    state: str
    num_planned: int
    counts: dict[str, int]
    wall_time_s: float
    device_hours: float
    num_bytes: int
    touched_at: float
    verdict: str | None

    def to_dict(self) -> dict[str, Any]:
        """Return it ready for JSON."""
        return asdict(self)


def find_runs(folder: Path) -> list[Run]:
    """Return the run directories below a folder, the last touched first; itself if it is one.

    One that cannot be read is said in a sentence and left out.

    Raises:
        RunDirectoryError: There is no such folder.
    """
    if not is_remote(folder) and not folder.is_dir():
        msg = f"run directories must lie in a folder, but there is no folder {str(folder)!r}."
        raise RunDirectoryError(msg)
    found: list[Run] = []
    for directory in _directories(folder, _DEPTH):
        try:
            found.append(_run_at(directory))
        except RlpSweepsError as error:
            say(f"{directory} is left out: {error}")
    return sorted(found, key=lambda run: run.touched_at, reverse=True)


def _directories(folder: Path, depth: int) -> Iterator[Path]:
    if (folder / "manifest.json").is_file():
        yield folder
    elif depth:
        for path in sorted(folder.iterdir()):
            if path.is_dir() and not path.name.startswith(".") and path.name != "mlartifacts":
                yield from _directories(path, depth - 1)


def _run_at(directory: Path) -> Run:
    from rlp_sweeps.orchestration.status import sweep_status
    from rlp_sweeps.tracking.leftovers import size_of, touched_at

    status = sweep_status(directory)
    state = "unfinished" if status.num_remaining else "done"
    return Run(
        directory=str(directory),
        space=status.name,
        state="at work" if status.is_running else state,
        num_planned=status.num_planned,
        counts=status.counts,
        wall_time_s=status.wall_time_s,
        device_hours=status.device_hours,
        num_bytes=size_of(directory).num_bytes,
        touched_at=touched_at(directory),
        verdict=_verdict_of(directory),
    )


def _verdict_of(directory: Path) -> str | None:
    """Return what the analysis says of test accuracy at the largest λ, in points."""
    from rlp_sweeps.tracking.files import local_file

    path = directory / "analysis" / "effects_pooled.parquet"
    if not path.is_file():
        return None
    import pyarrow.parquet as pq

    columns = ["outcome", "rlp_lambda", "estimator", "effect", "estimate", "ci_low", "ci_high"]
    with local_file(path) as local:
        rows = pq.read_table(local, columns=columns).to_pylist()
    rows = [r for r in rows if r["estimator"] == "arms" and r["rlp_lambda"] is not None]
    rows = [r for r in rows if r["outcome"] == "test_accuracy" and r["estimate"] is not None]
    if not rows:
        return "no effect could be estimated"
    largest = max(row["rlp_lambda"] for row in rows)
    by_effect = {row["effect"]: row for row in rows if row["rlp_lambda"] == largest}
    names = {"effect_total": "total", "effect_lr": "class", "effect_memorization": "uniform"}
    parts = [
        f"{word} {100 * by_effect[effect]['estimate']:+.2f}{_interval(by_effect[effect])}"
        for effect, word in names.items()
        if effect in by_effect
    ]
    return f"λ {largest:g}: {', '.join(parts)}"


def _interval(row: dict[str, Any]) -> str:
    if row["effect"] != "effect_total" or row["ci_low"] is None:
        return ""
    return f" [{100 * row['ci_low']:+.2f}, {100 * row['ci_high']:+.2f}]"


def print_runs(runs: Sequence[Run], folder: Path) -> None:
    """Print one line a run directory."""
    from rich.table import Table

    from rlp_sweeps.cli.printing import in_bytes, print_whole, stdout

    if not runs:
        print(f"no run directories below {folder}")
        return
    table = Table(box=None, padding=(0, 2, 0, 0))
    columns = ("directory", "space", "state", "trials", "wall time", "device time", "size")
    for name in (*columns, "touched", "test accuracy, points"):
        table.add_column(name, no_wrap=True)
    for run in runs:
        cells = (
            run.directory,
            run.space,
            run.state,
            _trials_of(run),
            in_words(run.wall_time_s) if run.wall_time_s else "–",
            in_words(run.device_hours * 3600) if run.device_hours else "–",
            in_bytes(run.num_bytes),
            f"{datetime.fromtimestamp(run.touched_at):%Y-%m-%d %H:%M}",
            run.verdict or "not analyzed",
        )
        table.add_row(*map(opt.plain, cells))
    print_whole(stdout(), table)


def _trials_of(run: Run) -> str:
    others = [f"{n} {status}" for status, n in run.counts.items() if n and status != "completed"]
    return ", ".join([f"{run.counts.get('completed', 0)} of {run.num_planned}", *others])

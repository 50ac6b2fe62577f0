"""Tables and sentences on stdout, for people; what programs read is printed as JSON."""

import re
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TextIO, cast

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from rlp_sweeps.cli.options import plain
from rlp_sweeps.cli.output import json_text, results
from rlp_sweeps.recipes import NamedSpace, load_space
from rlp_sweeps.schema import STATUSES
from rlp_sweeps.views.progress_state import in_words

_PADDING = re.compile(r" +(?=\n)")

if TYPE_CHECKING:
    from analysis.sensitivity import Sensitivity
    from analysis.tables import Analysis
    from rlp_sweeps.orchestration.best_points import BestPoint
    from rlp_sweeps.orchestration.budget import Reach
    from rlp_sweeps.orchestration.estimates import SweepEstimate
    from rlp_sweeps.orchestration.planner import SweepPlan
    from rlp_sweeps.orchestration.progress import RunOptions
    from rlp_sweeps.orchestration.status import SweepStatus


def stdout() -> Console:
    """Return a console on the process's present stdout; without colors where NO_COLOR is set."""
    return console_on(sys.stdout)


def console_on(file: TextIO) -> Console:
    """Return a console on a stream; where that is no terminal, no line ends in blanks."""
    shown = file if file.isatty() else cast("TextIO", _Unpadded(file))
    return Console(file=shown, highlight=False, soft_wrap=False)


class _Unpadded:
    """A stream that drops the blanks by which a table fills its lines.

    It is no ``io.TextIOBase``, whose end would flush a stream that its reader has closed.
    """

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, text: str) -> int:
        """Write whole lines."""
        self._file.write(_PADDING.sub("", text))
        return len(text)

    def flush(self) -> None:
        """Let the stream write what it holds."""
        self._file.flush()

    def isatty(self) -> bool:
        """Return that it is no terminal."""
        return False


def print_json(value: Any) -> None:
    """Print a value as JSON and nothing else; a float that is no number becomes null."""
    print(json_text(value), file=results())


def print_spaces(spaces: Sequence[NamedSpace]) -> None:
    """Print recipes with their claims, numbers of trials and arms."""
    console = stdout()
    for named in spaces:
        space = named.space
        points = "" if space.search is None else f" at {space.search.num_points} sampled points"
        trials = f"{named.num_trials} trials{points} over {space.num_seeds} seeds"
        for size in named.sizes[1:]:
            reference = f"{named.name}:{size}"
            trials += f"; {load_space(reference).num_trials} as {reference}"
        console.print(Text(named.name, style="bold"))
        for text in (space.claim, f"{trials}; arms: {', '.join(space.arms)}"):
            console.print(Padding(Text(text), (0, 0, 0, 2), expand=False))


def space_as_dict(named: NamedSpace) -> dict[str, Any]:
    """Return a recipe as JSON-ready values."""
    space = named.space
    return {
        "name": named.name,
        "claim": space.claim,
        "source": space.source,
        "num_trials": named.num_trials,
        "num_points": None if space.search is None else space.search.num_points,
        "num_seeds": space.num_seeds,
        "arms": list(space.arms),
        "axes": list(space.axes),
        "sizes": {
            f"{named.name}:{size}": load_space(f"{named.name}:{size}").num_trials
            for size in named.sizes[1:]
        },
    }


def plan_as_dict(
    plan: "SweepPlan", estimate: "SweepEstimate", options: "RunOptions"
) -> dict[str, Any]:
    """Return a plan with its estimate as JSON-ready values; times in s, sizes in bytes."""
    return {
        "name": plan.name,
        "claim": plan.space.claim,
        "source": plan.space.source,
        "plan_id": plan.plan_id,
        "num_trials": plan.num_trials,
        "trials_by_arm": plan.trials_by_arm,
        "num_seeds": plan.space.num_seeds,
        "num_points": plan.num_points,
        "num_groups": plan.num_groups,
        "group_size": plan.group_size,
        "engine": plan.engine,
        "engine_choices": [
            {**choice.to_dict(), "num_trials": number}
            for choice, number in plan.trials_by_choice.items()
        ],
        "device": plan.device,
        "resources": {
            "cpus_per_group": options.cpus_per_group,
            "gpus_per_group": options.gpus_of_group(plan.device),
            "max_concurrent": options.max_concurrent,
        },
        "data_dir": plan.data_dir,
        "estimated_time_s": estimate.time_s,
        "estimated_disk_bytes": estimate.disk_bytes,
        "basis": estimate.basis,
    }


def print_plan(
    plan: "SweepPlan",
    estimate: "SweepEstimate",
    sensitivity: "Sensitivity",
    reached: "Reach | None" = None,
) -> None:
    """Print what a sweep would train, where, how long it would take, and what it could see.

    Args:
        plan: The sweep.
        estimate: What it costs.
        sensitivity: Which effects it can see.
        reached: How far one call comes with its budget; None without one.
    """
    console = stdout()
    arms = ", ".join(f"{arm} {count}" for arm, count in plan.trials_by_arm.items())
    points = f", {plan.num_points} sampled points" if plan.num_points is not None else ""
    groups = f"{plan.num_groups} of up to {plan.group_size} trial(s) on {plan.device}"
    engines = [
        f"{choice.describe()} ({number} trials)" for choice, number in plan.trials_by_choice.items()
    ]
    time = "unknown" if estimate.time_s is None else f"about {in_words(estimate.time_s)}"
    print_pairs(
        console,
        {
            "sweep": plan.name,
            "claim": plan.space.claim,
            "trials": f"{plan.num_trials} over {plan.space.num_seeds} seed(s){points}",
            "by arm": arms,
            "groups": groups,
            "engine": "\n".join(engines) or plan.engine,
            "time": time,
            **({} if reached is None else {"budget": _reach_in_words(reached, plan.num_trials)}),
            "disk": f"about {in_bytes(estimate.disk_bytes)}",
            "basis": estimate.basis,
            "power": _power_in_words(sensitivity),
        },
    )


def _power_in_words(sensitivity: "Sensitivity") -> str:
    """Return which effects are seen, and what says so in units of the outcome."""
    if sensitivity.spread is not None:
        return str(sensitivity)
    return (
        f"{sensitivity}; in units of test accuracy with --pilot DIR, an analyzed run of fewer "
        "trials, or --seed-spread X"
    )


def _reach_in_words(reached: "Reach", num_trials: int) -> str:
    if reached.num_trials is None or reached.share is None:
        return "its reach is unknown, because no time is"
    return (
        f"reaches about {reached.num_trials} of {num_trials} trials ({reached.share:.0%}); about "
        f"{reached.num_calls} such call(s) to the end"
    )


def print_status(status: "SweepStatus") -> None:
    """Print how far a sweep is, and which trials failed."""
    remaining = "unknown" if status.remaining_s is None else f"about {in_words(status.remaining_s)}"
    counts = {name: str(status.counts.get(name, 0)) for name in STATUSES}
    print_pairs(
        stdout(),
        {
            "sweep": status.name,
            "state": _state_of(status),
            "planned": str(status.num_planned),
            **counts,
            "running": str(status.num_running),
            "remaining": str(status.num_remaining),
            "time left": remaining if status.num_remaining else "none",
            "wall time": f"{in_words(status.wall_time_s)} so far",
            "device time": f"{in_words(status.device_hours * 3600)} so far",
        },
    )
    for trial in status.failed:
        who = f"{trial.trial_id} ({trial.arm}, seed {trial.seed})"
        where = "" if trial.log is None else f" (log: {trial.log})"
        print(plain(f"failed: trial {who}: {trial.error}{where}"))
    print_best_points(status.best)
    if status.tracking_error:
        print(status.tracking_error)


_ENDS = {
    "hours": "the budget of hours is used up",
    "trials": "the budget of trials is used up",
    "cancel": "cancelled",
    "signal": "interrupted",
    "lost": "its driver was killed",
}
"""What ended an attempt that left trials, in words."""


def _state_of(status: "SweepStatus") -> str:
    if status.is_running:
        return "at work" if status.holder is None else f"at work: {status.holder}"
    if not status.num_remaining:
        return "not at work"
    if status.holder is not None:
        return f"not at work: {status.holder} was killed; `rlp-sweeps resume` goes on"
    why = _ENDS.get(status.ended_by or "")
    return "not at work" if why is None else f"not at work: {why}; `rlp-sweeps resume` goes on"


def print_best_points(best: "Sequence[BestPoint]") -> None:
    """Print one line for each point of a search that no other one beats."""
    for point in best:
        values = ", ".join(f"{name} {value:.4g}" for name, value in point.values.items())
        params = ", ".join(
            f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}"
            for name, value in point.params.items()
        )
        seeds = f"mean of {point.num_seeds} seed(s)"
        print(f"best: point {point.number}: {values} ({seeds}) at {params}")


def print_analysis(analysis: "Analysis") -> None:
    """Print the verdict and the pooled effects on the primary outcome.

    The Shapley legs of each part are left to the report and to effects_pooled_legs.parquet.
    """
    console = stdout()
    claims = analysis.claim_paragraphs
    for paragraph in (*analysis.paragraphs, *claims, *analysis.further_paragraphs):
        text = Text.assemble((f"{paragraph.lead}: ", "bold"), paragraph.text)
        console.print(text, end="\n\n")
    console.print(f"Effects on {analysis.outcome}, pooled over cells; 95 % intervals over seeds")
    print_whole(stdout(), _effects_table(analysis))
    for note in analysis.notes:
        console.print(Text.assemble(("Note: ", "bold"), note))


def _effects_table(analysis: "Analysis") -> Table:
    rows = [
        row
        for row in analysis.effects_pooled.iter_rows(named=True)
        if row["outcome"] == analysis.outcome and not row["effect"].endswith(("_first", "_last"))
    ]
    names = ["λ", "estimator", "effect", "estimate", "p_holm", "n"]
    if any(row["num_diverged"] for row in rows):
        names.append("diverged")
    table = Table(box=None, padding=(0, 1, 0, 0))
    for name in names:
        is_text = name in {"estimator", "effect"}
        table.add_column(name, justify="left" if is_text else "right", no_wrap=True)
    for row in rows:
        table.add_row(*_effect_cells(row)[: len(names)])
    return table


def _effect_cells(row: Mapping[str, Any]) -> list[str]:
    scope = "all" if row["rlp_lambda"] is None else f"{row['rlp_lambda']:g}"
    low, high = row["ci_low"], row["ci_high"]
    interval = "" if low is None else f" [{low:+.4f}, {high:+.4f}]"
    p_holm = "–" if row["p_holm"] is None else f"{row['p_holm']:.2g}"
    estimate = f"{row['estimate']:+.4f}{interval}"
    counts = [str(row["num_seeds"]), str(row["num_diverged"])]
    return [scope, row["estimator"], row["effect"], estimate, p_holm, *counts]


def print_whole(console: Console, table: Table) -> None:
    """Print a table at its full width, where need be beyond the terminal's: no cell is cut."""
    needed = console.measure(table, options=console.options.update(max_width=1000)).maximum
    console.width = max(needed, console.width)
    console.print(table)


def in_bytes(size: int) -> str:
    """Return a size with a decimal unit: ``2.5 MB``."""
    value = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} TB"


def print_pairs(console: Console, pairs: Mapping[str, str]) -> None:
    """Print names and texts in two columns."""
    table = Table.grid(padding=(0, 2))
    for name, text in pairs.items():
        table.add_row(name, Text(text))
    console.print(table)

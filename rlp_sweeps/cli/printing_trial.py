"""How one trial, and several sweeps side by side, are printed."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from rlp_sweeps.cli.options import plain
from rlp_sweeps.cli.printing import print_pairs, print_whole, stdout

if TYPE_CHECKING:
    from analysis.comparison import Comparison
    from analysis.one_trial import OneTrial

_EPOCH_COLUMNS = (
    *("epoch", "current_lr", "train_accuracy", "val_accuracy", "test_accuracy"),
    *("random_label_accuracy", "lr_multiplier"),
)
_PROBE_COLUMNS = ("attach_point", "source", "probe", "pooling", "label_set")
_PROBE_METRICS = ("val_accuracy", "test_accuracy", "random_label_accuracy", "memorization")
_MOMENT = "_at_ms"
"""How the names of columns end that hold milliseconds since 1970, UTC."""


def print_trial(trial: "OneTrial") -> None:
    """Print a trial's settings, result, evaluations, probes, files and error."""
    console = stdout()
    head = {"trial": trial.row["trial_id"], "status": trial.row["status"]}
    for title, values in (
        ("", head),
        ("settings", trial.settings),
        ("result", trial.metrics),
        ("how it was trained", _with_dates(trial.provenance)),
    ):
        if values:
            console.print(Text(title, style="bold"), end="\n" if title else "")
            print_pairs(console, {name: _text(value) for name, value in values.items()})
    names = [name for name in _EPOCH_COLUMNS if name in trial.epochs.columns]
    _print_rows("evaluations", trial.epochs.to_dicts(), names)
    names = [n for n in (*_PROBE_COLUMNS, *_PROBE_METRICS) if n in trial.probes.columns]
    _print_rows("probes", trial.probes.to_dicts(), names)
    for path in trial.files:
        print(f"kept: {path}")
    if trial.row.get("error"):
        console.print(Text("why it ended", style="bold"))
        print(plain(trial.row["error"].rstrip()))


def _with_dates(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values by name, moments as dates, and without a unit in their names."""
    moments = {name for name in values if name.endswith(_MOMENT)}
    return {
        name.removesuffix("_ms") if name in moments else name: (
            _date(value) if name in moments else value
        )
        for name, value in values.items()
    }


def _date(time_ms: float) -> str:
    """Return milliseconds since 1970 as a date; the number where there is no such date."""
    try:
        return f"{datetime.fromtimestamp(time_ms / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (OSError, OverflowError, TypeError, ValueError):  # another program's column
        return str(time_ms)


def print_comparison(comparison: "Comparison") -> None:
    """Print what differs between sweeps, and their effects with the differences from the first."""
    console = stdout()
    settings = Table(box=None, padding=(0, 2, 0, 0))
    for name in ("", *comparison.names):
        settings.add_column(name)
    settings.add_row("trials", *map(str, comparison.num_trials))
    for name, values in comparison.settings.items():
        settings.add_row(name, *values)
    console.print(settings)
    console.print()
    console.print(
        f"Effects on {comparison.outcome}, pooled over cells; 95 % intervals over seeds, of "
        "differences by Welch's t, the sweeps taken to be independent"
    )
    print_whole(stdout(), _effects_of(comparison))


def _effects_of(comparison: "Comparison") -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    first = comparison.names[0]
    for name in ("λ", "estimator", "effect", "sweep", "estimate", "n", f"less {first}"):
        is_text = name in {"estimator", "effect", "sweep"}
        table.add_column(name, justify="left" if is_text else "right", no_wrap=True)
    key: tuple[Any, ...] = ()
    rows = comparison.effects.sort(
        "rlp_lambda", "estimator", "effect", nulls_last=False, maintain_order=True
    )
    for row in rows.iter_rows(named=True):
        now = (row["rlp_lambda"], row["estimator"], row["effect"])
        scope = "all" if row["rlp_lambda"] is None else f"{row['rlp_lambda']:g}"
        shown = ("", "", "") if now == key else (scope, row["estimator"], row["effect"])
        key = now
        table.add_row(
            *shown,
            row["sweep"],
            _interval(row, "estimate", ("ci_low", "ci_high")),
            str(row["num_seeds"]),
            _interval(row, "difference", ("difference_low", "difference_high")),
        )
    return table


def _interval(row: Mapping[str, Any], name: str, ends: tuple[str, str]) -> str:
    if row[name] is None:
        return "–"
    low, high = (row[end] for end in ends)
    return f"{row[name]:+.4f}" + ("" if low is None else f" [{low:+.4f}, {high:+.4f}]")


def _print_rows(title: str, rows: list[dict[str, Any]], names: list[str]) -> None:
    shown = [name for name in names if any(row[name] is not None for row in rows)]
    if not shown:
        return
    console = stdout()
    console.print(Text(title, style="bold"))
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in shown:
        table.add_column(name, no_wrap=True)
    for row in rows:
        table.add_row(*(_text(row[name]) for name in shown))
    print_whole(console, table)


def _text(value: object) -> str:
    if value is None:
        return "–"
    return f"{value:.6g}" if isinstance(value, float) else str(value)

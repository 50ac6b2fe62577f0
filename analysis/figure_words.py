"""What figures say in words: of single marks, and of the whole to who does not see it."""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from analysis.pairing import CONTROL
from analysis.wording import Quantity, format_scope, format_short, quantity_of

MAX_TOLD = 6
"""Lines of a figure that its description gives in numbers."""

Row = Mapping[str, Any]


def tell_level(value: float, low: float | None = None, high: float | None = None) -> str:
    """Return a level, not a difference, with its interval where there is one."""
    if low is None or high is None:
        return f"{value:.4g}"
    return f"{value:.4g} [{low:.4g}, {high:.4g}]"


def tell_number(row: Row) -> str:
    """Return what a value stands on: seeds, cells and diverged trials, as far as the row tells."""
    parts = []
    for column, noun in (("num_seeds", "seed"), ("num_cells", "cell"), ("num_trials", "trial")):
        if (number := row.get(column)) is not None:
            parts.append(f"{number} {noun}{'s' * (number != 1)}")
    text = f"n = {', '.join(parts)}" if parts else ""
    num_diverged = row.get("num_diverged") or 0
    return text + f", {num_diverged} diverged" * (num_diverged > 0)


def tell_effect(row: Row, quantity: Quantity) -> str:
    """Return an effect in its unit, with its interval where there is one."""
    return quantity.with_interval(row["estimate"], row["ci_low"], row["ci_high"])


def describe_attribution(data: pl.DataFrame, quantity: Quantity, names: Mapping[str, str]) -> str:
    """Return the totals and parts of the first lines, which are the pooled ones."""
    num_lines = data["line"].n_unique()
    shown = data.filter(pl.col("line") < MAX_TOLD)
    told = [
        f"{rows['label'][0]}: "
        + ", ".join(
            f"{names[row['effect']]} {tell_effect(row, quantity)}"
            for row in rows.sort(pl.col("effect") != "effect_total").to_dicts()
        )
        for rows in shown.partition_by("line", maintain_order=True)
    ]
    return f"Effects on {quantity.noun}, {num_lines} lines with 95 % intervals. {'; '.join(told)}."


def describe_estimators(data: pl.DataFrame, quantity: Quantity) -> str:
    """Return every estimator's effect_lr, by λ."""
    told = []
    for row in data.filter(pl.col("effect") == "effect_lr").to_dicts():
        scope = format_scope(row["rlp_lambda"]).lower()
        told.append(f"{scope} {row['estimator']} {tell_effect(row, quantity)}")
    return (
        f"Effects on {quantity.noun} by {data['estimator'].n_unique()} estimators, effect_lr: "
        f"{'; '.join(told)}."
    )


def describe_shift(data: pl.DataFrame, noun: str) -> str:
    """Return where every curve begins, is best by its mean, and ends."""
    told = []
    for curve in data.sort("lr").partition_by("arm", "rlp_lambda", maintain_order=True):
        arm, rlp_lambda = curve["arm"][0], curve["rlp_lambda"][0]
        name = arm if rlp_lambda is None else f"{arm} at λ = {format_short(rlp_lambda)}"
        told.append(_ends(name, curve))
    return f"Curves of {noun} over lr. {'; '.join(told)}."


def _ends(name: str, curve: pl.DataFrame) -> str:
    first, last = curve.row(0, named=True), curve.row(-1, named=True)
    best = curve.row(int(curve["value"].arg_max() or 0), named=True)
    points = zip(("from", "over", "to"), (first, best, last), strict=True)
    told = (f"{word} {row['value']:.3g} at lr {format_short(row['lr'])}" for word, row in points)
    return f"{name} {' '.join(told)}"


def describe_map(data: pl.DataFrame, noun: str) -> str:
    """Return the lowest and the highest cell, and how many there are."""
    ordered = data.sort("value")
    low, high = (ordered.row(number, named=True) for number in (0, -1))
    ends = (
        f"{row['value']:.3g} ({row['arm']}, lr {format_short(row['lr'])}, "
        f"λ {format_short(row['rlp_lambda'])})"
        for row in (low, high)
    )
    num_lrs, num_lambdas = data["lr"].n_unique(), data["rlp_lambda"].n_unique()
    return (
        f"Map of {noun} over {num_lrs} lr and {num_lambdas} λ, one panel for each of "
        f"{data['arm'].n_unique()} arms. It goes from {' to '.join(ends)}."
    )


def describe_plane(data: pl.DataFrame, outcome: str) -> str:
    """Return by how much each arm moves from its control, on average over the cells drawn."""
    moved = data.group_by("arm", "rlp_lambda", maintain_order=True).agg(
        dx=(pl.col("x") - pl.col("x_control")).mean(),
        dy=(pl.col("y") - pl.col("y_control")).mean(),
    )
    shown = moved.sort("rlp_lambda", maintain_order=True).to_dicts()
    x, y = quantity_of("memorization"), quantity_of(outcome)
    told = (
        f"{row['arm']} at λ = {format_short(row['rlp_lambda'])} "
        f"{x.number(row['dx'])} and {y.number(row['dy'])}"
        for row in shown
    )
    return (
        f"Arrows from control to every arm in memorization and {y.noun}. Mean change of "
        f"memorization in points, and of {y.noun}{f' in {y.unit}' * bool(y.unit)}: "
        f"{'; '.join(told)}."
    )


def describe_curves(data: pl.DataFrame, metric: str) -> str:
    """Return one metric of every arm at the last evaluation, by lr."""
    last = data.filter(pl.col("metric") == metric).filter(
        pl.col("epoch") == pl.col("epoch").max().over("lr", "arm")
    )
    told = [
        f"lr {format_short(rows['lr'][0])}, epoch {rows['epoch'].max()!s}: "
        + ", ".join(f"{row['arm']} {row['mean']:.3g}" for row in rows.to_dicts())
        for rows in last.partition_by("lr", maintain_order=True)
    ]
    return f"Curves over epochs by arm. {quantity_of(metric).noun} at the end, {'; '.join(told)}."


def describe_depth(data: pl.DataFrame, titles: Mapping[str, str]) -> str:
    """Return what every probe finds in the control at the first and the last layer."""
    told = []
    control = data.filter(pl.col("source") == "trained", pl.col("arm") == CONTROL)
    of_first = control.filter(pl.col("rlp_lambda").eq_missing(data["rlp_lambda"][0]))
    for rows in of_first.sort("layer").partition_by("probe", "label_set", maintain_order=True):
        probe, values = str(rows["probe"][0]), rows["estimate"]
        told.append(f"{titles.get(probe, probe)} {values[0]:.3g} to {values[-1]:.3g}")
    found = f" The control from the first to the last layer: {'; '.join(told)}." * bool(told)
    return f"Profiles over {data['layer'].n_unique()} layers, a row a probe.{found}"


def describe_scores(data: pl.DataFrame, labels: Mapping[bool, str]) -> str:
    """Return how many samples of each kind there are, and their mean score."""
    told = []
    for rows in data.partition_by("cell", "is_planted", maintain_order=True):
        weight = rows["num_samples"]
        mean = float((rows["memorization_score"] * weight).sum()) / float(weight.sum())
        kind = labels[rows["is_planted"][0]]
        told.append(f"{rows['cell'][0]}, {kind}: {weight.sum()} samples, mean score {mean:.2f}")
    return f"Histogram of memorization scores and confidence by score. {'; '.join(told)}."


def pick_metric(data: pl.DataFrame, metrics: Sequence[str]) -> str:
    """Return the first of the metrics that is drawn."""
    return next(name for name in metrics if name in data["metric"])

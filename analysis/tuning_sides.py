"""The two sides of a comparison of tuned arms: what each chose, and what came of it."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl

from analysis.intervals import Floats, infer, summarize, t_interval
from analysis.numbering import Integers
from analysis.pairing import CONTROL
from analysis.selection import best_first, expected_best, mean_of_others, most_frequent, pick, widen
from analysis.typed import Row, numbers_of
from analysis.wording import format_short

MAX_CURVE_POINTS = 100
"""Up to so many configurations the curve has every number tried; beyond, as many, log-spaced."""


@dataclass(frozen=True, slots=True)
class Side:
    """One side's configurations; C of them, S seeds.

    Attributes:
        settings: What is tuned, one row a configuration, sorted: of equal scores the first wins.
        others: Validation accuracy, mean over the other seeds, ``[C, S]``.
        order: Configurations from best to worst by it, ``[C, S]``.
        values: Test outcome, ``[C, S]``.
        num_diverged: Diverged trials among them.
    """

    settings: pl.DataFrame
    others: Floats
    order: Integers
    values: Floats
    num_diverged: int

    @property
    def budget(self) -> int:
        """Number of configurations it chooses among."""
        return len(self.settings)

    @property
    def tuned(self) -> Floats:
        """Test outcome of each seed at its chosen configuration, ``[S]``."""
        return pick(self.values, self.order[0])

    def curve(self, num_tried: Integers) -> Floats:
        """Return the expected test outcome of the best of k tried, ``[K, S]``."""
        return expected_best(np.take_along_axis(self.values, self.order, axis=0), num_tried)

    def is_at_edge(self) -> Integers:
        """Return for each seed whether its lr is the smallest or largest of several, 0 or 1."""
        lr = self.settings["lr"].to_numpy()
        chosen = lr[self.order[0]]
        is_edge: Integers = np.isin(chosen, [lr.min(), lr.max()]).astype(np.int64)
        return is_edge * int(lr.min() < lr.max())

    def choice(self) -> tuple[str, int]:
        """Return the configuration that most seeds chose, in short, and how many did."""
        row, count = most_frequent(self.order[0])
        varying = [name for name in self.settings.columns if self.settings[name].n_unique() > 1]
        setting = self.settings.select(varying or self.settings.columns).row(row, named=True)
        text = ", ".join(f"{name}={format_short(value)}" for name, value in setting.items())
        return text, count


def side_of(block: pl.DataFrame, arm: str, tuned: list[str]) -> Side:
    """Return the configurations of an arm in a block.

    Args:
        block: One row a cell and seed, without a hole; a control trial may stand in several rows.
        arm: The arm.
        tuned: Columns that tell its configurations apart.
    """
    rows = block.unique([*tuned, "seed"], keep="first").sort(*tuned, "seed")
    shape = (-1, rows["seed"].n_unique())
    others = mean_of_others(rows[f"v_{arm}"].to_numpy().reshape(shape))
    return Side(
        settings=rows.select(tuned).unique().sort(tuned),
        others=others,
        order=best_first(others),
        values=rows[f"y_{arm}"].to_numpy().reshape(shape),
        num_diverged=int(rows[f"diverged_{arm}"].sum()),
    )


def compare(arm: Side, control: Side) -> Row:
    """Return the difference of both tuned sides and how it came about; `TUNED` but its identity."""
    budget = np.array([min(arm.budget, control.budget)])
    at_equal = arm.curve(budget)[0] - control.curve(budget)[0]
    plain = np.stack([arm.tuned - control.tuned, at_equal, arm.tuned, control.tuned], axis=1)
    inferred = infer(widen(plain), np.array([0]))
    difference, equal, y_arm, y_control = (numbers_of(inferred, number) for number in range(4))
    as_independent = numbers_of(infer(plain[:, :1], np.array([0])), 0)
    row = difference | {
        "y_arm": y_arm["estimate"],
        "y_control": y_control["estimate"],
        "num_diverged": arm.num_diverged + control.num_diverged,
        "is_at_edge": False,
    }
    row |= {f"plain_{name}": as_independent[name] for name in ("ci_low", "ci_high")}
    row |= {f"equal_budget_{name}": equal[name] for name in ("estimate", "ci_low", "ci_high")}
    for name, side in {"arm": arm, "control": control}.items():
        text, count = side.choice()
        is_edge = side.is_at_edge()
        row |= {
            f"budget_{name}": side.budget,
            f"chosen_{name}": text,
            f"num_chosen_{name}": count,
            f"num_edge_{name}": int(is_edge.sum()),
            "is_at_edge": row["is_at_edge"] or bool(2 * is_edge.sum() > len(is_edge)),
        }
    return row


def choices_of(arm: Side, control: Side, seeds: pl.Series) -> Iterator[Row]:
    """Yield what each side chose for each seed; `CHOICES` but its identity."""
    for name, side in {"arm": arm, CONTROL: control}.items():
        chosen = side.order[0]
        settings = side.settings[chosen].to_dicts()
        val, value = pick(side.others, chosen), side.tuned
        for number, seed in enumerate(seeds):
            setting = settings[number]
            yield {
                "side": name,
                "seed": seed,
                "chosen_lambda": setting.pop("rlp_lambda", 0.0),
                **setting,
                "val_others": float(val[number]),
                "value": float(value[number]),
            }


def curve_of(arm: Side, control: Side) -> Iterator[Row]:
    """Yield the expected best of k tried by each side, and their difference; `CURVE`."""
    of_arm, of_control = (_numbers_tried(side.budget) for side in (arm, control))
    shared = np.intersect1d(of_arm, of_control)
    curves = {
        "arm": (of_arm, arm.curve(of_arm)),
        CONTROL: (of_control, control.curve(of_control)),
        "difference": (shared, arm.curve(shared) - control.curve(shared)),
    }
    for name, (num_tried, values) in curves.items():
        moments = summarize(widen(values.T), np.array([0]))
        mean, sd, num_seeds = moments.mean[0], moments.sd[0], moments.num_seeds[0]
        low, high = t_interval(mean, sd, num_seeds)
        for number, tried in enumerate(num_tried.tolist()):
            yield {
                "side": name,
                "num_tried": tried,
                "estimate": float(mean[number]),
                "ci_low": float(low[number]),
                "ci_high": float(high[number]),
                "num_seeds": int(num_seeds[number]),
            }


def _numbers_tried(budget: int) -> Integers:
    if budget <= MAX_CURVE_POINTS:
        return np.arange(1, budget + 1)
    spaced = np.geomspace(1, budget, MAX_CURVE_POINTS).round().astype(np.int64)
    numbers: Integers = np.unique(spaced)
    return numbers

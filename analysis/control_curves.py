"""The control as a curve: each seed's control trials over one axis, all else equal.

The matched learning rate lies between two that were trained. The curve through the control trials
says what a control would have scored there, and says nothing beyond the outermost of them.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from analysis.intervals import Floats
from analysis.numbering import Integers, number_rows
from analysis.pairing import Paired
from analysis.pchip import Curves, curves_through


@dataclass(frozen=True, slots=True)
class ControlCurves:
    """The control's outcome over the logarithm of one axis, and where each place stands on it.

    Attributes:
        curves: One curve a seed and setting of every cell column but the axis and λ.
        setting: Number of that setting for each place, ``[places]``: the curve without its seed.
        curve: Number of the curve of each place, ``[places]``; a place is a row of `Paired.seeds`.
        x: Logarithm of the place's own value on the axis, ``[places]``; NaN where it has none.
    """

    curves: Curves
    setting: Integers
    curve: Integers
    x: Floats

    @property
    def num_knots(self) -> Integers:
        """Control trials with a value on the curve of each place, ``[places]``."""
        return self.curves.num_knots[self.curve]

    def ends(self) -> tuple[Floats, Floats]:
        """Return the smallest and largest value of the axis on each place's curve."""
        low, high = self.curves.ends()
        return np.exp(low)[self.curve], np.exp(high)[self.curve]

    def at(self, factor: Floats) -> Floats:
        """Return the control's outcome at so many times the place's own value of the axis.

        Args:
            factor: ``[places]``; NaN and what is not positive give NaN.
        """
        return self.curves.evaluate(self.curve, self.x + _log(factor))[0]


def controls_along(paired: Paired, axis: str) -> ControlCurves:
    """Return the control's curves along a column: `lr`, or `extractor_scale`."""
    key = [name for name in paired.controls.columns if name not in {axis, "seed", "y"}]
    cells, controls = paired.cells, paired.controls
    keys = pl.concat([cells.select(key), controls.select(key)])
    settings = number_rows(keys, key)
    seeds = number_rows(pl.concat([paired.seeds.select("seed"), controls.select("seed")]), ["seed"])
    num_seeds = int(seeds.max(initial=-1)) + 1
    of_cell, num_places = paired.seeds["cell"].to_numpy(), len(paired.seeds)
    setting = settings[: len(cells)][of_cell]
    curves = curves_through(
        settings[len(cells) :] * num_seeds + seeds[num_places:],
        _log(controls[axis].to_numpy()),
        controls["y"].to_numpy(),
        num_curves=(int(settings.max(initial=-1)) + 1) * num_seeds,
    )
    x = _log(cells[axis].to_numpy())[of_cell]
    return ControlCurves(curves, setting, setting * num_seeds + seeds[:num_places], x)


def _log(values: Any) -> Floats:
    """Return natural logarithms; NaN where there is none."""
    numbers = np.asarray(values, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(numbers > 0, np.log(numbers), np.nan)

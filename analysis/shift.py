"""Fit a shift along x and an offset together, between rows of points and curves.

The model of a row is ``y(x) = f₀(x + s) + b``, with f₀ a curve of its own. For every s the best b
is the mean residual, so that the fit is a search over s alone. Points whose ``x + s`` lies outside
the curve say nothing; how many are left depends on s. A plain mean square would favour shifts that
leave few points, so shifts are compared by Akaike's final prediction error, what the fitted model
is expected to miss a further point by: ``RSS/n · (n + 2)/(n − 2)`` for two parameters.

Source: Akaike 1969, "Fitting autoregressive models for prediction", Ann. Inst. Statist. Math. 21.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from analysis.intervals import Floats
from analysis.numbering import Integers
from analysis.pchip import TIE, Curves

Mask = npt.NDArray[np.bool_]

MIN_POINTS = 3
"""Points that a shift must leave, besides half of the row's."""

_NUM_SHIFTS = 64
"""Steps between the smallest and the largest admissible shift in the first search."""

_NUM_SAMPLES = 512
"""Even samples of a curve that the first search reads between, in place of the curve itself."""

_NUM_REFINEMENTS = 8
_NUM_PARAMETERS = 2


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of points, each to be compared with one curve.

    Attributes:
        curve: Number of the row's curve, ``[R]``.
        x: ``[R, m]``, NaN where the row has no point; ascending otherwise.
        y: ``[R, m]``, NaN where missing.
    """

    curve: Integers
    x: Floats
    y: Floats

    def is_point(self) -> Mask:
        """Tell where a row has a point with a value, ``[R, m]``."""
        there: Mask = ~np.isnan(self.x) & ~np.isnan(self.y)
        return there

    def num_points(self) -> Integers:
        """Return the points of each row, ``[R]``."""
        num: Integers = self.is_point().sum(axis=1)
        return num


@dataclass(frozen=True, slots=True)
class Fit:
    """The best shift of every row, each ``[R]``, NaN where a row has no admissible shift.

    Attributes:
        shift: s.
        offset: b.
        num_points: Points that the fit stands on, n.
        misfit: Sum of squared residuals of the fit, y against f₀(x + s) + b.
        bend: Sum of squared residuals of a straight line through the points (x, f₀(x + s)). Along a
            straight line a shift is an offset; only what bends tells one from the other.
        drift: Change of the shift per unit of x, from a third column ``f₀′ · (x − mean x)`` of the
            least squares at the fit; NaN with fewer than four points.
        is_at_edge: The best shift is the smallest or largest admissible one, to a step.
    """

    shift: Floats
    offset: Floats
    num_points: Floats
    misfit: Floats
    bend: Floats
    drift: Floats
    is_at_edge: Mask


def fit_shifts(curves: Curves, rows: Rows) -> Fit:
    """Return the best shift and offset of every row.

    A shift of exactly 0 is tried first and kept on ties. Then the best of a grid over the
    admissible shifts, then Gauss–Newton steps that are kept only where they lower the criterion.
    """
    low, high = _admissible(curves, rows)
    step = (high - low) / _NUM_SHIFTS
    best: Floats = np.zeros(len(rows.curve))
    least = _criterion(curves, rows, best)
    best, least = _improve(curves, rows, (best, least), _best_on_grid(curves, rows, low, step))
    start = best
    damping: Floats = np.ones(len(best))
    for _ in range(_NUM_REFINEMENTS):
        state = _State.at(curves, rows, best)
        slope = state.centred_slope()
        with np.errstate(divide="ignore", invalid="ignore"):
            change = damping * _dot(slope, state.residual) / _dot(slope, slope)
        tried = np.clip(best + np.nan_to_num(change), start - step, start + step)
        before = best
        best, least = _improve(curves, rows, (best, least), np.clip(tried, low, high))
        damping = np.where(best == before, damping / 4, damping)
    with np.errstate(invalid="ignore"):
        is_at_edge = (best < low + step) | (best > high - step)
    return _summarize(_State.at(curves, rows, best), rows, best, is_at_edge)


def _admissible(curves: Curves, rows: Rows) -> tuple[Floats, Floats]:
    """Return the smallest and largest shift that leaves enough points, ``[R]``; NaN where none."""
    is_point, num_points = rows.is_point(), rows.num_points()
    needed = _num_needed(num_points)
    ascending = np.sort(np.where(is_point, rows.x, np.inf), axis=1)
    every = np.arange(len(ascending))
    last = ascending.shape[1] - 1
    from_below = ascending[every, np.clip(needed - 1, 0, last)]
    from_above = ascending[every, np.clip(num_points - needed, 0, last)]
    low, high = (end[rows.curve] for end in curves.ends())
    has_enough = num_points >= needed
    smallest = np.where(has_enough, low - from_above, np.nan)
    largest = np.where(has_enough, high - from_below, np.nan)
    is_empty = ~(smallest <= largest)
    return np.where(is_empty, np.nan, smallest), np.where(is_empty, np.nan, largest)


def _best_on_grid(curves: Curves, rows: Rows, low: Floats, step: Floats) -> Floats:
    """Return the best of the shifts ``low + k · step``, ``[R]``, by samples of the curves."""
    table = curves.sample(_NUM_SAMPLES).ravel()
    first, last = (end[rows.curve] for end in curves.ends())
    with np.errstate(divide="ignore", invalid="ignore"):
        spacing = (last - first) / (_NUM_SAMPLES - 1)
        origin = (rows.x - first[:, None]) / spacing[:, None]
    offset = (rows.curve * _NUM_SAMPLES)[:, None]
    needed = _num_needed(rows.num_points())
    best, least = np.full(len(low), np.nan), np.full(len(low), np.inf)
    for number in range(_NUM_SHIFTS + 1):
        shift = low + number * step
        with np.errstate(divide="ignore", invalid="ignore"):
            place = origin + (shift / spacing)[:, None]
            is_inside = (place >= -TIE) & (place <= _NUM_SAMPLES - 1 + TIE)
        left = np.where(is_inside, place, 0.0).astype(np.int64)
        left = offset + np.clip(left, 0, _NUM_SAMPLES - 2)
        value = table[left] + (place - (left - offset)) * (table[left + 1] - table[left])
        difference = np.where(is_inside, rows.y - value, np.nan)
        is_used = ~np.isnan(difference)
        error = _prediction_error(_centred(difference, is_used)[0], is_used.sum(axis=1), needed)
        is_better = error < least
        best, least = np.where(is_better, shift, best), np.where(is_better, error, least)
    return best


def _num_needed(num_points: Integers) -> Integers:
    return np.maximum(MIN_POINTS, -(-num_points // 2))


@dataclass(frozen=True, slots=True)
class _State:
    """Every row at one shift, each ``[R, m]``; whatever is centred is 0 where a point is not used.

    Attributes:
        is_used: The row has a point there, and the curve has x + s.
        value: f₀(x + s), centred over the row.
        slope: f₀′(x + s), NaN where not used.
        residual: y − f₀(x + s), centred: the best offset is taken out.
        offset: Mean of y − f₀(x + s), ``[R]``.
    """

    is_used: Mask
    value: Floats
    slope: Floats
    residual: Floats
    offset: Floats

    @classmethod
    def at(cls, curves: Curves, rows: Rows, shift: Floats) -> "_State":
        curve = np.broadcast_to(rows.curve[:, None], rows.x.shape)
        value, slope = curves.evaluate(curve, rows.x + shift[:, None])
        is_used = ~np.isnan(rows.y - value)
        residual, offset = _centred(rows.y - value, is_used)
        return cls(is_used, _centred(value, is_used)[0], slope, residual, offset)

    def num_points(self) -> Integers:
        """Return n, ``[R]``."""
        num: Integers = self.is_used.sum(axis=1)
        return num

    def misfit(self) -> Floats:
        """Return the sum of squared residuals, ``[R]``."""
        return _dot(self.residual, self.residual)

    def centred_slope(self) -> Floats:
        """Return f₀′ less its mean over the row."""
        return _centred(self.slope, self.is_used)[0]


def _dot(left: Floats, right: Floats) -> Floats:
    product: Floats = np.einsum("ij,ij->i", left, right)
    return product


def _centred(values: Floats, is_used: Mask) -> tuple[Floats, Floats]:
    """Return the values less their mean over each row, 0 where not used; and the means."""
    kept = np.where(is_used, values, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = kept.sum(axis=1) / is_used.sum(axis=1)
    return np.where(is_used, kept - mean[:, None], 0.0), mean


def _without(column: Floats, other: Floats) -> Floats:
    """Return the part of a centred column that is orthogonal to another one."""
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.nan_to_num(_dot(column, other) / _dot(other, other), posinf=0.0, neginf=0.0)
    return column - share[:, None] * other


def _criterion(curves: Curves, rows: Rows, shift: Floats) -> Floats:
    """Return the final prediction error, ``[R]``; infinite where too few points are left."""
    state = _State.at(curves, rows, shift)
    return _prediction_error(state.residual, state.num_points(), _num_needed(rows.num_points()))


def _prediction_error(residual: Floats, n: Integers, needed: Integers) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        error = _dot(residual, residual) / n * (n + _NUM_PARAMETERS) / (n - _NUM_PARAMETERS)
    return np.where(n >= needed, error, np.inf)


def _improve(
    curves: Curves, rows: Rows, found: tuple[Floats, Floats], tried: Floats
) -> tuple[Floats, Floats]:
    """Return shifts and their criterion, replaced where the tried ones are better."""
    best, least = found
    error = _criterion(curves, rows, tried)
    is_better = error < least
    return np.where(is_better, tried, best), np.where(is_better, error, least)


def _summarize(state: _State, rows: Rows, shift: Floats, is_at_edge: Mask) -> Fit:
    n = state.num_points()
    x, _ = _centred(rows.x, state.is_used)
    bend = _without(state.value, x)
    numbers = {
        "shift": shift,
        "offset": state.offset,
        "num_points": n,
        "misfit": state.misfit(),
        "bend": _dot(bend, bend),
        "drift": _drift(state, x),
    }
    has_fit = n >= _num_needed(rows.num_points())
    known = {name: np.where(has_fit, values, np.nan) for name, values in numbers.items()}
    return Fit(**known, is_at_edge=is_at_edge & has_fit)


def _drift(state: _State, x: Floats) -> Floats:
    """Return the third coefficient of the least squares on f₀′, 1 and f₀′ · (x − mean x)."""
    slope = state.centred_slope()
    third = _without(_centred(state.slope * x, state.is_used)[0], slope)
    squares = _dot(third, third)
    with np.errstate(divide="ignore", invalid="ignore"):
        drift = _dot(third, state.residual) / squares
    is_known = (state.num_points() > _NUM_PARAMETERS + 1) & (squares > 0)
    return np.where(is_known, drift, np.nan)

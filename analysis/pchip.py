"""Many monotone cubic curves at once, each through knots of its own.

The curves are those of `scipy.interpolate.PchipInterpolator` (held by a test to 1e-12), which takes
one grid of knots at a time; here thousands of curves with knots of their own cost a few array
operations.
"""

from dataclasses import dataclass

import numpy as np

from analysis.intervals import Floats, average
from analysis.numbering import Integers

TIE = 1e-9
"""Knots that lie no farther apart are one, with the mean of their values; as far outside a range
still counts as its end."""


@dataclass(frozen=True, slots=True)
class Curves:
    """Piecewise cubics, numbered 0 … C − 1.

    Attributes:
        x: Places of the knots, ``[knots]``, ascending within a curve, curve after curve.
        y: Values there, ``[knots]``.
        slope: Derivatives there, ``[knots]``; NaN in a curve of one knot.
        first: First knot of each curve, ``[C + 1]``; the last entry is the number of knots.
    """

    x: Floats
    y: Floats
    slope: Floats
    first: Integers

    @property
    def num_knots(self) -> Integers:
        """Knots of each curve, ``[C]``."""
        return np.diff(self.first)

    def ends(self) -> tuple[Floats, Floats]:
        """Return the first and the last x of each curve, each ``[C]``; NaN without a knot."""
        padded = np.append(self.x, np.nan)
        is_empty = self.num_knots == 0
        low = np.where(is_empty, np.nan, padded[self.first[:-1]])
        high = np.where(is_empty, np.nan, padded[self.first[1:] - 1])
        return low, high

    def evaluate(self, curve: Integers, x: Floats) -> tuple[Floats, Floats]:
        """Return values and derivatives; NaN outside a curve's range and with fewer than two knots.

        Args:
            curve: Number of the curve of each point, ``[…]``.
            x: Points, ``[…]``; NaN gives NaN.
        """
        if len(self.x) < 2:
            return np.full(x.shape, np.nan), np.full(x.shape, np.nan)
        low, high = (end[curve] for end in self.ends())
        with np.errstate(invalid="ignore"):
            is_inside = (x >= low - TIE) & (x <= high + TIE) & (self.num_knots[curve] > 1)
        x = np.clip(x, low, high)
        left = self._left_knot(curve, np.where(is_inside, x, 0.0))
        right = left + 1
        width = self.x[right] - self.x[left]
        with np.errstate(divide="ignore", invalid="ignore"):
            t = (x - self.x[left]) / width
            rise = (self.y[right] - self.y[left]) / width
            a, b = self.slope[left], self.slope[right]
            curvature, twist = 3 * rise - 2 * a - b, a + b - 2 * rise
            value = self.y[left] + width * t * (a + t * (curvature + t * twist))
            value = np.where(t >= 1, self.y[right], value)
            derivative = a + t * (2 * curvature + 3 * t * twist)
        return np.where(is_inside, value, np.nan), np.where(is_inside, derivative, np.nan)

    def sample(self, num: int) -> Floats:
        """Return values at so many even places of each curve, first and last knot included."""
        low, high = self.ends()
        x = low[:, None] + (high - low)[:, None] * np.linspace(0.0, 1.0, num)
        curve = np.broadcast_to(np.arange(len(low))[:, None], x.shape)
        return self.evaluate(curve, x)[0]

    def _left_knot(self, curve: Integers, x: Floats) -> Integers:
        """Return the knot before each point; curves are laid end to end for one binary search."""
        origin = self.x.min()
        stride = self.x.max() - origin + 1
        laid = np.repeat(np.arange(len(self.first) - 1), self.num_knots) * stride + self.x - origin
        found = np.searchsorted(laid, curve * stride + x - origin, side="right") - 1
        first, last = self.first[curve], self.first[curve + 1] - 2
        left: Integers = np.clip(np.clip(found, first, last), 0, len(self.x) - 2)
        return left


def curves_through(curve: Integers, x: Floats, y: Floats, *, num_curves: int) -> Curves:
    """Return the curves through these points; points without a finite place and value are left out.

    Args:
        curve: Number of the curve that each point belongs to, ``[points]``, any order.
        x: Places, ``[points]``.
        y: Values, ``[points]``.
        num_curves: Curves, those without a point included.

    Source:
        Fritsch and Butland 1984, "A method for constructing local monotone piecewise cubic
        interpolants", SIAM J. Sci. Stat. Comput. 5: weighted harmonic means of the neighbouring
        secants, and a three-point formula at the ends that keeps to the end's direction.
    """
    is_point = np.isfinite(x) & np.isfinite(y)
    curve, x, y = curve[is_point], x[is_point], y[is_point]
    order = np.lexsort((x, curve))
    curve, x, y = curve[order], x[order], y[order]
    is_new = np.ones(len(x), dtype=bool)
    is_new[1:] = (curve[1:] != curve[:-1]) | (x[1:] - x[:-1] > TIE)
    starts = np.flatnonzero(is_new)
    if len(starts) < len(x):
        curve, x, y = curve[starts], x[starts], average(y[:, None], starts)[0][:, 0]
    first = np.searchsorted(curve, np.arange(num_curves + 1))
    return Curves(x, y, _slopes(curve, x, y), first)


def _slopes(curve: Integers, x: Floats, y: Floats) -> Floats:
    """Return the derivative at every knot, ``[knots]``; NaN at a knot that is alone."""
    slope = np.full(len(x), np.nan)
    if len(x) < 2:
        return slope
    is_joined = np.append(curve[1:] == curve[:-1], False)  # the interval right of each knot
    width = np.append(np.diff(x), np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        rise = np.append(np.diff(y), np.nan) / width
    has_left = np.append(False, is_joined[:-1])
    inner = np.flatnonzero(has_left & is_joined)
    slope[inner] = _mean_slope(width[inner - 1], width[inner], rise[inner - 1], rise[inner])
    first = np.flatnonzero(is_joined & ~has_left)
    last = np.flatnonzero(has_left & ~is_joined)
    near, next_ = np.concatenate([first, last - 1]), np.concatenate([first + 1, last - 2])
    end = _end_slope(width[near], width[next_], rise[near], rise[next_])
    slope[np.concatenate([first, last])] = np.where(is_joined[next_], end, rise[near])
    return slope


def _mean_slope(left: Floats, right: Floats, rise_left: Floats, rise_right: Floats) -> Floats:
    """Return the weighted harmonic mean of two secants; 0 where they do not point one way."""
    weight_left, weight_right = 2 * right + left, right + 2 * left
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = (weight_left + weight_right) / (weight_left / rise_left + weight_right / rise_right)
    return np.where(np.sign(rise_left) * np.sign(rise_right) > 0, mean, 0.0)


def _end_slope(near: Floats, next_: Floats, rise_near: Floats, rise_next: Floats) -> Floats:
    """Return the three-point derivative at an end, cut so that the curve keeps its shape."""
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = ((2 * near + next_) * rise_near - near * rise_next) / (near + next_)
        turns = np.sign(rise_near) != np.sign(rise_next)
        is_steep = turns & (np.abs(slope) > 3 * np.abs(rise_near))
        slope = np.where(is_steep, 3 * rise_near, slope)
        kept: Floats = np.where(np.sign(slope) == np.sign(rise_near), slope, 0.0)
    return kept

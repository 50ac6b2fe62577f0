"""Marks that tell their values: unseen boxes laid over a drawing, each with its text as title.

Browsers show a title where the pointer rests; the report's script shows it at once, by touch and by
keys as well. The boxes stand in the order in which the keys walk over them.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

_REACH = 5.0
"""What a box reaches beyond the mark itself, on every side, in points of the drawing."""

_POINTS_AN_INCH = 72.0
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_PLAIN = re.compile(r"[^\w .,;()\[\]+−–·×/|-]")


@dataclass(frozen=True, slots=True)
class _Mark:
    axes: "Axes"
    xs: tuple[float, ...]
    ys: tuple[float, ...]
    text: str


@dataclass(slots=True)
class Sheet:
    """What one drawing becomes.

    Attributes:
        svg: The drawing, a whole SVG document; empty until it is done.
    """

    svg: str = ""
    _marks: list[_Mark] = field(default_factory=list)

    def mark(self, axes: "Axes", xs: Sequence[float], ys: Sequence[float], *lines: str) -> None:
        """Say what stands at a place.

        Args:
            axes: Where.
            xs: The place, in the units of the axis; several span what the mark covers.
            ys: The same upwards.
            lines: What is said, a line each; empty ones are left out.
        """
        text = "\n".join(line for line in lines if line)
        self._marks.append(_Mark(axes, tuple(map(float, xs)), tuple(map(float, ys)), text))

    def finish(self, drawing: "Canvas", svg: str) -> None:
        """Take the drawing as it was saved, and lay the marks over it."""
        boxes = "".join(_box(mark, drawing) for mark in self._marks)
        body, end, rest = svg.rpartition("</svg>")
        layer = f'<g class="marks" fill="none" pointer-events="all">\n{boxes}</g>\n' * bool(boxes)
        self.svg = f"{body}{layer}{end}{rest}"


def _box(mark: _Mark, drawing: "Canvas") -> str:
    """Return a mark as an element; what lies beyond its panel is put to the panel's edge."""
    corners = [(x, y) for x in (min(mark.xs), max(mark.xs)) for y in (min(mark.ys), max(mark.ys))]
    places = mark.axes.transData.transform(corners)
    panel = mark.axes.get_window_extent()
    scale = _POINTS_AN_INCH / drawing.dpi
    lows, highs = places.min(axis=0), places.max(axis=0)
    left, right = (min(max(float(x), panel.x0), panel.x1) for x in (lows[0], highs[0]))
    low, high = (min(max(float(y), panel.y0), panel.y1) for y in (lows[1], highs[1]))
    top = float(drawing.get_figheight()) * drawing.dpi - high
    width, height = (scale * extent + 2 * _REACH for extent in (right - left, high - low))
    return (
        f'<rect x="{scale * left - _REACH:.1f}" y="{scale * top - _REACH:.1f}" '
        f'width="{width:.1f}" height="{height:.1f}"><title>{_escape(mark.text)}</title></rect>\n'
    )


def _escape(text: str) -> str:
    """Return a text that is no markup, and in which no replacement finds an attribute."""
    whole = _CONTROL.sub("\ufffd", text)  # XML has no control characters
    return _PLAIN.sub(lambda found: f"&#{ord(found[0])};", whole)

"""Drawing surface of every figure: one style, SVG out, the same bytes for the same data.

Texts stay texts. Ink, paper and grid have colours of their own, so that the report can put its own
light or dark ones in their place (`inline_svg`).
"""

import io
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl
from markupsafe import escape

from analysis.marks import Sheet

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

INK, MUTED, GRID, PAPER = "#1b1f25", "#5d6673", "#d9dee5", "#fdfefe"
_THEME = {INK: "var(--ink)", MUTED: "var(--muted)", GRID: "var(--line)", PAPER: "var(--card)"}

ARM_COLORS = {
    "control": "#8a929e",
    "full": "#2f7fd6",
    "class_term": "#e08a1e",
    "uniform_term": "#18a07a",
    "sham": "#c065b0",
    "sham_norm": "#8d4fd1",
    "class_mean": "#b5651d",
    "mean_rest": "#0f6b57",
    "orthogonal": "#c23b4e",
    "grafted": "#7a8a1c",
    "rescaled": "#1b4f8f",
    "rescaled_class_term": "#9c7a2e",
    "rescaled_uniform_term": "#4f9d9d",
    "replayed": "#5b3fa0",
    "replayed_class_term": "#a0522d",
    "replayed_uniform_term": "#2e8b8b",
}
"""One colour an arm, in every figure; told apart on light and dark; of the
first five by colour-blind readers, too, of all by their marker."""

ARM_MARKERS = {
    "control": "o",
    "full": "s",
    "class_term": "^",
    "uniform_term": "v",
    "sham": "D",
    "sham_norm": "d",
    "class_mean": "<",
    "mean_rest": ">",
    "orthogonal": "P",
    "grafted": "X",
    "rescaled": "p",
    "rescaled_class_term": "h",
    "rescaled_uniform_term": "H",
    "replayed": "*",
    "replayed_class_term": "1",
    "replayed_uniform_term": "2",
}

_LEGEND_CHARACTERS = 104
"""Characters that fit side by side over a figure of the usual width, markers not counted."""

_STYLE: Any = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9.0,
    "text.parse_math": False,  # a dollar in a name of the data is no formula
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": GRID,
    "axes.titlecolor": INK,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.facecolor": "none",
    "axes.formatter.use_mathtext": False,
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "legend.frameon": False,
    "legend.labelcolor": INK,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """One drawn figure.

    Attributes:
        name: File name without ending.
        title: Heading in the report.
        caption: What is drawn, how it was averaged, what the marks mean.
        alt: What a reader who does not see the drawing should know, with its numbers.
        svg: The drawing, a whole SVG document.
        data: What is drawn, one row a mark.
    """

    name: str
    title: str
    caption: str
    alt: str
    svg: str
    data: pl.DataFrame


@contextmanager
def canvas(*, width: float, height: float, name: str) -> Iterator[tuple["Canvas", Sheet]]:
    """Yield an empty drawing of that size in inches, and the sheet that has its SVG at the end.

    Neither the current backend nor the caller's settings are touched.
    """
    import matplotlib
    from matplotlib.figure import Figure as Canvas

    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": name}):
        drawing = Canvas(figsize=(width, height), layout="constrained")
        sheet = Sheet()
        yield drawing, sheet
        buffer = io.StringIO()
        metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        drawing.savefig(buffer, format="svg", metadata=metadata)
        sheet.finish(drawing, buffer.getvalue())


def inline_svg(figure: Figure) -> str:
    """Return the drawing as an element of a page: theme colours, own ids, no address, its words.

    Ids get the figure's name in front, so that several drawings can stand in one page. No
    replacement reaches over a tag's end, so that a text, whatever it says, changes no element.
    """
    svg = figure.svg[figure.svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"\s*xmlns(:\w+)?=\"[^\"<>]*\"", "", svg).replace("xlink:href", "href")
    svg = re.sub(r"\bid=\"", f'id="{figure.name}-', svg)
    svg = svg.replace("url(#", f"url(#{figure.name}-").replace('href="#', f'href="#{figure.name}-')
    svg = re.sub(r"font: ([^;\"<>]*?)(\d+(?:\.\d+)?px) [^;\"<>]*", r"font: \1\2 var(--sans)", svg)
    for color, variable in _THEME.items():
        svg = svg.replace(color, variable)
    return svg.replace("<svg ", f'<svg role="img" aria-label="{escape(figure.alt)}" ', 1)


def share_axis(axes: "Axes", *, which: str = "y") -> None:
    """Write an axis of shares with as many digits as its range needs."""
    from matplotlib.ticker import MaxNLocator

    axis = axes.yaxis if which == "y" else axes.xaxis
    axis.set_major_locator(MaxNLocator(nbins=5))


def log_axis(axes: "Axes", *, which: str = "x", linear_below: float | None = None) -> None:
    """Make an axis logarithmic, with ticks written as numbers.

    Args:
        axes: Where.
        which: ``x`` or ``y``.
        linear_below: Absolute values below it, 0 among them, are drawn linearly; None: there are
            none.
    """
    from matplotlib.ticker import LogFormatter

    class Plain(LogFormatter):
        def __call__(self, x: float, pos: int | None = None) -> str:
            return f"{x:g}" if super().__call__(x, pos) else ""

    scale = {} if linear_below is None else {"linthresh": linear_below}
    set_scale = axes.set_xscale if which == "x" else axes.set_yscale
    set_scale("symlog" if scale else "log", **scale)
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_formatter(Plain())
    if not scale:
        axis.set_minor_formatter(Plain())


def draw_legend(drawing: "Canvas", handles: Mapping[str, Any]) -> None:
    """Draw a legend over the panels, in as many columns as its longest name leaves room for."""
    longest = max(map(len, handles), default=0)
    num_columns = max(1, min(5, _LEGEND_CHARACTERS // (longest + 8)))
    drawing.legend(handles.values(), handles.keys(), loc="outside upper left", ncols=num_columns)


def spread_out(values: list[float], limit: int) -> list[float]:
    """Return at most `limit` of the sorted values, evenly chosen, both ends among them."""
    if len(values) <= limit:
        return values
    if limit == 1:
        return values[-1:]
    step = (len(values) - 1) / (limit - 1)
    return [values[round(number * step)] for number in range(limit)]

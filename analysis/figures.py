"""Every figure of the report, in its order."""

from analysis.canvas import Figure
from analysis.figure_attribution import draw_attribution
from analysis.figure_curves import draw_curves
from analysis.figure_depth import draw_depth
from analysis.figure_estimators import draw_estimators
from analysis.figure_maps import draw_heat_map
from analysis.figure_plane import draw_plane
from analysis.figure_scores import draw_scores
from analysis.figure_shift import draw_shift
from analysis.result import Analysis

FIGURES = (
    "attribution",
    "estimators",
    "shift",
    "heat_map_outcome",
    "heat_map_memorization",
    "memorization_plane",
    "learning_curves",
    "probe_depth",
    "memorization_scores",
)
"""Names of all figures; one without data is not drawn."""


def draw_figures(analysis: Analysis) -> list[Figure]:
    """Return the figures that the data allow, in the order of `FIGURES`."""
    outcome = analysis.outcome
    drawn = [
        draw_attribution(analysis),
        draw_estimators(analysis),
        draw_shift(analysis),
        draw_heat_map(analysis, outcome, name="heat_map_outcome", color_map="viridis"),
        draw_heat_map(analysis, "memorization", name="heat_map_memorization", color_map="magma"),
        draw_plane(analysis),
        draw_curves(analysis),
        draw_depth(analysis),
        draw_scores(analysis),
    ]
    return [figure for figure in drawn if figure is not None]

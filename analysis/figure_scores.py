"""Memorization scores: how many samples have which, and what the RLP head recalls of them."""

from typing import TYPE_CHECKING, Any

import polars as pl

from analysis.canvas import ARM_COLORS, Figure, canvas, log_axis
from analysis.figure_words import describe_scores, tell_level
from analysis.marks import Sheet
from analysis.memorization import Memorization, controls_first, name_cell, varying_names
from analysis.result import Analysis

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_ROWS = 3
"""Cells and arms drawn, one row of panels each, the controls first."""

NUM_BINS = 24
"""Bins of scores from −1 to 1."""

_LABELS = {False: "true label", True: "planted label"}
_MARKERS = {False: "o", True: "D"}


def draw_scores(analysis: Analysis) -> Figure | None:
    """Return scores of cells and arms with some; None where no samples were kept."""
    if analysis.memorization is None:
        return None
    memorization = analysis.memorization
    comparison = controls_first(memorization.comparison).filter(pl.col("num_samples") > 0)
    cells = comparison.head(MAX_ROWS).to_dicts()
    if not cells:
        return None
    varying = varying_names(memorization.comparison)
    data = pl.concat([_bins(memorization, row, name_cell(row, varying)) for row in cells])
    with canvas(width=7.6, height=0.4 + 2.7 * len(cells), name="scores") as (drawing, sheet):
        grid = drawing.subplots(len(cells), 2, squeeze=False)
        for (left, right), name in zip(grid, data["cell"].unique(maintain_order=True), strict=True):
            rows = data.filter(pl.col("cell") == name)
            _draw_counts(left, rows)
            _draw_confidence(right, rows)
            _mark_bins(sheet, left, right, rows)
            left.set_title(name)
    bound = max(row["se_bound"] for row in cells)
    return Figure(
        name="memorization_scores",
        title="Memorization scores of single samples",
        caption="Left: samples by score (on a log axis). Right: mean confidence of the RLP head in "
        "a sample's own random label, by score, with 95 % intervals over the samples of a "
        f"bin. The standard error of one score is at most {bound:.2f}: a score of that size is no "
        "sign of memory by itself.",
        alt=describe_scores(data, _LABELS),
        svg=sheet.svg,
        data=data,
    )


def _bins(memorization: Memorization, row: dict[str, Any], name: str) -> pl.DataFrame:
    """Return one row a bin of scores and kind of label of a cell and arm."""
    scores = memorization.scores
    keys = scores.columns[: scores.columns.index("arm") + 1]
    here = pl.all_horizontal(pl.col(key).eq_missing(row[key]) for key in keys)
    width = 2 / NUM_BINS
    bin_number = ((pl.col("memorization_score") + 1) / width).round(9).floor()
    confidence = pl.col("rlp_confidence")
    return (
        scores.filter(here & pl.col("memorization_score").is_not_null())
        .group_by("is_planted", bin=bin_number.clip(0, NUM_BINS - 1).cast(pl.Int64))
        .agg(
            num_samples=pl.len().cast(pl.Int64),
            rlp_confidence=confidence.mean(),
            rlp_confidence_se=confidence.std() / confidence.count().sqrt(),
        )
        .sort("is_planted", "bin")
        .select(
            pl.lit(name).alias("cell"),
            "is_planted",
            ((pl.col("bin") + 0.5) * width - 1).alias("memorization_score"),
            "num_samples",
            "rlp_confidence",
            "rlp_confidence_se",
        )
    )


def _draw_counts(axes: "Axes", rows: pl.DataFrame) -> None:
    width = 2 / NUM_BINS * 0.46
    for is_planted, label in _LABELS.items():
        part = rows.filter(pl.col("is_planted") == is_planted)
        if len(part):
            axes.bar(
                part["memorization_score"] + (width / 2 if is_planted else -width / 2),
                part["num_samples"],
                width=width,
                color=_color(is_planted=is_planted),
                label=label,
            )
    log_axis(axes, which="y")
    axes.set_ylim(bottom=0.5)
    axes.set_xlabel("memorization score")
    axes.set_ylabel("samples")
    axes.legend()


def _draw_confidence(axes: "Axes", rows: pl.DataFrame) -> None:
    for is_planted in _LABELS:
        part = rows.filter(
            (pl.col("is_planted") == is_planted) & pl.col("rlp_confidence").is_not_null()
        )
        axes.errorbar(
            part["memorization_score"],
            part["rlp_confidence"],
            yerr=1.96 * part["rlp_confidence_se"].fill_null(0).to_numpy(),
            color=_color(is_planted=is_planted),
            marker=_MARKERS[is_planted],
            markersize=4,
            linestyle="none",
        )
    axes.set_xlabel("memorization score")
    axes.set_ylabel("random-label confidence")


def _mark_bins(sheet: Sheet, left: "Axes", right: "Axes", rows: pl.DataFrame) -> None:
    """Say what every bin holds, on the left how many, on the right the confidence."""
    for axes in (left, right):
        for row in rows.iter_rows(named=True):
            score, confidence = row["memorization_score"], row["rlp_confidence"]
            name = f"{_LABELS[row['is_planted']]} · score {score - 1 / NUM_BINS:.2f} to "
            name += f"{score + 1 / NUM_BINS:.2f}"
            number = f"n = {row['num_samples']} sample{'s' * (row['num_samples'] != 1)}"
            if axes is left:
                width = 0.46 / NUM_BINS * (1 if row["is_planted"] else -1)
                sheet.mark(axes, [score + width], [0.5, row["num_samples"]], name, number)
            elif confidence is not None:
                half = 1.96 * (row["rlp_confidence_se"] or 0.0)
                value = tell_level(confidence, confidence - half, confidence + half)
                ends = [confidence - half, confidence + half]
                sheet.mark(axes, [score], ends, name, f"confidence {value}", number)


def _color(*, is_planted: bool) -> str:
    return ARM_COLORS["class_term" if is_planted else "full"]
